package natsconn

import (
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"
)

// appNameBytesMax keeps the longest name of a JetStream stream, with prefix and
// partition, far below the 255 bytes that the server allows.
// WALStream names the JetStream stream with the log of partition p of app.
func WALStream(app string, p uint32) string { return "EFW_" + app + "_" + decimal(p) }

// WALSubject is the one subject of WALStream, unless the app was scaled.
func WALSubject(app string, p uint32) string { return "ef.wal." + app + "." + decimal(p) }

// RoutedSubject is the subject of WALStream after that many scalings of the app. Each scaling
// takes another subject, so that an ingest that divides events by the former number of
// partitions cannot append any more.
func RoutedSubject(app string, p, scalings uint32) string {
	if scalings == 0 {
		return WALSubject(app, p)
	}
	return WALSubject(app, p) + "." + decimal(scalings)
}

// unrouted returns the subject that a log had before its app was scaled.
func unrouted(subject string) string {
	if tokens := strings.Split(subject, "."); len(tokens) == 5 && strings.HasPrefix(subject, "ef.wal.") {
		return strings.Join(tokens[:4], ".")
	}
	return subject
}

// DeploySubject takes the deploy frame of partition p of app. It is the one subject of
// WALStream until that frame is there, so that no other frame can come before it.
func DeploySubject(app string, p uint32) string { return "ef.deploy." + app + "." + decimal(p) }

// OutStream names the JetStream stream with the results of partition p of app.
func OutStream(app string, p uint32) string { return "EFO_" + app + "_" + decimal(p) }

// OutSubject is where the rows of stream from partition p of app go.
func OutSubject(app, stream string, p uint32) string {
	return "out." + app + "." + stream + "." + decimal(p)
}

// OutSubjects matches OutSubject for every stream.
func OutSubjects(app string, p uint32) string { return OutSubject(app, "*", p) }

// FenceSubject is the subject of a new owner's message that fences the previous owner of
// partition p. OutStream keeps the message.
func FenceSubject(app string, p uint32) string { return "ef.fence." + app + "." + decimal(p) }

// DLQStream names the JetStream stream with the events that app refused.
func DLQStream(app string) string { return "EFD_" + app }

// DLQSubject is where refused events of stream go.
func DLQSubject(app, stream string) string { return "dlq." + app + "." + stream }

// DLQSubjects matches DLQSubject for every stream.
func DLQSubjects(app string) string { return "dlq." + app + ".>" }

// InputSubject is where events of stream are published unless its definition
// says otherwise.
func InputSubject(stream string) string { return "events." + stream }

// ServiceName is the name in the NATS service registry, as in "eventflux-ingest".
func ServiceName(service string) string { return "eventflux-" + service }

// ServiceSubject is where requests to a service go, as in "ef.recovery.plan".
func ServiceSubject(service, verb string) string { return "ef." + service + "." + verb }

// JobSubject is where the progress of a recovery job is published.
func JobSubject(job string) string { return "ef.recovery.job." + job }

// noAnswers are the prefixes of subjects where no client waits for an answer.
var noAnswers = []string{"ef.", "dlq.", "out.", "events.", "$"}

// Answerable reports whether an answer may go to a reply subject. The client chooses that
// subject, and the service may publish where the client may not: in a log an answer would be
// no frame, and for JetStream an error without a body is an order to purge.
func Answerable(reply string) bool {
	for _, p := range noAnswers {
		if strings.HasPrefix(reply, p) {
			return false
		}
	}
	return true
}

// ClusterBucket is the KV bucket with the projection of the cluster's state.
const ClusterBucket = "EF_CLUSTER"

// ClusterKey names what the bucket has of an app, such as its deployment. Names with
// characters that keys cannot have are written in hexadecimal behind '='.
func ClusterKey(what, app string) string {
	for _, r := range app {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '-' && r != '_' {
			return what + ".=" + hex.EncodeToString([]byte(app))
		}
	}
	return what + "." + app
}

// ClusterKeys matches ClusterKey for every app.
func ClusterKeys(what string) string { return what + ".*" }

// LinksBucket is the KV bucket where ingest keeps, for each source that reads results of
// another app, which process reads them and how far it has come. The checkpointers make it.
const LinksBucket = "EF_LINKS"

// LinkKey names what the bucket has of one source of an app.
func LinkKey(app, stream, subject string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(stream + "\x00" + subject)) // never fails
	return ClusterKey("link", app) + "." + strconv.FormatUint(h.Sum64(), 16)
}

// LinkKeys matches LinkKey for all sources of an app.
func LinkKeys(app string) string { return ClusterKey("link", app) + ".*" }

func decimal(p uint32) string { return strconv.FormatUint(uint64(p), 10) }
