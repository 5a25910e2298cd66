package aggregate

import (
	"fmt"
	"math"
)

// A bucket has all doubles with the same sign, exponent and first bits of the mantissa. All of it
// is arithmetic with integers, so that all processors agree.
const (
	bucketBits = 7 // of the mantissa
	bucketRest = 52 - bucketBits
)

// newApproxPercentile returns a percentile over buckets of values that are alike: their number
// depends on how far the values are apart, and not on how many there are.
func newApproxPercentile(args []Arg) *percentile {
	a := newPercentile("approx:percentile", args)
	a.rounds = true
	return a
}

// bucketOf returns the bucket of a value, in the order of values.
func bucketOf(v float64) int64 { return realKey(v) >> bucketRest }

// ofBucket returns the value in the middle of a bucket. The smallest doubles count as 0.
func ofBucket(bucket int64) float64 {
	first := bucket << bucketRest
	switch {
	case bucket == 0 || bucket == -1:
		return 0
	case bucket == bucketOf(math.Inf(-1)):
		return math.Inf(-1)
	case bucket == bucketOf(math.Inf(1)):
		return math.Inf(1)
	case bucket > bucketOf(math.Inf(1)):
		return math.NaN()
	}
	return keyReal(first | 1<<(bucketRest-1))
}

// checkBuckets refuses what no double is in.
func (a *percentile) checkBuckets(slot int) error {
	least, most, ok := a.ends(slot)
	if !a.rounds || !ok {
		return nil
	}
	if least < bucketOf(math.Inf(-1)) || most > bucketOf(math.NaN()) {
		return fmt.Errorf("state of %s: the buckets %d to %d are of no double", a.name, least, most)
	}
	return nil
}
