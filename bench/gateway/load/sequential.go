package main

// One request at a time on one connection to each target, the targets taking turns, so that whatever else the machine
// does befalls all alike.

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	turnsBefore = 20 // they make connections and fill caches
	patience    = 10 * time.Second
)

type target struct {
	client *client
	taken  []int64 // nanoseconds
	failed failures
}

type latency struct {
	Requests     int     `json:"requests"`
	Failures     int     `json:"failures"`
	FirstFailure string  `json:"first_failure,omitempty"`
	P50          float64 `json:"p50_us"`
	P99          float64 `json:"p99_us"`
}

type turns struct {
	targets []*target
	asked   int // requests so far
	most    int
	waiting bool
}

func newSequential(l *loop, arguments []string) (job, error) {
	t := &turns{}
	buffer := make([]byte, 1<<18)
	flags := flag.NewFlagSet("sequential", flag.ContinueOnError)
	count := flags.Int("turns", 1000, "requests to each target")
	flags.Func("to", "NAME=ADDRESS=FILE, as often as there are targets", func(text string) error {
		parts := strings.SplitN(text, "=", 3)
		if len(parts) != 3 {
			return fmt.Errorf("%q is not NAME=ADDRESS=FILE", text)
		}
		sent, err := readRequests(parts[2])
		if err != nil {
			return err
		}
		c, err := newClient(l, parts[1], sent, buffer)
		if err != nil {
			return err
		}
		c.name = parts[0]
		one := &target{client: c}
		c.finished = func(_ *client, problem error) { t.finished(one, problem) }
		t.targets = append(t.targets, one)
		return nil
	})
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	t.most = (*count + turnsBefore) * len(t.targets)
	return t, nil
}

func (t *turns) current() *target { return t.targets[t.asked%len(t.targets)] }

func (t *turns) step() (bool, any) {
	if t.waiting {
		if one := t.current(); time.Since(one.client.began) > patience {
			one.client.shut()
			t.finished(one, fmt.Errorf("no whole response within %s", patience))
		}
		return false, nil
	}
	if t.asked == t.most {
		return true, t.summary()
	}
	t.waiting = true
	one := t.current()
	if err := one.client.send(); err != nil {
		one.client.shut()
		t.finished(one, err)
	}
	return false, nil
}

func (t *turns) finished(one *target, problem error) {
	taken := time.Since(one.client.began).Nanoseconds()
	switch {
	case problem != nil:
		one.failed.add(problem)
	case t.asked >= turnsBefore*len(t.targets):
		one.taken = append(one.taken, taken)
	}
	t.waiting = false
	t.asked++
}

func (t *turns) summary() map[string]latency {
	results := map[string]latency{}
	for _, one := range t.targets {
		one.client.shut()
		slices.Sort(one.taken)
		results[one.client.name] = latency{
			len(one.taken), one.failed.count, one.failed.first,
			percentile(one.taken, 0.50) / 1000, percentile(one.taken, 0.99) / 1000,
		}
	}
	return results
}
