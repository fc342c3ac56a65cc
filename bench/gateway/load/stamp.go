package main

// The time at which an event was sent, written into its text, so that clients, which are in the same process, know how long it took.

import (
	"bytes"
	"time"
)

const stampDigits = 12 // microseconds; they last for 11 days

var (
	stampMark  = []byte(" ~")
	stampStart = time.Now()
)

// stamp writes the time into an event that has a mark and room for the digits.
func stamp(event []byte) {
	at := bytes.Index(event, stampMark) + len(stampMark)
	rest := time.Since(stampStart).Microseconds()
	for i := at + stampDigits - 1; i >= at; i-- {
		event[i] = byte('0' + rest%10)
		rest /= 10
	}
}

// delays gives the microseconds that each stamped event in these bytes took.
func delays(data []byte, each func(uint32)) {
	now := time.Since(stampStart).Microseconds()
	for {
		at := bytes.Index(data, stampMark)
		if at < 0 || len(data) < at+len(stampMark)+stampDigits {
			return
		}
		data = data[at+len(stampMark):]
		each(uint32(max(0, now-int64(number(data[:stampDigits])))))
	}
}
