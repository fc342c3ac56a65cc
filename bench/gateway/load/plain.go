package main

// Requests one after the other on each of some connections, for a time or a number; how many there were and how long
// they took. Streams: the same with events counted, and with the connections' beginnings spread over the interval
// between two events, as streams of different users are.

import (
	"flag"
	"slices"
	"time"
)

const (
	takenMax         = 4 << 20
	patienceAtTheEnd = 30 * time.Second
	failuresMax      = 100
)

type result struct {
	Requests     int     `json:"requests"`
	Failures     int     `json:"failures"`
	FirstFailure string  `json:"first_failure,omitempty"`
	Seconds      float64 `json:"seconds"`
	Events       int     `json:"events"`
	Reads        int     `json:"reads"`
	P50          float64 `json:"p50_us"`
	P99          float64 `json:"p99_us"`
	EventP50     float64 `json:"event_p50_us"` // from the engine to the client
	EventP99     float64 `json:"event_p99_us"`
	PerSecond    []int   `json:"per_second"`
}

type run struct {
	clients []*client
	started int
	began   time.Time
	until   time.Time
	spread  time.Duration
	most    int // requests, 0: no bound
	sent    int
	busy    int
	failed  failures
	result  result
	taken   []uint32 // microseconds
	delays  []uint32 // microseconds, of events
}

func newPlain(l *loop, arguments []string) (job, error) {
	return newRun(l, arguments, 0)
}

func newStreams(l *loop, arguments []string) (job, error) {
	return newRun(l, arguments, 10*time.Millisecond)
}

func newRun(l *loop, arguments []string, spread time.Duration) (job, error) {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	to := flags.String("to", "", "address")
	request := flags.String("request", "", "file with the requests")
	connections := flags.Int("connections", 32, "requests at a time")
	length := flags.Duration("for", time.Hour, "no request begins after this time")
	most := flags.Int("requests", 0, "at most; 0: no bound")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	sent, err := readRequests(*request)
	if err != nil {
		return nil, err
	}
	r := &run{most: *most, spread: spread, began: time.Now()}
	r.until = r.began.Add(*length)
	buffer := make([]byte, 1<<18)
	for range *connections {
		c, err := newClient(l, *to, sent, buffer)
		if err != nil {
			return nil, err
		}
		c.finished = r.finished
		if spread > 0 {
			c.delayed = r.delayed
		}
		r.clients = append(r.clients, c)
	}
	return r, nil
}

func (r *run) step() (bool, any) {
	for r.started < len(r.clients) {
		start := r.began.Add(r.spread * time.Duration(r.started) / time.Duration(len(r.clients)))
		if time.Until(start) > 0 {
			return false, nil
		}
		r.next(r.clients[r.started])
		r.started++
	}
	if r.busy > 0 && time.Since(r.until) < patienceAtTheEnd {
		return false, nil
	}
	return true, r.summary()
}

// next sends a connection's next request, unless the run is over.
func (r *run) next(c *client) {
	if r.most > 0 && r.sent >= r.most || time.Now().After(r.until) {
		return
	}
	r.sent++
	if err := c.send(); err != nil {
		r.failed.add(err)
		r.until = time.Now()
		return
	}
	r.busy++
}

func (r *run) finished(c *client, problem error) {
	r.busy--
	now := time.Now()
	if problem != nil {
		r.failed.add(problem)
	} else {
		r.count(c, now)
	}
	if r.failed.count > failuresMax && r.result.Requests < r.failed.count {
		r.until = now // it does not work at all: say so at once
	}
	r.next(c)
}

func (r *run) delayed(microseconds uint32) {
	if len(r.delays) < takenMax {
		r.delays = append(r.delays, microseconds)
	}
}

func (r *run) count(c *client, now time.Time) {
	r.result.Requests++
	r.result.Events += c.response.events
	if len(r.taken) < takenMax {
		r.taken = append(r.taken, uint32(now.Sub(c.began).Microseconds()))
	}
	second := int(now.Sub(r.began) / time.Second)
	for len(r.result.PerSecond) <= second {
		r.result.PerSecond = append(r.result.PerSecond, 0)
	}
	r.result.PerSecond[second]++
}

func (r *run) summary() result {
	for range r.busy {
		r.failed.add(errUnfinished)
	}
	r.result.Seconds = time.Since(r.began).Seconds()
	r.result.Failures, r.result.FirstFailure = r.failed.count, r.failed.first
	for _, c := range r.clients {
		r.result.Reads += c.reads
		c.shut()
	}
	slices.Sort(r.taken)
	r.result.P50, r.result.P99 = percentile(r.taken, 0.50), percentile(r.taken, 0.99)
	slices.Sort(r.delays)
	r.result.EventP50, r.result.EventP99 = percentile(r.delays, 0.50), percentile(r.delays, 0.99)
	return r.result
}

func percentile[T uint32 | int64](sorted []T, part float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(part*float64(len(sorted))))])
}
