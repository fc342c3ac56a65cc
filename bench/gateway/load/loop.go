package main

// The epoll set and its sockets. Nothing here knows HTTP.

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// handler is called when its socket can be read, or written again after a write that was too long.
type handler interface {
	ready(events uint32)
}

type loop struct {
	fd       int
	handlers []handler // by file descriptor
	events   [1024]syscall.EpollEvent
}

func newLoop() (*loop, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &loop{fd: fd}, err
}

func (l *loop) add(fd int, events uint32, h handler) error {
	for fd >= len(l.handlers) {
		l.handlers = append(l.handlers, make([]handler, 256)...)
	}
	l.handlers[fd] = h
	return syscall.EpollCtl(l.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

func (l *loop) change(fd int, events uint32) {
	_ = syscall.EpollCtl(l.fd, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// close takes a socket out of the set and closes it.
func (l *loop) close(fd int) {
	l.handlers[fd] = nil
	_ = syscall.Close(fd)
}

// poll waits until something is ready or the time is over (negative: for ever) and calls the handlers.
func (l *loop) poll(timeout time.Duration) error {
	milliseconds := -1
	if timeout >= 0 {
		milliseconds = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	// Raw: Go's own wrapper would wake its scheduler for each wait.
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.fd), uintptr(unsafe.Pointer(&l.events[0])),
		uintptr(len(l.events)), uintptr(milliseconds), 0, 0)
	if errno != 0 {
		if errno == syscall.EINTR {
			return nil
		}
		return errno
	}
	for i := 0; i < int(n); i++ {
		event := &l.events[i]
		if h := l.handlers[event.Fd]; h != nil {
			h.ready(event.Events)
		}
	}
	return nil
}

// read gives the number of bytes; 0: the other side has ended; negative: nothing there now.
func read(fd int, buffer []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR: // Go's own signals
		case syscall.EAGAIN:
			return -1, nil
		default:
			return 0, errno
		}
	}
}

// write gives the number of bytes that were taken.
func write(fd int, data []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func address(text string) (*syscall.SockaddrInet4, error) {
	parsed, err := netip.ParseAddrPort(text)
	if err != nil || !parsed.Addr().Is4() {
		return nil, fmt.Errorf("%q is not an IPv4 address and port", text)
	}
	return &syscall.SockaddrInet4{Addr: parsed.Addr().As4(), Port: int(parsed.Port())}, nil
}

func listen(text string) (int, error) {
	to, err := address(text)
	if err != nil {
		return 0, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(fd, to); err != nil {
		return 0, err
	}
	return fd, syscall.Listen(fd, 4096)
}

// connect makes a connection to a listener on this machine. The kernel of the listener completes it, so that it is
// made at once.
func connect(to *syscall.SockaddrInet4) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := syscall.Connect(fd, to); err != nil {
		_ = syscall.Close(fd)
		return 0, err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	return fd, syscall.SetNonblock(fd, true)
}
