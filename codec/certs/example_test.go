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
