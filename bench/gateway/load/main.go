// Command load is both ends of the gateway benchmark: the engine behind the gateways and the clients before them.
//
//	load engine -listen ADDRESS [-interval 10ms]            answers as vLLM does, whole or streamed
//	load hold   -to ADDRESS -request FILE -streams N        open streams and keep them until stdin ends
//
// The engine reads commands from stdin, a line each, and prints one JSON object for each:
//
//	plain      -to ADDRESS -request FILE ...                requests one after the other on some connections
//	streams    -to ADDRESS -request FILE ...                streamed requests
//	sequential -to NAME=ADDRESS=FILE -to ...                one request at a time, each target in turn
//
// Engine and clients are one thread around one epoll set, with as few system calls as there can be, and while a
// command runs it never sleeps. So it is never what is measured; and a gateway is not charged for waking it, which on
// a virtual machine costs more than a small gateway itself. FILE holds whole HTTP/1.1 requests as they go over the
// wire, which are sent in turn; identifiers in them (x-request-id, traceparent) are made new for each. This is no HTTP implementation: it knows what these gateways and these requests need.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

func main() {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	debug.SetGCPercent(800)
	commands := map[string]func([]string) error{"engine": engine, "hold": hold}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: load engine|hold ...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "load %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func printJSON(result any) error {
	return json.NewEncoder(os.Stdout).Encode(result)
}
