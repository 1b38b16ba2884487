package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"tickfeed/codec/certs"
	"tickfeed/codec/lab"
)

// groupTLS is the heading of the flags below.
const groupTLS = "TLS"

// serveTLS are the TLS flags of the commands that listen.
type serveTLS struct {
	prefix              string // of the flags, such as http-
	cert, key, clientCA string

	files *certs.Files // as config read them; nil for none
}

func (o *serveTLS) define(f *pflag.FlagSet) {
	name := func(flag string) string { return o.prefix + flag }
	f.StringVar(&o.cert, name("tls-cert"), "", "speak TLS 1.3 only, with the certificate in `FILE` (PEM, followed by those of its authorities); read again at each connection, so that a renewed one is used at once")
	f.StringVar(&o.key, name("tls-key"), "", "the private key of --"+name("tls-cert")+", in `FILE`")
	f.StringVar(&o.clientCA, name("tls-client-ca"), "", "admit only clients with a certificate of an authority in `FILE`; a connection ends when the certificate expires or its authority is removed from FILE")
}

// config returns the configuration for listeners that speak one of protocols, or nil if the flags were not given. Changes of the
// files are logged.
func (o *serveTLS) config(log zerolog.Logger, protocols ...string) (*tls.Config, error) {
	switch {
	case o.cert == "" && o.key == "" && o.clientCA == "":
		return nil, nil
	case o.cert == "" || o.key == "":
		return nil, usage("--%stls-cert and --%[1]stls-key belong together, and --%[1]stls-client-ca needs both", o.prefix)
	}
	files, err := certs.Server{Cert: o.cert, Key: o.key, ClientCA: o.clientCA, Protocols: protocols, Changed: func(what string, err error) {
		if err != nil {
			log.Error().Err(err).Msg("there is a problem with the TLS files")
		} else {
			log.Info().Msg("changed, and now in use: " + what)
		}
	}}.Open()
	if err != nil {
		return nil, usage("%w", tlsFileError(err, o.prefix, [][2]string{{"tls-cert", o.cert}, {"tls-key", o.key}, {"tls-client-ca", o.clientCA}}))
	}
	if o.files == nil { // otherwise config was called for the feed, and this is HTTP
		o.files = files
	}
	return files.Config(), nil
}

// clientCAs returns what publisher.Config takes: the authorities in force, or nil if clients need no certificate. The caller must have
// called config.
func (o *serveTLS) clientCAs() func() *x509.CertPool {
	if o.clientCA == "" {
		return nil
	}
	return o.files.ClientCAs
}

// reloadables returns the certificate files, which reload reads again. They are also read at each connection.
func (o *serveTLS) reloadables() []reloadable {
	if o.cert == "" {
		return nil
	}
	return []reloadable{{groupTLS, func() (string, error) {
		text, warning, err := o.describe()
		if warning != nil {
			text += ": " + warning.Error()
		}
		return text, err
	}}}
}

// describe reads the files again and says which certificate is in force. The warning is why clients refuse it because of its dates, and
// err why the files are not in force. The caller must have called config.
func (o *serveTLS) describe() (text string, warning, err error) {
	leaf, err := o.files.Reload()
	if err != nil {
		return "", nil, err
	}
	name, ok := certs.Identity(leaf)
	if !ok {
		name = cmp.Or(strings.Join(leaf.DNSNames, ", "), leaf.Subject.String())
	}
	text = fmt.Sprintf("the certificate %s of %s, until %s", o.cert, name, leaf.NotAfter.UTC().Format(time.RFC3339))
	if o.clientCA != "" {
		text += ", and clients of the authorities in " + o.clientCA
	}
	return text, o.files.Validity(leaf, time.Now()), nil
}

// dialTLS are the TLS flags of the commands that connect.
type dialTLS struct {
	prefix                    string // of the flags, such as upstream-
	on, insecure              bool
	ca, cert, key, serverName string
}

func (o *dialTLS) define(f *pflag.FlagSet) {
	name := func(flag string) string { return o.prefix + flag }
	f.BoolVar(&o.on, name("tls"), false, "speak TLS; the other flags of TLS imply it")
	f.StringVar(&o.ca, name("tls-ca"), "", "trust the authorities, or the self-signed certificate, in `FILE` (PEM), not those of the system; read again at each connection")
	f.StringVar(&o.cert, name("tls-cert"), "", "show the certificate in `FILE` if the publisher asks for one")
	f.StringVar(&o.key, name("tls-key"), "", "the private key of that certificate, in `FILE`")
	f.StringVar(&o.serverName, name("tls-server-name"), "", "the `NAME` that the publisher's certificate must be for (default: the host in ADDR)")
	f.BoolVar(&o.insecure, name("insecure"), false, "accept any certificate: anyone between here and the publisher can then read and change everything")
	excludeEachOther(f, name("insecure"), name("tls-ca"))
}

// config returns the configuration, or nil if no flag was given. say is called if files change.
func (o *dialTLS) config(say func(format string, args ...any)) (*tls.Config, error) {
	switch {
	case !o.on && !o.insecure && o.ca == "" && o.cert == "" && o.key == "" && o.serverName == "":
		return nil, nil
	case (o.cert == "") != (o.key == ""):
		return nil, usage("--%stls-cert and --%[1]stls-key belong together", o.prefix)
	case o.insecure && o.ca != "":
		return nil, usage("--%sinsecure and --%[1]stls-ca exclude each other: any certificate would be accepted", o.prefix)
	}
	cfg, err := certs.Client{
		CA: o.ca, Cert: o.cert, Key: o.key, ServerName: o.serverName, Insecure: o.insecure,
		Changed: func(_ string, err error) {
			if err != nil {
				say("TLS: %v", err)
			}
		},
	}.Config()
	if err != nil {
		return nil, usage("%w", tlsFileError(err, o.prefix, [][2]string{{"tls-ca", o.ca}, {"tls-cert", o.cert}, {"tls-key", o.key}}))
	}
	return cfg, nil
}

// tlsFileError returns err, in which package certs joins what is wrong with files, with the flag that names each file. flags are pairs
// of a flag, without prefix, and its file.
func tlsFileError(err error, prefix string, flags [][2]string) error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		var named []error
		for _, err := range all.Unwrap() {
			named = append(named, tlsFileError(err, prefix, flags))
		}
		return errors.Join(named...)
	}
	of := (*fs.PathError)(nil)
	for _, f := range flags {
		if errors.As(err, &of) && of.Path == f[1] || f[1] != "" && strings.HasPrefix(err.Error(), f[1]+" ") {
			return fmt.Errorf("--%s%s: %w", prefix, f[0], err)
		}
	}
	return fmt.Errorf("TLS: %w", err) // of two files, which it names by what they are
}

// dialSecure connects to addr, over TLS if cfg is not nil.
func dialSecure(ctx context.Context, addr string, cfg *tls.Config) (net.Conn, error) {
	nc, err := dial(ctx, addr)
	if err != nil || cfg == nil {
		return nc, err
	}
	return lab.Secure(ctx, nc, certs.ForHost(cfg, serverName(addr)))
}

// serverName returns the name that the certificate of a server at addr must be for, by default.
func serverName(addr string) string {
	if strings.HasPrefix(addr, unixPrefix) {
		return "localhost"
	}
	host, _, _ := net.SplitHostPort(addr)
	return host
}
