// Package buckettest has what the servers of cloud stores in tests share, and the faults that
// every cloud store must survive.
package buckettest

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
)

// Fault is a reason why a server refuses a request.
type Fault int

// The reasons. Each protocol has a status and a code of its own for them.
const (
	Busy     Fault = iota // it asks for fewer requests
	Conflict              // another request changes the object
	Full                  // it takes no more
	Denied                // the credentials do not allow it
	Expired               // the credentials have expired
	Skewed                // the clock of the client is off
)

// Which says which requests a fault hits.
type Which func(*http.Request) bool

// First hits the first n requests with that method; any method if it is empty.
func First(n int64, method string) Which {
	var seen atomic.Int64
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && seen.Add(1) <= n
	}
}

// Always hits each request with that method.
func Always(method string) Which { return First(1<<40, method) }

// Number hits one request, the first being 0.
func Number(at int64) Which {
	var seen atomic.Int64
	return func(*http.Request) bool { return seen.Add(1) == at+1 }
}

// Faults has faults come between a server and its clients.
type Faults struct {
	mu        sync.Mutex
	intercept func(http.Handler) http.Handler
}

// Intercept puts a handler before the server's own; nil ends it.
func (f *Faults) Intercept(with func(http.Handler) http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.intercept = with
}

// Handle handles a request with the server's own handler and what is before it.
func (f *Faults) Handle(w http.ResponseWriter, r *http.Request, own http.HandlerFunc) {
	f.mu.Lock()
	with := f.intercept
	f.mu.Unlock()
	h := http.Handler(own)
	if with != nil {
		h = with(h)
	}
	h.ServeHTTP(w, r)
}

// Instead has answer handle the requests that which hits.
func (f *Faults) Instead(answer http.HandlerFunc, which Which) {
	f.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if which(r) {
				answer(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
}

// LoseAnswers carries requests out and loses the answers to those that which hits.
func (f *Faults) LoseAnswers(which Which) {
	f.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !which(r) {
				next.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	})
}
