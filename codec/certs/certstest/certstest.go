// Package certstest makes certificates for tests and benchmarks.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// An Authority signs certificates.
type Authority struct {
	Cert *x509.Certificate
	PEM  []byte
	key  *ecdsa.PrivateKey
}

// A Want describes a certificate. The zero Want is for a server and a client, valid from an hour ago for a day.
type Want struct {
	Names     []string // hosts, IP addresses, or URIs
	NotBefore time.Time
	NotAfter  time.Time
	Usage     []x509.ExtKeyUsage // empty for server and client
}

// A Pair is a certificate with its key.
type Pair struct {
	Cert, Key []byte // PEM
	TLS       tls.Certificate
}

// NewAuthority returns an authority called name. It panics if the system has no random numbers, as the other functions do.
func NewAuthority(name string) *Authority {
	key := newKey()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, t, t, key.Public(), key))
	return &Authority{Cert: must(x509.ParseCertificate(der)), PEM: encode("CERTIFICATE", der), key: key}
}

// Pool returns a pool of the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Cert)
	return p
}

// Issue returns a certificate that a has signed.
func (a *Authority) Issue(w Want) Pair { return issue(w, a.Cert, a.key) }

// SelfSigned returns a certificate that has signed itself.
func SelfSigned(w Want) Pair { return issue(w, nil, nil) }

func issue(w Want, parent *x509.Certificate, signer *ecdsa.PrivateKey) Pair {
	key := newKey()
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "test"}, NotBefore: w.NotBefore, NotAfter: w.NotAfter, ExtKeyUsage: w.Usage}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if len(t.ExtKeyUsage) == 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, n := range w.Names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if u, err := url.Parse(n); err == nil && u.Scheme != "" {
			t.URIs = append(t.URIs, u)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	if parent == nil {
		parent, signer = t, key
	}
	der := must(x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer))
	p := Pair{Cert: encode("CERTIFICATE", der), Key: encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))}
	p.TLS = must(tls.X509KeyPair(p.Cert, p.Key))
	return p
}

// Write writes the pair into dir as NAME.pem and NAME.key, each replaced in one step, and returns the paths.
func (p Pair) Write(dir, name string) (cert, key string) {
	return WriteFile(dir, name+".pem", p.Cert), WriteFile(dir, name+".key", p.Key)
}

// WriteFile replaces the file NAME in dir in one step, and returns its path.
func WriteFile(dir, name string, b []byte) string {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		panic(err)
	}
	return path
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func serial() *big.Int { return must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
