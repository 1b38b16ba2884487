package exam

import (
	"bytes"
	"os"
	"slices"
	"time"

	"tickfeed/codec"
)

var lifeCases = []Case{
	{
		ID: "life-heartbeats", Rule: "a heartbeat comes whenever nothing else was sent for one interval", Section: inConnection, Needs: []Ability{Input},
		Does: "Nothing is published for ten intervals.",
		probe: func(p *probe) {
			p.begin(20)
			p.all()
			l := p.witness
			l.mu.Lock()
			l.longest, l.beats = 0, 0
			l.mu.Unlock()
			p.pause(10 * l.interval)
			l.mu.Lock()
			defer l.mu.Unlock()
			if most := 5 * l.interval / 2; l.longest > most || l.beats < 4 {
				p.isLate()
				p.throwf("in ten intervals of %v there were %d heartbeats, and up to %v passed without a message", l.interval, l.beats, l.longest.Round(time.Millisecond))
			}
		},
	},
	{
		ID: "life-head", Rule: "the head of a heartbeat is the next number of the session, not more", Section: inHeartbeat, Needs: []Ability{Input},
		Does: "Nothing is published for some intervals after 50 ticks, which are all there.",
		probe: func(p *probe) {
			p.begin(50)
			next := p.all()
			p.alive(p.witness)
			p.witness.mu.Lock()
			defer p.witness.mu.Unlock()
			if p.witness.head != next {
				p.throwf("the heartbeat has head %d, and the numbers below %d were given", p.witness.head, next)
			}
		},
	},
	{
		ID: "life-dead-client", Rule: "a client that gives no sign of life for three intervals is sent a goodbye, code silent", Section: inConnection,
		Does: "A subscriber sends no pulse.",
		probe: func(p *probe) {
			p.begin(20)
			p.silences(p.dial(p.anywhere(), mute), func(*line) {})
		},
	},
	{
		ID: "life-unknown-messages", Rule: "messages that a reader passes over are no sign of life", Section: inConnection,
		Does: "A subscriber sends messages of type 100, and no pulse.",
		probe: func(p *probe) {
			p.begin(20)
			p.silences(p.dial(p.anywhere(), mute), func(l *line) { l.write([]byte{0x91, 100}) })
		},
	},
	{
		ID: "life-half-message", Rule: "a few bytes of a message that does not end are no sign of life", Section: inConnection,
		Does: "A subscriber sends a byte of a subscribe now and then, and no pulse.",
		probe: func(p *probe) {
			p.begin(20)
			b := append([]byte{0x93, 11, 1, 0x91, 0xd9, 60}, bytes.Repeat([]byte{'A'}, 50)...)
			p.silences(p.dial(p.anywhere(), mute), func(l *line) {
				l.write(b[:1])
				b = b[1:]
			})
		},
	},
	{
		ID: "life-pulses", Rule: "a client that sends pulses lives, however quiet the session is", Section: inPulse, Needs: []Ability{Input},
		Does: "Nothing is published for ten intervals, and a subscriber of nothing sends pulses with next 0.",
		probe: func(p *probe) {
			p.begin(20)
			l := p.join(p.anywhere(), mute)
			for range 20 {
				p.pause(l.interval / 2)
				l.say(&codec.Pulse{})
			}
			l.say(&codec.Pulse{})
			p.feed(5)
			l.reach(p.all())
		},
	},
	{
		ID: "life-pulse-beyond", Rule: "a pulse for numbers that were not sent breaks the protocol", Section: inPulse,
		Does: "A pulse says that a million numbers more were applied than there are.",
		probe: func(p *probe) {
			p.begin(20)
			p.offends(encoded(&codec.Pulse{Next: 1_000_000_000}), codec.CodeProtocol)
		},
	},
	{
		ID: "life-client-leaves", Rule: "after the goodbye of a client the publisher closes", Section: inConnection,
		Does: "A subscriber says goodbye, code done, and waits.",
		probe: func(p *probe) {
			p.begin(20)
			l := p.join(p.anywhere())
			l.say(&codec.Goodbye{Code: codec.CodeDone, Text: "enough"})
			l.ends()
			p.ok()
		},
	},
	{
		ID: "life-shutdown", Rule: "a publisher that stops says goodbye, code shutdown, to each client, with retry, and ends", Section: inFarewell,
		Does: "SIGTERM comes while three subscribers are connected.",
		probe: func(p *probe) {
			p.begin(50)
			lines := []*line{p.witness, p.join(p.anywhere()), p.join(p.anywhere())}
			p.all()
			p.stop()
			for _, l := range lines {
				switch bye := l.ends(); {
				case bye == nil:
					p.throwf("%s has ended without a goodbye", l.name)
				case bye.Code != codec.CodeShutdown || !bye.Retry:
					p.throwf("%s has ended with the goodbye %v, retry %t; want shutdown, true", l.name, bye.Code, bye.Retry)
				}
			}
		},
	},
	{
		ID: "life-retry-after", Rule: "a client that comes back after the goodbye, and not sooner than it says, is served", Section: inFarewell, Needs: []Ability{Journal, History},
		Does: "The publisher is stopped and started again; a subscriber waits for retry after, and resumes.",
		probe: func(p *probe) {
			p.begin(50)
			p.stop()
			bye := p.witness.ends()
			if bye == nil {
				p.throwf("the line has ended without a goodbye")
			}
			p.start()
			p.pause(bye.RetryAfter)
			p.resume()
			p.feed(10)
			p.all()
		},
	},
}

// silences waits until the publisher has ended a line that gives no sign of life, except that it calls does now and then.
func (p *probe) silences(l *line, does func(*line)) {
	l.wait("its welcome", func() bool { return l.welcome != nil })
	began := time.Now()
	l.mayEndNow()
	for {
		l.mu.Lock()
		over, interval := l.over, l.interval
		l.mu.Unlock()
		passed := time.Since(began)
		if over {
			if passed < 5*interval/2 {
				p.isLate()
				p.throwf("the publisher has given up a client after %v, less than three intervals of %v", passed.Round(time.Millisecond), interval)
			}
			break
		}
		if passed > 6*interval {
			p.isLate()
			p.throwf("the publisher still serves a client that has given no sign of life for %v, with intervals of %v", passed.Round(time.Millisecond), interval)
		}
		does(l)
		p.pause(interval / 4)
	}
	switch bye := l.ends(); {
	case bye == nil:
		p.throwf("the publisher has closed without a goodbye")
	case bye.Code != codec.CodeSilent:
		p.throwf("the goodbye has code %v, want silent", bye.Code)
	}
	p.ok()
}

// offends sends bytes on a line that is served, for which the publisher must say goodbye with one of codes and without retry,
// and checks that others are still served.
func (p *probe) offends(b []byte, codes ...codec.Code) {
	l := p.join(p.anywhere())
	l.reach(1)
	l.write(b)
	switch bye := l.ends(); {
	case bye == nil:
		p.throwf("the publisher has closed without a goodbye")
	case !slices.Contains(codes, bye.Code):
		p.throwf("the goodbye has code %v (%q), want %v", bye.Code, bye.Text, codes)
	case bye.Retry:
		p.throwf("the goodbye with code %v says that it makes sense to connect again", bye.Code)
	}
	p.ok()
	p.feed(10)
	p.all()
}

var refusalCases = []Case{
	{
		ID: "refuse-version", Rule: "a hello without a common version is refused with that code, for good, and nothing but its versions is read", Section: inVersions,
		Does: "The hello speaks versions 2 to 3, and the rest of it is of another format.",
		probe: func(p *probe) {
			p.start()
			p.refused(closeWithin, []byte{0x94, 1, 2, 3, 0x81, 0xa1, 'k', 0xc3}, codec.CodeVersion)
			p.ok()
		},
	},
	{
		ID: "refuse-field", Rule: "a field of a hello out of bounds is refused, for good", Section: inFarewell,
		Does: "Start 9; policy 7; a float for the start; a pattern without a symbol.",
		probe: func(p *probe) {
			p.start()
			plain := p.helloOf(func(h *codec.Hello) { h.Client = "x" })
			prefix := len(plain) - len(afterFilter(plain))
			for _, b := range [][]byte{
				slices.Concat(plain[:prefix], []byte{9}, plain[prefix+1:]),
				slices.Concat(plain[:prefix+2], []byte{7}, plain[prefix+3:]),
				slices.Concat(plain[:prefix], []byte{0xcb, 0, 0, 0, 0, 0, 0, 0, 0}, plain[prefix+1:]),
				slices.Concat(plain[:prefix-1], []byte{0x91, 0xa2, '@', 'X'}, plain[prefix:]),
			} {
				p.refused(closeWithin, b, codec.CodeBadRequest, codec.CodeProtocol)
			}
			p.ok()
		},
	},
	{
		ID: "refuse-garbage", Rule: "bytes that are no hello are refused, or the connection is closed", Section: inSecurity,
		Does: "An HTTP request; 0xc1; a pulse; a welcome; nothing but zeros.",
		probe: func(p *probe) {
			p.start()
			for _, b := range [][]byte{
				[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), {0xc1}, encoded(&codec.Pulse{}), make([]byte, 100),
				encoded(&codec.Heartbeat{Covered: 1, Head: 1}), {0x90}, {0x91, 0xff}, {0x81, 1, 1},
			} {
				p.turnedAway(b)
			}
			p.ok()
		},
	},
	{
		ID: "refuse-oversized", Rule: "a message before the welcome has at most 4096 bytes, and a longer one is not waited for", Section: inLimits,
		Does: "A hello of 5000 bytes; the first bytes of one that says it has four gigabytes.",
		probe: func(p *probe) {
			p.start()
			long := p.helloOf(nil)
			long = append(long[:4:4], append([]byte{0xda, 0x13, 0x88}, bytes.Repeat([]byte{'x'}, 5000)...)...)
			p.turnedAway(long)
			p.turnedAway([]byte{0x9e, 1, 1, 1, 0xdb, 0xff, 0xff, 0xff, 0xff, 'x'})
			p.turnedAway([]byte{0xdd, 0xff, 0xff, 0xff, 0xff, 1})
			p.ok()
		},
	},
	{
		ID: "refuse-early-flood", Rule: "before the hello there are at most 16,384 bytes of messages of types 64 to 127", Section: inLimits,
		Does: "17,000 bytes of such messages.",
		probe: func(p *probe) {
			p.start()
			one := append([]byte{0x92, 64, 0xc5, 0x03, 0xe2}, make([]byte, 994)...)
			p.turnedAway(bytes.Repeat(one, 18))
			p.ok()
		},
	},
	{
		ID: "refuse-silence", Rule: "a connection on which no hello comes is closed after a few seconds", Section: inConnection,
		Does: "One connection says nothing, one sends half a hello.",
		probe: func(p *probe) {
			p.start()
			half := p.helloOf(nil)
			done := make(chan struct{})
			silent := p.connect()
			defer func() { silent.Close(); <-done }()
			_ = silent.SetDeadline(time.Now().Add(handshakeTime))
			var err error
			go func() {
				defer close(done)
				_, err = silent.Read(make([]byte, 1))
				for err == nil { // a refusal
					_, err = silent.Read(make([]byte, 100))
				}
			}()
			p.knock(handshakeTime, half[:len(half)/2])
			<-done
			if os.IsTimeout(err) {
				p.isLate()
				p.throwf("a connection that says nothing is still open after %v", handshakeTime)
			}
			p.ok()
		},
	},
	{
		ID: "refuse-token", Rule: "wrong credentials are refused with code unauthorized, for good; the right ones are welcomed", Section: inSecurity, Needs: []Ability{Tokens},
		Does: "A hello without a token, with another one, with a part of the right one, and with the right one.",
		probe: func(p *probe) {
			p.start()
			for _, token := range []codec.Token{"", "guess", p.token[:5], p.token + "x"} {
				p.refused(closeWithin, p.helloOf(func(h *codec.Hello) { h.Token = token }), codec.CodeUnauthorized)
			}
			p.ok()
		},
	},
}

// afterFilter returns what follows the filter, which is empty, in the bytes of a hello whose client has one letter.
func afterFilter(hello []byte) []byte {
	at := 6 // 0x9e 1 1 1 0xa1 x
	at += 1 + int(hello[at]&0x1f)
	return hello[at+1:]
}

// turnedAway sends bytes that are no hello: the publisher refuses them or closes the connection.
func (p *probe) turnedAway(b []byte) {
	for _, m := range p.knock(closeWithin, b) {
		switch m := m.(type) {
		case *codec.Refusal:
			if m.Retry {
				p.throwf("the refusal of % x… says that it makes sense to connect again", b[:min(len(b), 10)])
			}
		case *codec.Goodbye:
		default:
			p.throwf("the publisher said %v to % x…", m.Type(), b[:min(len(b), 10)])
		}
	}
}

var hostileCases = []Case{
	{
		ID: "hostile-garbage", Rule: "bytes that are not msgpack as the text allows it end the connection with goodbye, code protocol, and no other", Section: inRefuses,
		Does: "A subscriber sends 0xc1 after its hello.",
		probe: func(p *probe) {
			p.begin(20)
			p.offends([]byte{0xc1}, codec.CodeProtocol)
		},
	},
	{
		ID: "hostile-unknown-type", Rule: "a message of an unknown type up to 63 ends the connection", Section: inVersions,
		Does: "A subscriber sends a message of type 63.",
		probe: func(p *probe) {
			p.begin(20)
			p.offends([]byte{0x92, 63, 0xc0}, codec.CodeProtocol)
		},
	},
	{
		ID: "hostile-second-hello", Rule: "a second hello ends the connection", Section: inRefuses,
		Does: "A subscriber says hello again.",
		probe: func(p *probe) {
			p.begin(20)
			p.offends(p.helloOf(nil), codec.CodeProtocol)
		},
	},
	{
		ID: "hostile-messages-of-a-publisher", Rule: "a message that a client does not send ends the connection", Section: inRefuses,
		Does: "A subscriber sends a heartbeat.",
		probe: func(p *probe) {
			p.begin(20)
			p.offends(encoded(&codec.Heartbeat{Covered: 1, Head: 1, Now: 1}), codec.CodeProtocol)
		},
	},
	{
		ID: "hostile-pulse", Rule: "a field of another type ends the connection", Section: inRefuses,
		Does: "The next of a pulse is a float, then negative, then left out.",
		probe: func(p *probe) {
			p.begin(20)
			for _, b := range [][]byte{{0x93, 13, 0xca, 0x3f, 0x80, 0, 0, 0}, {0x93, 13, 0xff, 0}, {0x91, 13}} {
				p.offends(b, codec.CodeProtocol, codec.CodeBadRequest)
			}
		},
	},
	{
		ID: "hostile-lengths", Rule: "a length beyond its bound ends the connection at once: nobody waits for what it says", Section: inLimits,
		Does: "A subscribe with a text of four gigabytes; an array of four billion elements; arrays in arrays.",
		probe: func(p *probe) {
			p.begin(20)
			for _, b := range [][]byte{
				{0x93, 11, 1, 0x91, 0xdb, 0xff, 0xff, 0xff, 0xff}, {0xdd, 0xff, 0xff, 0xff, 0xff}, bytes.Repeat([]byte{0x91}, 100),
				{0x93, 11, 1, 0xdd, 0xff, 0xff, 0xff, 0xff},
			} {
				p.offends(b, codec.CodeProtocol, codec.CodeBadRequest)
			}
		},
	},
	{
		ID: "hostile-tolerated", Rule: "types 64 to 127, grown messages and every width of an integer are no offence", Section: inRefuses,
		Does: "A subscriber sends them, byte by byte, and its line goes on.",
		probe: func(p *probe) {
			p.begin(20)
			l := p.join(p.anywhere(), mute)
			for _, b := range [][]byte{
				{0x92, 64, 0xa1, 'x'}, {0xdc, 0, 2, 127, 0x81, 0xa1, 'k', 0xca, 0, 0, 0, 0}, {0x95, 13, 0, 0, 0xa1, 'x', 0xc0},
				{0x93, 13, 0xd3, 0, 0, 0, 0, 0, 0, 0, 0, 0xcd, 0, 1}, {0xdc, 0, 3, 13, 0, 0},
			} {
				for i := range b {
					l.write(b[i : i+1])
				}
				l.say(&codec.Pulse{})
			}
			p.feed(10)
			next := p.all()
			l.say(&codec.Pulse{})
			l.reach(next)
		},
	},
	{
		ID: "hostile-many", Rule: "a crowd of bad clients changes nothing for the others", Section: inSecurity,
		Does: "A hundred connections send garbage and vanish, before and after their hello, while ticks are published.",
		probe: func(p *probe) {
			p.begin(20)
			for i := range 100 {
				nc := p.connect()
				b := []byte("garbage")
				if i%2 == 0 {
					b = append(p.helloOf(nil), 0xc1)
				}
				_ = nc.SetWriteDeadline(time.Now().Add(writeTime))
				_, _ = nc.Write(b)
				nc.Close()
				p.feed(10)
			}
			p.all()
			p.ok()
		},
	},
}
