package compress

const (
	// noiseBytesMin is the shortest block that is worth testing for noise; Zstd soon gives
	// up on shorter ones.
	noiseBytesMin = 16 << 10
	// randomBytes is the size of the sample for that. In noise, one pair of bytes in 256 is
	// equal. If less than one in 169 is, a byte has an entropy of at least 7.4 bits, and no
	// code for single bytes saves a tenth.
	randomBytes    = 512
	randomPairsMax = randomBytes * (randomBytes - 1) / 2 / 169
)

// isNoise reports whether a block has nothing to compress, in a fraction of the time that
// Zstd needs to give up. Its bytes must look random; Zstd must find no short repeats in a
// sample, such as those of random keys; and Snappy, which skips where it finds nothing,
// must find no long repeats anywhere.
func isNoise(raw []byte, d *Decision) bool {
	if !looksRandom(raw) {
		return false
	}
	t := trials.Get().(*trial)
	defer trials.Put(t)
	var sample Decision
	if t.try(t.copySample(raw, sampleBytes), &sample, Zstd); sample.Tried[Zstd] < sampleBytes {
		return false
	}
	t.try(raw, d, Snappy)
	return d.Tried[Snappy] == len(raw)
}

// looksRandom reports whether the bytes of a block are spread as evenly as in noise. It
// looks at bytes from all over the block.
func looksRandom(raw []byte) bool {
	var seen [256]uint16
	pairs := 0
	for i := range randomBytes {
		// Multiples of the golden ratio, without their whole part, are spread evenly, and
		// do not align with the columns of a table.
		at := uint64(uint32(i)*2654435769) * uint64(len(raw)) >> 32
		pairs += int(seen[raw[at]])
		if pairs > randomPairsMax {
			return false
		}
		seen[raw[at]]++
	}
	return true
}
