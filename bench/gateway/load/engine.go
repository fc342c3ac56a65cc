package main

// The engine of the model: reads requests, answers them whole or as a stream of events a fixed time apart. A stream has as many
// events with choices as the request has max_tokens (100 where it says none), then usage if asked, then [DONE].

import (
	"bytes"
	"encoding/json"
	"flag"
	"syscall"
	"time"
)

type server struct {
	loop     *loop
	answers  *answers
	interval time.Duration
	due      queue
	buffer   []byte
	counts   counts
	running  int
}

type counts struct {
	Plain   int `json:"plain"`
	Streams int `json:"streams"`
	Events  int `json:"events"`
	Hosted  int `json:"hosted"`
	Broken  int `json:"broken"`
}

type listener struct {
	fd int
	s  *server
}

type peer struct {
	fd      int
	s       *server
	in, out []byte
	left    int // events of the stream that are still to come
	usage   bool
	closed  bool
}

// entry is a stream whose next event is due.
type entry struct {
	at   time.Time
	peer *peer
}

// queue is first in, first out: all streams have the same interval, so that it is in order of time.
type queue struct {
	entries []entry
	first   int
}

func (q *queue) push(e entry) {
	if q.first > 4096 && q.first*2 > len(q.entries) {
		q.entries = append(q.entries[:0], q.entries[q.first:]...)
		q.first = 0
	}
	q.entries = append(q.entries, e)
}

func (q *queue) head() *entry {
	if q.first == len(q.entries) {
		return nil
	}
	return &q.entries[q.first]
}

func engine(arguments []string) error {
	flags := flag.NewFlagSet("engine", flag.ExitOnError)
	where := flags.String("listen", "127.0.0.1:9100", "address")
	interval := flags.Duration("interval", 10*time.Millisecond, "time between two events of a stream")
	_ = flags.Parse(arguments)
	l, err := newLoop()
	if err != nil {
		return err
	}
	s := &server{loop: l, answers: newAnswers(), interval: *interval, buffer: make([]byte, 1<<18)}
	fd, err := listen(*where)
	if err != nil {
		return err
	}
	if err := l.add(fd, syscall.EPOLLIN, &listener{fd, s}); err != nil {
		return err
	}
	orders := &orders{loop: l}
	_ = l.add(0, syscall.EPOLLIN, orders) // stdin may be no pipe: then there are no commands
	for !orders.over {
		timeout := time.Duration(0)
		if orders.job == nil {
			timeout = s.untilDue()
		}
		if err := l.poll(timeout); err != nil {
			return err
		}
		s.sendDue()
		orders.step()
	}
	return nil
}

func (s *server) untilDue() time.Duration {
	if next := s.due.head(); next != nil {
		return max(0, time.Until(next.at))
	}
	return -1
}

func (s *server) sendDue() {
	for next := s.due.head(); next != nil; next = s.due.head() {
		if time.Until(next.at) > 0 {
			return
		}
		e := *next
		s.due.first++
		e.peer.sendEvent()
		if !e.peer.closed && e.peer.left > 0 {
			s.due.push(entry{e.at.Add(s.interval), e.peer})
		}
	}
}

func (l *listener) ready(uint32) {
	for {
		fd, _, err := syscall.Accept4(l.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		_ = l.s.loop.add(fd, syscall.EPOLLIN, &peer{fd: fd, s: l.s})
	}
}

func (p *peer) ready(events uint32) {
	if events&syscall.EPOLLOUT != 0 {
		p.flush()
	}
	if events&^syscall.EPOLLOUT == 0 || p.closed {
		return
	}
	n, err := read(p.fd, p.s.buffer)
	if err != nil || n == 0 {
		p.close()
		return
	}
	if n < 0 {
		return
	}
	data := p.s.buffer[:n]
	if len(p.in) > 0 {
		p.in = append(p.in, data...)
		data = p.in
	}
	for !p.closed && p.left == 0 && len(data) > 0 {
		used := p.request(data)
		if used == 0 {
			break
		}
		data = data[used:]
	}
	p.in = append(p.in[:0], data...)
}

// request answers the request at the beginning of data, if it is whole, and gives its length.
func (p *peer) request(data []byte) int {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	head, length, chunked := data[:end+2], 0, false
	forEachHeader(head, func(name, value []byte) {
		if isName(name, "content-length") {
			length = number(value)
		} else if isName(name, "transfer-encoding") {
			chunked = true
		}
	})
	body := data[end+4:]
	if chunked {
		last := bytes.Index(body, []byte("\r\n0\r\n\r\n"))
		if last < 0 {
			return 0
		}
		length = last + 7
	}
	if len(body) < length {
		return 0
	}
	p.answer(head, body[:length])
	return end + 4 + length
}

func (p *peer) answer(head, body []byte) {
	s := p.s
	switch {
	case bytes.HasPrefix(head, []byte("POST ")):
		if bytes.HasPrefix(head, []byte("POST /hosted/")) {
			s.counts.Hosted++
		}
		if bytes.Contains(body, []byte(`"stream":true`)) || bytes.Contains(body, []byte(`"stream": true`)) {
			p.startStream(body)
			return
		}
		s.counts.Plain++
		p.send(s.answers.plain)
	case bytes.HasPrefix(head, []byte("GET /health")):
		p.send(s.answers.health)
	case bytes.HasPrefix(head, []byte("GET /v1/models")):
		p.send(s.answers.models)
	case bytes.HasPrefix(head, []byte("GET /metrics")):
		p.send(metrics(s.running))
	case bytes.HasPrefix(head, []byte("GET /counts")):
		text, _ := json.Marshal(s.counts)
		p.send(whole(string(text)))
	default:
		p.send(s.answers.unknown)
	}
}

func (p *peer) startStream(body []byte) {
	p.left = 100
	if at := bytes.Index(body, []byte(`"max_tokens":`)); at >= 0 {
		digits := bytes.TrimLeft(body[at+13:], " ")
		end := bytes.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
		if end > 0 {
			p.left = max(3, number(digits[:end]))
		}
	}
	p.usage = bytes.Contains(body, []byte(`"include_usage":true`)) || bytes.Contains(body, []byte(`"include_usage": true`))
	p.s.counts.Streams++
	p.s.counts.Events++
	p.s.running++
	p.left--
	p.send(p.s.answers.streamStart)
	p.sendEvent() // the role comes with the first token
	p.s.due.push(entry{time.Now().Add(p.s.interval), p})
}

func (p *peer) sendEvent() {
	if p.closed {
		return
	}
	p.left--
	p.s.counts.Events++
	if p.left > 0 {
		stamp(p.s.answers.event)
		p.send(p.s.answers.event)
		return
	}
	p.s.running--
	p.send(p.s.answers.lastEvent)
	if p.usage {
		p.send(p.s.answers.usage)
	}
	p.send(p.s.answers.done)
}

func (p *peer) send(data []byte) {
	if p.closed {
		return
	}
	if len(p.out) > 0 {
		p.out = append(p.out, data...)
		return
	}
	n, err := write(p.fd, data)
	if err != nil {
		p.close()
		return
	}
	if n < len(data) {
		p.out = append(p.out, data[n:]...)
		p.s.loop.change(p.fd, syscall.EPOLLIN|syscall.EPOLLOUT)
	}
}

func (p *peer) flush() {
	for len(p.out) > 0 {
		n, err := write(p.fd, p.out)
		if err != nil {
			p.close()
			return
		}
		if n == 0 {
			return
		}
		p.out = append(p.out[:0], p.out[n:]...)
	}
	p.s.loop.change(p.fd, syscall.EPOLLIN)
}

func (p *peer) close() {
	if p.closed {
		return
	}
	p.closed = true
	if p.left > 0 {
		p.s.counts.Broken++
		p.s.running--
	}
	p.s.loop.close(p.fd)
}
