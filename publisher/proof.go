package publisher

import (
	"crypto/x509"
	"fmt"
	"time"

	"tickfeed/codec"
)

// A proof is the certificate that a client has shown, and TLS has verified.
type proof struct {
	sent    []*x509.Certificate // the certificate of the client, and those that the client sent with it
	until   time.Time           // when the certificate, or that of the last of its authorities, expires
	checked *x509.CertPool      // the authorities that it was verified with last; only watchLogins uses it
}

// proof returns what the client has shown, or nil if it has shown nothing, or was not verified.
func (c *secureConn) proof() *proof {
	s := c.tls.ConnectionState()
	if len(s.VerifiedChains) == 0 {
		return nil
	}
	x := &proof{sent: s.PeerCertificates}
	for _, chain := range s.VerifiedChains {
		first := chain[0].NotAfter
		for _, cert := range chain[1:] {
			if cert.NotAfter.Before(first) {
				first = cert.NotAfter
			}
		}
		if first.After(x.until) {
			x.until = first
		}
	}
	return x
}

// refuse returns why the client may not stay connected at the time now, or nil. authorities are those in force; nil if that is not
// known.
func (x *proof) refuse(authorities *x509.CertPool, now time.Time) *deniedError {
	if x == nil {
		return nil
	}
	if now.After(x.until) {
		return &deniedError{code: codec.CodeDenied, retry: true,
			text: fmt.Sprintf("the certificate of the client, or of its authority, expired at %s: connect again with a new one", x.until.UTC().Format(time.RFC3339))}
	}
	if authorities == nil || authorities == x.checked {
		return nil
	}
	x.checked = authorities
	o := x509.VerifyOptions{Roots: authorities, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range x.sent[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := x.sent[0].Verify(o); err != nil {
		return &deniedError{code: codec.CodeDenied, retry: true,
			text: fmt.Sprintf("the publisher does not admit the certificate of the client any more, since its authorities have changed: connect again with another one (%v)", err)}
	}
	return nil
}

// A settling value is in use once it has been the same twice: a file that it is made of may be half written.
type settling struct{ seen *x509.CertPool }

// next returns now, or nil if the value before was another one.
func (s *settling) next(now *x509.CertPool) *x509.CertPool {
	if now != s.seen {
		s.seen = now
		return nil
	}
	return now
}
