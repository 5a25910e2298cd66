package faults

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestRefusedStart starts with bad input. The process exits with code 1 before it creates anything,
// and says why and what to do.
func TestRefusedStart(t *testing.T) {
	t.Parallel()
	good := write(t, "good.siddhi", `@app:name('Good') define stream S (v long); from S insert into Out;`)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	newer := t.TempDir()
	must(t, os.WriteFile(filepath.Join(newer, "eventflux.json"), []byte(`{"format":2}`), 0o600))
	for name, c := range map[string]struct {
		data   string // "": a folder that does not exist
		listen string
		apps   []string
		says   []string
	}{
		"errors": {
			apps: []string{good, write(t, "bad.siddhi", "@app:name('Bad')\ndefine stream S (v long);\n"+
				"from S[w > 1] select v insert into Out;\nfrom T select v insert into Out;\nfrom S#window.lenght(3) select v insert into Out;")},
			says: []string{"bad.siddhi:3:8: ", "bad.siddhi:4:6: ", "bad.siddhi:5:", "`w`", "`T`", "did you mean"},
		},
		"syntax": {
			apps: []string{write(t, "syntax.siddhi", "@app:name('A')\ndefine stream S (v long;")},
			says: []string{"syntax.siddhi:2:24: "},
		},
		"no such file": {
			apps: []string{filepath.Join(t.TempDir(), "none.siddhi")},
			says: []string{"none.siddhi", "no such file"},
		},
		"same name": {
			apps: []string{good, write(t, "other.siddhi", `@app:name('Good') define stream S (v long); from S insert into Out;`)},
			says: []string{"good.siddhi", "other.siddhi", "both called Good"},
		},
		"no name": {
			apps: []string{write(t, "anonymous.siddhi", `define stream S (v long); from S insert into Out;`)},
			says: []string{"anonymous.siddhi", "no name", "@app:name"},
		},
		"address in use": {
			listen: taken.Addr().String(),
			apps:   []string{good},
			says:   []string{taken.Addr().String(), "in use", "--listen"},
		},
		"newer data": {
			data: newer,
			apps: []string{good},
			says: []string{newer, "format 2", "newer version"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := c.data
			if data == "" {
				data = filepath.Join(t.TempDir(), "data")
			}
			if c.listen == "" {
				c.listen = "127.0.0.1:0"
			}
			p := start(t, append([]string{"run", "--data", data, "--listen", c.listen}, c.apps...)...)
			checkRefused(t, p, c.says...)
			if made, err := os.ReadDir(data); len(made) > 0 && c.data == "" || len(made) > 1 {
				t.Errorf("made %v (%v)", made, err)
			}
		})
	}
}

// TestDataInUse starts a second process on the same data folder.
func TestDataInUse(t *testing.T) {
	t.Parallel()
	good := write(t, "good.siddhi", `@app:name('Good') define stream S (v long); from S insert into Out;`)
	data := t.TempDir()
	first := serving(t, data, good)
	checkRefused(t, run(t, data, good), data, "in use", "another process", "--data")
	publish(t, first.connect(), "S", `{"v":1}`) // the first process is not disturbed
	first.stop()
	serving(t, data, good).stop()
}

func checkRefused(t *testing.T, p *process, says ...string) {
	t.Helper()
	if code := p.end(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, text := range says {
		if !strings.Contains(p.log.String(), text) {
			t.Errorf("does not say %q", text)
		}
	}
	if t.Failed() {
		t.Log(p.log.String())
	}
	if out := p.out.String(); out != "" {
		t.Errorf("output %q before it was refused", out)
	}
}

// publish sends one message and waits until it is durable.
func publish(t *testing.T, nc *nats.Conn, stream, data string) {
	t.Helper()
	m, err := nc.Request("events."+stream, []byte(data), patience)
	must(t, err)
	must(t, readAnswer(m))
}

// TestChangedDefinition starts with an app that is deployed with another text. The start is refused
// before it changes anything.
func TestChangedDefinition(t *testing.T) {
	t.Parallel()
	const other = `@app:name('Other') define stream O (v long); from O select v insert into OtherOut;`
	before := write(t, "before.siddhi", `@app:name('A') define stream S (v long); from S select v insert into Out;`)
	after := write(t, "after.siddhi", `@app:name('A') define stream S (v long, w string); from S select v insert into Out;`)
	also := write(t, "also.siddhi", other)
	data := t.TempDir()
	p := serving(t, data, before, also)
	publish(t, p.connect(), "S", `{"v":1}`)
	publish(t, p.connect(), "O", `{"v":1}`)
	p.stop()

	checkRefused(t, run(t, data, after, also), `app "A"`, "another text", "another @app:name")

	p = serving(t, data, before, also) // nothing was damaged
	checkGoesOn(t, p, "A", "S", `{"v":3}`, "out.A.Out.0")
	p.stop()
}

// checkHalted waits until the task of an app has halted, and checks the reason that the service and
// the log give. The log also names the sequence.
func checkHalted(t *testing.T, p *process, app string, seq int, says ...string) {
	t.Helper()
	halted := awaitState(t, p, app, "halted")
	for _, text := range says {
		if !strings.Contains(halted.Error, text) {
			t.Errorf("the service does not say %q: %s", text, halted.Error)
		}
	}
	const halt = "task halted"
	eventually(t, "the log says so", func() bool { return strings.Contains(p.log.String(), halt) })
	for line := range strings.Lines(p.log.String()) {
		if !strings.Contains(line, halt) {
			continue
		}
		for _, text := range append([]string{"app=" + app + " ", "partition=0 ", fmt.Sprintf("sequence=%d ", seq)}, says...) {
			if !strings.Contains(line, text) {
				t.Errorf("the log does not say %q: %s", text, line)
			}
		}
	}
}

func awaitState(t *testing.T, p *process, app, state string) (found task) {
	t.Helper()
	nc := p.connect()
	eventually(t, "the task of "+app+" is "+state, func() bool {
		list, err := tasks(nc)
		must(t, err)
		for _, one := range list {
			if one.App == app {
				found = one
			}
		}
		return found.State == state
	})
	return found
}

// checkGoesOn publishes an event and waits for its result.
func checkGoesOn(t *testing.T, p *process, app, stream, data, results string) {
	t.Helper()
	nc := p.connect()
	sub, err := nc.SubscribeSync(results)
	must(t, err)
	awaitState(t, p, app, "running")
	publish(t, nc, stream, data)
	for deadline := time.Now().Add(patience); ; {
		m, err := sub.NextMsg(time.Until(deadline))
		must(t, err)
		if string(m.Data) == data {
			return
		}
	}
}
