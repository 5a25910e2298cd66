package corruption

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// kinds are the files of a data folder by purpose. The first pattern that matches a path counts.
var kinds = []struct {
	name    string
	pattern *regexp.Regexp
}{
	{"format of the folder", regexp.MustCompile(`^eventflux\.json$`)},
	{"lock of the folder", regexp.MustCompile(`^nats/lock$`)},
	{"witness of a log", regexp.MustCompile(`^witness/EFW_[^/]+$`)},
	{"work of a processor", regexp.MustCompile(`^processor/[^/]+\.work$`)},
	{"copy of a damaged file", regexp.MustCompile(`^damaged/`)},
	{"Raft: log", regexp.MustCompile(`^raft/log\.db$`)},
	{"Raft: snapshot", regexp.MustCompile(`^raft/snapshots/`)},
	{"log: block", inStream(`EFW_[^/]+`, `msgs/\d+\.blk`)},
	{"log: index", inStream(`EFW_[^/]+`, `msgs/index\.db`)},
	{"log: settings", inStream(`EFW_[^/]+`, `meta\.inf`)},
	{"log: checksum of settings", inStream(`EFW_[^/]+`, `meta\.sum`)},
	{"results: block", inStream(`EFO_[^/]+`, `msgs/\d+\.blk`)},
	{"results: index", inStream(`EFO_[^/]+`, `msgs/index\.db`)},
	{"results: settings", inStream(`EFO_[^/]+`, `meta\.inf`)},
	{"results: checksum of settings", inStream(`EFO_[^/]+`, `meta\.sum`)},
	{"dead letters: block", inStream(`EFD_[^/]+`, `msgs/\d+\.blk`)},
	{"dead letters: index", inStream(`EFD_[^/]+`, `msgs/index\.db`)},
	{"dead letters: settings", inStream(`EFD_[^/]+`, `meta\.inf`)},
	{"dead letters: checksum of settings", inStream(`EFD_[^/]+`, `meta\.sum`)},
	{"bucket: block", inStream(`KV_[^/]+`, `msgs/\d+\.blk`)},
	{"bucket: index", inStream(`KV_[^/]+`, `msgs/index\.db`)},
	{"bucket: settings", inStream(`KV_[^/]+`, `meta\.inf`)},
	{"bucket: checksum of settings", inStream(`KV_[^/]+`, `meta\.sum`)},
	{"stream: tombstones", inStream(`[^/]+`, `msgs/(tombs|thw\.db|sched\.db).*`)},
	{"consumer: settings", inStream(`[^/]+`, `obs/[^/]+/meta\.inf`)},
	{"consumer: checksum of settings", inStream(`[^/]+`, `obs/[^/]+/meta\.sum`)},
	{"consumer: state", inStream(`[^/]+`, `obs/[^/]+/o\.dat`)},
	{"checkpoints: format", regexp.MustCompile(`^checkpoints/format$`)},
	{"checkpoints: lock", regexp.MustCompile(`^checkpoints/(lock|heads/[^/]+\.lock)$`)},
	{"checkpoints: head", regexp.MustCompile(`^checkpoints/heads/[^/]+\.json$`)},
	{"checkpoints: manifest", regexp.MustCompile(`^checkpoints/apps/[^/]+/checkpoints/\d+\.json$`)},
	{"checkpoints: run", regexp.MustCompile(`^checkpoints/runs/../[0-9a-f]{64}$`)},
	{"checkpoints: pack", regexp.MustCompile(`^checkpoints/packs/../[0-9a-f]{64}$`)},
	{"checkpoints: block", regexp.MustCompile(`^checkpoints/blocks/../[0-9a-f]{64}$`)},
}

func inStream(stream, file string) *regexp.Regexp {
	return regexp.MustCompile(`^nats/jetstream/\$G/streams/` + stream + `/` + file + `$`)
}

// kindOf returns the kind of a path in the data folder.
func kindOf(path string) (string, bool) {
	for _, k := range kinds {
		if k.pattern.MatchString(path) {
			return k.name, true
		}
	}
	return "", false
}

// namesPart reports whether a text names the part of the data folder that a file belongs to: the
// stream or its app, the checkpoints or their app, the Raft state, or the file itself.
func namesPart(text, file string) bool {
	return slices.ContainsFunc(partNames(file), func(name string) bool { return strings.Contains(text, name) })
}

// appOfStream matches the app in a stream's name.
var appOfStream = regexp.MustCompile(`EF[WOD]_([A-Za-z]+)`)

func partNames(file string) []string {
	names := []string{path.Base(file)}
	if app := appOfStream.FindStringSubmatch(file); app != nil {
		names = append(names, app[0], app[1])
	}
	folders := strings.Split(file, "/")
	switch folders[0] {
	case "nats":
		if i := slices.Index(folders, "streams"); i >= 0 && i+1 < len(folders) {
			names = append(names, folders[i+1], strings.TrimPrefix(folders[i+1], "KV_"))
		}
	case "checkpoints":
		names = append(names, "checkpoint")
	case "raft":
		names = append(names, "raft", "Raft")
	case "processor":
		names = append(names, "processor")
	}
	return names
}
