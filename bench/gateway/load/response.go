package main

// Reads one HTTP/1.1 response, however it is cut into reads: enough to know where it ends, what it says and how many
// events it has.

import (
	"bytes"
	"fmt"
)

type state int

const (
	inHead state = iota
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailer
	complete
)

type response struct {
	status     int
	events     int  // of a stream
	ended      bool // the stream said [DONE]
	closes     bool // the server will close the connection
	state      state
	streamed   bool
	left       int      // bytes of the body, of a chunk, or of the line break after one
	lineLength int      // of the stream's line so far
	head       []byte   // so far; kept for its memory
	line       []byte   // a chunk's size or a trailer line so far
	tail       [16]byte // the end of the stream's content so far
	sample     []byte   // the beginning of an answer other than 200
}

func (r *response) reset() {
	*r = response{head: r.head[:0], line: r.line[:0], sample: r.sample[:0]}
}

// feed takes what has come; true: the response is whole.
func (r *response) feed(data []byte) (bool, error) {
	for len(data) > 0 && r.state != complete {
		var err error
		switch r.state {
		case inHead:
			data, err = r.readHead(data)
		case inBody, inChunk:
			data = r.readContent(data)
		case inChunkEnd:
			n := min(r.left, len(data))
			r.left -= n
			data = data[n:]
			if r.left == 0 {
				r.state = inChunkSize
			}
		case inChunkSize, inTrailer:
			data, err = r.readLine(data)
		}
		if err != nil {
			return false, err
		}
	}
	if r.state == complete && len(data) > 0 {
		return false, fmt.Errorf("%d bytes more than the response: %.60q", len(data), data)
	}
	return r.state == complete, nil
}

func (r *response) readHead(data []byte) ([]byte, error) {
	whole, before := data, len(r.head)
	if before > 0 {
		r.head = append(r.head, data...)
		whole = r.head
	}
	end := bytes.Index(whole, []byte("\r\n\r\n"))
	if end < 0 {
		if before == 0 {
			r.head = append(r.head, data...)
		}
		if len(r.head) > 65536 {
			return nil, fmt.Errorf("no end of the head in %d bytes", len(r.head))
		}
		return nil, nil
	}
	if err := r.parseHead(whole[:end+2]); err != nil {
		return nil, err
	}
	return data[end+4-before:], nil
}

func (r *response) parseHead(head []byte) error {
	if len(head) < 14 || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return fmt.Errorf("not a response: %.60q", head)
	}
	r.status = int(head[9]-'0')*100 + int(head[10]-'0')*10 + int(head[11]-'0')
	length, chunked := -1, false
	forEachHeader(head, func(name, value []byte) {
		switch {
		case isName(name, "content-length"):
			length = number(value)
		case isName(name, "transfer-encoding"):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case isName(name, "content-type"):
			r.streamed = bytes.HasPrefix(value, []byte("text/event-stream"))
		case isName(name, "connection"):
			r.closes = bytes.EqualFold(value, []byte("close"))
		}
	})
	switch {
	case chunked:
		r.state = inChunkSize
	case length > 0:
		r.state, r.left = inBody, length
	case length == 0:
		r.state = complete
	default:
		return fmt.Errorf("neither a length nor chunks: %.200q", head)
	}
	return nil
}

func (r *response) readContent(data []byte) []byte {
	n := min(r.left, len(data))
	content := data[:n]
	r.left -= n
	if r.status != 200 && len(r.sample) < 300 {
		r.sample = append(r.sample, content[:min(n, 300-len(r.sample))]...)
	}
	if r.streamed {
		r.countEvents(content)
	}
	if r.left == 0 {
		if r.state == inBody {
			r.state = complete
		} else {
			r.state, r.left = inChunkEnd, 2
		}
	}
	return data[n:]
}

// countEvents counts empty lines: each ends an event.
func (r *response) countEvents(content []byte) {
	for rest := content; ; {
		at := bytes.IndexByte(rest, '\n')
		if at < 0 {
			r.lineLength += len(rest)
			break
		}
		if r.lineLength+at == 0 {
			r.events++
		}
		r.lineLength = 0
		rest = rest[at+1:]
	}
	if len(content) >= len(r.tail) {
		copy(r.tail[:], content[len(content)-len(r.tail):])
	} else {
		copy(r.tail[:], r.tail[len(content):])
		copy(r.tail[len(r.tail)-len(content):], content)
	}
	if !r.ended && content[len(content)-1] == '\n' {
		r.ended = bytes.HasSuffix(r.tail[:], []byte("data: [DONE]\n\n"))
	}
}

func (r *response) readLine(data []byte) ([]byte, error) {
	at := bytes.IndexByte(data, '\n')
	if at < 0 {
		r.line = append(r.line, data...)
		return nil, nil
	}
	line := data[:at]
	if len(r.line) > 0 {
		r.line = append(r.line, line...)
		line = r.line
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	rest := data[at+1:]
	if r.state == inTrailer {
		if len(line) == 0 {
			r.state = complete
		}
	} else {
		size := hexadecimal(line)
		if size < 0 {
			return nil, fmt.Errorf("not a chunk's size: %.60q", line)
		}
		r.left, r.state = size, inChunk
		if size == 0 {
			r.state = inTrailer
		}
	}
	r.line = r.line[:0]
	return rest, nil
}

// forEachHeader goes through the header fields of a head without its last empty line.
func forEachHeader(head []byte, each func(name, value []byte)) {
	rest := head[bytes.IndexByte(head, '\n')+1:]
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			return
		}
		line := bytes.TrimSuffix(rest[:end], []byte("\r"))
		if colon := bytes.IndexByte(line, ':'); colon > 0 {
			each(line[:colon], bytes.TrimSpace(line[colon+1:]))
		}
		rest = rest[end+1:]
	}
}

func isName(name []byte, lowerCase string) bool {
	return len(name) == len(lowerCase) && bytes.EqualFold(name, []byte(lowerCase))
}

func number(digits []byte) int {
	n := 0
	for _, digit := range digits {
		n = n*10 + int(digit-'0')
	}
	return n
}

func hexadecimal(digits []byte) int {
	n := 0
	for _, digit := range digits {
		switch {
		case digit >= '0' && digit <= '9':
			n = n*16 + int(digit-'0')
		case digit|32 >= 'a' && digit|32 <= 'f':
			n = n*16 + int(digit|32-'a') + 10
		default:
			return -1
		}
	}
	if len(digits) == 0 {
		return -1
	}
	return n
}
