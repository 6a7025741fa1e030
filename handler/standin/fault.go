package standin

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"path"
	"sync"
	"time"
)

const maxBody = 1 << 20 // 1 MiB

// Fault is what goes wrong with the calls that it matches. One call meets at
// most one fault, the first that matches in the order of Fail.
//
// Without Status and Cut the call takes effect and gets its true answer, late
// by Delay and altered by Header, Body and Echo. With either, the answer is the
// fault's, and the call takes no effect unless Commit says so.
type Fault struct {
	Method string // "" matches any
	Path   string // a path.Match pattern; "" matches any
	Times  int    // calls it is for; 0 = until cleared

	Delay  time.Duration // from the call's arrival until it takes effect
	Status int           // 0 = the true one
	Header http.Header   // added to the answer's
	Body   string        // the answer's body, as it is; "" = the true one
	Echo   bool          // append the Authorization header and the body that were sent
	Cut    bool          // cut the connection: after Status and Body, or without any answer

	Commit      bool          // takes effect although the answer is the fault's
	CommitAfter time.Duration // with Commit: how long after the answer; 0 = before it
}

// Reply is a whole answer.
type Reply struct {
	Status int // 0 = none: the connection is cut without an answer
	Header http.Header
	Body   []byte
	Cut    bool // cut the connection after Body
}

// JSON is an answer with a document for its body.
func JSON(status int, doc any) Reply {
	body, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return Reply{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
}

// Body reads what was sent, at most 1 MiB. It cuts the connection when it
// cannot, by a panic with http.ErrAbortHandler.
func Body(w http.ResponseWriter, r *http.Request) []byte {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return body
}

// Faults are the faults in force at the server that embeds them. The zero value
// holds none; it is safe for concurrent use.
type Faults struct {
	mu   sync.Mutex
	list []*Fault
}

// Fail puts a fault in force, behind those that are.
func (fs *Faults) Fail(f Fault) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = append(fs.list, &f)
}

// ClearFaults ends every fault.
func (fs *Faults) ClearFaults() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = nil
}

// Around answers the call r, whose body was sent, by act: in the middle of
// latency, or as the first matching fault has it. It looks at no context, so a
// call takes effect even when its caller has given up.
func (fs *Faults) Around(r *http.Request, sent []byte, latency time.Duration, act func() Reply) Reply {
	f := fs.next(r)
	time.Sleep(latency/2 + f.Delay)
	var reply Reply
	switch {
	case f.Status == 0 && !f.Cut:
		reply = act()
	case f.Commit && f.CommitAfter == 0:
		act()
	case f.Commit:
		time.AfterFunc(latency-latency/2+f.CommitAfter, func() { act() })
	}
	time.Sleep(latency - latency/2)

	if reply.Header == nil {
		reply.Header = http.Header{}
	}
	maps.Copy(reply.Header, f.Header)
	if f.Status != 0 {
		reply.Status = f.Status
	}
	if f.Body != "" {
		reply.Body = []byte(f.Body)
	}
	if f.Echo {
		reply.Body = append(append(reply.Body, r.Header.Get("Authorization")+"\n"...), sent...)
	}
	if reply.Cut = f.Cut; f.Cut && f.Body == "" {
		reply.Status = 0
	}
	return reply
}

// next takes the first fault for r out of its count; the zero Fault if none.
func (fs *Faults) next(r *http.Request) Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.list {
		if !f.matches(r) {
			continue
		}
		if f.Times == 1 {
			fs.list = append(fs.list[:i:i], fs.list[i+1:]...)
		} else if f.Times > 1 {
			f.Times--
		}
		return *f
	}
	return Fault{}
}

func (f *Fault) matches(r *http.Request) bool {
	here, _ := path.Match(f.Path, r.URL.Path)
	return (f.Method == "" || f.Method == r.Method) && (f.Path == "" || here)
}

// Send writes the reply. When the connection is to be cut it panics with
// http.ErrAbortHandler, as net/http's server wants it.
func (reply Reply) Send(w http.ResponseWriter) {
	if reply.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), reply.Header)
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
	if reply.Cut {
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
