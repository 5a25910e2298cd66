package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is a section of the results.
type table struct {
	title string
	about string // a paragraph
	unit  string // heading of the figures
	rows  []row
}

// row is a figure, or a limit or peer that figures are compared with.
type row struct {
	what  string
	value figure
	goal  float64 // 0: a limit or a peer
	extra string
	bound string // what bounds it; told where the goal is missed
	lower bool   // less is better
}

// figure is the median of several measurements.
type figure struct {
	median, least, most float64
	show                func(float64) string
}

func medianOf(show func(float64) string, values ...float64) figure {
	if len(values) == 0 {
		panic("median of nothing")
	}
	s := slices.Sorted(slices.Values(values))
	return figure{median: s[len(s)/2], least: s[0], most: s[len(s)-1], show: show}
}

// given is a single figure, without a spread.
func given(show func(float64) string, value float64) figure { return medianOf(show, value) }

func (f figure) String() string {
	if f.show(f.least) == f.show(f.most) {
		return f.show(f.median)
	}
	return fmt.Sprintf("%s (%s – %s)", f.show(f.median), f.show(f.least), f.show(f.most))
}

func (r *row) missed() bool {
	return r.goal > 0 && (r.lower && r.value.median > r.goal || !r.lower && r.value.median < r.goal)
}

// rate formats events per second, duration a number of seconds.
func rate(v float64) string {
	switch {
	case v >= 1e9:
		return strconv.FormatFloat(v/1e9, 'f', 2, 64) + " G"
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + " k"
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}

func duration(v float64) string {
	d := time.Duration(v * float64(time.Second))
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
}

// report is the text of RESULTS.md.
type report struct{ strings.Builder }

func newReport(m machine, command string) *report {
	r := &report{}
	r.line("# Results of `%s`", command)
	r.line("")
	r.line("Medians, with the least and the most where they differ. Figures with a goal are of EventFlux; those")
	r.line("without are limits and peers, measured in the same run unless noted otherwise.")
	r.line("")
	r.line("| | |")
	r.line("|---|---|")
	for _, f := range m.facts() {
		r.line("| %s | %s |", f[0], f[1])
	}
	return r
}

func (r *report) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r *report) add(tables ...table) {
	for _, t := range tables {
		r.line("\n## %s\n\n%s\n", t.title, t.about)
		r.line("| | %s | goal | |", t.unit)
		r.line("|---|---|---|---|")
		var missed []row
		for _, w := range t.rows {
			goal := ""
			if w.goal > 0 {
				goal = w.value.show(w.goal) + ", reached"
			}
			if w.missed() {
				goal = "**" + w.value.show(w.goal) + ", missed**"
				missed = append(missed, w)
			}
			r.line("| %s | %s | %s | %s |", w.what, w.value, goal, w.extra)
		}
		for _, w := range missed {
			if w.bound != "" {
				r.line("\n%s: %s", w.what, w.bound)
			}
		}
	}
}
