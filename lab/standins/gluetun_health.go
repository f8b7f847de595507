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

// startupCheck passes when one target answers within 6 s.
func startupCheck(ctx context.Context, targets []string) error {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	results := make(chan error, len(targets))
	for _, target := range targets {
		go func() { results <- dialTarget(ctx, target) }()
	}
	var problems []error
	for range targets {
		err := <-results
		if err == nil {
			return nil
		}
		problems = append(problems, err)
	}
	return fmt.Errorf("startup check: %w", errors.Join(problems...))
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

// smallCheck pings, or dials the targets where there is no raw socket. It is tried twice, 4 s each.
func smallCheck(ctx context.Context, s gluetunSettings) error {
	var problems []error
	for try := range 2 {
		attempt, cancel := context.WithTimeout(ctx, 4*time.Second)
		err := errors.ErrUnsupported
		if len(s.healthICMP) > 0 {
			if err = ping(attempt, s.healthICMP[try%len(s.healthICMP)]); errors.Is(err, os.ErrPermission) && !ipSent(err) {
				err = errors.ErrUnsupported
			}
		}
		if errors.Is(err, errors.ErrUnsupported) {
			err = dialTarget(attempt, s.healthTargets[try%len(s.healthTargets)])
		}
		cancel()
		if err == nil {
			return nil
		}
		problems = append(problems, err)
	}
	return fmt.Errorf("small periodic check: %w", errors.Join(problems...))
}

// ipSent tells a refusal of the packet (the firewall's) from a refusal of the raw socket.
func ipSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "write"
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
