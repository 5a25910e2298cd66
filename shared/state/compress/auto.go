package compress

import (
	"slices"
	"sync"
	"time"
)

const (
	// compressBytesMin is the shortest block that is compressed: below it, a codec saves
	// less than naming it costs.
	compressBytesMin = 128
	// headBytesMax is the longest block where the tables at the front of Zstd's output may
	// make Zstd lose.
	headBytesMax = 512
	// tryBytesMax is the longest block that is its own sample when codecs are compared: the
	// output of the chosen codec is then kept.
	tryBytesMax = 8 << 10
	sampleBytes = 4 << 10 // of longer ones
	// sampleParts is the number of places that a sample is taken from. It never misses a
	// column or another stretch of an eighth of the block. More and therefore shorter
	// places would break the repeats of text.
	sampleParts = 8

	fastPercent   = 5  // how much larger than the smallest the fastest may be
	noisePercent  = 2  // a sample that shrinks by less may be noise
	littlePercent = 20 // a sample that shrinks by less leaves little to gain

	// Blocks from repeatBytesMin on are searched for long repeats, in an eighth of each:
	// places where Snappy leaves less than one byte of repeatRatio.
	repeatBytesMin = 2 << 10
	repeatShare    = 8
	repeatRatio    = 5
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
// decompression. Compress stores nothing if it gained nothing.
func (how *Choice) pays(raw, stored int) bool {
	return stored > 0 && float64(raw-stored) >= how.saving()*float64(raw)
}

// auto chooses a codec. If it compressed the whole block to find out, it also appends the
// result to dst.
func (how *Choice) auto(dst, raw []byte, d *Decision) []byte {
	switch how.within(len(raw)) {
	case Zstd:
		return how.strong(dst, raw, d)
	case LZ4:
		return how.compare(dst, raw, d, Snappy, LZ4)
	case Snappy:
		how.fast(raw, d)
	default:
		d.Codec, d.Reason = None, ReasonBudget
	}
	return dst
}

// within returns the strongest codec that Auto may use for a block of n bytes; faster ones
// may be used too. The codec must fit the budget together with its trials, which take less
// time than the codec itself: so a codec that needs half of the budget fits.
func (how *Choice) within(n int) Codec {
	switch {
	case how.Budget == 0 && how.Access == Hot:
		return Snappy
	case how.Budget == 0:
		return Zstd
	}
	for _, c := range slices.Backward(bySpeed[:]) {
		if c.Cost(n)+c.trialCost(n) <= how.Budget {
			return c
		}
	}
	return None
}

// trialCost is the most that it costs to find out whether c is the codec for n bytes.
func (c Codec) trialCost(n int) time.Duration {
	switch {
	case c == Zstd && n <= headBytesMax:
		return LZ4.Cost(n) + Snappy.Cost(n)
	case c == Zstd && n >= noiseBytesMin:
		return Zstd.Cost(sampleBytes) + Snappy.Cost(n)
	case c == LZ4 && n <= tryBytesMax:
		return Snappy.Cost(n)
	case c == LZ4:
		return LZ4.Cost(sampleBytes) + Snappy.Cost(sampleBytes)
	default:
		return 0
	}
}

// strong uses Zstd, which makes the smallest block of everything that can be compressed.
func (how *Choice) strong(dst, raw []byte, d *Decision) []byte {
	switch {
	case len(raw) <= headBytesMax:
		return how.compare(dst, raw, d, Snappy, LZ4, Zstd)
	case len(raw) >= noiseBytesMin && isNoise(raw, d):
		d.Codec, d.Reason = None, ReasonNoGain
	default:
		d.Codec, d.Reason = Zstd, ReasonSmallest
	}
	return dst
}

// fast uses the fastest codec: Snappy, or LZ4 for long repeats, because Snappy stores them
// 64 bytes at a time. Without a budget there is time to look for such repeats.
func (how *Choice) fast(raw []byte, d *Decision) {
	d.Codec, d.Reason = Snappy, ReasonOnly
	if how.Budget > 0 || len(raw) < repeatBytesMin {
		return
	}
	t := trials.Get().(*trial)
	defer trials.Put(t)
	t.try(t.copySample(raw, min(len(raw)/repeatShare, sampleBytes)), d, Snappy)
	if d.Tried[Snappy]*repeatRatio < d.Sampled {
		d.Codec, d.Reason = LZ4, ReasonRepeats
	}
}

// compare tries codecs, the fastest first, on a sample or on the whole block.
func (how *Choice) compare(dst, raw []byte, d *Decision, codecs ...Codec) []byte {
	t := trials.Get().(*trial)
	defer trials.Put(t)
	sample := raw
	if len(raw) > tryBytesMax {
		sample = t.copySample(raw, sampleBytes)
	}
	t.try(sample, d, codecs...)
	how.pick(d)
	if len(sample) < len(raw) {
		doubt(d)
		return dst
	}
	if !how.pays(len(raw), len(t.out[d.Codec])) {
		d.Codec, d.Reason = None, ReasonNoGain
		return dst
	}
	return append(dst, t.out[d.Codec]...)
}

// copySample copies a sample of about n bytes of raw from sampleParts places, including the first
// and the last bytes.
func (t *trial) copySample(raw []byte, n int) []byte {
	part := n / sampleParts
	t.sample = t.sample[:0]
	for i := range sampleParts {
		at := (len(raw) - part) * i / (sampleParts - 1)
		t.sample = append(t.sample, raw[at:at+part]...)
	}
	return t.sample
}

// try compresses the sample with each codec.
func (t *trial) try(sample []byte, d *Decision, codecs ...Codec) {
	d.Sampled = len(sample)
	for _, c := range codecs {
		t.out[c] = c.compressState(t.out[c][:0], sample)
		if d.Tried[c] = len(t.out[c]); d.Tried[c] == 0 {
			d.Tried[c] = len(sample)
		}
	}
}

// pick chooses a codec by the results of the trial.
func (how *Choice) pick(d *Decision) {
	smallest := d.Sampled
	for _, c := range bySpeed {
		if d.Tried[c] > 0 && (d.Codec == 0 || d.Tried[c] < smallest) {
			d.Codec, d.Reason, smallest = c, ReasonSmallest, d.Tried[c]
		}
	}
	if how.Access != Hot || d.Sampled < d.RawLen {
		return // a sample is too coarse to weigh speed against a few percent
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

// doubt reconsiders between Snappy and LZ4 if there is only a sample to go by. If there is
// little to gain, Snappy gives up on a block before LZ4 does. And a sample that shows no
// gain may have missed one, because repeats are further apart than the places of the sample
// are long: LZ4 gets a chance, and soon gives up on noise too.
func doubt(d *Decision) {
	saved := d.Sampled - d.Tried[d.Codec]
	if saved*100 < littlePercent*d.Sampled && d.Tried[LZ4]*100 <= d.Tried[d.Codec]*(100+fastPercent) {
		d.Codec = LZ4
	}
	if saved*100 < noisePercent*d.Sampled {
		d.Codec, d.Reason = LZ4, ReasonNoise
	}
}
