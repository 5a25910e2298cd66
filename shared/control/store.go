package control

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// VerbSwitch makes all processes use another store of checkpoints.
const VerbSwitch = "switch" // SwitchRequest → Switched

// StoreKey is the key of the Store in the cluster's bucket. Without a switch, there is none.
const StoreKey = "store"

// SwitchRequest names another store, which has copies of the checkpoints. The leader copies the
// newest ones. A repeated request is answered with the Store that the first one made.
type SwitchRequest struct {
	URL string `json:"url"` // without credentials
}

// Store is the store of checkpoints that the cluster was switched to.
type Store struct {
	Number uint64    `json:"number"` // counts the switches, from 1
	URL    string    `json:"url"`    // without credentials
	Time   time.Time `json:"time"`   // of the switch
}

// Switched is the outcome of a SwitchRequest.
type Switched struct {
	Store
	// Processes are those that answered after the switch.
	Processes []StoreReport `json:"processes"`
}

// StoreSubject is the subject of a StoreRequest. Every process with a store answers.
func StoreSubject() string { return natsconn.ServiceSubject("store", "check") }

// StoreRequest asks each process which store it uses. With Check, a process first tries a store
// that it does not use yet; with Use, it uses that store from now on.
type StoreRequest struct {
	Check string `json:"check,omitempty"` // a URL
	Use   *Store `json:"use,omitempty"`
	// Cluster is the name that the store to check must be claimed with, and Manifest, if it is
	// not empty, the name of an object that the store must have.
	Cluster  string `json:"cluster,omitempty"`
	Manifest string `json:"manifest,omitempty"`
}

// StoreReport is the answer of a process to a StoreRequest.
type StoreReport struct {
	// Services are those of its services that use the store, as natsconn.Place names them.
	Services []string `json:"services"`
	// Number and URL are of the store that it uses. Number is 0 for the store that store.url
	// names.
	Number uint64 `json:"number"`
	URL    string `json:"url"`
	// Setting is its store.url, without credentials.
	Setting string `json:"setting"`
	// Error says why it cannot use the store that it was asked to check.
	Error string `json:"error,omitempty"`
}

// Name names the process for people.
func (r *StoreReport) Name() string { return strings.Join(r.Services, ", ") }

// PublicURL returns the URL of a store without its password.
func PublicURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || !hasPassword(u) {
		return text
	}
	u.User = url.User(u.User.Username())
	if u.User.Username() == "" {
		u.User = nil
	}
	return u.String()
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}

// CheckSwitchURL returns why a URL cannot be the store of a cluster that runs.
func CheckSwitchURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is no URL")
	case hasPassword(u):
		return errors.New("has a password, which would be written to the Raft log; name a file with password_file= instead, which each process reads")
	case u.Query().Has("takeover"):
		return errors.New("has takeover=, which counts only in store.url")
	}
	return nil
}
