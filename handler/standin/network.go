package standin

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Network is a network in this process, whose connections take time by the
// clock of testing/synctest: a round trip to open one, and half of one for
// whatever is sent. The zero value takes no time; set RoundTrip before use.
type Network struct {
	RoundTrip time.Duration

	mu    sync.Mutex
	hosts map[string]*listener
	lost  *atomic.Bool // of the connections since the last Lose
	dials map[string]int
}

// Listen serves an address such as "api.example.com:443".
func (n *Network) Listen(address string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts, n.dials, n.lost = map[string]*listener{}, map[string]int{}, new(atomic.Bool)
	}
	l := &listener{accepted: make(chan net.Conn), closed: make(chan struct{})}
	n.hosts[address] = l
	return l
}

// Dials is how many connections to an address were opened.
func (n *Network) Dials(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[address]
}

// Lose makes the connections that there are lose whatever is sent, without a
// sign to either end.
func (n *Network) Lose() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost.Store(true)
	n.lost = new(atomic.Bool)
}

// DialContext is for http.Transport.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	l, lost := n.hosts[address], n.lost
	if l != nil {
		n.dials[address]++
	}
	n.mu.Unlock()
	select {
	case <-time.After(n.RoundTrip):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	client, near := net.Pipe()
	far, server := net.Pipe()
	go carry(far, near, n.RoundTrip/2, lost)
	go carry(near, far, n.RoundTrip/2, lost)
	select {
	case l.accepted <- server:
		return client, nil
	case <-l.closed:
		client.Close()
		server.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
}

// carry brings what comes from one end to the other, each part after a delay.
func carry(to, from net.Conn, delay time.Duration, lost *atomic.Bool) {
	type part struct {
		late time.Time
		data []byte
	}
	parts := make(chan part, 1024)
	go func() {
		defer close(parts)
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			parts <- part{time.Now().Add(delay), bytes.Clone(buf[:n])}
		}
	}()
	for p := range parts {
		time.Sleep(time.Until(p.late))
		if !lost.Load() {
			_, _ = to.Write(p.data)
		}
	}
	time.Sleep(delay)
	if !lost.Load() {
		to.Close()
	}
	from.Close()
}

type listener struct {
	accepted chan net.Conn
	once     sync.Once
	closed   chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }
