package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// An Error says why a TLS connection could not be made, and what to do.
type Error struct {
	Text string
	Err  error // of package tls or net
}

func (e *Error) Error() string { return "TLS: " + e.Text }

func (e *Error) Unwrap() error { return e.Err }

// IsMistake reports whether err is an Error about something that a person must mend, such as a certificate or an authority, or TLS
// on one side only. It returns false if the connection was cut, or was silent, during the handshake.
func IsMistake(err error) bool {
	var e *Error
	return errors.As(err, &e) && !errors.Is(e.Err, io.EOF) && !errors.Is(e.Err, io.ErrUnexpectedEOF) && !isTimeout(e.Err)
}

// Flags of command tickfeed that an Error names.
const (
	flagsOwn  = "--tls-cert and --tls-key"
	flagTrust = "--tls-ca"
	flagName  = "--tls-server-name"
	flagAdmit = "--tls-client-ca"
)

// pairError explains err, of tls.X509KeyPair.
func pairError(certPath, keyPath string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "does not match"):
		return fmt.Errorf("the key %s does not belong to the certificate %s", keyPath, certPath)
	case strings.Contains(text, "PEM inputs may have been switched"), strings.Contains(text, "found a certificate rather than a key"):
		return fmt.Errorf("%s holds no certificate, or %s no private key: were the two exchanged?", certPath, keyPath)
	case strings.Contains(text, "find any PEM data in certificate"), strings.Contains(text, "\"CERTIFICATE\""):
		return fmt.Errorf("%s holds no certificate in PEM", certPath)
	case strings.Contains(text, "PEM"), strings.Contains(text, "failed to parse private key"): // the latter if it has a password
		return fmt.Errorf("%s holds no private key in PEM without a password", keyPath)
	}
	return fmt.Errorf("%s and %s: %s", certPath, keyPath, strings.TrimPrefix(text, "tls: "))
}

// DialError explains err, which ended a handshake with a server, or the first read after it: a server that refuses the
// certificate of a client says so then. It returns err itself if it has nothing to do with TLS, or is nil.
func DialError(err error) error {
	if err == nil {
		return nil
	}
	text := dialText(err, time.Now())
	if text == "" {
		return err
	}
	return &Error{Text: text, Err: err}
}

// IsFeed reports whether err ended a handshake because a publisher that does not speak TLS refused it.
func IsFeed(err error) bool {
	var header tls.RecordHeaderError
	h := &header.RecordHeader
	return errors.As(err, &header) && h[0] >= 0x90 && h[0] <= 0x9f && h[1] == 3 // a refusal: see PROTOCOL.md
}

func dialText(err error, now time.Time) string {
	var header tls.RecordHeaderError
	var unverified *tls.CertificateVerificationError
	switch alert := alertOf(err); {
	case errors.As(err, &header):
		if bytes.HasPrefix(header.RecordHeader[:], []byte("HTTP")) {
			return "an HTTP server without TLS answers there: connect to the address of the feed (--listen of the publisher, not --http)"
		}
		if IsFeed(err) {
			return "the publisher does not speak TLS here; connect without --tls, or to its TLS port"
		}
		return "the server does not speak TLS; connect without --tls, or to another port"
	case errors.As(err, &unverified):
		return serverCertificate(unverified, now)
	case alert == "certificate required":
		return "the server demands a certificate of its clients; name one with " + flagsOwn
	case alert == "unknown certificate authority":
		return "the server does not trust the authority that signed the certificate of this client; have it signed by one in the server's " +
			flagAdmit + ", or name another with " + flagsOwn
	case alert == "expired certificate":
		return "the server refuses the certificate of this client: it has expired, or is not valid yet; renew it (" + flagsOwn + "), or set the clock"
	case alert == "bad certificate", alert == "unsupported certificate", alert == "unknown certificate", alert == "revoked certificate", alert == "access denied":
		return "the server refuses the certificate of this client (" + alert + "): its log says why; name another with " + flagsOwn
	case alert == "protocol version not supported", strings.Contains(err.Error(), "unsupported protocol version"):
		return "the server does not speak TLS 1.3, and tickfeed nothing older; update the server or what stands before it"
	case alert == "no application protocol", strings.Contains(err.Error(), "unadvertised ALPN"):
		return "the server speaks TLS, but not " + Protocol + ": is it a publisher?"
	case alert != "":
		return "the server ended the handshake: " + alert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection during the handshake: does it speak TLS?"
	case isTimeout(err):
		return "the server did not answer the handshake: does it speak TLS?"
	case strings.HasPrefix(err.Error(), "tls: "):
		return strings.TrimPrefix(err.Error(), "tls: ")
	}
	return ""
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// serverCertificate says what is wrong with the certificate of a server.
func serverCertificate(e *tls.CertificateVerificationError, now time.Time) string {
	leaf := e.UnverifiedCertificates[0]
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var roots x509.SystemRootsError
	switch {
	case errors.As(e.Err, &name):
		held := strings.Join(names(leaf), ", ")
		if held == "" {
			return fmt.Sprintf("the server's certificate names no host, and so not %s; it needs a subject alternative name", name.Host)
		}
		return fmt.Sprintf("the server's certificate is for %s, not for %s; connect by such a name, or give it with %s", held, name.Host, flagName)
	case errors.As(e.Err, &roots):
		return "this system trusts no authorities; name the server's with " + flagTrust
	case errors.As(e.Err, &unknown):
		if selfSigned(leaf) {
			return "the server's certificate is self-signed and not trusted; if it is the right one, name its file with " + flagTrust
		}
		return fmt.Sprintf("the server's certificate was signed by %s, which is not trusted; name the certificate of that authority with %s", subject(leaf.Issuer.String()), flagTrust)
	}
	return "the server's certificate " + fault(e, now, "server") + "; the server needs another"
}

// fault says what is wrong with a certificate that has nothing to do with its name or authority.
func fault(e *tls.CertificateVerificationError, now time.Time, peer string) string {
	var invalid x509.CertificateInvalidError
	if !errors.As(e.Err, &invalid) {
		return "is not valid: " + strings.TrimPrefix(e.Err.Error(), "x509: ")
	}
	switch c := invalid.Cert; {
	case invalid.Reason == x509.Expired && c != nil && now.Before(c.NotBefore):
		return fmt.Sprintf("is not valid before %s (or is the clock wrong?)", date(c.NotBefore))
	case invalid.Reason == x509.Expired && c != nil:
		return "expired on " + date(c.NotAfter)
	case invalid.Reason == x509.IncompatibleUsage:
		return "is not made for a " + peer + " (extended key usage)"
	}
	return "is not valid: " + strings.TrimPrefix(e.Err.Error(), "x509: ")
}

// AcceptError explains err, which ended a handshake with a client. It returns err itself if it has nothing to do with TLS, or is nil.
func AcceptError(err error) error {
	if err == nil {
		return nil
	}
	text := acceptText(err, time.Now())
	if text == "" {
		return err
	}
	return &Error{Text: text, Err: err}
}

func acceptText(err error, now time.Time) string {
	var unverified *tls.CertificateVerificationError
	text := err.Error()
	switch alert := alertOf(err); {
	case errors.As(err, new(tls.RecordHeaderError)):
		return "the client does not speak TLS; it must connect with --tls"
	case errors.As(err, &unverified):
		return clientCertificate(unverified, now)
	case strings.Contains(text, "didn't provide a certificate"):
		return "the client has no certificate, which " + flagAdmit + " demands; it must name one with " + flagsOwn
	case strings.Contains(text, "unsupported versions"), alert == "protocol version not supported":
		return "the client does not speak TLS 1.3, and nothing older is spoken here; update the client"
	case strings.Contains(text, "unsupported application protocols"):
		return "the client wants another protocol than " + Protocol + ": is it a subscriber?"
	case alert == "unknown certificate authority":
		return "the client does not trust the authority of this certificate; it must name that authority with " + flagTrust
	case strings.Contains(alert, "certificate"):
		return "the client refuses this certificate (" + alert + "): it is for another name, has expired, or is of an authority that the client does not trust; the client's error says which"
	case alert != "":
		return "the client ended the handshake: " + alert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the client closed the connection during the handshake"
	case isTimeout(err):
		return "the client did not complete the handshake in time"
	case strings.HasPrefix(text, "tls: "):
		return strings.TrimPrefix(text, "tls: ")
	}
	return ""
}

// clientCertificate says what is wrong with the certificate of a client.
func clientCertificate(e *tls.CertificateVerificationError, now time.Time) string {
	leaf := e.UnverifiedCertificates[0]
	who := "the client's certificate"
	if n := names(leaf); len(n) > 0 {
		who += " (" + strings.Join(n, ", ") + ")"
	}
	if errors.As(e.Err, new(x509.UnknownAuthorityError)) {
		by := subject(leaf.Issuer.String())
		if selfSigned(leaf) {
			by = "itself"
		}
		return fmt.Sprintf("%s was signed by %s, which is not in %s", who, by, flagAdmit)
	}
	return who + " " + fault(e, now, "client") + "; the client needs another (" + flagsOwn + ")"
}

// alertOf returns the alert of the peer that err reports, or "".
func alertOf(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && op.Err != nil {
		return strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return ""
}

// IsAlert reports whether err is an alert of the peer.
func IsAlert(err error) bool { return alertOf(err) != "" }

// Bounds of the names of a certificate in a text: the peer chose them.
const (
	maxNames  = 5
	maxLength = 200 // bytes of one of them
)

func names(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	all = append(all, c.EmailAddresses...)
	for _, u := range c.URIs {
		all = append(all, u.String())
	}
	if len(all) > maxNames {
		all = append(all[:maxNames:maxNames], "…")
	}
	for i, name := range all {
		if len(name) > maxLength {
			all[i] = strings.ToValidUTF8(name[:maxLength], "") + "…"
		}
	}
	return all
}

func subject(name string) string {
	if name == "" {
		return "an authority without a name"
	}
	return name
}

func selfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }
