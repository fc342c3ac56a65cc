package main

// One connection of a client: sends the request, reads the response, and begins again when told to.

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

type client struct {
	loop     *loop
	to       *syscall.SockaddrInet4
	requests *requests
	name     string
	fd       int
	open     bool
	began    time.Time
	reads    int
	response response
	buffer   []byte
	finished func(c *client, problem error) // the response is whole, or will never be
	delayed  func(microseconds uint32)      // an event took so long; may be nil
}

func newClient(l *loop, where string, sent *requests, buffer []byte) (*client, error) {
	to, err := address(where)
	if err != nil {
		return nil, err
	}
	return &client{loop: l, to: to, requests: sent, buffer: buffer}, nil
}

// send makes a connection if there is none and sends the next request.
func (c *client) send() error {
	if !c.open {
		fd, err := connect(c.to)
		if err != nil {
			return err
		}
		if err := c.loop.add(fd, syscall.EPOLLIN, c); err != nil {
			return err
		}
		c.fd, c.open = fd, true
	}
	c.response.reset()
	request := c.requests.next()
	c.began = time.Now()
	n, err := write(c.fd, request)
	if err == nil && n < len(request) {
		err = fmt.Errorf("only %d of %d bytes of a request were taken", n, len(request))
	}
	return err
}

func (c *client) ready(uint32) {
	n, err := read(c.fd, c.buffer)
	if n < 0 {
		return
	}
	c.reads++
	whole := false
	if err == nil && n == 0 {
		err = errors.New("the connection ended within a response")
	} else if err == nil {
		if c.delayed != nil {
			delays(c.buffer[:n], c.delayed)
		}
		whole, err = c.response.feed(c.buffer[:n])
	}
	if err != nil {
		c.shut()
		c.finished(c, err)
		return
	}
	if !whole {
		return
	}
	if c.response.closes {
		c.shut()
	}
	if c.response.status != 200 {
		err = fmt.Errorf("status %d: %s", c.response.status, c.response.sample)
	} else if c.response.streamed && !c.response.ended {
		err = errors.New("a stream ended without [DONE]")
	}
	c.finished(c, err)
}

func (c *client) shut() {
	if c.open {
		c.loop.close(c.fd)
		c.open = false
	}
}

var errUnfinished = errors.New("still open long after the last request began")

// failures counts what went wrong and keeps the first of it.
type failures struct {
	count int
	first string
}

func (f *failures) add(problem error) {
	if f.count == 0 {
		f.first = problem.Error()
	}
	f.count++
}
