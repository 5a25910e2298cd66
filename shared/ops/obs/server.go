package obs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	headerTimeout = 5 * time.Second
	scrapesMax    = 4 // at once
	stopTimeout   = 2 * time.Second
)

// Server is an HTTP server for operators (/metrics, /healthz, /readyz) or developers
// (/debug/pprof/).
type Server struct {
	listener net.Listener
	http     *http.Server
	ended    chan struct{}
}

// Status is the body of /healthz and /readyz.
type Status struct {
	OK     bool     `json:"ok"`
	Checks []Result `json:"checks"`
}

// Listen starts a server on host:port. Without checks, the process is healthy and ready.
func Listen(address string, metrics *prometheus.Registry, health *Health, log *slog.Logger) (*Server, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMax, EnableOpenMetrics: true, Registry: metrics,
		ErrorLog: errorLog{log}, ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, health, "") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, health, Ready) })
	return serve("metrics", address, mux, log)
}

// ListenProfiles starts a server with Go's profiles at /debug/pprof/. They show names and
// values that are in memory, so the address must be one that only trusted users reach.
func ListenProfiles(address string, log *slog.Logger) (*Server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return serve("pprof", address, mux, log)
}

// serve starts a server of what a group of settings is about.
func serve(group, address string, handler http.Handler, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w; choose another address with %[1]s.listen", group, err)
	}
	s := &Server{
		listener: listener, ended: make(chan struct{}),
		http: &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)},
	}
	go func() {
		defer close(s.ended)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("an HTTP server has ended", "settings", group, "err", err)
		}
	}()
	return s, nil
}

type errorLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l errorLog) Println(v ...any) { l.log.Warn("collect metrics", "err", fmt.Sprint(v...)) }

func answer(w http.ResponseWriter, health *Health, kind string) {
	var s Status
	s.Checks, s.OK = health.Ask(kind)
	w.Header().Set("Content-Type", "application/json")
	if !s.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(s) // the client may be gone
}

// Address is where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Close stops the server after it has sent the answers in progress.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.ended
	return err
}
