// Forward joins the host to a cluster that has a network namespace of its own.
//
// It inherits sockets that already listen on the host's loopback and runs inside the cluster's
// namespace: what it accepts comes from the host, what it dials goes to the cluster. So the host
// needs no address in the cluster's network, and no route leads out of it.
//
// Usage: forward FILE_DESCRIPTOR=ADDRESS:PORT...
package main

import (
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const dialTimeout = 5 * time.Second

func main() {
	for _, argument := range os.Args[1:] {
		number, target, found := strings.Cut(argument, "=")
		descriptor, err := strconv.Atoi(number)
		if !found || err != nil {
			log.Fatalf("%q is not FILE_DESCRIPTOR=ADDRESS:PORT", argument)
		}
		listener, err := net.FileListener(os.NewFile(uintptr(descriptor), target))
		if err != nil {
			log.Fatalf("file descriptor %d is no listening socket: %v", descriptor, err)
		}
		go serve(listener, target)
	}
	select {}
}

func serve(listener net.Listener, target string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatalf("accept for %s: %v", target, err)
		}
		go join(client.(*net.TCPConn), target)
	}
}

// join copies both ways and passes on each side's end of stream, so that half-closed connections work.
func join(client *net.TCPConn, target string) {
	connection, err := net.DialTimeout("tcp", target, dialTimeout)
	if err != nil {
		client.SetLinger(0) // a reset, not an empty answer: the client sees a failed connection
		client.Close()
		return
	}
	server := connection.(*net.TCPConn)
	answered := make(chan struct{})
	go func() {
		pass(client, server)
		close(answered)
	}()
	pass(server, client)
	<-answered
	client.Close()
	server.Close()
}

// pass copies until the source ends (splice on Linux). After an error both directions are over.
func pass(target, source *net.TCPConn) {
	if _, err := io.Copy(target, source); err != nil {
		source.SetLinger(0)
		source.Close()
		target.SetLinger(0)
		target.Close()
		return
	}
	target.CloseWrite()
}
