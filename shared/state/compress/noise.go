package compress

const (
	// noiseBytesMin is from where on it pays to tell noise from other blocks; in shorter
	// ones Zstd gives up soon.
	noiseBytesMin = 16 << 10
	// randomBytes are looked at for that. Of noise, one pair of bytes in 256 is equal.
	// Where less than one in 169 is, a byte has an entropy of at least 7.4 bits, and no
	// code for single bytes saves a tenth.
	randomBytes    = 512
	randomPairsMax = randomBytes * (randomBytes - 1) / 2 / 169
)

// isNoise reports whether there is nothing to be found in a block, in a fraction of the
// time that Zstd needs to give up. Its bytes have to look random; Zstd must not find
// short repeats in a sample, such as those of keys that are random; and Snappy, which
// skips what it finds nothing in, no long ones anywhere.
func isNoise(raw []byte, d *Decision) bool {
	if !looksRandom(raw) {
		return false
	}
	t := trials.Get().(*trial)
	defer trials.Put(t)
	var sample Decision
	if t.try(t.take(raw, sampleBytes), &sample, Zstd); sample.Tried[Zstd] < sampleBytes {
		return false
	}
	t.try(raw, d, Snappy)
	return d.Tried[Snappy] == len(raw)
}

// looksRandom reports whether the bytes of a block are spread as evenly as those of
// noise. It looks at bytes from all over the block.
func looksRandom(raw []byte) bool {
	var seen [256]uint16
	pairs := 0
	for i := range randomBytes {
		// Multiples of the golden ratio, without their whole part, are spread evenly, and
		// keep no step with the columns of a table.
		at := uint64(uint32(i)*2654435769) * uint64(len(raw)) >> 32
		pairs += int(seen[raw[at]])
		if pairs > randomPairsMax {
			return false
		}
		seen[raw[at]]++
	}
	return true
}
