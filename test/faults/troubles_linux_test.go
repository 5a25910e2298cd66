package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// trouble is a fault that lasts for a while.
type trouble struct {
	what       string
	begin, end func()
	longer     bool   // it must last longer than the timeouts of other processes
	during     func() // instead of waiting
}

// kinds are all troubles by name. A function returns nil if its trouble is not possible now.
var kinds = map[string]func(*fleet, *rand.Rand) *trouble{
	"kill a service":                   killService,
	"kill a NATS server":               killServer,
	"pause a service":                  pauseService,
	"pause a processor":                pauseProcessor,
	"pause a NATS server":              pauseServer,
	"cut a service from NATS":          cutService,
	"cut the leader from its peers":    cutLeader,
	"cut a NATS server from the rest":  cutServer,
	"cut a NATS server from everybody": cutMachine,
	"fill the disk of a NATS server":   fillServer,
	"fill the disk of a checkpointer":  fillMember,
	"fill Redis":                       fillRedis,
	"take Redis down":                  killRedis,
	"slow down the disk of a server":   slowServer,
	"slow down the disk of Redis":      slowRedis,
	"set a clock":                      setClock,
}

// services are the kinds of EventFlux processes.
var services = []string{"checkpointer", "processor", "ingest", "merger", "recovery"}

func one(rnd *rand.Rand, all []*part) *part { return all[rnd.IntN(len(all))] }

func (p *part) kill() {
	p.down = true
	p.now.signal(syscall.SIGKILL)
	<-p.now.exited
}

func killed(p *part) *trouble {
	return &trouble{what: "kill " + p.name, begin: p.kill, end: func() { p.down = false }}
}

func killService(f *fleet, rnd *rand.Rand) *trouble { return killed(one(rnd, f.of(services...))) }

// killServer kills the server that leads the log of Shapes, to force an election.
func killServer(f *fleet, _ *rand.Rand) *trouble {
	name := f.leads("EFW_Shapes_0")
	if name == "" {
		return nil
	}
	t := killed(f.part(name))
	t.what += ", which leads the log"
	return t
}

func killRedis(f *fleet, _ *rand.Rand) *trouble { return killed(f.part("redis")) }

func paused(p *part) *trouble {
	return &trouble{
		what: "pause " + p.name, longer: true,
		begin: func() { p.now.signal(syscall.SIGSTOP) }, end: func() { p.now.signal(syscall.SIGCONT) },
	}
}

func pauseService(f *fleet, rnd *rand.Rand) *trouble { return paused(one(rnd, f.of(services...))) }

// pauseProcessor makes a zombie: it pauses a processor that is about to put out results, so that
// others take its partitions over. When the processor continues, it writes before it asks the
// leader what to run.
func pauseProcessor(f *fleet, rnd *rand.Rand) *trouble {
	p := one(rnd, f.of("processor"))
	return &trouble{
		what: "pause " + p.name + " in the middle of results", longer: true,
		begin: func() { p.now.arm(fmt.Sprintf("stop %s 1", faultpoint.ResultsBefore)) },
		end: func() {
			const moment = 200 * time.Millisecond
			p.now.arm(fmt.Sprintf("fail %s 0", faultpoint.HeartbeatBefore))
			p.now.signal(syscall.SIGCONT)
			f.pass(moment)
			p.now.arm()
			p.now.signal(syscall.SIGCONT) // it may have stopped again
		},
	}
}

func pauseServer(f *fleet, rnd *rand.Rand) *trouble { return paused(one(rnd, f.of("nats"))) }

// apart cuts the selected pairs.
func (f *fleet) apart(what string, cut func(from, to string) bool) *trouble {
	return &trouble{what: "cut " + what, longer: true, begin: func() { f.links.sever(cut) }, end: func() { f.links.sever(nil) }}
}

func isServer(name string) bool { return strings.HasPrefix(name, "n") }

func cutService(f *fleet, rnd *rand.Rand) *trouble {
	p := one(rnd, f.of(services...))
	return f.apart(p.name+" from NATS", func(from, to string) bool { return from == p.name && isServer(to) })
}

func cutLeader(f *fleet, _ *rand.Rand) *trouble {
	for id := range f.members {
		if s := f.status(id); s != nil && s.State == "leader" {
			return f.apart(id+", which leads, from its peers", func(from, to string) bool { return from == id && f.members[to] != nil })
		}
	}
	return nil
}

func cutServer(f *fleet, rnd *rand.Rand) *trouble {
	p := one(rnd, f.of("nats"))
	return f.apart(p.name+" from the other servers", func(from, to string) bool { return from == p.name && isServer(to) })
}

func cutMachine(f *fleet, rnd *rand.Rand) *trouble {
	p := one(rnd, f.of("nats"))
	return f.apart(p.name+" from everybody", func(from, _ string) bool { return from == p.name })
}

// filled fills the disk of a part. Once there is space again, the part is restarted, because a full
// disk makes a NATS server disable JetStream.
func (f *fleet) filled(p *part) *trouble {
	d := f.disks[p.name]
	if d == nil {
		return nil
	}
	return &trouble{
		what:  "fill the disk of " + p.name,
		begin: func() { d.fill(f.t) },
		end: func() {
			d.free(f.t)
			p.kill()
			p.down = false
		},
	}
}

func fillServer(f *fleet, rnd *rand.Rand) *trouble { return f.filled(one(rnd, f.of("nats"))) }

func fillMember(f *fleet, rnd *rand.Rand) *trouble { return f.filled(one(rnd, f.of("checkpointer"))) }

func fillRedis(f *fleet, _ *rand.Rand) *trouble {
	return &trouble{
		what:  "fill redis",
		begin: func() { f.tellRedis("CONFIG SET maxmemory 1") }, end: func() { f.tellRedis("CONFIG SET maxmemory 0") },
	}
}

func (f *fleet) tellRedis(command string) {
	f.t.Helper()
	c, err := net.Dial("tcp", f.redis)
	must(f.t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "%s\r\n", command)
	must(f.t, err)
	answer := make([]byte, 16)
	must(f.t, c.SetReadDeadline(time.Now().Add(patience)))
	n, err := c.Read(answer)
	must(f.t, err)
	if string(answer[:n]) != "+OK\r\n" {
		f.t.Fatalf("redis: %s: %s", command, answer[:n])
	}
}

// slowed lets a part run only for moments, as if it waited for its disk.
func (f *fleet) slowed(p *part) *trouble {
	const still, moment = 200 * time.Millisecond, 40 * time.Millisecond
	t := &trouble{what: "slow down the disk of " + p.name, begin: func() {}}
	t.during = func() {
		p.now.signal(syscall.SIGSTOP)
		f.pass(still)
		p.now.signal(syscall.SIGCONT)
		<-time.After(moment)
	}
	t.end = func() { p.now.signal(syscall.SIGCONT) }
	return t
}

func slowServer(f *fleet, rnd *rand.Rand) *trouble { return f.slowed(one(rnd, f.of("nats"))) }

func slowRedis(f *fleet, _ *rand.Rand) *trouble { return f.slowed(f.part("redis")) }

// setClock shifts the clock of a process, and sets it back. The clock of ingest is log time, so its
// shift stays below dedup.window.
func setClock(f *fleet, rnd *rand.Rand) *trouble {
	p := one(rnd, f.of("checkpointer", "processor", "ingest"))
	by := time.Hour
	if p.kind == "ingest" {
		by = 45 * time.Second
	}
	if rnd.IntN(2) == 0 {
		by = -by
	}
	return &trouble{
		what:  fmt.Sprintf("set the clock of %s by %s", p.name, by),
		begin: func() { p.now.arm(fmt.Sprintf("clock %s", by)) }, end: func() { p.now.arm() },
	}
}
