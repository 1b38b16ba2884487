package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs"
	"tickfeed/codec/certs/certstest"
)

// shake makes a handshake over loopback, and returns the serial number of the server's certificate and the errors of both.
func shake(t *testing.T, server, client *tls.Config) (serial string, clientErr, serverErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err == nil {
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
			err = tls.Server(nc, server).Handshake()
			_ = nc.(*net.TCPConn).CloseWrite()
			_, _ = nc.Read(make([]byte, 1))
		}
		served <- err
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(nc, client)
	if clientErr = c.Handshake(); clientErr == nil {
		serial = c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	nc.Close()
	return serial, clientErr, <-served
}

// A new pair is used at the next handshake. A pair that does not match leaves the one before in force, and is reported once.
func TestFilesAreReadAgain(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("one")
	first, second := a.Issue(certstest.Want{Names: []string{"feed"}}), a.Issue(certstest.Want{Names: []string{"feed"}})
	cert, key := first.Write(dir, "feed")
	var told []error
	server, err := certs.Server{Cert: cert, Key: key, Changed: func(_ string, err error) { told = append(told, err) }}.Config()
	require.NoError(t, err)
	ca := certstest.WriteFile(dir, "ca.pem", a.PEM)
	client, err := certs.Client{CA: ca, ServerName: "feed"}.Config()
	require.NoError(t, err)
	serialOf := func(p certstest.Pair) string { return p.TLS.Leaf.SerialNumber.String() }

	serial, err, _ := shake(t, server, client)
	require.NoError(t, err)
	assert.Equal(t, serialOf(first), serial)

	certstest.WriteFile(dir, "feed.pem", second.Cert) // with the key of the first
	for range 3 {
		serial, err, _ = shake(t, server, client)
		require.NoError(t, err)
		assert.Equal(t, serialOf(first), serial)
	}
	require.Len(t, told, 1, "an error is reported once")
	assert.ErrorContains(t, told[0], "the key "+key+" does not belong to the certificate "+cert+"; the certificate before stays in use")

	require.NoError(t, os.Remove(key))
	serial, err, _ = shake(t, server, client)
	require.NoError(t, err)
	assert.Equal(t, serialOf(first), serial)
	require.Len(t, told, 2)
	assert.ErrorContains(t, told[1], "no such file")

	second.Write(dir, "feed")
	serial, err, _ = shake(t, server, client)
	require.NoError(t, err)
	assert.Equal(t, serialOf(second), serial)
	require.Len(t, told, 3)
	assert.NoError(t, told[2])

	// The authorities of the client are read again too.
	other := certstest.NewAuthority("two")
	other.Issue(certstest.Want{Names: []string{"feed"}}).Write(dir, "feed")
	_, err, _ = shake(t, server, client)
	assert.ErrorContains(t, certs.DialError(err), "signed by CN=two, which is not trusted")
	certstest.WriteFile(dir, "ca.pem", other.PEM)
	_, err, _ = shake(t, server, client)
	assert.NoError(t, err)
}

// A pair that peers would refuse leaves the one before in force.
func TestExpiredPairIsNotTaken(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("one")
	first := a.Issue(certstest.Want{Names: []string{"feed"}})
	cert, key := first.Write(dir, "feed")
	var told []error
	server, err := certs.Server{Cert: cert, Key: key, Changed: func(_ string, err error) { told = append(told, err) }}.Config()
	require.NoError(t, err)
	client, err := certs.Client{CA: certstest.WriteFile(dir, "ca.pem", a.PEM), ServerName: "feed"}.Config()
	require.NoError(t, err)
	a.Issue(certstest.Want{Names: []string{"feed"}, NotAfter: time.Now().Add(-time.Minute)}).Write(dir, "feed")
	serial, err, _ := shake(t, server, client)
	require.NoError(t, err)
	assert.Equal(t, first.TLS.Leaf.SerialNumber.String(), serial)
	require.Len(t, told, 1)
	assert.ErrorContains(t, told[0], "expired on")
	assert.ErrorContains(t, told[0], "the certificate before stays in use")
}

// Check returns the certificate in force, why that is not the one in the files, and as often as it is asked. Clients refuse the
// certificate in force once it has expired.
func TestCheckReportsTheCertificateInForce(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("one")
	first, second := a.Issue(certstest.Want{Names: []string{"feed"}}), a.Issue(certstest.Want{Names: []string{"feed"}})
	cert, key := first.Write(dir, "feed")
	files, err := certs.Server{Cert: cert, Key: key}.Open()
	require.NoError(t, err)
	leaf, err := files.Check()
	require.NoError(t, err)
	assert.True(t, leaf.Equal(first.TLS.Leaf))
	assert.NoError(t, files.Validity(leaf, time.Now()))
	assert.ErrorContains(t, files.Validity(leaf, leaf.NotAfter.Add(time.Second)), "the certificate "+cert+" expired on ")
	certstest.WriteFile(dir, "feed.key", second.Key)
	for range 2 {
		leaf, err = files.Check()
		assert.EqualError(t, err, "the key "+key+" does not belong to the certificate "+cert)
		assert.True(t, leaf.Equal(first.TLS.Leaf))
	}
	second.Write(dir, "feed")
	leaf, err = files.Check()
	require.NoError(t, err)
	assert.True(t, leaf.Equal(second.TLS.Leaf))
}

// The certificate of the server must be for the host, also if that is an IP address, which package tls does not pass on.
func TestHostIsChecked(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("one")
	ca := certstest.WriteFile(dir, "ca.pem", a.PEM)
	for _, test := range []struct {
		names []string // of the certificate
		want  string   // the name asked for, if any
		host  string
		err   string
	}{
		{[]string{"feed", "127.0.0.1", "::1"}, "", "feed", ""},
		{[]string{"feed", "127.0.0.1", "::1"}, "", "127.0.0.1", ""},
		{[]string{"feed", "127.0.0.1", "::1"}, "", "::1", ""},
		{[]string{"feed"}, "feed", "127.0.0.1", ""},
		{[]string{"feed"}, "", "other", "is for feed, not for other"},
		{[]string{"feed"}, "", "127.0.0.1", "is for feed, not for 127.0.0.1"},
		{[]string{"feed"}, "", "::1", "is for feed, not for ::1"},
		{[]string{"127.0.0.1"}, "", "127.0.0.2", "is for 127.0.0.1, not for 127.0.0.2"},
		{[]string{"feed", "127.0.0.1"}, "8.8.8.8", "127.0.0.1", "not for 8.8.8.8"},
		{[]string{"feed"}, "", "", "is not known"},
	} {
		cert, key := a.Issue(certstest.Want{Names: test.names}).Write(dir, "feed")
		server, err := certs.Server{Cert: cert, Key: key}.Config()
		require.NoError(t, err)
		client, err := certs.Client{CA: ca, ServerName: test.want}.Config()
		require.NoError(t, err)
		_, err, _ = shake(t, server, certs.ForHost(client, test.host))
		if test.err == "" {
			assert.NoError(t, err, test.host)
		} else {
			assert.ErrorContains(t, certs.DialError(err), test.err, test.host)
		}
	}
	cert, key := a.Issue(certstest.Want{Names: []string{"feed"}}).Write(dir, "feed")
	server, err := certs.Server{Cert: cert, Key: key}.Config()
	require.NoError(t, err)
	client, err := certs.Client{CA: ca}.Config()
	require.NoError(t, err)
	_, err, _ = shake(t, server, client)
	assert.Error(t, err, "without ForHost nothing is accepted")
}

// The authorities of clients and the client's own pair are read again.
func TestClientFilesAreReadAgain(t *testing.T) {
	dir, a, b := t.TempDir(), certstest.NewAuthority("one"), certstest.NewAuthority("two")
	cert, key := a.Issue(certstest.Want{Names: []string{"feed"}}).Write(dir, "feed")
	admitted := certstest.WriteFile(dir, "clients.pem", a.PEM)
	server, err := certs.Server{Cert: cert, Key: key, ClientCA: admitted}.Config()
	require.NoError(t, err)
	ownCert, ownKey := b.Issue(certstest.Want{Names: []string{"me"}}).Write(dir, "me")
	client, err := certs.Client{CA: admitted, ServerName: "feed", Cert: ownCert, Key: ownKey}.Config()
	require.NoError(t, err)

	_, _, serverErr := shake(t, server, client)
	assert.ErrorContains(t, certs.AcceptError(serverErr), "the client's certificate (me) was signed by CN=two, which is not in --tls-client-ca")
	certstest.WriteFile(dir, "clients.pem", append(a.PEM, b.PEM...))
	_, _, serverErr = shake(t, server, client)
	assert.NoError(t, serverErr)
	certstest.WriteFile(dir, "clients.pem", a.PEM)
	_, _, serverErr = shake(t, server, client)
	assert.ErrorContains(t, certs.AcceptError(serverErr), "was signed by CN=two, which is not in --tls-client-ca", "an authority that was taken away")
	a.Issue(certstest.Want{Names: []string{"me"}}).Write(dir, "me")
	_, _, serverErr = shake(t, server, client)
	assert.NoError(t, serverErr)
}

// The pair and the authorities of clients are in force independently: if one of them cannot be used, a change of the other is
// used all the same.
func TestPairAndAuthoritiesAreIndependent(t *testing.T) {
	dir, a, b := t.TempDir(), certstest.NewAuthority("one"), certstest.NewAuthority("two")
	first, second := a.Issue(certstest.Want{Names: []string{"feed"}}), a.Issue(certstest.Want{Names: []string{"feed"}})
	cert, key := first.Write(dir, "feed")
	admitted := certstest.WriteFile(dir, "clients.pem", append(bytes.Clone(a.PEM), b.PEM...))
	var reported []error
	var whats []string
	files, err := certs.Server{Cert: cert, Key: key, ClientCA: admitted, Changed: func(what string, err error) { reported, whats = append(reported, err), append(whats, what) }}.Open()
	require.NoError(t, err)
	ownCert, ownKey := b.Issue(certstest.Want{Names: []string{"me"}}).Write(dir, "me")
	client, err := certs.Client{CA: certstest.WriteFile(dir, "ca.pem", a.PEM), ServerName: "feed", Cert: ownCert, Key: ownKey}.Config()
	require.NoError(t, err)
	_, _, err = shake(t, files.Config(), client)
	require.NoError(t, err)

	certstest.WriteFile(dir, "feed.pem", second.Cert) // with the key of the first
	certstest.WriteFile(dir, "clients.pem", a.PEM)
	_, _, err = shake(t, files.Config(), client)
	assert.ErrorContains(t, certs.AcceptError(err), "was signed by CN=two, which is not in --tls-client-ca", "taken away while the pair is wrong")
	require.Len(t, reported, 2)
	assert.ErrorContains(t, reported[0], "does not belong")
	assert.ErrorContains(t, reported[0], "; the certificate before stays in use")
	assert.NoError(t, reported[1])
	assert.Equal(t, []string{"the certificate " + cert, "the authorities in " + admitted}, whats)

	certstest.WriteFile(dir, "clients.pem", []byte("hello"))
	_, err = files.Check()
	assert.ErrorContains(t, err, "does not belong")
	assert.ErrorContains(t, err, admitted+" holds no certificate in PEM", "both mistakes at once")
	certstest.WriteFile(dir, "feed.key", second.Key)
	leaf, err := files.Check()
	assert.EqualError(t, err, admitted+" holds no certificate in PEM; want the certificates of authorities")
	assert.True(t, leaf.Equal(second.TLS.Leaf), "renewed while the authorities are wrong")
	_, _, err = shake(t, files.Config(), client)
	assert.ErrorContains(t, certs.AcceptError(err), "was signed by CN=two", "the authorities before stay in force")
}

// Files that cannot be used are errors that name them.
func TestBadFiles(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("one")
	cert, key := a.Issue(certstest.Want{}).Write(dir, "a")
	_, otherKey := a.Issue(certstest.Want{}).Write(dir, "b")
	clientCert, clientKey := a.Issue(certstest.Want{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).Write(dir, "client")
	text := certstest.WriteFile(dir, "text", []byte("hello"))
	locked := certstest.WriteFile(dir, "locked", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("hello")}))
	many := certstest.WriteFile(dir, "many", slices.Concat(a.PEM, certstest.NewAuthority(strings.Repeat("1", 35<<10)).PEM, certstest.NewAuthority(strings.Repeat("2", 35<<10)).PEM))
	for name, c := range map[string]struct {
		files certs.Server
		want  string
	}{
		"no file":               {certs.Server{Cert: filepath.Join(dir, "x"), Key: key}, "x: no such file or directory"},
		"a directory":           {certs.Server{Cert: dir, Key: key}, dir + " is a directory; want a file"},
		"another key":           {certs.Server{Cert: cert, Key: otherKey}, "the key " + otherKey + " does not belong to the certificate " + cert},
		"exchanged":             {certs.Server{Cert: key, Key: cert}, "were the two exchanged?"},
		"no certificate":        {certs.Server{Cert: text, Key: key}, text + " holds no certificate in PEM"},
		"no key":                {certs.Server{Cert: cert, Key: text}, text + " holds no private key in PEM"},
		"a key with a password": {certs.Server{Cert: cert, Key: locked}, locked + " holds no private key in PEM without a password"},
		"one of a client":       {certs.Server{Cert: clientCert, Key: clientKey}, "the certificate " + clientCert + " is not made for a server (extended key usage)"},
		"twice the same":        {certs.Server{Cert: cert, Key: cert}, "were the two exchanged?"},
		"no authority":          {certs.Server{Cert: cert, Key: key, ClientCA: text}, text + " holds no certificate in PEM"},
		"a key of authority":    {certs.Server{Cert: cert, Key: key, ClientCA: key}, key + " holds no certificate in PEM"},
		"too many authorities":  {certs.Server{Cert: cert, Key: key, ClientCA: many}, many + " holds authorities whose names have 71744 bytes in all, and a handshake has room for 61440"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.files.Config()
			assert.ErrorContains(t, err, c.want)
		})
	}
	none := filepath.Join(dir, "none")
	_, err := certs.Server{Cert: none, Key: none + ".key", ClientCA: text}.Config()
	for _, want := range []string{none + ": no such", none + ".key: no such", text + " holds no certificate"} {
		assert.ErrorContains(t, err, want, "all mistakes at once")
	}
	_, err = certs.Client{CA: text, Cert: cert, Key: otherKey}.Config()
	assert.ErrorContains(t, err, text+" holds no certificate")
	assert.ErrorContains(t, err, "does not belong")
	_, err = certs.Client{Cert: clientCert, Key: clientKey}.Config()
	assert.NoError(t, err)
	_, err = certs.Client{CA: text}.Config()
	assert.ErrorContains(t, err, text+" holds no certificate in PEM")
	_, err = certs.Client{Cert: cert, Key: otherKey}.Config()
	assert.ErrorContains(t, err, "does not belong")
}

// A certificate that peers refuse because of its dates is in use, and is reported.
func TestDatesThatPeersRefuseAreReported(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("one")
	for name, c := range map[string]struct {
		want certstest.Want
		says string
	}{
		"expired":       {certstest.Want{NotAfter: time.Now().Add(-time.Minute)}, "expired on"},
		"not valid yet": {certstest.Want{NotBefore: time.Now().Add(time.Hour)}, "is not valid before"},
		"valid":         {certstest.Want{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cert, key := a.Issue(c.want).Write(dir, "feed")
			var told error
			_, err := certs.Server{Cert: cert, Key: key, Changed: func(_ string, err error) { told = err }}.Config()
			require.NoError(t, err)
			if c.says == "" {
				assert.NoError(t, told)
			} else {
				assert.ErrorContains(t, told, c.says)
			}
		})
	}
}

// A certificate has an identity if it is for exactly one name.
func TestIdentityIsOneName(t *testing.T) {
	a := certstest.NewAuthority("one")
	for want, names := range map[string][]string{"desk": {"desk"}, "spiffe://x/desk": {"spiffe://x/desk"}, "10.1.2.3": {"10.1.2.3"}} {
		got, ok := certs.Identity(a.Issue(certstest.Want{Names: names}).TLS.Leaf)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	for _, names := range [][]string{nil, {"desk", "other"}, {"desk", "10.1.2.3"}} {
		_, ok := certs.Identity(a.Issue(certstest.Want{Names: names}).TLS.Leaf)
		assert.False(t, ok, "%v", names)
	}
}

// An error that has nothing to do with TLS stays what it is.
func TestOtherErrors(t *testing.T) {
	err := errors.New("no route to host")
	assert.Equal(t, err, certs.DialError(err))
	assert.Equal(t, err, certs.AcceptError(err))
}

// A certificate that is not trusted is a mistake that a person must mend; a cut and a timeout are not.
func TestIsMistake(t *testing.T) {
	assert.NoError(t, certs.DialError(nil))
	assert.NoError(t, certs.AcceptError(nil))
	a := certstest.NewAuthority("one")
	server := &tls.Config{Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: []string{"feed"}}).TLS}}
	_, err, _ := shake(t, server, &tls.Config{ServerName: "feed"})
	assert.True(t, certs.IsMistake(fmt.Errorf("after 1 attempt: %w", certs.DialError(err))))
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded, errors.New("no route to host"), nil} {
		if err != nil {
			err = certs.DialError(err)
		}
		assert.False(t, certs.IsMistake(err), "%v", err)
	}
}

// The authorities in force stay the same pointer as long as the file holds the same, and are those before while it cannot be used.
func TestAuthoritiesInForce(t *testing.T) {
	dir := t.TempDir()
	a, b := certstest.NewAuthority("a"), certstest.NewAuthority("b")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	cert, key := a.Issue(certstest.Want{Names: []string{"pub"}}).Write(dir, "pub")
	files, err := certs.Server{Cert: cert, Key: key, ClientCA: filepath.Join(dir, "ca.pem")}.Open()
	require.NoError(t, err)
	before := files.ClientCAs()
	assert.True(t, before.Equal(a.Pool()))
	certstest.WriteFile(dir, "ca.pem", []byte("none"))
	assert.Same(t, before, files.ClientCAs())
	certstest.WriteFile(dir, "ca.pem", b.PEM)
	after := files.ClientCAs()
	assert.True(t, after.Equal(b.Pool()))
	assert.Same(t, after, files.ClientCAs())
	without, err := certs.Server{Cert: cert, Key: key}.Open()
	require.NoError(t, err)
	assert.Nil(t, without.ClientCAs())
}
