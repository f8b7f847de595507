package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// healthState is what the health server answers: the last check's result.
type healthState struct {
	mu  sync.Mutex
	err error
}

func (h *healthState) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

func (h *healthState) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

func (h *healthState) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "method not supported for healthcheck", http.StatusBadRequest)
		return
	}
	if err := h.get(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// dialTarget makes a TCP connection, and on port 443 a TLS handshake too, as the real check does.
func dialTarget(ctx context.Context, target string) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp4", target)
	if err != nil {
		return err
	}
	defer connection.Close()
	host, port, err := net.SplitHostPort(target)
	if err != nil || port != "443" {
		return err
	}
	return tls.Client(connection, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}).HandshakeContext(ctx)
}

// checker is the real one's health checks.
type checker struct {
	targets    []string
	pings      []netip.Addr // empty: the small check asks DNS
	ping       func(context.Context, netip.Addr) error
	names      []string     // DNS servers, each with its port
	next       atomic.Int32 // which of them is asked
	pingDenied atomic.Bool  // for good
}

func newChecker(s gluetunSettings) *checker {
	// The first ones of the real one's list.
	return &checker{targets: s.healthTargets, pings: s.healthICMP, ping: ping,
		names: []string{"1.1.1.1:53", "1.0.0.1:53", "8.8.8.8:53", "8.8.4.4:53", "9.9.9.9:53"}}
}

// startup passes when one target answers in time.
func (c *checker) startup(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	results := make(chan error, len(c.targets))
	for _, target := range c.targets {
		go func() { results <- dialTarget(ctx, target) }()
	}
	var problems []error
	for range c.targets {
		err := <-results
		if err == nil {
			return nil
		}
		problems = append(problems, err)
	}
	return fmt.Errorf("startup check: %w", errors.Join(problems...))
}

// small pings. Where it may not, be it for a missing capability or because the firewall refuses a packet while tun0 is
// down, it asks DNS from then on and for good, as the real one does.
func (c *checker) small(ctx context.Context, tries []time.Duration) error {
	err := retried(ctx, tries, func(ctx context.Context, try int) error {
		if len(c.pings) > 0 && !c.pingDenied.Load() {
			err := c.ping(ctx, c.pings[try%len(c.pings)])
			if !errors.Is(err, os.ErrPermission) {
				return err
			}
			c.pingDenied.Store(true)
			log.Printf("gluetun: health: %v; permanently falling back to plain DNS over UDP checks", err)
		}
		return c.askDNS(ctx)
	})
	if err != nil {
		return fmt.Errorf("small periodic check: %w", err)
	}
	return nil
}

// full dials a target.
func (c *checker) full(ctx context.Context, tries []time.Duration) error {
	err := retried(ctx, tries, func(ctx context.Context, try int) error {
		return dialTarget(ctx, c.targets[try%len(c.targets)])
	})
	if err != nil {
		return fmt.Errorf("full periodic check: %w", err)
	}
	return nil
}

// askDNS looks a name up; after a failure the next server is asked.
func (c *checker) askDNS(ctx context.Context) error {
	server := c.names[int(c.next.Load())%len(c.names)]
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server)
	}}
	if _, err := resolver.LookupIP(ctx, "ip", "github.com"); err != nil {
		c.next.Add(1)
		return fmt.Errorf("with DNS server %s: %w", server, err)
	}
	return nil
}

// retried tries a check once for each timeout.
func retried(ctx context.Context, tries []time.Duration, check func(ctx context.Context, try int) error) error {
	var problems []error
	for try, timeout := range tries {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		err := check(attempt, try)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		problems = append(problems, err)
	}
	return fmt.Errorf("all check tries failed: %w", errors.Join(problems...))
}

func icmpChecksum(packet []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(packet); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// icmpEcho is an echo request with a random body; even length, so that the checksum needs no padding.
func icmpEcho() ([]byte, error) {
	packet := make([]byte, 8+16)
	if _, err := rand.Read(packet[4:]); err != nil {
		return nil, err
	}
	packet[0] = 8 // echo request
	binary.BigEndian.PutUint16(packet[2:], icmpChecksum(packet))
	return packet, nil
}

// ping sends one ICMP echo and waits for its answer.
func ping(ctx context.Context, target netip.Addr) error {
	connection, err := (&net.ListenConfig{}).ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer connection.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return err
		}
	}
	request, err := icmpEcho()
	if err != nil {
		return err
	}
	if _, err := connection.WriteTo(request, &net.IPAddr{IP: target.AsSlice()}); err != nil {
		return err
	}
	answer := make([]byte, 1500)
	for {
		n, _, err := connection.ReadFrom(answer)
		if err != nil {
			return fmt.Errorf("no echo from %s: %w", target, err)
		}
		if n == len(request) && answer[0] == 0 && string(answer[4:n]) == string(request[4:]) {
			return nil
		}
	}
}

// warnOfDirectTargets says which targets would be reached without the tunnel.
func warnOfDirectTargets(s gluetunSettings, n network) {
	var hosts []string
	for _, t := range s.healthTargets {
		if host, _, err := net.SplitHostPort(t); err == nil {
			hosts = append(hosts, host)
		}
	}
	for _, a := range s.healthICMP {
		hosts = append(hosts, a.String())
	}
	for _, host := range hosts {
		addr, err := netip.ParseAddr(host)
		for _, l := range n.locals {
			if err == nil && l.prefix.Contains(addr) {
				log.Printf("gluetun: WARNING: health target %s lies in the local network %s: the check does not go through the tunnel",
					strings.TrimSpace(host), l.prefix.Masked())
			}
		}
	}
}
