package event

import (
	"fmt"
	"testing"
)

func benchmarkRows(rows int, nulls bool) *Batch {
	s := &Schema{Name: "S", Attrs: []Attr{{Name: "a", Type: Long}, {Name: "b", Type: Double}, {Name: "c", Type: String}, {Name: "d", Type: Int}}}
	b := NewBatch(s)
	for i := range rows {
		if nulls && i%8 == 0 {
			b.Cols[0].AppendNull()
		} else {
			b.Cols[0].AppendInt(int64(i))
		}
		b.Cols[1].AppendFloat(float64(i))
		b.Cols[2].AppendText("ORD")
		b.Cols[3].AppendInt(int64(i % 100))
		b.TS = append(b.TS, int64(i))
	}
	return b
}

func reportRate(b *testing.B, rows int) {
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkAppendRow(b *testing.B) {
	src := benchmarkRows(512, true)
	dst := NewBatch(src.Schema)
	b.ReportAllocs()
	for b.Loop() {
		dst.Reset()
		for i := range src.Len() {
			dst.AppendRow(src, i)
		}
	}
	reportRate(b, 512)
}

func BenchmarkAppendRows(b *testing.B) {
	for _, nulls := range []bool{false, true} {
		b.Run(fmt.Sprintf("nulls=%v", nulls), func(b *testing.B) {
			src := benchmarkRows(512, nulls)
			dst := NewBatch(src.Schema)
			b.ReportAllocs()
			for b.Loop() {
				dst.Reset()
				dst.AppendRows(src, 0, src.Len())
			}
			reportRate(b, 512)
		})
	}
}
