package main

// Commands from stdin: what the clients are to do.

import (
	"bytes"
	"fmt"
	"strings"
)

// job is a command that is being carried out.
type job interface {
	step() (over bool, result any)
}

type orders struct {
	loop *loop
	line []byte
	job  job
	over bool
}

func (o *orders) ready(uint32) {
	var some [8192]byte
	n, err := read(0, some[:])
	if n == 0 || err != nil {
		o.over = true // whoever gave the commands is gone
		return
	}
	if n > 0 {
		o.line = append(o.line, some[:n]...)
	}
	if at := bytes.IndexByte(o.line, '\n'); at >= 0 {
		words := strings.Fields(string(o.line[:at]))
		o.line = append(o.line[:0], o.line[at+1:]...)
		o.begin(words)
	}
}

func (o *orders) begin(words []string) {
	commands := map[string]func(*loop, []string) (job, error){
		"plain": newPlain, "streams": newStreams, "sequential": newSequential,
	}
	var err error
	if len(words) == 0 || commands[words[0]] == nil || o.job != nil {
		err = fmt.Errorf("no such command, or one is being carried out: %q", words)
	} else {
		o.job, err = commands[words[0]](o.loop, words[1:])
	}
	if err != nil {
		o.job = nil
		_ = printJSON(map[string]string{"error": err.Error()})
	}
}

func (o *orders) step() {
	if o.job == nil {
		return
	}
	if over, result := o.job.step(); over {
		o.job = nil
		_ = printJSON(result)
	}
}
