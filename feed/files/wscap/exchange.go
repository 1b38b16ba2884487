package wscap

import (
	"fmt"
)

// An exchange is an exchange whose messages are known.
type exchange uint8

const (
	exchangeNone exchange = iota
	exchangeBinance
	exchangeCoinbase
	exchangeKraken     // Futures
	exchangeKrakenSpot // version 2; in version 1, only events are objects
)

// members is a set of bits for the members that identify an exchange.
type members uint16

const (
	hasType members = 1 << iota
	hasEvent
	hasAnswer // result, id, code, error
	hasChannel
	hasData
	hasArg
	hasTopic
	hasSubject
	hasRPC
	hasTable
	hasTick
	hasEvents
	hasMethod
)

var memberBits = map[string]members{
	"type": hasType, "event": hasEvent, "result": hasAnswer, "id": hasAnswer, "code": hasAnswer, "error": hasAnswer,
	"channel": hasChannel, "data": hasData, "arg": hasArg, "topic": hasTopic, "subject": hasSubject, "jsonrpc": hasRPC,
	"table": hasTable, "ch": hasTick, "tick": hasTick, "ping": hasTick, "events": hasEvents, "method": hasMethod,
}

// stranger returns the name of an exchange that cannot be read but whose messages have these members, or "" if there is
// none.
func (has members) stranger() string {
	all := func(m members) bool { return has&m == m }
	switch {
	case all(hasRPC):
		return "Deribit"
	case all(hasArg):
		return "OKX"
	case all(hasTable):
		return "BitMEX"
	case all(hasTopic | hasSubject), all(hasTopic | hasType | hasAnswer):
		return "KuCoin"
	case all(hasTopic):
		return "Bybit"
	case all(hasTick):
		return "HTX (Huobi)"
	case all(hasChannel | hasEvents):
		return "Coinbase Advanced Trade"
	case all(hasChannel | hasEvent | hasAnswer):
		return "Gate"
	case all(hasChannel | hasEvent):
		return "Bitstamp"
	}
	return ""
}

// exchangeOf identifies the exchange of a message by the names of its members, in any order. For a combined stream of
// Binance, data is the message and stream the name of the stream; otherwise data is b. key is the first member. If the
// message is from an exchange that cannot be read, stranger is its name.
func exchangeOf(b []byte) (from exchange, stream, data, key []byte, stranger string, ok bool) {
	w := walk(b, '{')
	data = b
	var has members
	for name, value := range w.members {
		if key == nil {
			key = name
		}
		switch string(name) {
		case "stream":
			stream, from = text(value), exchangeBinance
		case "data":
			data = value
		case "e", "lastUpdateId", "u":
			return exchangeBinance, nil, b, key, "", true
		case "feed":
			return exchangeKraken, nil, b, key, "", true
		}
		has |= memberBits[string(name)]
		if from == exchangeBinance && len(data) != len(b) {
			return from, stream, data, key, "", true
		}
	}
	if from == exchangeBinance { // a stream without data
		return exchangeNone, nil, b, key, "", true
	}
	if stranger = has.stranger(); stranger != "" {
		return exchangeNone, nil, b, key, stranger, true
	}
	switch {
	case has&hasEvent != 0:
		from = exchangeKraken
	case has&(hasChannel|hasMethod) != 0:
		from = exchangeKrakenSpot
	case has&hasType != 0:
		from = exchangeCoinbase
	case has&hasAnswer != 0:
		from = exchangeBinance
	}
	return from, nil, b, key, "", key != nil
}

const known = "the known exchanges are Binance, Coinbase Exchange and Kraken"

// other counts a message without ticks.
func (s *Source) other(name []byte) string {
	s.count.Now.Other++
	if s.otherName == "" {
		s.otherName = fmt.Sprintf("%.40s", name)
	}
	return ""
}
