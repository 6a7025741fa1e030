package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// printer prints a story in chapters, each with a clock of its own.
type printer struct {
	out      io.Writer
	chapters int
	began    time.Time // the chapter
}

func (p *printer) chapter(title string) {
	p.chapters++
	p.began = time.Now()
	fmt.Fprintf(p.out, "\n%d. %s\n", p.chapters, title)
}

// say prints what happened just now.
func (p *printer) say(format string, args ...any) {
	text := wrap(fmt.Sprintf(format, args...), 84, "\n           ")
	fmt.Fprintf(p.out, "   %4.1f s  %s\n", time.Since(p.began).Seconds(), text)
}

// row prints a figure.
func (p *printer) row(what, format string, args ...any) {
	fmt.Fprintf(p.out, "   %-8s  %s\n", what, fmt.Sprintf(format, args...))
}

// wrap breaks a text into lines of a width.
func wrap(text string, width int, newline string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), newline)
}
