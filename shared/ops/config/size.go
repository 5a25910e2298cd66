package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

const sizeMax Size = math.MaxInt64

// sizeUnits are in falling order within each family, so that String finds the
// largest that divides.
var sizeUnits = []struct {
	name  string
	bytes Size
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"B", 1},
}

// ParseSize reads a whole number of bytes with an optional unit: "1048576",
// "1MiB", "64 KiB", "2GB". Letters' case is ignored, so that MB is 10^6 however it
// is written; K, M, G and T alone are refused, for they mean either.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(text[len(digits):])
	factor := Size(1)
	if unit != "" {
		factor = 0
		for _, u := range sizeUnits {
			if strings.EqualFold(u.name, unit) {
				factor = u.bytes
			}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case err != nil || factor == 0 || n < 0:
		return 0, fmt.Errorf("%q is no size; write a whole number and a unit, such as 512KiB, 64MiB or 1GiB", text)
	case n > int64(sizeMax/factor):
		return 0, fmt.Errorf("%q is more than %d bytes", text, int64(sizeMax))
	}
	return Size(n) * factor, nil
}

// String writes the size with the largest unit of 1024 that divides it, so that
// ParseSize reads back the same number.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s != 0 && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Rounded writes the size for a person, to a tenth of its unit.
func (s Size) Rounded() string {
	switch n := float64(s); {
	case s < 1<<10:
		return fmt.Sprintf("%d B", int64(s))
	case s < 1<<20:
		return fmt.Sprintf("%.1f KiB", n/(1<<10))
	case s < 1<<30:
		return fmt.Sprintf("%.1f MiB", n/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", n/(1<<30))
	}
}
