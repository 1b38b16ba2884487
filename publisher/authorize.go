package publisher

import (
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"tickfeed/codec"
)

// permissionInterval is how often the permission and the certificate of each connection are checked.
const permissionInterval = time.Second

// checkLogin checks the credentials of the client, and grants the part of the hello that it may have. It returns a refusal if that
// is nothing.
func (c *conn) checkLogin(h *codec.Hello) *codec.Refusal {
	cfg := &c.p.cfg
	login := c.client.login // nil without Token and Authorize
	if cfg.Authorize == nil {
		if cfg.Token != "" && subtle.ConstantTimeCompare(login.Token[:], c.p.serving.token[:]) != 1 {
			text := "the token is wrong"
			if login.Token == (Login{}).Token {
				text = "no token was sent"
			}
			return &codec.Refusal{Code: codec.CodeUnauthorized, Text: text}
		}
		return nil
	}
	permit, err := c.p.authorize(*login)
	if err == nil {
		err = permit.permits(h.Slow)
	}
	if err == nil {
		c.line.grant, err = permit.grant(h.Filter)
	}
	if denied := (*deniedError)(nil); errors.As(err, &denied) {
		return &codec.Refusal{Code: denied.code, Text: denied.text, Retry: denied.retry}
	}
	c.client.user, c.line.permit, c.mail.permit = permit.User, permit, permit
	c.selected.Store(c.line.selection())
	for _, f := range h.Features {
		c.client.narrow = c.client.narrow || f == codec.FeatureNarrow
	}
	return nil
}

// authorize returns the permission of a user. The error is a *deniedError.
func (p *Publisher) authorize(login Login) (*Permission, error) {
	permit, err := p.cfg.Authorize(login)
	switch {
	case err != nil:
		return nil, &deniedError{code: codec.CodeUnauthorized, text: err.Error()}
	case permit == nil:
		return nil, &deniedError{code: codec.CodeUnauthorized, text: errUnauthorized.Error()}
	}
	if err := permit.check(); err != nil {
		p.cfg.Logger.Error().Err(err).Msg("a permission cannot be used")
		return nil, &deniedError{code: codec.CodeInternal, text: "the permission of the user cannot be used: see the log of the publisher", retry: true}
	}
	return permit, nil
}

// watchLogins checks the permissions and the certificates of all connections until the publisher closes.
func (p *Publisher) watchLogins() {
	tick := time.NewTicker(permissionInterval)
	defer tick.Stop()
	var authorities settling
	for {
		select {
		case <-tick.C:
		case <-p.flusher.closing:
			return
		}
		var inForce *x509.CertPool
		if p.cfg.ClientCAs != nil {
			inForce = authorities.next(p.cfg.ClientCAs())
		}
		now := time.Unix(0, p.cfg.Now())
		for _, c := range p.serving.roster.all() {
			if denied := c.client.proof.refuse(inForce, now); denied != nil {
				if c.mail.deny(denied) {
					c.signal()
				}
				continue
			}
			if p.cfg.Authorize == nil {
				continue
			}
			permit, err := p.authorize(*c.client.login)
			denied := (*deniedError)(nil)
			if name := "user " + c.client.user; errors.As(err, &denied) && !strings.HasPrefix(denied.text, name) {
				denied.text = name + " may not connect any more: " + denied.text
			}
			switch {
			case denied != nil && c.mail.deny(denied), err == nil && c.mail.allow(permit):
				c.signal()
			}
		}
	}
}

// followPermission makes the line follow the permission of its user, if that has changed, and reports it to the client. It returns false if it has
// not, and an error if the connection must end.
func (c *conn) followPermission() (changed bool, err error) {
	permit := c.mail.newPermit()
	if permit == nil {
		return false, nil
	}
	l := &c.line
	g, err := permit.grant(l.filter)
	if err == nil {
		err = permit.permits(c.slow.policy)
	}
	if err != nil {
		return false, err
	}
	due := l.read < max(c.progress.position, l.floor) // the client waits for its position, or for a snapshot
	next, _ := c.p.log.head()
	if oldest, limited := permit.oldest(c.p.cfg.Now()); limited && permit.History != l.permit.History {
		l.floor = max(l.floor, min(c.p.seqAt(oldest), next))
	}
	switch {
	case permit.User == c.client.user && permit.sameView(l.permit):
		l.permit = permit
		return true, nil
	case permit.User != c.client.user, !c.client.narrow, due:
		return false, &deniedError{code: codec.CodeDenied, text: "what user " + permit.User + " may see has changed: connect again", retry: true}
	}
	if err := c.skipUnwanted(); err != nil {
		return false, err
	}
	c.refilter(l.filter, permit, g, c.p.seq.catalog())
	var held *snapshot
	if l.next > 1 && l.next >= l.floor { // otherwise there is no state yet, or a snapshot follows what is gone
		if held, err = c.snapshotAt(l.next, codec.ScopeAll, nil); err != nil {
			return false, err
		} else if held == nil {
			return false, &unreadableError{l.next}
		}
	}
	return true, c.sendSubscribed(0, held)
}
