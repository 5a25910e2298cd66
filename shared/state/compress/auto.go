package compress

import (
	"slices"
	"sync"
	"time"
)

const (
	// compressBytesMin is the shortest block that is compressed: below it, a codec
	// saves less than it takes to tell.
	compressBytesMin = 128
	// headBytesMax is the longest block for which Zstd may lose by the tables that it
	// puts in front.
	headBytesMax = 512
	// tryBytesMax is the longest block that is its own sample where codecs are compared:
	// what a codec makes of it is then kept.
	tryBytesMax = 8 << 10
	sampleBytes = 4 << 10 // of longer ones
	// sampleParts is the number of places that a sample is taken from. A column or
	// other stretch of an eighth of the block is never missed; more places, and
	// therefore shorter ones, would break the repeats of text.
	sampleParts = 8

	fastPercent   = 5  // by how much the fastest codec may be above the smallest
	noisePercent  = 2  // a sample that shrinks by less may be of noise
	littlePercent = 20 // a sample that shrinks by less leaves little to gain

	// Blocks from repeatBytesMin on are looked at for long repeats, in an eighth of each:
	// they are where Snappy leaves less than one byte of repeatRatio.
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
// decompression. Nothing stored is what Compress returns where nothing was gained.
func (how *Choice) pays(raw, stored int) bool {
	return stored > 0 && float64(raw-stored) >= how.saving()*float64(raw)
}

// auto decides on a codec. Where it compressed the whole block to find out, it also
// appends the result to dst.
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

// within returns the strongest codec that Auto may use for a block of n bytes; those
// that are faster may be used too. It has to fit the budget together with its trials,
// which take less than it takes itself: so a codec that needs half of the budget does.
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

// trialCost is the most that it takes to find out whether c is the codec for n bytes.
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

// strong takes Zstd, which makes the smallest block of all that can be compressed.
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

// fast takes the fastest codec. That is Snappy, and with long repeats LZ4: Snappy stores
// them 64 bytes at a time. Without a budget there is time to look for these.
func (how *Choice) fast(raw []byte, d *Decision) {
	d.Codec, d.Reason = Snappy, ReasonOnly
	if how.Budget > 0 || len(raw) < repeatBytesMin {
		return
	}
	t := trials.Get().(*trial)
	defer trials.Put(t)
	t.try(t.take(raw, min(len(raw)/repeatShare, sampleBytes)), d, Snappy)
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
		sample = t.take(raw, sampleBytes)
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

// take copies a sample of some n bytes of raw from sampleParts places, the first and
// the last bytes among them.
func (t *trial) take(raw []byte, n int) []byte {
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

// pick takes the codec that the trial speaks for.
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

// doubt reconsiders between Snappy and LZ4 where only a sample speaks. Where there is
// little to gain, Snappy gives up on a block before LZ4 does. And where a sample shows
// no gain at all it may have missed one, because what repeats is further apart than the
// sample's places are long: LZ4 gets a chance, and soon gives up on noise too.
func doubt(d *Decision) {
	saved := d.Sampled - d.Tried[d.Codec]
	if saved*100 < littlePercent*d.Sampled && d.Tried[LZ4]*100 <= d.Tried[d.Codec]*(100+fastPercent) {
		d.Codec = LZ4
	}
	if saved*100 < noisePercent*d.Sampled {
		d.Codec, d.Reason = LZ4, ReasonNoise
	}
}
