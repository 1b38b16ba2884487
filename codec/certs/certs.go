// Package certs makes TLS configurations of certificate files that may be replaced while they are in use, and says what is
// wrong when a handshake fails.
//
//	serve := certs.Server{Cert: "feed.pem", Key: "feed.key", ClientCA: "clients.pem", Protocols: []string{certs.Protocol}}
//	cfg, err := serve.Config()                                  // for publisher.Config.TLS
//	cfg, err = certs.Client{CA: "ca.pem"}.Config()              // for subscriber.Config.TLS
//
// The files are read at each handshake, so that a new pair is used at once. A certificate and a key that cannot be used, such as
// two that do not match, leave the pair before in force, and authorities that cannot be used leave the ones before in force. Only TLS
// 1.3 is spoken, and sessions are not resumed: each connection proves again who it is.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tickfeed/codec/smallfile"
)

// Protocol is the ALPN name of the stream.
const Protocol = "tickfeed/1"

// A Server names the files of a listener.
type Server struct {
	Cert, Key string // in PEM; the certificate first, then those of its authorities
	// ClientCA holds the certificates of the authorities whose clients are admitted, in PEM. If it is empty, clients need no
	// certificate.
	ClientCA string
	// Protocols are the ALPN names that clients may ask for: Protocol for the stream, none for HTTP. A client that asks for none
	// is admitted, and one that asks for others is not.
	Protocols []string
	// Changed is called when a pair or authorities that changed are in use, with nil, and when they are not, with the reason; what
	// names the certificate or the file of the authorities. The reason is also given if a certificate is in use that clients will
	// refuse, because of its dates. Changed may be nil, and may be called by several goroutines, but not at the same time.
	Changed func(what string, err error)
}

// Config returns the configuration, or an error if the files cannot be used.
func (s Server) Config() (*tls.Config, error) {
	f, err := s.Open()
	if err != nil {
		return nil, err
	}
	return f.Config(), nil
}

// Open reads the files. It returns an error if they cannot be used.
func (s Server) Open() (*Files, error) {
	changed := oneAtATime(s.Changed)
	f := &Files{cert: s.Cert, protocols: s.Protocols, pair: watchPair(s.Cert, s.Key, forServers, changed)}
	err := f.pair.open()
	if s.ClientCA != "" {
		f.clients = watchPool(s.ClientCA, changed)
		f.clients.build = func(files [][]byte) (*x509.CertPool, error, error) {
			p, err := pool(s.ClientCA, files[0])
			return p, nil, errors.Join(err, fewSubjects(s.ClientCA, files[0]))
		}
		err = errors.Join(err, f.clients.open())
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Files are the files of a listener, which may change. Its methods are safe for concurrent use.
//
// The pair and the authorities of clients are in force independently of each other: a pair that cannot be used does not keep an
// authority admitted that was taken away.
type Files struct {
	cert      string
	protocols []string
	pair      *watched[*tls.Certificate]
	clients   *watched[*x509.CertPool] // nil if clients need no certificate
}

// Config returns the configuration of the listener.
func (f *Files) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.current(), nil },
	}
}

// current returns the configuration of a handshake.
func (f *Files) current() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*f.pair.current()}, NextProtos: f.protocols, SessionTicketsDisabled: true,
	}
	if f.clients != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, f.clients.current()
	}
	return cfg
}

// ClientCAs returns the authorities whose clients are admitted, or nil if clients need no certificate. It reads the file again, and
// returns the same pointer as long as that holds the same. It is for publisher.Config.
func (f *Files) ClientCAs() *x509.CertPool {
	if f.clients == nil {
		return nil
	}
	return f.clients.current()
}

// Check reads the files again and returns the certificate in force. The error joins why the pair and the authorities in force are
// not those in the files.
func (f *Files) Check() (*x509.Certificate, error) { return f.check(true) }

// Reload does what Check does, and does not call Changed with the error that it returns.
func (f *Files) Reload() (*x509.Certificate, error) { return f.check(false) }

func (f *Files) check(reportWrong bool) (*x509.Certificate, error) {
	pair, err := f.pair.check(reportWrong)
	if f.clients != nil {
		_, wrong := f.clients.check(reportWrong)
		err = errors.Join(err, wrong)
	}
	return pair.Leaf, err
}

// Validity returns an error if clients refuse leaf, a certificate that Check returned, at the time now because of its dates.
func (f *Files) Validity(leaf *x509.Certificate, now time.Time) error {
	return validity(f.cert, leaf, now)
}

// A Client names the files of a client. Its zero value trusts the authorities of the system.
type Client struct {
	CA         string // certificates of the authorities that are trusted, in PEM; empty for those of the system
	Cert, Key  string // the client's own certificate, in PEM; empty for none
	ServerName string // the name that the server's certificate must hold; empty for the host that is dialled
	Insecure   bool   // accept any certificate: the connection is encrypted, but the server may be anyone
	Changed    func(what string, err error)
}

// Config returns the configuration, or an error if the files cannot be used. See ForHost.
func (c Client) Config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: c.ServerName, InsecureSkipVerify: true} // see VerifyConnection
	changed := oneAtATime(c.Changed)
	var err error
	if !c.Insecure {
		roots := func() *x509.CertPool { return nil } // those of the system
		if c.CA != "" {
			w := watchPool(c.CA, changed)
			err, roots = w.open(), w.current
		}
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return verify(s, roots()) }
	}
	if c.Cert != "" || c.Key != "" {
		own := watchPair(c.Cert, c.Key, forAll, changed)
		err = errors.Join(err, own.open())
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.current(), nil }
	}
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// ForHost returns the configuration for a connection to host, a name or an IP address: the certificate of the server must be for
// it, or for cfg.ServerName if that is set. A client must use ForHost for each connection: package tls does not pass an IP address
// on to the check that Client.Config makes.
func ForHost(cfg *tls.Config, host string) *tls.Config {
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if check := cfg.VerifyConnection; check != nil {
		name := cfg.ServerName
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			s.ServerName = name
			return check(s)
		}
	}
	return cfg
}

// verify does what package tls does if InsecureSkipVerify is false, with the authorities of now. It accepts no certificate if
// the name of the server is not known.
func verify(s tls.ConnectionState, roots *x509.CertPool) error {
	switch {
	case len(s.PeerCertificates) == 0:
		return errors.New("tls: the server sent no certificate")
	case s.ServerName == "":
		return errors.New("tls: the name of the server is not known")
	}
	o := x509.VerifyOptions{Roots: roots, DNSName: s.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := s.PeerCertificates[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
	}
	return nil
}

// Identity returns the one name that a certificate is for: a DNS name, an email address, an IP address or a URI. It returns
// false if the certificate has none, or several: it then names nobody in particular.
func Identity(c *x509.Certificate) (string, bool) {
	names := slices.Concat(c.DNSNames, c.EmailAddresses)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	if len(names) != 1 {
		return "", false
	}
	return names[0], true
}

// A watched is a value made of files, which are read again each time it is asked for.
type watched[T any] struct {
	paths []string
	// build makes the value of files, and joins all mistakes in them. A file that is nil could not be read, which is reported besides.
	build   func(files [][]byte) (value T, warning, err error)
	changed func(error) // not nil
	before  string      // what stays in use if files cannot be used, for people

	mu      sync.Mutex
	tried   string // what was read last, used or not
	wrong   error  // why what was read last is not used; nil if it is
	value   T
	doubted bool // there was a warning of value
}

// A purpose is what a certificate must be made for.
type purpose bool

const (
	forAll     purpose = false
	forServers purpose = true
)

// watchPair returns the pair of a certificate, which must be made for purpose, and its key. The warning is why peers refuse it
// because of its dates.
func watchPair(cert, key string, purpose purpose, changed func(string, error)) *watched[*tls.Certificate] {
	build := func(files [][]byte) (*tls.Certificate, error, error) {
		pair, err := keyPair(cert, key, files[0], files[1])
		if err != nil || pair.Leaf == nil {
			return nil, nil, err
		}
		if purpose == forServers && !isForServers(pair.Leaf) {
			return nil, nil, fmt.Errorf("the certificate %s is not made for a server (extended key usage), and every client refuses it: have one issued with serverAuth", cert)
		}
		return &pair, validity(cert, pair.Leaf, time.Now()), nil
	}
	what := "the certificate " + cert
	return &watched[*tls.Certificate]{
		paths: []string{cert, key}, build: build, before: "the certificate before stays in use", changed: func(err error) { changed(what, err) },
	}
}

// watchPool returns the authorities in the file at path.
func watchPool(path string, changed func(string, error)) *watched[*x509.CertPool] {
	build := func(files [][]byte) (*x509.CertPool, error, error) {
		p, err := pool(path, files[0])
		return p, nil, err
	}
	what := "the authorities in " + path
	return &watched[*x509.CertPool]{
		paths: []string{path}, build: build, before: "the authorities before stay in use", changed: func(err error) { changed(what, err) },
	}
}

// oneAtATime returns a function that calls changed, if it is not nil, for one caller after the other.
func oneAtATime(changed func(string, error)) func(string, error) {
	if changed == nil {
		return func(string, error) {}
	}
	var mu sync.Mutex
	return func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		changed(what, err)
	}
}

// open reads the files for the first time.
func (w *watched[T]) open() error {
	files, err := w.read()
	value, warning, wrong := w.build(files)
	if err := errors.Join(err, wrong); err != nil {
		return err
	}
	w.tried, w.value, w.doubted = digest(files, nil), value, warning != nil
	if warning != nil {
		w.changed(warning)
	}
	return nil
}

// current reads the files, and returns the value made of them or, if they cannot be used, the one before.
func (w *watched[T]) current() T {
	value, _ := w.check(true)
	return value
}

// check returns the value that current returns, and why it is not made of the files. If the files have changed, it calls changed;
// with the error that it returns only if reportWrong is true.
func (w *watched[T]) check(reportWrong bool) (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	files, err := w.read()
	if d := digest(files, err); d != w.tried {
		w.tried = d
		w.renewLocked(files, err, reportWrong)
	}
	return w.value, w.wrong
}

// renewLocked puts files into use if it can; err is why they could not be read.
func (w *watched[T]) renewLocked(files [][]byte, err error, reportWrong bool) {
	value, warning, wrong := w.build(files)
	if err = errors.Join(err, wrong); err == nil && warning != nil && !w.doubted {
		err = warning // what is in use was right when it was read
	}
	if w.wrong = err; err != nil {
		if reportWrong {
			w.changed(fmt.Errorf("%w; %s", err, w.before))
		}
		return
	}
	w.value, w.doubted = value, warning != nil
	w.changed(warning)
}

// read returns the content of each file, nil for one that cannot be read. The error joins all reasons.
func (w *watched[T]) read() (files [][]byte, wrong error) {
	for _, path := range w.paths {
		b, err := smallfile.Read(path, "at each handshake")
		if err != nil {
			b = nil
			wrong = errors.Join(wrong, err)
		}
		files = append(files, b)
	}
	return files, wrong
}

// digest returns a string that differs if the files, or the error, do.
func digest(files [][]byte, err error) string {
	return fmt.Sprintf("%v\x00", err) + string(bytes.Join(files, []byte{0}))
}

// keyPair returns a zero certificate if cert or key is nil, which is to say could not be read.
func keyPair(certPath, keyPath string, cert, key []byte) (tls.Certificate, error) {
	if cert == nil || key == nil {
		return tls.Certificate{}, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, pairError(certPath, keyPath, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return pair, fmt.Errorf("%s: %w", certPath, err)
		}
	}
	return pair, nil
}

// maxSubjects bounds the names of the authorities that a server admits, in bytes: it sends them in each handshake, in one message of at most
// 64 KiB.
const maxSubjects = 60 << 10

// fewSubjects returns an error if the names of the authorities in b, the content of the file at path, are too long for a handshake.
func fewSubjects(path string, b []byte) error {
	n, seen := 0, make(map[string]bool)
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && !seen[string(c.Raw)] {
			n, seen[string(c.Raw)] = n+len(c.RawSubject)+2, true
		}
	}
	if n > maxSubjects {
		return fmt.Errorf("%s holds authorities whose names have %d bytes in all, and a handshake has room for %d: put only the authorities into the file that sign certificates of clients", path, n, maxSubjects)
	}
	return nil
}

func pool(path string, pem []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if pem == nil { // it could not be read
		return p, nil
	}
	if !p.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM; want the certificates of authorities", path)
	}
	return p, nil
}

// isForServers reports whether clients accept c as the certificate of a server. One that names no usage may be used for all.
func isForServers(c *x509.Certificate) bool {
	all := len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0
	return all || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// validity returns an error if peers refuse c now because of its dates.
func validity(path string, c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("the certificate %s expired on %s, and peers refuse it: renew it", path, date(c.NotAfter))
	case now.Before(c.NotBefore):
		return fmt.Errorf("the certificate %s is not valid before %s, and peers refuse it until then: is the clock right?", path, date(c.NotBefore))
	}
	return nil
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
