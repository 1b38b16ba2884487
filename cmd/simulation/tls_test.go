package simulation_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs"
	"tickfeed/codec/certs/certstest"
	"tickfeed/codec/effort"
	"tickfeed/codec/logto/logtest"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// serving serves a publisher with one tick on loopback, until the test ends.
func serving(t *testing.T, cfg publisher.Config) (addr string) {
	t.Helper()
	pub, err := publisher.New(cfg)
	require.NoError(t, err)
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(id, 1)}))
	return served(t, pub)
}

func served(t *testing.T, pub *publisher.Publisher) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- pub.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = pub.Close(context.Background())
	})
	return ln.Addr().String()
}

// attempt makes one attempt to receive the two numbers of serving.
func attempt(t *testing.T, addr string, cfg *tls.Config) error {
	t.Helper()
	s, err := subscriber.New(subscriber.Config{
		Addrs: []string{addr}, TLS: cfg, MaxAttempts: 1, Start: subscriber.Beginning, Until: 3,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return s.Run(ctx, func(*subscriber.Batch) error { return nil })
}

// Each way in which TLS can be set up wrongly is an error that names it and says what to do, at the subscriber and, if the
// publisher can know it, in the publisher's log (PROMISES.md, 25). The subscriber finds it by itself within a second, not by a
// timeout.
func TestTLSMisconfigurations(t *testing.T) {
	timers := effort.WatchTimers(t)
	ours, theirs := certstest.NewAuthority("ours"), certstest.NewAuthority("theirs")
	host := []string{"127.0.0.1"}
	good := ours.Issue(certstest.Want{Names: host})
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	self := certstest.SelfSigned(certstest.Want{Names: host})
	trusting := func(a *certstest.Authority) *tls.Config { return &tls.Config{RootCAs: a.Pool()} }
	showing := func(p certstest.Pair) *tls.Config {
		return &tls.Config{RootCAs: ours.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.TLS, nil }}
	}
	with := func(p certstest.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS}} }
	mutual := with(good)
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ours.Pool()
	selfTrusted := x509.NewCertPool()
	selfTrusted.AddCert(self.TLS.Leaf)
	older := with(good)
	older.MinVersion, older.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	olderClient := trusting(ours)
	olderClient.MinVersion, olderClient.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	web := with(good)
	web.NextProtos = []string{"h2"}
	webClient := trusting(ours)
	webClient.NextProtos = []string{"h2"}
	elsewhere := trusting(ours)
	elsewhere.ServerName = "feed.example.org"
	const refuses = "the client refuses this certificate (bad certificate)"

	for _, c := range []struct {
		name           string
		server, client *tls.Config
		says, logs     string // empty says: it works
	}{
		{"it works", with(good), trusting(ours), "", "subscriber joined"},
		{"it works mutually", mutual, showing(ours.Issue(certstest.Want{Names: []string{"desk"}})), "", `"certificate":"desk"`},
		{"a self-signed certificate that is trusted works", with(self), &tls.Config{RootCAs: selfTrusted}, "", "subscriber joined"},
		{"insecure works", with(self), &tls.Config{InsecureSkipVerify: true}, "", "subscriber joined"},
		{"plain works", nil, nil, "", "subscriber joined"},

		{"wrong name", with(good), elsewhere, "the server's certificate is for 127.0.0.1, not for feed.example.org; connect by such a name, or give it with --tls-server-name", refuses},
		{"wrong address", with(ours.Issue(certstest.Want{Names: []string{"10.0.0.1"}})), trusting(ours), "is for 10.0.0.1, not for 127.0.0.1", refuses},
		{"no name", with(ours.Issue(certstest.Want{})), trusting(ours), "names no host, and so not 127.0.0.1; it needs a subject alternative name", refuses},
		{"expired", with(ours.Issue(certstest.Want{Names: host, NotAfter: past})), trusting(ours), "the server's certificate expired on", refuses},
		{"not valid yet", with(ours.Issue(certstest.Want{Names: host, NotBefore: future})), trusting(ours), "the server's certificate is not valid before", refuses},
		{"self-signed", with(self), trusting(ours), "self-signed and not trusted; if it is the right one, name its file with --tls-ca", refuses},
		{"another authority", with(good), trusting(theirs), "signed by CN=ours, which is not trusted; name the certificate of that authority with --tls-ca", refuses},
		{"not for servers", with(ours.Issue(certstest.Want{Names: host, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})), trusting(ours), "is not made for a server", refuses},

		{"no client certificate", mutual, trusting(ours), "the server demands a certificate of its clients; name one with --tls-cert and --tls-key", "the client has no certificate, which --tls-client-ca demands"},
		{"client of another authority", mutual, showing(theirs.Issue(certstest.Want{Names: []string{"desk"}})), "the server does not trust the authority that signed the certificate of this client", "the client's certificate (desk) was signed by CN=theirs, which is not in --tls-client-ca"},
		{"self-signed client", mutual, showing(self), "the server does not trust the authority", "was signed by itself, which is not in --tls-client-ca"},
		{"expired client", mutual, showing(ours.Issue(certstest.Want{NotAfter: past})), "the server refuses the certificate of this client: it has expired", "the client's certificate expired on"},
		{"client not valid yet", mutual, showing(ours.Issue(certstest.Want{NotBefore: future})), "or is not valid yet", "the client's certificate is not valid before"},
		{"client certificate for servers", mutual, showing(ours.Issue(certstest.Want{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})), "the server refuses the certificate of this client (bad certificate)", "is not made for a client"},

		{"old client", with(good), olderClient, "does not speak TLS 1.3", "the client does not speak TLS 1.3"},
		{"old server", older, trusting(ours), "the server does not speak TLS 1.3", "the client does not speak TLS 1.3, and"},
		{"a web server's protocol", web, trusting(ours), "not tickfeed/1: is it a publisher?", "another protocol than tickfeed/1"},
		{"a web client's protocol", with(good), webClient, "not tickfeed/1", "another protocol than tickfeed/1: is it a subscriber?"},
		{"plain to TLS", with(good), nil, "this publisher speaks TLS: connect with --tls", "this publisher speaks TLS"},
		{"TLS to plain", nil, trusting(ours), "the publisher does not speak TLS here; connect without --tls", "the client speaks TLS, and this listener does not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log logtest.Buffer
			addr := serving(t, publisher.Config{TLS: c.server, Logger: zerolog.New(&log)})
			began := time.Now()
			err := attempt(t, addr, c.client)
			timers.Judge(t, "time until the error", time.Since(began), time.Second)
			if c.says == "" {
				assert.NoError(t, err)
			} else if assert.ErrorContains(t, err, c.says) {
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
			}
			assert.Eventually(t, func() bool { return bytes.Contains([]byte(log.String()), []byte(c.logs)) }, 10*time.Second, time.Millisecond, "%q\n%s", c.logs, &log)
		})
	}
}

// Servers that are no publishers are named too.
func TestTLSToOtherServers(t *testing.T) {
	for name, c := range map[string]struct{ answer, says string }{
		"a server that closes": {"", "the server closed the connection during the handshake: does it speak TLS?"},
		"a web server":         {"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server without TLS answers there"},
		"SSH":                  {"SSH-2.0-OpenSSH_9.2\r\n", "the server does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			var done sync.WaitGroup
			defer done.Wait()
			defer ln.Close()
			done.Go(func() {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				_, _ = nc.Read(make([]byte, 16<<10))
				_, _ = nc.Write([]byte(c.answer))
			})
			assert.ErrorContains(t, attempt(t, ln.Addr().String(), &tls.Config{InsecureSkipVerify: true}), c.says)
		})
	}
}

// Certificates and authorities are replaced, again and again, while subscribers come and go: none is refused that should not
// be, and none is admitted after its authority was taken away (PROMISES.md, 24).
func TestRotationUnderLoad(t *testing.T) {
	rotations, clients := effort.Of(t, 100, 20), effort.Of(t, 50, 20)
	pace := effort.Of(t, 100*time.Millisecond, 10*time.Millisecond)
	dir := t.TempDir()
	ca, serverSide, banned := certstest.NewAuthority("ca"), certstest.NewAuthority("server"), certstest.NewAuthority("banned")
	issue := func() certstest.Pair { return serverSide.Issue(certstest.Want{Names: []string{"127.0.0.1"}}) }
	cert, key := issue().Write(dir, "feed")
	admitted := certstest.WriteFile(dir, "clients.pem", ca.PEM)
	trusted := certstest.WriteFile(dir, "ca.pem", serverSide.PEM)
	server, err := certs.Server{Cert: cert, Key: key, ClientCA: admitted, Protocols: []string{certs.Protocol}}.Config()
	require.NoError(t, err)
	addr := serving(t, publisher.Config{TLS: server})

	rotated := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	// phase says whether banned may be admitted: 0 modulo 4 for no, 2 for yes. It is odd while the file changes.
	var phase atomic.Int64
	admit := func(yes bool) {
		phase.Add(1)
		defer phase.Add(1)
		if yes {
			certstest.WriteFile(dir, "clients.pem", append(bytes.Clone(ca.PEM), banned.PEM...))
		} else {
			certstest.WriteFile(dir, "clients.pem", ca.PEM)
		}
	}
	type count struct{ admitted, refused int }
	counts := make([]count, clients)
	for i := range clients {
		outsider := i%10 == 9
		signer := ca
		if outsider {
			signer = banned
		}
		own := signer.Issue(certstest.Want{Names: []string{"desk"}})
		ownDir := t.TempDir()
		ownCert, ownKey := own.Write(ownDir, "desk")
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if n%5 == 4 {
					signer.Issue(certstest.Want{Names: []string{"desk"}}).Write(ownDir, "desk")
				}
				cfg, err := certs.Client{CA: trusted, Cert: ownCert, Key: ownKey}.Config()
				if !assert.NoError(t, err) {
					return
				}
				before := phase.Load()
				err = attempt(t, addr, cfg)
				switch now := phase.Load(); {
				case outsider && (now != before || now%2 == 1): // the file changed meanwhile: either is right
				case outsider && now%4 == 0 && err == nil:
					assert.Fail(t, "a client was admitted although its authority was taken away")
					return
				case err == nil:
					counts[i].admitted++
				case outsider && now%4 == 0:
					counts[i].refused++
				case ctx.Err() == nil:
					assert.NoError(t, err, "a client was refused that should be admitted")
					return
				}
			}
		})
	}
	go func() {
		defer close(rotated)
		for n := range rotations {
			pair := issue()
			certstest.WriteFile(dir, "feed.pem", pair.Cert) // for a moment it does not match, and the pair before is used
			certstest.WriteFile(dir, "feed.key", pair.Key)
			admit(n%2 == 0)
			time.Sleep(pace) // the pace of the rotation; nothing is waited for
		}
	}()
	<-rotated
	pair := banned.Issue(certstest.Want{Names: []string{"desk"}})
	for _, yes := range []bool{true, false} { // under load, after phases that may have been too short for an attempt
		admit(yes)
		cfg := &tls.Config{RootCAs: serverSide.Pool(), Certificates: []tls.Certificate{pair.TLS}}
		assert.Equal(t, yes, attempt(t, addr, cfg) == nil, "whether a client of the authority is admitted")
	}
	cancel()
	all.Wait()
	var total count
	for i, c := range counts {
		assert.True(t, c.admitted+c.refused > 0 || i%10 == 9, "client %d made no attempt", i)
		total.admitted, total.refused = total.admitted+c.admitted, total.refused+c.refused
	}
	assert.Positive(t, total.admitted)
	t.Logf("%d rotations, %d logins, %d refusals", rotations, total.admitted, total.refused)
}
