package processor

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/processor/view"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const totals = `@app:name('sums')
define stream S (k string, v int);
@sink(stream='Out', kv='TOTALS', key='{k}')
from S select k, v insert into Out;`

// A view names the permission that is missing, with the line to add, and does not hold the task up.
// Once the permission is there, it follows.
func TestViewsThatMayNotBeWritten(t *testing.T) {
	opts := server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	users := func(denied ...string) []*server.User {
		some := &server.Permissions{Publish: &server.SubjectPermission{Deny: denied}}
		return []*server.User{{Username: "all", Password: "pw"}, {Username: "processor", Password: "pw", Permissions: some}}
	}
	opts.Users = users("$KV.TOTALS.>")
	first := opts
	srv, err := server.NewServer(&first)
	must(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	opts.Port = first.Port
	connect := func(user string) *nats.Conn {
		t.Helper()
		nc, err := nats.Connect(srv.ClientURL(), nats.UserInfo(user, "pw"))
		must(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	plan, err := siddhiql.Compile(totals)
	must(t, err)
	r := &rig{t: t, text: totals, plan: plan, nc: connect("all")}
	r.js, err = jetstream.New(r.nc)
	must(t, err)
	r.ensure()
	r.log = r.writer()
	for _, name := range []string{natsconn.LinksBucket, "TOTALS"} {
		_, err := r.js.CreateKeyValue(r.within(), jetstream.KeyValueConfig{Bucket: name})
		must(t, err)
	}
	all := r.nc
	r.nc = connect("processor")
	s, _ := r.start()
	r.nc = all
	r.send("S", 1000, "", "a", 1)
	r.eventually("the permission is named", func() bool {
		v := r.info(s).Views
		return len(v) == 1 && strings.Contains(v[0].Reason, `publish: {allow: ["$KV.TOTALS.>", "$KV.EF_LINKS.>", "$JS.API.STREAM.INFO.KV_TOTALS"`)
	})
	if i := r.info(s); i.Error != "" || i.Results != 1 {
		t.Errorf("the task: %+v", i)
	}
	next := opts
	next.Users = users("nothing")
	must(t, srv.ReloadOptions(&next))
	kv, err := r.js.KeyValue(r.within(), "TOTALS")
	must(t, err)
	r.eventually("the view follows", func() bool {
		e, err := kv.Get(r.within(), "a")
		v := r.info(s).Views
		return err == nil && string(e.Value()) == `{"k":"a","v":1}` && len(v) == 1 && v[0].State == view.Following && v[0].Reason == ""
	})
}
