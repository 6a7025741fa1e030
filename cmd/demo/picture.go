package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	green = color.RGBA{R: 0x2d, G: 0xa4, B: 0x4e, A: 0xff}
	red   = color.RGBA{R: 0xcf, G: 0x22, B: 0x2e, A: 0xff}
	ink   = color.RGBA{R: 0x24, G: 0x29, B: 0x2f, A: 0xff}
	faint = color.RGBA{R: 0x65, G: 0x6d, B: 0x76, A: 0xff}
)

// drawRotations writes an SVG file with the alerts around two rotations, one below
// the other.
func drawRotations(path string, without, with rotation) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.X.Label.Text = "seconds since the new client secret was stored in AWS Secrets Manager"
	p.X.Label.TextStyle.Font.Size, p.X.Label.TextStyle.Color = 9, faint
	p.X.Tick.Label.Font.Size, p.X.Tick.Label.Color = 9, faint
	p.X.Min, p.X.Max = left, (untilEnd+afterEnd).Seconds()+0.1
	p.X.Tick.Marker = plot.ConstantTicks(ticks(int((untilEnd + afterEnd).Seconds())))
	p.X.LineStyle.Width = 0
	p.X.Tick.LineStyle.Color = faint
	p.HideY()
	p.Y.Min, p.Y.Max = 0.5, 2.6

	l := &lanes{Plot: p}
	l.lane(2, "without", without)
	l.lane(1, "with", with)
	if l.err != nil {
		return l.err
	}
	const width, height = 640, 180
	canvas := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(canvas), 8, -8, 8, -8))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	const name = "font-family:Liberation Sans"
	return os.WriteFile(path, bytes.ReplaceAll(svg.Bytes(), []byte(name), []byte(name+",Arial,sans-serif")), 0o644)
}

// left is where the names of the lanes begin.
const left = -3.2

// cross is a bold draw.CrossGlyph.
type cross struct{}

func (cross) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	c.SetLineStyle(draw.LineStyle{Color: s.Color, Width: 1.4})
	for _, slope := range []vg.Length{-1, 1} {
		var p vg.Path
		p.Move(vg.Point{X: at.X - s.Radius, Y: at.Y - slope*s.Radius})
		p.Line(vg.Point{X: at.X + s.Radius, Y: at.Y + slope*s.Radius})
		c.Stroke(p)
	}
}

func ticks(last int) (all []plot.Tick) {
	for second := -1; second <= last; second++ {
		all = append(all, plot.Tick{Value: float64(second), Label: fmt.Sprint(second)})
	}
	return all
}

// lanes draws rotations into a plot, until the first error.
type lanes struct {
	*plot.Plot
	err error
}

// lane draws one rotation at a height.
func (l *lanes) lane(y float64, name string, r rotation) {
	at := func(t time.Time) float64 { return t.Sub(r.stored).Seconds() }
	var delivered, lost plotter.XYs
	for _, a := range r.alerts {
		if a.lost() {
			lost = append(lost, plotter.XY{X: at(a.at), Y: y})
		} else {
			delivered = append(delivered, plotter.XY{X: at(a.at), Y: y})
		}
	}
	l.mark(y, 0, "rotated")
	if !r.written.IsZero() {
		l.mark(y, at(r.written), "new one in Datadog")
	}
	l.mark(y, at(r.ended), "old one ended at the provider")
	l.points(delivered, draw.GlyphStyle{Color: green, Radius: 3, Shape: draw.CircleGlyph{}})
	l.points(lost, draw.GlyphStyle{Color: red, Radius: 3, Shape: cross{}})

	l.label(left, y+0.14, name+" the function", ink, 12)
	l.label(left, y-0.12, fmt.Sprintf("%d alerts delivered", len(delivered)), green, 10)
	if len(lost) == 0 {
		l.label(left, y-0.36, "none lost", ink, 10)
		return
	}
	l.label(left, y-0.36, fmt.Sprintf("%d lost", len(lost)), red, 10)
	l.label(at(r.ended)+0.05, y-0.36, "401: lost, until somebody notices", red, 9)
}

func (l *lanes) points(at plotter.XYs, style draw.GlyphStyle) {
	if len(at) == 0 {
		return
	}
	scatter, err := plotter.NewScatter(at)
	if err != nil {
		l.err = err
		return
	}
	scatter.GlyphStyle = style
	l.Add(scatter)
}

// mark draws a line across the lane, with what happened then.
func (l *lanes) mark(y, x float64, what string) {
	line, err := plotter.NewLine(plotter.XYs{{X: x, Y: y - 0.2}, {X: x, Y: y + 0.45}})
	if err != nil {
		l.err = err
		return
	}
	line.Color, line.Width = faint, 0.8
	l.Add(line)
	l.label(x+0.05, y+0.3, what, ink, 9)
}

func (l *lanes) label(x, y float64, words string, c color.Color, size vg.Length) {
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{words}})
	if err != nil {
		l.err = err
		return
	}
	labels.TextStyle[0] = text.Style{Color: c, Font: font.From(plot.DefaultFont, size), Handler: plot.DefaultTextHandler}
	l.Add(labels)
}
