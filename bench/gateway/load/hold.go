package main

// Many streams at once, kept until stdin ends: says when all of them are open, then how many of them broke.

import (
	"flag"
	"fmt"
	"syscall"
	"time"
)

const openingAtOnce = 200

type holding struct {
	loop    *loop
	clients []*client
	open    int // streams that have had an event
	failed  failures
	over    bool
}

type held struct {
	Streams      int    `json:"streams"`
	Events       int    `json:"events"`
	Failures     int    `json:"failures"`
	FirstFailure string `json:"first_failure,omitempty"`
}

// stdin says by its end that it is enough.
type stdin struct{ h *holding }

func (s stdin) ready(uint32) {
	var some [256]byte
	if n, _ := read(0, some[:]); n == 0 {
		s.h.over = true
	}
}

// waiting notices a stream's first event.
type waiting struct {
	c *client
	h *holding
}

func (w waiting) ready(events uint32) {
	before := w.c.response.events
	w.c.ready(events)
	if before == 0 && w.c.response.events > 0 {
		w.h.open++
	}
}

func hold(arguments []string) error {
	flags := flag.NewFlagSet("hold", flag.ExitOnError)
	to := flags.String("to", "", "address")
	request := flags.String("request", "", "file with the request")
	count := flags.Int("streams", 10000, "streams")
	patience := flags.Duration("patience", time.Minute, "to open all of them")
	_ = flags.Parse(arguments)
	l, err := newLoop()
	if err != nil {
		return err
	}
	h := &holding{loop: l}
	if err := l.add(0, syscall.EPOLLIN, stdin{h}); err != nil {
		return fmt.Errorf("stdin must be a pipe: %w", err)
	}
	if err := h.openAll(*to, *request, *count, *patience); err != nil {
		return err
	}
	fmt.Println("open", h.open)
	for !h.over {
		if err := l.poll(time.Second); err != nil {
			return err
		}
	}
	result := held{Streams: h.open, Failures: h.failed.count, FirstFailure: h.failed.first}
	for _, c := range h.clients {
		result.Events += c.response.events
	}
	return printJSON(result)
}

func (h *holding) openAll(to, request string, count int, patience time.Duration) error {
	until := time.Now().Add(patience)
	buffer := make([]byte, 1<<18)
	sent, err := readRequests(request)
	if err != nil {
		return err
	}
	first, err := newClient(h.loop, to, sent, buffer)
	if err != nil {
		return err
	}
	for h.open+h.failed.count < count && !h.over {
		for len(h.clients) < count && len(h.clients)-h.open-h.failed.count < openingAtOnce {
			c := *first
			c.finished = func(_ *client, problem error) {
				if problem == nil {
					problem = fmt.Errorf("a stream ended before its time")
				}
				h.failed.add(problem)
			}
			if err := c.send(); err != nil {
				return err
			}
			h.loop.handlers[c.fd] = waiting{&c, h}
			h.clients = append(h.clients, &c)
		}
		if err := h.loop.poll(100 * time.Millisecond); err != nil {
			return err
		}
		if h.failed.count > count/10 {
			return fmt.Errorf("%d of %d streams failed, first: %s", h.failed.count, len(h.clients), h.failed.first)
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d of %d streams are open after %s", h.open, count, patience)
		}
	}
	return nil
}
