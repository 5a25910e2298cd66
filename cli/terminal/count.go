package terminal

import "fmt"

// Count returns a number with its noun, as in "1 partition" and "2 partitions".
func Count[N int | uint32](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
