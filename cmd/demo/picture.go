package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Colours of the picture.
const (
	green = "#2da44e"
	red   = "#cf222e"
	ink   = "#24292f"
	faint = "#656d76"
)

// picture is an SVG file in the making, 640 by 180 points.
type picture struct{ strings.Builder }

func (p *picture) add(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *picture) text(x, y float64, size int, colour, words string) {
	p.add(`<text x="%.1f" y="%.1f" font-size="%d" fill="%s">%s</text>`, x, y, size, colour, words)
}

// line draws a line down from x and y.
func (p *picture) line(x, y, length float64) {
	p.add(`<path d="M%.1f,%.1fv%.1f" stroke="%s" stroke-width="0.8"/>`, x, y, length, faint)
}

// at is where a time after the rotation is.
func at(after time.Duration) float64 { return 226 + 66.5*after.Seconds() }

// drawRotations writes an SVG file with the alerts around two rotations, one below
// the other.
func drawRotations(path string, without, with rotation) error {
	p := &picture{}
	p.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 180" width="640pt" height="180pt" ` +
		`font-family="Liberation Sans,Arial,sans-serif">`)
	p.add(`<rect width="640" height="180" fill="#ffffff"/>`)
	p.lane(48, "without", without)
	p.lane(112, "with", with)
	for t := -beforeRotation; t <= untilEnd+afterEnd; t += time.Second {
		p.line(at(t), 146, 7)
		p.text(at(t)-2.5, 161, 9, faint, fmt.Sprint(t.Seconds()))
	}
	p.text(177, 173, 9, faint, "seconds since the new client secret was stored in AWS Secrets Manager")
	p.add("</svg>")
	return os.WriteFile(path, []byte(p.String()), 0o644)
}

// lane draws one rotation at a height.
func (p *picture) lane(y float64, name string, r rotation) {
	mark := func(happened time.Time, what string) {
		if !happened.IsZero() {
			p.line(at(happened.Sub(r.stored)), y-30, 42)
			p.text(at(happened.Sub(r.stored))+3, y-21, 9, ink, what)
		}
	}
	mark(r.stored, "rotated")
	mark(r.written, "new one in Datadog")
	mark(r.ended, "old one ended at the provider")
	for _, a := range r.alerts {
		x := at(a.at.Sub(r.stored))
		if a.lost() {
			p.add(`<path d="M%.1f,%.1fl6,6m0,-6l-6,6" stroke="%s" stroke-width="1.4"/>`, x-3, y-3, red)
		} else {
			p.add(`<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, x, y, green)
		}
	}
	delivered, lost := count(r.alerts)
	p.text(13, y-6, 12, ink, name+" the function")
	p.text(13, y+8, 10, green, fmt.Sprint(delivered, " alerts delivered"))
	if lost == 0 {
		p.text(13, y+22, 10, ink, "none lost")
		return
	}
	p.text(13, y+22, 10, red, fmt.Sprint(lost, " lost"))
	p.text(at(r.ended.Sub(r.stored))+3, y+22, 9, red, "401: lost, until somebody notices")
}
