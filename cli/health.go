package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/ops/obs"
	"github.com/eventflux/eventflux/shared/ops/secret"
)

const statusBytesMax = 1 << 20

func newHealthCommand() *cobra.Command {
	var at string
	var ready, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Check the health of a process: exit code 0 if it works, else 1",
		Long: `Asks the HTTP server of metrics.listen, for the health checks of containers. A process is
healthy while it works, and ready (--ready) while it also serves. The command prints the
problems. The address comes from the process's configuration, or from --url.`,
		Example: `  eventflux health --url http://127.0.0.1:9464 --ready`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if at == "" {
				cfg, err := loadConfig(cmd)
				if err != nil {
					return err
				}
				if at = baseURL(cfg.Metrics.Listen); at == "" {
					return usagef("the address is unknown: set metrics.listen as for the process, or name the address with --url")
				}
			}
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			s, err := askHealth(ctx, at, path)
			if err != nil {
				return err
			}
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(s); err != nil {
					return err
				}
			} else {
				s.warn(cmd.OutOrStdout())
			}
			return s.failure()
		},
	}
	config.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&at, "url", "", "where the process serves its metrics, as http://HOST:PORT")
	cmd.Flags().BoolVar(&ready, "ready", false, "check whether the process serves, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}

// baseURL returns the URL of a server that listens on an address; "" if there is none.
func baseURL(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

type healthStatus struct{ obs.Status }

// warn prints the warnings.
func (s *healthStatus) warn(to io.Writer) {
	for _, c := range s.Checks {
		if c.Warning != "" {
			fmt.Fprintf(to, "%s: %s\n", c.Name, c.Warning)
		}
	}
}

// failure returns an error that names the checks that failed, if any.
func (s *healthStatus) failure() error {
	if s.OK {
		return nil
	}
	var failed []string
	for _, c := range s.Checks {
		if !c.OK {
			failed = append(failed, c.Name+": "+c.Error)
		}
	}
	return errors.New(strings.Join(failed, "; "))
}

func askHealth(ctx context.Context, at, path string) (*healthStatus, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return nil, usagef("--url: %q is no URL, such as http://127.0.0.1:9464", secret.URL(at))
	}
	u.Path, u.RawQuery = path, "" // the URL may have /metrics, as for a scraper
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // one request only: keep no idle connection
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the process does not answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var s healthStatus
	if err := json.NewDecoder(io.LimitReader(resp.Body, statusBytesMax)).Decode(&s.Status); err != nil {
		return nil, fmt.Errorf("what answers at %s is not eventflux (HTTP status %s): %w", u.Redacted(), resp.Status, err)
	}
	return &s, nil
}
