package natsconn

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestStreamsAreMadeOnceAndKeep(t *testing.T) {
	js := connect(t, ConnectConfig{Embedded: openEmbedded(t, EmbeddedConfig{})})
	ctx := within(t)
	for range 2 {
		wal, err := EnsureWAL(ctx, js, "app", 3, StreamLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if c := wal.CachedInfo().Config; c.Name != "EFW_app_3" || c.Discard != jetstream.DiscardNew || !c.DenyDelete || c.MaxAge != 0 || c.Compression != jetstream.NoCompression {
			t.Errorf("log: %+v", c)
		}
		out, err := EnsureOut(ctx, js, "app", 3, StreamLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if c := out.CachedInfo().Config; c.Name != "EFO_app_3" || c.Discard != jetstream.DiscardNew || !c.AllowAtomicPublish {
			t.Errorf("results: %+v", c)
		}
		dlq, err := EnsureDLQ(ctx, js, "app", StreamLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if c := dlq.CachedInfo().Config; c.Discard != jetstream.DiscardOld || c.MaxAge != dlqAgeMax || c.MaxBytes != dlqBytesMax {
			t.Errorf("dead letters: %+v", c)
		}
	}
	for _, subject := range []string{OutSubject("app", "Alerts", 3), FenceSubject("app", 3), DLQSubject("app", "S"), WALSubject("app", 3)} {
		if _, err := js.Publish(ctx, subject, []byte("x")); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

// A full disk is named as such, and what to do about it.
func TestStreamWithoutRoom(t *testing.T) {
	js := connect(t, ConnectConfig{Embedded: openEmbedded(t, EmbeddedConfig{StoreBytesMax: 1 << 20})})
	_, err := EnsureDLQ(within(t), js, "app", StreamLimits{})
	if err == nil || !strings.Contains(err.Error(), "EFD_app") || !strings.Contains(err.Error(), "make room on the server's disk") {
		t.Error(err)
	}
}

func TestStreamWithOtherSettingsIsRefused(t *testing.T) {
	js := connect(t, ConnectConfig{Embedded: openEmbedded(t, EmbeddedConfig{})})
	ctx := within(t)
	theirs := StreamLimits{}.config(WALStream("app", 0), WALSubject("app", 0))
	theirs.Discard, theirs.MaxAge = jetstream.DiscardOld, dlqAgeMax
	if _, err := js.CreateStream(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	_, err := EnsureWAL(ctx, js, "app", 0, StreamLimits{})
	var incompatible *IncompatibleError
	if !errors.As(err, &incompatible) {
		t.Fatalf("got %v, want *IncompatibleError", err)
	}
	want := []string{"discard is DiscardOld, want DiscardNew", "deny_delete is false, want true", "max_age is 168h0m0s, want 0s"}
	if strings.Join(incompatible.Differences, "; ") != strings.Join(want, "; ") {
		t.Errorf("differences %q, want %q", incompatible.Differences, want)
	}
}

func TestStreamLimitsFollowTheSettings(t *testing.T) {
	js := connect(t, ConnectConfig{Embedded: openEmbedded(t, EmbeddedConfig{})})
	for _, size := range []int64{1 << 20, 2 << 20, 0} {
		s, err := EnsureWAL(within(t), js, "app", 0, StreamLimits{BytesMax: size})
		if err != nil {
			t.Fatal(err)
		}
		want := size
		if size == 0 {
			want = -1
		}
		if got := s.CachedInfo().Config.MaxBytes; got != want {
			t.Errorf("limit %d, want %d", got, want)
		}
	}
	if _, err := EnsureWAL(within(t), js, "app", 1, StreamLimits{AgeMax: dlqAgeMax}); err == nil {
		t.Error("a log with an age limit was accepted")
	}
}

func TestStreamIsMadeAgainAfterDelete(t *testing.T) {
	js := connect(t, ConnectConfig{Embedded: openEmbedded(t, EmbeddedConfig{})})
	ctx := within(t)
	for range 20 {
		if _, err := EnsureWAL(ctx, js, "app", 0, StreamLimits{}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(ctx, WALSubject("app", 0), make([]byte, 1<<16)); err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(ctx, WALStream("app", 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNames(t *testing.T) {
	for d := Durable; d <= Fast; d++ {
		if got, err := ParseDurability(d.String()); got != d || err != nil {
			t.Errorf("%s: %s, %v", d, got, err)
		}
	}
	if _, err := ParseDurability("paranoid"); err == nil {
		t.Error("an unknown durability was accepted")
	}
}

// EnsureApp makes what is missing, and says what that was.
func TestStreamsOfAnApp(t *testing.T) {
	js := connect(t, ConnectConfig{Embedded: openEmbedded(t, EmbeddedConfig{})})
	want := AppStreams("app", 5)
	slices.Sort(want)
	ensure := func(l StreamLimits, want []string) {
		t.Helper()
		made, err := EnsureApp(within(t), js, "app", 5, l)
		if err != nil || !slices.Equal(made, want) {
			t.Errorf("made %v, %v; want %v", made, err, want)
		}
	}
	ensure(StreamLimits{}, want)
	gone := []string{"EFD_app", "EFO_app_4", "EFW_app_2"}
	for _, name := range gone {
		if err := js.DeleteStream(within(t), name); err != nil {
			t.Fatal(err)
		}
	}
	for name, find := range map[string]func() (jetstream.Stream, error){
		"EFD_app":   func() (jetstream.Stream, error) { return FindDLQ(within(t), js, "app") },
		"EFO_app_4": func() (jetstream.Stream, error) { return FindOut(within(t), js, "app", 4) },
		"EFW_app_2": func() (jetstream.Stream, error) { return FindWAL(within(t), js, "app", 2) },
	} {
		if _, err := find(); !errors.Is(err, ErrNoStream) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
	ensure(StreamLimits{BytesMax: 1 << 20}, gone)
	ensure(StreamLimits{BytesMax: 1 << 20}, nil) // a closed log is as it should be
	for p := range uint32(5) {
		if _, err := FindWAL(within(t), js, "app", p); !errors.Is(err, ErrNoStream) || !strings.Contains(err.Error(), "takes no frames yet") {
			t.Errorf("closed log %d: %v", p, err)
		}
		if err := OpenWAL(within(t), js, "app", p, 0); err != nil {
			t.Error(err)
		}
		s, err := FindWAL(within(t), js, "app", p)
		if err != nil || s.CachedInfo().Config.MaxBytes != 1<<20 {
			t.Errorf("log %d: %+v, %v", p, s, err)
		}
	}
	ensure(StreamLimits{BytesMax: 1 << 20}, nil) // and stays open
	if _, err := FindWAL(within(t), js, "app", 0); err != nil {
		t.Error(err)
	}
}

// Limits that an operator has given the streams of results and of refused events stay; that
// of a log is the setting's.
func TestEnsureAppKeepsLimitsSetByHand(t *testing.T) {
	js := connect(t, ConnectConfig{Embedded: openEmbedded(t, EmbeddedConfig{})})
	ctx := within(t)
	if _, err := EnsureApp(ctx, js, "app", 1, StreamLimits{}); err != nil {
		t.Fatal(err)
	}
	names := []string{OutStream("app", 0), DLQStream("app"), WALStream("app", 0)}
	for _, name := range names {
		s, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = 5 << 20
		if name != names[2] {
			cfg.MaxAge = time.Hour
		}
		if _, err := js.UpdateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := EnsureApp(ctx, js, "app", 1, StreamLimits{BytesMax: 6 << 20}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		bytes int64
		age   time.Duration
	}{{5 << 20, time.Hour}, {5 << 20, time.Hour}, {6 << 20, 0}} {
		s, err := js.Stream(ctx, names[i])
		if err != nil {
			t.Fatal(err)
		}
		if c := s.CachedInfo().Config; c.MaxBytes != want.bytes || c.MaxAge != want.age {
			t.Errorf("%s: %d bytes and %s, want %d and %s", names[i], c.MaxBytes, c.MaxAge, want.bytes, want.age)
		}
	}
}
