package certs_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tickfeed/codec/certs"
	"tickfeed/codec/certs/certstest"
)

// A certificate and a key that do not belong together are refused before anything is served.
func ExampleServer_Config() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ca := certstest.NewAuthority("an authority")
	pair, other := ca.Issue(certstest.Want{}), ca.Issue(certstest.Want{})
	server := certs.Server{Cert: certstest.WriteFile(dir, "feed.pem", pair.Cert), Key: certstest.WriteFile(dir, "feed.key", pair.Key), Protocols: []string{certs.Protocol}}
	cfg, err := server.Config()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("at least TLS 1.3:", cfg.MinVersion == tls.VersionTLS13)

	certstest.WriteFile(dir, "feed.key", other.Key)
	_, err = server.Config()
	fmt.Println(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""))
	// Output:
	// at least TLS 1.3: true
	// the key feed.key does not belong to the certificate feed.pem
}

// A client names an authority, and verifies that a server has a certificate of it for the host that the client has dialled.
func ExampleClient_Config() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ca := certstest.NewAuthority("an authority")
	server := ca.Issue(certstest.Want{Names: []string{"feed.example.com"}})
	cfg, err := certs.Client{CA: certstest.WriteFile(dir, "ca.pem", ca.PEM)}.Config()
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server.TLS}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close()
	go func() {
		for nc, err := listener.Accept(); err == nil; nc, err = listener.Accept() {
			_ = nc.(*tls.Conn).Handshake()
			nc.Close()
		}
	}()
	for _, host := range []string{"feed.example.com", "other.example.com"} {
		nc, err := tls.Dial("tcp", listener.Addr().String(), certs.ForHost(cfg, host))
		if err != nil {
			fmt.Println(certs.DialError(err))
			continue
		}
		fmt.Println("connected to", host)
		nc.Close()
	}
	// Output:
	// connected to feed.example.com
	// TLS: the server's certificate is for feed.example.com, not for other.example.com; connect by such a name, or give it with --tls-server-name
}
