package natsconn

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// A server in operator mode lets a user in who has a .creds file of its account, and takes the
// streams of an app. Another operator's user stays out.
func TestCredentialsOfAnOperator(t *testing.T) {
	key := func(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		t.Helper()
		pair, err := make()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return pair, public
	}
	operator, operatorKey := key(nkeys.CreateOperator)
	account, accountKey := key(nkeys.CreateAccount)
	stranger, _ := key(nkeys.CreateAccount)
	_, systemKey := key(nkeys.CreateAccount)

	encode := func(claims jwt.Claims, by nkeys.KeyPair) string {
		t.Helper()
		text, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	claims := jwt.NewAccountClaims(accountKey)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	trusted, err := jwt.DecodeOperatorClaims(encode(jwt.NewOperatorClaims(operatorKey), operator))
	if err != nil {
		t.Fatal(err)
	}
	accounts := &server.MemAccResolver{}
	for public, c := range map[string]*jwt.AccountClaims{accountKey: claims, systemKey: jwt.NewAccountClaims(systemKey)} {
		if err := accounts.Store(public, encode(c, operator)); err != nil {
			t.Fatal(err)
		}
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{trusted}, SystemAccount: systemKey, AccountResolver: accounts,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	creds := func(by nkeys.KeyPair) string {
		t.Helper()
		user, public := key(nkeys.CreateUser)
		seed, err := user.Seed()
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(public), by), seed)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "user.creds")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	nc, err := Connect(within(t), ConnectConfig{URL: srv.ClientURL(), CredsFile: creds(account), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = EnsureApp(within(t), js, "shop", 1, StreamLimits{})
	}
	if err != nil {
		t.Error(err)
	}
	// Connect would try again.
	if nc, err := nats.Connect(srv.ClientURL(), nats.UserCredentials(creds(stranger))); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a user of another operator's account: %v", err)
		nc.Close()
	}
}
