package streamfiles

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/witness"
)

// Sound files stay as they are, whether the server was stopped or killed.
func TestSoundFilesStay(t *testing.T) {
	for _, killed := range []bool{false, true} {
		dir, end := filled(t, killed)
		before := contents(t, dir)
		report, err := Check(config(t, dir, end))
		must(t, err)
		if len(report.New)+len(report.Old)+len(report.Ends)+len(report.Unread) > 0 {
			t.Errorf("killed %v: %+v", killed, report)
		}
		if after := contents(t, dir); !maps.Equal(before, after) {
			t.Errorf("killed %v: files have changed", killed)
		}
	}
}

// recordOf returns where the record of a message lies in a block.
func recordOf(t *testing.T, stream string, buf []byte, seq uint64) (at, size int) {
	t.Helper()
	b, err := newBlock(stream, 1, buf)
	must(t, err)
	b.walk(func(r *record) {
		if r.seq == seq && r.message() {
			at, size = r.at, r.size
		}
	}, func(d damage) { t.Fatalf("damage %+v", d) })
	if size == 0 {
		t.Fatalf("no message %d", seq)
	}
	return at, size
}

// checkFlips flips a bit of each byte of a record, which is then the only one that is damaged.
func checkFlips(t *testing.T, stream string, whole []byte, seq uint64) {
	t.Helper()
	at, size := recordOf(t, stream, whole, seq)
	for i := range size {
		flipped := bytes.Clone(whole)
		flipped[at+i] ^= 1 << (i % 8)
		b, err := newBlock(stream, 1, flipped)
		must(t, err)
		var cut [][2]int
		s := &folder{log: stream == walStream, results: stream == outStream}
		s.want, _ = natsconn.StreamConfigOf(stream, natsconn.StreamLimits{})
		b.accepts = s.accepts
		b.walk(func(*record) {}, func(d damage) { cut = append(cut, [2]int{d.from, d.to}) })
		if want := [][2]int{{at, at + size}}; !slices.Equal(cut, want) {
			t.Errorf("%s: byte %d of record %d: cut %v, want %v", stream, i, seq, cut, want)
		}
	}
}

// Whichever bit of a record is flipped, that record alone is missing afterwards. The server
// starts, has all others under their sequences, and uses none of them twice.
func TestOneRecordIsMissing(t *testing.T) {
	for _, stream := range []string{walStream, outStream} {
		sound, end := filled(t, true)
		file := filepath.Join("jetstream", "$G", "streams", stream, "msgs", "1.blk")
		whole, err := os.ReadFile(filepath.Join(sound, file))
		must(t, err)
		checkFlips(t, stream, whole, chosenSeq)
		checkFlips(t, stream, whole, messages/2)
		at, size := recordOf(t, stream, whole, messages/2)
		for _, i := range []int{0, 3, 4, 10, 11, 13, 20, 21, 25, size - 20, size - 1} { // length, sequence, stamp, …
			dir := t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(sound)))
			flipped := bytes.Clone(whole)
			flipped[at+i] ^= 0x10
			must(t, os.WriteFile(filepath.Join(dir, file), flipped, 0o600))
			cfg := config(t, dir, end)
			report, err := Check(cfg)
			must(t, err)
			if len(report.New) != 1 || report.New[0].First != messages/2 || report.New[0].Last != messages/2 || report.New[0].Stream != stream {
				t.Fatalf("%s, byte %d: %+v", stream, i, report)
			}
			original, err := os.ReadFile(report.New[0].Original)
			must(t, err)
			if !bytes.Equal(original, flipped) {
				t.Error("the original is not kept")
			}
			checkHole(t, dir, stream, messages/2, messages/2)
			// A later start knows it, and finds nothing new.
			report, err = Check(cfg)
			must(t, err)
			if len(report.New) != 0 || len(report.Old) != 1 {
				t.Errorf("again: %+v", report)
			}
		}
	}
}

// checkHole starts a server, and checks which messages it has and which sequence comes next.
func checkHole(t *testing.T, dir, stream string, first, last uint64) {
	t.Helper()
	var want []uint64
	for seq := uint64(1); seq <= messages; seq++ {
		if seq < first || seq > last {
			want = append(want, seq)
		}
	}
	running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
		seqs, end := sequences(t, ctx, js, stream)
		if !slices.Equal(seqs, want) || end != messages {
			t.Fatalf("%s has %v and ends at %d, want %v and %d", stream, seqs, end, want, messages)
		}
		subject := natsconn.WALSubject("A", 0)
		if stream == outStream {
			subject = natsconn.OutSubject("A", "Out", 0)
		}
		ack, err := js.Publish(ctx, subject, []byte("next"))
		must(t, err)
		if ack.Sequence != messages+1 {
			t.Errorf("the next sequence is %d, want %d", ack.Sequence, messages+1)
		}
	})
}

// A server alone forgets what comes after a damaged record, and uses the sequences again. If
// this fails, the server has learned to do better.
func TestServerAloneForgets(t *testing.T) {
	dir, _ := filled(t, true)
	file := filepath.Join(streamDir(dir, walStream), "msgs", "1.blk")
	buf, err := os.ReadFile(file)
	must(t, err)
	at, _ := recordOf(t, walStream, buf, messages/2)
	buf[at+40] ^= 1
	must(t, os.WriteFile(file, buf, 0o600))
	running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
		if seqs, last := sequences(t, ctx, js, walStream); len(seqs) != messages/2-1 || last != messages/2-1 {
			t.Errorf("%d messages, the last is %d", len(seqs), last)
		}
	})
}

// A log that lost its end, in any way, gets a hole there.
func TestLostEnd(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, dir string){
		"truncated within a record": func(t *testing.T, dir string) {
			file := filepath.Join(dir, "msgs", "1.blk")
			buf, err := os.ReadFile(file)
			must(t, err)
			at, _ := recordOf(t, walStream, buf, 20)
			must(t, os.Truncate(file, int64(at+10)))
		},
		"truncated between records": func(t *testing.T, dir string) {
			file := filepath.Join(dir, "msgs", "1.blk")
			buf, err := os.ReadFile(file)
			must(t, err)
			at, _ := recordOf(t, walStream, buf, 20)
			must(t, os.Truncate(file, int64(at)))
		},
		"zeros": func(t *testing.T, dir string) {
			file := filepath.Join(dir, "msgs", "1.blk")
			buf, err := os.ReadFile(file)
			must(t, err)
			at, _ := recordOf(t, walStream, buf, 20)
			clear(buf[at:])
			must(t, os.WriteFile(file, buf, 0o600))
		},
		"empty":    func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "msgs", "1.blk"), 0)) },
		"no block": func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "msgs", "1.blk"))) },
		"no files": func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
	} {
		for _, index := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, index %v", name, index), func(t *testing.T) {
				dir, end := filled(t, !index)
				lose(t, streamDir(dir, walStream))
				report, err := Check(config(t, dir, end))
				must(t, err)
				first := uint64(20)
				if strings.HasPrefix(name, "no") || name == "empty" {
					first = 1
				}
				last := slices.IndexFunc(report.New, func(f Finding) bool { return f.Kind == KindEnd })
				if last < 0 || report.New[last].First != first || report.New[last].Last != messages {
					t.Fatalf("%+v", report)
				}
				checkHole(t, dir, walStream, first, messages)
				running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
					s, err := js.Stream(ctx, walStream)
					must(t, err)
					if made := s.CachedInfo().Created; !made.Equal(end.Created) {
						t.Errorf("made %s, before %s", made, end.Created)
					}
					must(t, s.Purge(ctx, jetstream.WithPurgeSequence(messages+1))) // as trimming does
				})
			})
		}
	}
}

// Where the server does not sync before it acknowledges, a power failure may take the end.
func TestAllowedLoss(t *testing.T) {
	dir, end := filled(t, true)
	file := filepath.Join(streamDir(dir, walStream), "msgs", "1.blk")
	buf, err := os.ReadFile(file)
	must(t, err)
	at, _ := recordOf(t, walStream, buf, 20)
	must(t, os.Truncate(file, int64(at)))
	cfg := config(t, dir, end)
	cfg.MayLose, cfg.Boot = true, 2
	report, err := Check(cfg)
	must(t, err)
	if e := report.Ends[walStream]; e.Seq != 19 || len(report.New) != 1 || report.New[0].Lost() {
		t.Errorf("%+v", report)
	}
}

// Older files than the acknowledged ones, or files of another log, are not accepted as the
// log.
func TestAnotherLogIsRefused(t *testing.T) {
	dir, end := filled(t, false)
	for name, other := range map[string]witness.End{
		"another frame":  {Created: end.Created, Seq: 30, CRC: 1},
		"a newer stream": {Created: end.Created.Add(time.Second), Seq: 3, CRC: 1003},
	} {
		cfg := config(t, dir, other)
		var refused *OtherLogError
		if _, err := Check(cfg); !errors.As(err, &refused) || refused.Stream != walStream {
			t.Errorf("%s: %v", name, err)
		}
		cfg.Rebuild = true
		report, err := Check(cfg)
		must(t, err)
		if report.Ends[walStream].Seq != messages {
			t.Errorf("%s: accepted: %+v", name, report)
		}
	}
	// The app was removed and deployed again.
	report, err := Check(config(t, dir, witness.End{Created: end.Created.Add(-time.Second), Seq: 300, CRC: 1}))
	must(t, err)
	if len(report.New) > 0 {
		t.Errorf("%+v", report)
	}
}

// Damaged settings are refused, with the file, and can be made again without a message lost.
func TestSettings(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"flipped":         func(t *testing.T, dir string) { flip(t, filepath.Join(dir, metaFile), 10) },
		"flipped in time": func(t *testing.T, dir string) { flip(t, filepath.Join(dir, metaFile), 20) },
		"truncated":       func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, metaFile), 100)) },
		"zero-length":     func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, metaFile), 0)) },
		"gone":            func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, metaFile))) },
		"another stream's": func(t *testing.T, dir string) {
			copyFile(t, filepath.Join(dir, "../EFD_A/meta.inf"), filepath.Join(dir, metaFile))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stream := range []string{walStream, outStream} {
				dir, end := filled(t, true)
				damage(t, streamDir(dir, stream))
				cfg := config(t, dir, end)
				report, err := Check(cfg)
				var refused *MetaError
				if name == "flipped in time" && stream == outStream && err == nil && len(report.New) == 1 {
					continue // nothing depends on when it was made
				}
				if !errors.As(err, &refused) || !strings.HasSuffix(refused.File, filepath.Join(stream, metaFile)) {
					t.Fatalf("%s: %v", stream, err)
				}
				cfg.Rebuild = true
				_, err = Check(cfg)
				must(t, err)
				running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
					made, err := natsconn.EnsureApp(ctx, js, "A", 1, natsconn.StreamLimits{})
					must(t, err)
					if len(made) > 0 {
						t.Errorf("made %v", made)
					}
					s, err := js.Stream(ctx, stream)
					must(t, err)
					if created := s.CachedInfo().Created; stream == walStream && !created.Equal(end.Created) {
						t.Errorf("made %s, before %s", created, end.Created)
					}
				})
				checkHole(t, dir, stream, 0, 0)
			}
		})
	}
}

// A checksum that is missing or wrong beside right settings is what a killed server leaves.
func TestChecksumOfSettings(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, file string){
		"flipped":     func(t *testing.T, file string) { flip(t, file, 3) },
		"zero-length": func(t *testing.T, file string) { must(t, os.Truncate(file, 0)) },
		"gone":        func(t *testing.T, file string) { must(t, os.Remove(file)) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, stream := range []string{walStream, outStream, "EFD_A"} {
				dir, end := filled(t, true)
				damage(t, filepath.Join(streamDir(dir, stream), sumFile))
				report, err := Check(config(t, dir, end))
				must(t, err)
				if len(report.New) != 1 || report.New[0].Kind != KindMeta || report.New[0].Stream != stream {
					t.Errorf("%+v", report)
				}
				if stream != "EFD_A" {
					checkHole(t, dir, stream, 0, 0)
				}
			}
		})
	}
}

// A consumer whose files are damaged would take its stream offline. It goes.
func TestConsumers(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"flipped":           func(t *testing.T, dir string) { flip(t, filepath.Join(dir, metaFile), 3) },
		"flipped elsewhere": func(t *testing.T, dir string) { flip(t, filepath.Join(dir, metaFile), 12) },
		"truncated":         func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, metaFile), 20)) },
		"gone":              func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, metaFile))) },
		"no checksum":       func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, sumFile))) },
		"state":             func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, stateFile), []byte{0}, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, end := filled(t, true)
			damage(t, filepath.Join(streamDir(dir, outStream), "obs", "reader"))
			report, err := Check(config(t, dir, end))
			must(t, err)
			if len(report.New) != 1 || report.New[0].Kind != KindConsumer || !strings.Contains(report.New[0].What, "reader") {
				t.Fatalf("%+v", report)
			}
			running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
				if _, err := js.Consumer(ctx, outStream, "reader"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
					t.Errorf("consumer: %v", err)
				}
			})
			checkHole(t, dir, outStream, 0, 0)
		})
	}
}

// The projection of the cluster is made again from Raft.
func TestClusterBucketGoes(t *testing.T) {
	dir := t.TempDir()
	running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
		kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: natsconn.ClusterBucket})
		must(t, err)
		_, err = kv.Put(ctx, "app.A", []byte("{}"))
		must(t, err)
	})
	flip(t, filepath.Join(streamDir(dir, clusterKV), metaFile), 10)
	report, err := Check(Config{Dir: dir, Aside: filepath.Join(t.TempDir(), "damaged")})
	must(t, err)
	if len(report.New) != 1 || report.New[0].Stream != clusterKV {
		t.Fatalf("%+v", report)
	}
	if _, err := os.Stat(streamDir(dir, clusterKV)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A folder that a killed server left between its making and its settings holds nothing.
func TestHalfMadeStream(t *testing.T) {
	dir, end := filled(t, true)
	must(t, os.MkdirAll(filepath.Join(streamDir(dir, "EFW_B_0"), "msgs"), 0o750))
	report, err := Check(config(t, dir, end))
	must(t, err)
	if len(report.New) != 1 || report.New[0].Stream != "EFW_B_0" {
		t.Errorf("%+v", report)
	}
}

// A sequence beyond all others, as one flipped bit makes it, is found without a read of
// what it claims to follow.
func TestHugeSequence(t *testing.T) {
	dir, end := filled(t, false)
	file := filepath.Join(streamDir(dir, walStream), "msgs", "1.blk")
	buf, err := os.ReadFile(file)
	must(t, err)
	at, _ := recordOf(t, walStream, buf, messages)
	binary.LittleEndian.PutUint64(buf[at+4:], messages|1<<36)
	must(t, os.WriteFile(file, buf, 0o600))
	report, err := Check(config(t, dir, end))
	must(t, err)
	if len(report.New) != 2 { // the record, and the end
		t.Fatalf("%+v", report)
	}
	checkHole(t, dir, walStream, messages, messages)
}

// Once a loss is accepted, the log has no hole any more: frames that change nothing stand in
// the place of the lost ones, whether or not the process ran since.
func TestAcceptLoss(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, dir string){
		"a record": func(t *testing.T, dir string) {
			file := filepath.Join(dir, "msgs", "1.blk")
			buf, err := os.ReadFile(file)
			must(t, err)
			at, _ := recordOf(t, walStream, buf, 20)
			flip(t, file, at+40)
		},
		"the end": func(t *testing.T, dir string) {
			file := filepath.Join(dir, "msgs", "1.blk")
			buf, err := os.ReadFile(file)
			must(t, err)
			at, _ := recordOf(t, walStream, buf, 20)
			must(t, os.Truncate(file, int64(at)))
		},
		"the last record": func(t *testing.T, dir string) {
			file := filepath.Join(dir, "msgs", "1.blk")
			buf, err := os.ReadFile(file)
			must(t, err)
			flip(t, file, len(buf)-1)
		},
		"all": func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
	} {
		for _, ran := range []int{0, 1, 2} {
			if name == "all" && ran == 2 {
				continue // what is left looks like a log that was trimmed
			}
			t.Run(fmt.Sprintf("%s, %d starts before", name, ran), func(t *testing.T) {
				dir, end := filled(t, true)
				lose(t, streamDir(dir, walStream))
				cfg := config(t, dir, end)
				want := uint64(messages)
				for i := range ran {
					_, err := Check(cfg)
					must(t, err)
					running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
						for ; i > 0 && want < messages+5; want++ { // frames follow the hole
							_, err := js.Publish(ctx, natsconn.WALSubject("A", 0), body(int(want)+1))
							must(t, err)
						}
					})
				}
				cfg.AcceptLoss, cfg.Rebuild = true, true
				report, err := Check(cfg)
				must(t, err)
				for _, f := range slices.Concat(report.Old, report.New) {
					if f.Lost() && !f.Accepted {
						t.Errorf("not accepted: %+v", f)
					}
				}
				running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
					seqs, last := sequences(t, ctx, js, walStream)
					if uint64(len(seqs)) != want || seqs[0] != 1 || last != want {
						t.Fatalf("%d messages from %d to %d, want %d", len(seqs), seqs[0], last, want)
					}
				})
				cfg.AcceptLoss, cfg.Rebuild = false, false
				if e, ok := report.Ends[walStream]; ok {
					cfg.Ends[walStream] = e
				}
				report, err = Check(cfg)
				must(t, err)
				if len(report.New) > 0 {
					t.Errorf("after it: %+v", report)
				}
			})
		}
	}
}

// A scrub finds a damaged record while the server runs, which does not, and changes nothing.
func TestScrub(t *testing.T) {
	dir, end := filled(t, false)
	running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
		scrub := func() (found []Finding) {
			must(t, Scrub(ctx, dir, ScrubOptions{Found: func(f Finding) { found = append(found, f) }}))
			return found
		}
		if found := scrub(); len(found) > 0 {
			t.Errorf("sound: %+v", found)
		}
		file := filepath.Join(streamDir(dir, walStream), "msgs", "1.blk")
		buf, err := os.ReadFile(file)
		must(t, err)
		at, _ := recordOf(t, walStream, buf, 7)
		flip(t, file, at+40)
		damaged, err := os.ReadFile(file)
		must(t, err)
		found := scrub()
		if len(found) != 1 || found[0].Stream != walStream || !IsLog(found[0].Stream) || found[0].First != 7 || found[0].Last != 7 {
			t.Errorf("damaged: %+v", found)
		}
		if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, damaged) {
			t.Error("the scrub has changed the file")
		}
		if _, err := js.Publish(ctx, natsconn.WALSubject("A", 0), body(messages+1)); err != nil {
			t.Error(err)
		}
	})
	// A kill and a start leave a hole, and all that was acknowledged since.
	must(t, os.Remove(filepath.Join(streamDir(dir, walStream), "msgs", indexFile)))
	end.Seq, end.CRC = messages+1, 1000+messages+1
	report, err := Check(config(t, dir, end))
	must(t, err)
	if len(report.New) != 1 || report.New[0].First != 7 || report.New[0].Last != 7 {
		t.Errorf("%+v", report)
	}
	running(t, dir, func(ctx context.Context, js jetstream.JetStream) {
		if seqs, last := sequences(t, ctx, js, walStream); len(seqs) != messages || last != messages+1 {
			t.Errorf("%d messages, the last is %d", len(seqs), last)
		}
	})
}

func flip(t *testing.T, file string, at int) {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	data[at] ^= 1
	must(t, os.WriteFile(file, data, 0o600))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, data, 0o600))
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"ef.wal.A.0", "ef.wal.A.0", true},
		{"ef.wal.A.0", "ef.wal.A", false},
		{"ef.wal.A.0", "ef.wal.A.0.1", false},
		{"out.A.*.0", "out.A.Out.0", true},
		{"out.A.*.0", "out.A..0", false},
		{"dlq.A.>", "dlq.A.S.x", true},
		{"dlq.A.>", "dlq.A", false},
	} {
		if got := matches(c.pattern, []byte(c.subject)); got != c.want {
			t.Errorf("%s %s: %v", c.pattern, c.subject, got)
		}
	}
}

func FuzzWalk(f *testing.F) {
	b, err := newBlock(walStream, 1, nil)
	if err != nil {
		f.Fatal(err)
	}
	good := b.appendTombstone(b.appendTombstone(nil, 7, 1), 9, 2)
	f.Add(good)
	f.Add(append([]byte{1, 2, 3}, good...))
	f.Fuzz(func(t *testing.T, buf []byte) {
		b, err := newBlock(walStream, 1, buf)
		must(t, err)
		at := 0
		b.walk(func(r *record) {
			if r.at != at || r.size < recordBytesMin {
				t.Fatalf("record at %d of %d bytes, want at %d", r.at, r.size, at)
			}
			at += r.size
		}, func(d damage) {
			if d.from != at || d.to <= d.from {
				t.Fatalf("%+v, want from %d", d, at)
			}
			at = d.to
		})
		if at != len(buf) {
			t.Errorf("walked %d of %d bytes", at, len(buf))
		}
	})
}
