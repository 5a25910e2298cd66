package compress

import (
	"sync"
	"time"
)

const (
	// compressBytesMin is the shortest block that is compressed: below it, a codec
	// saves less than it takes to tell.
	compressBytesMin = 128
	// tryBytesMax is the longest block that is its own sample: what a codec makes of
	// it is then kept. It is also the longest sample.
	tryBytesMax = 4 << 10
	// sampleBytesMin is the sample of blocks up to sampleLongBytes. Less of one would
	// hide what LZ4 gains from long repeats.
	sampleBytesMin  = 2 << 10
	sampleLongBytes = 8 << 10
	// sampleParts is the number of places that a sample is taken from. A column or
	// other stretch of an eighth of the block is never missed; more places, and
	// therefore shorter ones, would break the repeats of text.
	sampleParts = 8

	fastPercent   = 5  // by how much the fastest codec may be above the smallest
	noisePercent  = 2  // a sample that shrinks by less may be of noise
	littlePercent = 20 // a sample that shrinks by less leaves little to gain
)

// bySpeed lists the codecs that compress, the fastest first.
var bySpeed = [...]Codec{Snappy, LZ4, Zstd}

// trial is the memory that codecs are tried in.
type trial struct {
	sample []byte
	out    [len(codecNames)][]byte
}

var trials = sync.Pool{New: func() any { return new(trial) }}

// appendBlock appends raw, compressed as the choice says, to dst.
func (how *Choice) appendBlock(dst, raw []byte) ([]byte, Decision) {
	d := Decision{RawLen: len(raw)}
	base := len(dst)
	switch {
	case len(raw) < compressBytesMin:
		d.Codec, d.Reason = None, ReasonShort
	case how.Codec != Auto:
		d.Codec, d.Reason = how.Codec, ReasonAsked
	default:
		if dst = how.auto(dst, raw, &d); len(dst) > base {
			d.StoredLen = len(dst) - base
			return dst, d
		}
	}
	dst = d.Codec.compressState(dst, raw)
	if stored := len(dst) - base; d.Codec != None && !how.pays(len(raw), stored) {
		dst = append(dst[:base], raw...)
		d.Codec, d.Reason = None, ReasonNoGain
	}
	d.StoredLen = len(dst) - base
	return dst, d
}

// pays reports whether a block that shrank from raw to stored bytes is worth its
// decompression. Nothing stored is what Compress returns where nothing was gained.
func (how *Choice) pays(raw, stored int) bool {
	return stored > 0 && float64(raw-stored) >= how.saving()*float64(raw)
}

// auto decides on a codec. Where it compressed the whole block to find out, it also
// appends the result to dst.
func (how *Choice) auto(dst, raw []byte, d *Decision) []byte {
	may, count := how.within(len(raw))
	switch count {
	case 0:
		d.Codec, d.Reason = None, ReasonBudget
		return dst
	case 1:
		d.Codec, d.Reason = Snappy, ReasonOnly // the set grows from the fastest
		return dst
	}
	t := trials.Get().(*trial)
	defer trials.Put(t)
	sample := raw
	if len(raw) > tryBytesMax {
		sample = t.take(raw)
	}
	how.try(t, sample, may, d)
	how.pick(may, d)
	if len(raw) > tryBytesMax {
		how.doubt(may, d)
		return dst
	}
	if !how.pays(len(raw), len(t.out[d.Codec])) {
		d.Codec, d.Reason = None, ReasonNoGain
		return dst
	}
	return append(dst, t.out[d.Codec]...)
}

// doubt reconsiders a decision that only a sample speaks for. A sample knows less of
// what came before than the block will, so it speaks against compression only where
// it is clearly below the least ratio. And where it shows no gain at all it may
// have missed one, because what repeats is further apart than the sample's places
// are long. Then a fast codec gets a chance, which costs next to nothing because it
// soon gives up on noise: LZ4 if it may be used, which finds more of such repeats.
func (how *Choice) doubt(may [len(codecNames)]bool, d *Decision) {
	saved := float64(d.Sampled - d.Tried[d.Codec])
	near := d.Tried[LZ4] > 0 && d.Tried[LZ4]*100 <= d.Tried[d.Codec]*(100+fastPercent)
	if d.Codec == Snappy && near && saved < littlePercent*float64(d.Sampled)/100 {
		// Where there is little to gain, Snappy gives up on a block before LZ4 does.
		d.Codec = LZ4
	}
	switch {
	case saved < noisePercent*float64(d.Sampled)/100:
		d.Codec, d.Reason = Snappy, ReasonNoise
		if may[LZ4] {
			d.Codec = LZ4
		}
	case saved*1.5 < how.saving()*float64(d.Sampled):
		d.Codec, d.Reason = None, ReasonNoGain
	}
}

// within returns which codecs Auto may use for a block of n bytes. Each has to fit
// the budget together with the trials of those before it and of itself, so that a
// codec that needs half of the budget is always among them.
func (how *Choice) within(n int) (may [len(codecNames)]bool, count int) {
	if how.Budget == 0 {
		may[Snappy], may[LZ4], may[Zstd] = true, true, how.Access == Cold
		return may, len(bySpeed)
	}
	sample := sampleLen(n)
	var tried time.Duration
	for _, c := range bySpeed {
		need := tried + c.Cost(n)
		tried += c.Cost(sample)
		if sample < n && count > 0 { // one codec alone needs no trial
			need += c.Cost(sample)
		}
		if need > how.Budget {
			break
		}
		may[c] = true
		count++
	}
	return may, count
}

func sampleLen(n int) int {
	switch {
	case n <= tryBytesMax:
		return n
	case n <= sampleLongBytes:
		return sampleBytesMin
	default:
		return tryBytesMax
	}
}

// take copies a sample of raw from sampleParts places, the first and the last bytes
// among them.
func (t *trial) take(raw []byte) []byte {
	part := sampleLen(len(raw)) / sampleParts
	t.sample = t.sample[:0]
	for i := range sampleParts {
		at := (len(raw) - part) * i / (sampleParts - 1)
		t.sample = append(t.sample, raw[at:at+part]...)
	}
	return t.sample
}

// try compresses the sample with the codecs that may be used.
func (how *Choice) try(t *trial, sample []byte, may [len(codecNames)]bool, d *Decision) {
	d.Sampled = len(sample)
	for _, c := range bySpeed {
		if !may[c] || c == LZ4 && !how.weighs(may, d) {
			continue
		}
		t.out[c] = c.compressState(t.out[c][:0], sample)
		if d.Tried[c] = len(t.out[c]); d.Tried[c] == 0 {
			d.Tried[c] = len(sample)
		}
	}
}

// weighs reports whether speed is weighed against size. Between Zstd and others it is
// not by a sample, because Zstd gains more from the length of a block than they do.
// Where only size counts, LZ4 beside Zstd need not be tried.
func (how *Choice) weighs(may [len(codecNames)]bool, d *Decision) bool {
	return !may[Zstd] || how.Access == Hot && d.Sampled == d.RawLen
}

// pick takes the codec that the trial speaks for.
func (how *Choice) pick(may [len(codecNames)]bool, d *Decision) {
	smallest := d.Sampled
	for _, c := range bySpeed {
		if d.Tried[c] > 0 && (d.Codec == 0 || d.Tried[c] < smallest) {
			d.Codec, d.Reason, smallest = c, ReasonSmallest, d.Tried[c]
		}
	}
	if how.Access != Hot || !how.weighs(may, d) {
		return
	}
	for _, c := range bySpeed {
		if d.Tried[c] > 0 && d.Tried[c]*100 <= smallest*(100+fastPercent) {
			if c != d.Codec {
				d.Codec, d.Reason = c, ReasonFastest
			}
			return
		}
	}
}
