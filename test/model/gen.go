package model

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// Windows lists the windows that GenApp knows.
var Windows = []string{
	"length", "lengthBatch", "time", "timeBatch", "externalTime", "externalTimeBatch", "session", "sort",
}

// Options restrict what GenApp makes.
type Options struct {
	Windows      []string // nil: all of Windows
	NoPartitions bool
	NoPlayback   bool
	NoTriggers   bool
	NoJoins      bool
	Tables       bool // apps have tables, and may have named windows
	Patterns     int  // percent of the queries that read a pattern or a sequence
}

// GenApp generates the text of a valid app of one to three queries or partition blocks. Everything
// it draws shrinks towards the plainest choice, so a failure ends as a short app.
//
// Sums only use values whose order of addition cannot matter. Items only ask for the time if an
// expired row need not agree with its current one.
func GenApp(t *rapid.T, o Options) string {
	if o.Windows == nil {
		o.Windows = Windows
	}
	g := &generator{t: t, opts: o}
	plain := []genAttr{
		{name: "k", typ: "string", exact: true},
		{name: "g", typ: "int", exact: true},
		{name: "v", typ: "int", exact: true},
		{name: "d", typ: "double", exact: true},
		{name: "t", typ: "long", exact: true},
		{name: "f", typ: "float", exact: true},
		{name: "b", typ: "bool", exact: true},
	}
	g.streams = []*genStream{
		{name: "S", attrs: plain, block: -1, defined: true},
		{name: "T", attrs: append(slices.Clone(plain), genAttr{name: "o", typ: "object", exact: true}), block: -1, defined: true},
		{name: "U", attrs: plain, block: -1, defined: true},
	}
	text := g.time()
	trigger := g.trigger()
	defined := g.define()
	fill := g.fill()
	body := g.several("queries", 3, func(int) string {
		if !o.NoPartitions && g.chance("partition", 35) {
			return g.partition()
		}
		return g.query(nil, nil)
	})
	if !slices.ContainsFunc(g.streams, func(s *genStream) bool { return s.defined && s.used }) {
		g.streams[0].use() // all queries read the trigger, but some event must arrive
	}
	for _, s := range g.streams {
		if s.defined && s.used {
			text += fmt.Sprintf("define stream %s (%s);\n", s.name, s.shape())
		}
	}
	body = append(fill, body...)
	return text + trigger + defined + strings.Join(body, ";\n") + ";\n"
}

// time draws the source of the clock. With lateness, queries may read late events.
func (g *generator) time() string {
	if g.opts.NoPlayback || !g.chance("playback", 30) {
		return ""
	}
	if !g.chance("lateness", 60) {
		return "@app:playback\n"
	}
	for _, s := range slices.Clone(g.streams) {
		attrs := append(slices.Clone(s.attrs), genAttr{name: "_error", typ: "object", exact: true})
		g.streams = append(g.streams, &genStream{name: "!" + s.name, attrs: attrs, block: -1, faults: s})
	}
	return fmt.Sprintf("@app:playback(lateness='%d millisec')\n", pick(g, "ms", 0, 3, 8, 20, 70))
}

type generator struct {
	t       *rapid.T
	opts    Options
	tables  []*genTable
	streams []*genStream // queries read one and write to a later one, so there are no cycles
	names   int
	blocks  int

	timeless bool // items must not ask for the time
}

type genStream struct {
	match   []genAttr // of a pattern: what having may read, too
	name    string    // with # for an inner stream
	attrs   []genAttr
	block   int // of an inner stream, else -1
	defined bool
	used    bool
	trigger bool       // a trigger's stream
	grown   bool       // a join with a table made its rows: as many as the table has
	table   bool       // a table, in a join
	named   bool       // a named window
	partial bool       // of a named window: no snapshot shows its rows
	joined  bool       // the rows of a join: names are qualified
	faults  *genStream // of a fault stream: the stream whose late events it gets
}

// use records that a query reads the stream.
func (s *genStream) use() {
	s.used = true
	if s.faults != nil {
		s.faults.used = true
	}
}

// genAttr is an attribute of a generated stream.
type genAttr struct {
	name, typ string
	exact     bool // its values can be summed in any order
	cast      bool // its values may not be of its type; expressions do not use it
}

func (s *genStream) shape() string { return shape(s.attrs) }

func shape(attrs []genAttr) string {
	var list []string
	for _, a := range attrs {
		text := a.name + " " + a.typ
		if a.cast {
			text += " by cast"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// between draws from [low, high], roughly uniformly: rapid's own ranges favour small numbers, which
// would make most apps plain.
func (g *generator) between(label string, low, high int) int {
	n := high - low + 1
	width := bits.Len(uint(n)) + 2
	return low + rapid.Custom(func(t *rapid.T) int {
		drawn := 0
		for range width {
			drawn <<= 1
			if rapid.Bool().Draw(t, "bit") {
				drawn |= 1
			}
		}
		return drawn * n >> width
	}).Draw(g.t, label)
}

// chance is true in the given percentage of cases, and shrinks to false.
func (g *generator) chance(label string, percent int) bool {
	return g.between(label, 0, 99) >= 100-percent
}

// pick draws one of the choices; it shrinks to the first.
func pick[T any](g *generator, label string, choices ...T) T {
	return choices[g.between(label, 0, len(choices)-1)]
}

// several generates one to most texts. Shrinking can omit some.
func (g *generator) several(label string, most int, one func(n int) string) []string {
	outer, n := g.t, 0
	list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
		g.t = t
		defer func() { g.t, n = outer, n+1 }()
		return one(n)
	}), 1, most).Draw(outer, label)
	return list
}

func (g *generator) name(prefix string) string {
	g.names++
	return fmt.Sprintf("%s%d", prefix, g.names)
}

// partition generates a block of one to three queries. The first one reads the first partitioned
// stream, the others any stream.
func (g *generator) partition() string {
	block := g.blocks
	g.blocks++
	outer := g.readable(-1)
	first := pick(g, "partitioned stream", outer...)
	keys := []string{g.partitionKey(first)}
	streams := []*genStream{first}
	if second := pick(g, "second partitioned stream", outer...); second != first && g.chance("two streams", 40) {
		keys = append(keys, g.partitionKey(second))
		streams = append(streams, second)
	}
	queries := g.several("queries inside", 3, func(i int) string {
		source := streams[min(i, len(streams)-1)]
		if i > 0 && g.chance("any source", 50) {
			source = pick(g, "source", g.readable(block)...)
		}
		return "  " + strings.ReplaceAll(g.query(source, &block), "\n", "\n  ")
	})
	purge := ""
	if g.chance("purge", 40) {
		purge = fmt.Sprintf("@purge(enable='true', interval='1 sec', idle.period='%d millisec')\n", pick(g, "idle period", 20, 70, 3, 500))
	}
	return fmt.Sprintf("%spartition with (%s) begin\n%s;\nend", purge, strings.Join(keys, ", "), strings.Join(queries, ";\n"))
}

func (g *generator) partitionKey(s *genStream) string {
	s.use()
	e := &exprs{generator: g, attrs: s.attrs}
	form := pick(g, "key", "attr", "attr", "expr", "ranges")
	if form == "attr" && len(e.plain()) == 0 {
		form = "expr"
	}
	switch form {
	case "expr":
		text, _ := e.of(pick(g, "key type", "int", "string", "bool"), 1)
		return fmt.Sprintf("%s of %s", text, s.name)
	case "ranges":
		var ranges []string
		for i := range g.between("ranges", 1, 3) {
			ranges = append(ranges, fmt.Sprintf("(%s) as 'r%d'", e.condition(1), i))
		}
		return fmt.Sprintf("%s of %s", strings.Join(ranges, " or "), s.name)
	default:
		return fmt.Sprintf("%s of %s", pick(g, "key attr", e.plain()...).name, s.name)
	}
}

// readable returns the streams outside of partitions and the inner streams of a block.
func (g *generator) readable(block int) []*genStream {
	var list []*genStream
	for _, s := range g.streams {
		if s.block < 0 || s.block == block {
			list = append(list, s)
		}
	}
	return list
}

// query generates one query, in the given block if block is set.
func (g *generator) query(source *genStream, block *int) string {
	if source == nil {
		source = pick(g, "source", g.readable(-1)...)
	}
	if g.opts.Patterns > 0 && g.chance("pattern", g.opts.Patterns) {
		return g.pattern(source, block)
	}
	if !g.opts.NoJoins && g.chance("join", 30) {
		return g.join(source, block)
	}
	source.use()
	e := &exprs{generator: g, attrs: source.attrs}
	var b strings.Builder
	fmt.Fprintf(&b, "from %s", source.name)
	if g.chance("filter before", 25) {
		e.time, e.in = true, true
		fmt.Fprintf(&b, "%s[%s]", pick(g, "#", "", "#"), e.condition(2))
		e.time, e.in = false, false
	}
	if !source.named {
		b.WriteString(g.window(source))
	}
	if g.chance("filter after", 20) {
		e.in = true
		fmt.Fprintf(&b, "[%s]", e.condition(2))
		e.in = false
	}
	if len(g.tables) > 0 && g.chance("write", 35) {
		return b.String() + g.write(pick(g, "table", g.tables...), e, source.grown)
	}
	rate, snapshot := g.rate(b.String(), !source.partial)
	g.timeless = snapshot
	selection, out := g.selection(source)
	g.timeless = false
	b.WriteString(selection + rate)
	kinds := pick(g, "kinds", "", "all events ", "events ", "current events ", "all events ", "expired events ")
	if snapshot && (kinds == "current events " || kinds == "expired events ") {
		kinds = ""
	}
	fmt.Fprintf(&b, "\ninsert %sinto %s", kinds, g.target(source, block, out, source.grown))
	return b.String()
}

// rate generates an output rate for a query with the given input. It never combines a sort window
// with a snapshot: among equal rows the window removes the newest, and the snapshot the oldest.
func (g *generator) rate(input string, snapshots bool) (text string, snapshot bool) {
	if !g.chance("rate", 30) {
		return "", false
	}
	which := pick(g, "which", "", "all ", "first ", "last ", "first ", "last ", "snapshot ")
	if which == "snapshot " && snapshots && !strings.Contains(input, "sort(") {
		return fmt.Sprintf("\noutput snapshot every %d millisec", g.between("period", 1, 40)), true
	}
	if which == "snapshot " {
		which = "last "
	}
	if g.chance("by time", 50) {
		return fmt.Sprintf("\noutput %severy %d millisec", which, g.between("period", 1, 40)), false
	}
	return fmt.Sprintf("\noutput %severy %d events", which, g.between("events", 1, 4)), false
}

// trigger generates a trigger, whose stream queries can read.
func (g *generator) trigger() string {
	if g.opts.NoTriggers || !g.chance("trigger", 20) {
		return ""
	}
	at := fmt.Sprintf("every %d millisec", 30-g.between("trigger ms", 0, 25))
	switch pick(g, "trigger form", "every", "start", "cron") {
	case "start":
		at = "'start'"
	case "cron":
		at = "'* * * * * ?'"
	}
	attrs := []genAttr{{name: "triggered_time", typ: "long", exact: true}}
	g.streams = append(g.streams, &genStream{name: "Tick", attrs: attrs, block: -1, trigger: true})
	return "define trigger Tick at " + at + ";\n"
}

// target draws the output stream: an existing one that fits and is later than the source, or a new
// one.
func (g *generator) target(source *genStream, block *int, out []genAttr, grown bool) string {
	var fitting []*genStream
	for _, s := range g.streams[slices.Index(g.streams, source)+1:] {
		if s.faults == nil && !s.trigger && (s.grown || !grown) && s.shape() == shape(out) && (s.block < 0 || block != nil && s.block == *block) {
			fitting = append(fitting, s)
		}
	}
	if len(fitting) > 0 && g.chance("join a stream", 60) {
		s := pick(g, "target", fitting...)
		s.used = true
		for i := range s.attrs {
			s.attrs[i].exact = s.attrs[i].exact && out[i].exact
		}
		return s.name
	}
	s := &genStream{name: g.name("O"), attrs: out, block: -1, grown: grown}
	if block != nil && g.chance("inner stream", 40) {
		s.name, s.block = g.name("#I"), *block
	}
	g.streams = append(g.streams, s)
	return s.name
}

// window generates at most one window, of those whose attributes the source has.
func (g *generator) window(source *genStream) string {
	longs, texts := source.of("long"), source.of("string")
	choices := []string{""}
	for _, w := range g.opts.Windows {
		switch {
		case strings.HasPrefix(w, "external") && len(longs) == 0:
		case w == "sort" && len(source.sortable()) == 0:
		default:
			choices = append(choices, w, w)
		}
	}
	w := pick(g, "window", choices...)
	if w == "" {
		return ""
	}
	var params []string
	switch w {
	case "length":
		params = append(params, g.size())
		if g.chance("none", 6) {
			params[0] = "0"
		}
	case "lengthBatch":
		params = append(params, g.size())
		params = append(params, g.flag()...)
	case "time":
		params = append(params, g.span(1, 40))
	case "timeBatch":
		params = append(params, g.span(1, 30))
		if g.chance("start", 30) {
			params = append(params, g.span(0, 50))
		}
		params = append(params, g.flag()...)
	case "externalTime":
		params = append(params, pick(g, "time attr", longs...), g.span(1, 20))
	case "externalTimeBatch":
		params = g.externalTimeBatch(longs)
	case "session":
		params = g.session(texts)
	case "sort":
		params = g.sort(source)
	}
	return fmt.Sprintf("#%s%s(%s)", pick(g, "prefix", "window.", ""), w, strings.Join(params, ", "))
}

func (g *generator) size() string { return fmt.Sprint(g.between("size", 1, 4)) }

func (g *generator) flag() []string {
	if g.chance("flag", 35) {
		return []string{pick(g, "value", "true", "false")}
	}
	return nil
}

// span returns a time in ms, in one of the forms that the language allows.
func (g *generator) span(low, high int) string {
	ms := g.between("span", low, high)
	return fmt.Sprintf("%d%s", ms, pick(g, "unit", "", " milliseconds", " millisec", "L"))
}

func (g *generator) externalTimeBatch(longs []string) []string {
	params := []string{pick(g, "time attr", longs...), g.span(1, 20)}
	if !g.chance("start", 50) {
		return params
	}
	start := g.span(0, 30)
	if g.chance("start attr", 30) {
		start = pick(g, "start attr", longs...)
	}
	params = append(params, start)
	if !g.chance("timeout", 70) {
		return params
	}
	params = append(params, g.span(1, 20))
	return append(params, g.flag()...)
}

func (g *generator) session(texts []string) []string {
	gap := g.between("gap", 1, 20)
	params := []string{fmt.Sprint(gap)}
	if len(texts) == 0 || !g.chance("key", 60) {
		return params
	}
	params = append(params, pick(g, "key", texts...))
	if g.chance("latency", 50) {
		params = append(params, g.span(1, gap))
	}
	return params
}

func (g *generator) sort(source *genStream) []string {
	params := []string{g.size()}
	for range g.between("sort attrs", 1, 2) {
		params = append(params, pick(g, "sort attr", source.sortable()...).name)
		if order := pick(g, "order", "", "'asc'", "'desc'", "'DESC'"); order != "" {
			params = append(params, order)
		}
	}
	return params
}

func (s *genStream) sortable() []genAttr {
	return slices.DeleteFunc(slices.Clone(s.attrs), func(a genAttr) bool { return a.cast || a.typ == "object" })
}

func (s *genStream) of(typ string) []string {
	var names []string
	for _, a := range s.attrs {
		if a.typ == typ && !a.cast {
			names = append(names, a.name)
		}
	}
	return names
}
