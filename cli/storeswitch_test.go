package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/ops/config"
)

var (
	switchExample = regexp.MustCompile("(?s)```console\n\\$ (eventflux store copy [^\n]*)\n(.*?)```")
	varyingParts  = regexp.MustCompile(`\d+ bytes|on [^ ,:]+`)
)

// The example of a switch prints what the page shows. The cluster continues in the other store,
// and doctor names the setting to change.
func TestWorkedExampleOfASwitch(t *testing.T) {
	unsetSettings(t)
	data, err := os.ReadFile(filepath.Join(repository, storesPage))
	if err != nil {
		t.Fatal(err)
	}
	_, app, _ := strings.Cut(string(data), "```sql\n")
	app, _, _ = strings.Cut(app, "```")
	example := switchExample.FindStringSubmatch(string(data))
	if app == "" || example == nil {
		t.Fatal("the page has no example")
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("shop.siddhi", []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startNodeOf(t, node.Services, "", func(c *config.Config) { c.Store.URL = "file:old" })
	s.cli(0, "app deploy shop.siddhi")
	s.send("Orders", `{"item":"tea","amount":2}`)
	s.prints(0, "checkpoint trigger Shop", "checkpoint 1 committed")
	s.prints(2, "store copy file:old file:new --switch --follow", "do not go with it")
	line := strings.TrimPrefix(example[1], "eventflux ")
	got := strings.Split(s.cli(0, line), "\n")
	want := strings.Split(example[2], "\n")
	for _, lines := range [][]string{got, want} {
		for i := range lines {
			lines[i] = varyingParts.ReplaceAllString(lines[i], "…")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s prints\n%s\nand %s has\n%s", line, strings.Join(got, "\n"), storesPage, strings.Join(want, "\n"))
	}
	s.send("Orders", `{"item":"tea","amount":1}`)
	s.prints(0, "checkpoint trigger Shop", "checkpoint 2 committed")
	if _, err := os.Stat("new/apps/Shop/checkpoints/00000000000000000002.json"); err != nil {
		t.Error(err)
	}
	// The exit code also depends on the disk of the machine.
	if found, _, _ := run("doctor --store.url file:old --server "+s.url, ""); !strings.Contains(found, "warning  store        checkpointer single, merger on ") || !strings.Contains(found, "fix: change its setting store.url to file:new") {
		t.Errorf("doctor prints\n%s", found)
	}
}
