package event_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Where ranks differ, they say the same as CompareNullsLast.
func TestRankIsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := event.Column{Type: rapid.SampledFrom([]event.Type{event.Long, event.Int, event.Bool, event.Double, event.Float, event.String}).Draw(t, "type")}
		for range 2 {
			switch class := c.Type.Class(); {
			case rapid.IntRange(0, 9).Draw(t, "null") == 0:
				c.AppendNull()
			case class == event.Reals:
				c.AppendFloat(rapid.OneOf(rapid.Float64(), rapid.SampledFrom(oddReals)).Draw(t, "real"))
			case class == event.Texts:
				c.AppendText(rapid.String().Draw(t, "text"))
			default:
				c.AppendInt(rapid.Int64().Draw(t, "integer"))
			}
		}
		for _, desc := range []bool{false, true} {
			a, b, order := c.Rank(0, desc), c.Rank(1, desc), c.CompareNullsLast(0, 1, desc)
			if a < b && order >= 0 || a > b && order <= 0 {
				t.Fatalf("descending %t: ranks %x and %x, order %d", desc, a, b, order)
			}
		}
	})
}

var oddReals = []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1)}
