package main

// What clients send: the requests of a file in turn, each with identifiers of its own where the file has some.

import (
	"bytes"
	"fmt"
	"os"
)

// requests are shared by the clients of one command, so that each run sends the same ones in the same order.
type requests struct {
	all  []outgoing
	sent uint64
}

type outgoing struct {
	bytes       []byte
	identifiers [][]byte // parts of bytes
}

// readRequests takes a file apart: whole HTTP/1.1 requests, one after the other.
func readRequests(file string) (*requests, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &requests{}
	for len(rest) > 0 {
		end := bytes.Index(rest, []byte("\r\n\r\n"))
		if end < 0 {
			return nil, fmt.Errorf("%s: no end of a head: %.60q", file, rest)
		}
		one, length := outgoing{}, 0
		forEachHeader(rest[:end+2], func(name, value []byte) {
			switch {
			case isName(name, "content-length"):
				length = number(value)
			case isName(name, "x-request-id"):
				one.identifiers = append(one.identifiers, value)
			case isName(name, "traceparent") && len(value) == 55: // 00-TRACE-SPAN-01
				one.identifiers = append(one.identifiers, value[3:52])
			}
		})
		whole := end + 4 + length
		if whole > len(rest) {
			return nil, fmt.Errorf("%s: a request of %d bytes has %d", file, whole, len(rest))
		}
		one.bytes, rest = rest[:whole:whole], rest[whole:]
		r.all = append(r.all, one)
	}
	if len(r.all) == 0 {
		return nil, fmt.Errorf("%s: no request", file)
	}
	return r, nil
}

// next is the next request; its bytes are valid until it comes again.
func (r *requests) next() []byte {
	one := &r.all[r.sent%uint64(len(r.all))]
	r.sent++
	state := r.sent << 8
	for _, identifier := range one.identifiers {
		state = fill(identifier, state)
	}
	return one.bytes
}

// fill writes other hexadecimal digits into an identifier and leaves its dashes.
func fill(identifier []byte, state uint64) uint64 {
	var digits uint64
	left := 0
	for i, old := range identifier {
		if old == '-' {
			continue
		}
		if left == 0 {
			state++
			digits, left = mixed(state), 16
		}
		identifier[i] = "0123456789abcdef"[digits&15]
		digits >>= 4
		left--
	}
	return state
}

// mixed is SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
func mixed(state uint64) uint64 {
	z := state * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
