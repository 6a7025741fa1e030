package standin

import (
	"io"
	"net/http"
	"strings"
)

// Garbled returns answers that repeat text, each in another place, most of them
// where HTTP does not allow it.
func Garbled(text string) map[string]string {
	answers := map[string]string{
		"instead of HTTP":          text + "\r\n\r\n",
		"as the protocol":          text + "/1.1 200 OK\r\n\r\n",
		"as the version":           "HTTP/" + text + " 200 OK\r\n\r\n",
		"as the status":            "HTTP/1.1 " + text + " OK\r\n\r\n",
		"behind the status":        "HTTP/1.1 500 " + text + "\r\nContent-Length: 0\r\n\r\n",
		"as the location":          "HTTP/1.1 307 Moved\r\nLocation: https://%zz" + text + "\r\nContent-Length: 0\r\n\r\n",
		"as an informational line": "HTTP/1.1 103 Early\r\n" + text + "\r\n\r\n",
		"as the protocol to go on": "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: " + text + "\r\n\r\n" + text,
		"where nobody asked":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + text,
		"in place of the answer":   "HTTP/1.1 408 " + text + "\r\nConnection: close\r\n\r\n",
		"as an error of AWS":       "HTTP/1.1 400 Bad\r\nX-Amzn-Errortype: " + text + "\r\nX-Amzn-Requestid: " + text + "\r\nContent-Length: 0\r\n\r\n",
		"as words of AWS":          "HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n{\"__type\":\"InvalidSignatureException\",\"message\":\"" + text + "\"}",
		"in an error's words":      "HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n{\"errors\":[\"" + text + "\"]}",
		"in chunks":                "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + text + "\r\n",
		"in the trailer":           "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + text + "\r\n\r\n",
		"in a compressed body":     "HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + text,
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding", "X-RateLimit-Reset", "Date", "Set-Cookie"} {
		for _, status := range []string{"200 OK", "201 Created", "404 Gone"} {
			answers["as the "+name+" of "+status] = "HTTP/1.1 " + status + "\r\n" + name + ": " + text + "\r\nConnection: close\r\n\r\n{}"
		}
	}
	for place, line := range map[string]string{"alone": text, "as a name": text + ": x", "in a name": text + " x: y", "folded": "X: y\r\n " + text, "twice": "Content-Length: 1\r\nContent-Length: " + text} {
		answers["in the header "+place] = "HTTP/1.1 201 Created\r\n" + line + "\r\n\r\n{}"
	}
	for place, body := range map[string]string{"plain": text, "JSON": `{"data":{"id":"` + text + `","type":"` + text + `"}}`, "broken JSON": `{"` + text} {
		for _, status := range []string{"200 OK", "201 Created", "500 Wrong"} {
			answers["in "+place+" of "+status] = "HTTP/1.1 " + status + "\r\nConnection: close\r\n\r\n" + body
		}
	}
	return answers
}

// Raw answers each request, once it was read, with these bytes, whatever they
// are, and closes the connection.
func Raw(answer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.Copy(conn, strings.NewReader(answer))
	})
}
