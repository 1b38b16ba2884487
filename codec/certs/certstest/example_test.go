package certstest_test

import (
	"crypto/x509"
	"fmt"

	"tickfeed/codec/certs/certstest"
)

// A client that trusts the authority accepts its certificate, for the names in it only.
func ExampleAuthority_Issue() {
	ca := certstest.NewAuthority("an authority")
	pair := ca.Issue(certstest.Want{Names: []string{"feed.example.com", "127.0.0.1"}})
	for _, name := range []string{"feed.example.com", "127.0.0.1", "other.example.com"} {
		_, err := pair.TLS.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool()})
		fmt.Println(name, err == nil)
	}
	// Output:
	// feed.example.com true
	// 127.0.0.1 true
	// other.example.com false
}
