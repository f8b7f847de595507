package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tunnel is one life of the WireGuard interface.
type tunnel struct {
	iface  string
	rules  [][]string
	daemon *exec.Cmd     // wireguard-go, nil with the kernel's implementation
	exited chan struct{} // closed when the daemon has ended
}

// wireGuardConfig is the text for `wg setconf`; it goes through a pipe and never to disk.
func wireGuardConfig(s gluetunSettings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nFwMark = %d\n[Peer]\nPublicKey = %s\n", s.privateKey, gluetunMark, s.publicKey)
	if s.presharedKey != "" {
		fmt.Fprintf(&b, "PresharedKey = %s\n", s.presharedKey)
	}
	allowed := make([]string, len(s.allowedIPs))
	for i, p := range s.allowedIPs {
		allowed[i] = p.Masked().String()
	}
	fmt.Fprintf(&b, "Endpoint = %s\nAllowedIPs = %s\n", s.remote, strings.Join(allowed, ", "))
	if s.keepalive > 0 {
		fmt.Fprintf(&b, "PersistentKeepalive = %d\n", int(s.keepalive.Seconds()))
	}
	return b.String()
}

// withoutIPv6 leaves IPv6 networks out of the allowed ones where there is no IPv6, as the real one does.
func withoutIPv6(prefixes []netip.Prefix, ipv6 bool) []netip.Prefix {
	var kept []netip.Prefix
	for _, p := range prefixes {
		if ipv6 || p.Addr().Is4() {
			kept = append(kept, p)
		}
	}
	return kept
}

func linkExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// startWireGuard makes the interface and its routes; on an error nothing is left of them. wireguard-go sees at once that
// its interface has been taken away; with the kernel's WireGuard only the next health check sees it, as in the real one.
func startWireGuard(s gluetunSettings, ipv6 bool) (life, error) {
	log.Printf("gluetun: wireguard: connecting to %s", s.remote)
	t := &tunnel{iface: s.iface, exited: make(chan struct{})}
	if linkExists(s.iface) {
		if err := run("ip", "link", "delete", s.iface); err != nil {
			return life{}, fmt.Errorf("cannot remove the interface that is there: %w", err)
		}
	}
	err := t.make(s.implementation)
	if err == nil {
		err = t.configure(s, ipv6)
	}
	if err != nil {
		return life{}, errors.Join(err, t.close())
	}
	up, ended := make(chan struct{}, 1), make(chan error, 1)
	up <- struct{}{}
	if t.daemon != nil {
		go func() {
			<-t.exited
			ended <- errors.New("the WireGuard device has ended")
		}()
	}
	return life{up, ended, t.close}, nil
}

func (t *tunnel) make(implementation string) error {
	if implementation != "userspace" {
		err := run("ip", "link", "add", t.iface, "type", "wireguard")
		if err == nil {
			log.Print("gluetun: wireguard: kernel implementation")
			return nil
		}
		if implementation == "kernelspace" {
			return fmt.Errorf("WIREGUARD_IMPLEMENTATION=kernelspace: the kernel has no WireGuard: %w", err)
		}
		log.Print("gluetun: wireguard: userspace implementation (the kernel has no WireGuard)")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("no TUN device: give the container the device /dev/net/tun: %w", err)
	}
	t.daemon = exec.Command("wireguard-go", t.iface)
	// In the foreground by this variable, not by -f: so it leaves out its advice on kernel modules.
	t.daemon.Env = append(os.Environ(), "WG_PROCESS_FOREGROUND=1", "LOG_LEVEL=error")
	reader, writer := io.Pipe()
	t.daemon.Stdout, t.daemon.Stderr = writer, writer
	go func() {
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				log.Printf("gluetun: wireguard-go: %s", line)
			}
		}
	}()
	if err := t.daemon.Start(); err != nil {
		t.daemon = nil
		return err
	}
	go func() {
		err := t.daemon.Wait()
		log.Printf("gluetun: wireguard-go has ended: %v", err)
		writer.Close()
		close(t.exited)
	}()
	socket := filepath.Join("/var/run/wireguard", t.iface+".sock")
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil && linkExists(t.iface) {
			return nil
		}
		select {
		case <-t.exited:
			return errors.New("wireguard-go ended at once: its reason is in the lines above")
		default:
		}
	}
	return errors.New("wireguard-go did not make the interface within 5 s")
}

func (t *tunnel) configure(s gluetunSettings, ipv6 bool) error {
	s.allowedIPs = withoutIPv6(s.allowedIPs, ipv6)
	if err := run("ip", "link", "set", t.iface, "mtu", strconv.Itoa(s.mtu)); err != nil {
		return err
	}
	for _, p := range s.addresses {
		if err := run("ip", ipFamily(p.Addr()), "address", "add", p.String(), "dev", t.iface); err != nil {
			return err
		}
	}
	if _, err := command(wireGuardConfig(s), "wg", "setconf", t.iface, "/dev/stdin"); err != nil {
		return err
	}
	if err := run("ip", "link", "set", t.iface, "up"); err != nil {
		return err
	}
	for _, p := range s.allowedIPs {
		if err := run("ip", ipFamily(p.Addr()), "route", "add", p.Masked().String(), "dev", t.iface, "table", strconv.Itoa(gluetunMark)); err != nil {
			return err
		}
	}
	families := []string{"-4"}
	if ipv6 {
		families = append(families, "-6")
	}
	for _, family := range families {
		rule := []string{"not", "fwmark", strconv.Itoa(gluetunMark), "table", strconv.Itoa(gluetunMark), "priority", "101"}
		if err := run("ip", append([]string{family, "rule", "add"}, rule...)...); err != nil {
			return err
		}
		t.rules = append(t.rules, append([]string{family, "rule", "delete"}, rule...))
	}
	return nil
}

// close removes rules, interface and daemon. The firewall is not touched.
func (t *tunnel) close() error {
	var problems []error
	for _, rule := range t.rules {
		problems = append(problems, run("ip", rule...))
	}
	if t.daemon != nil { // takes its interface with it
		if err := t.daemon.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			problems = append(problems, err)
		}
		select {
		case <-t.exited:
		case <-time.After(2 * time.Second):
			problems = append(problems, t.daemon.Process.Kill())
			<-t.exited
		}
	}
	if linkExists(t.iface) {
		problems = append(problems, run("ip", "link", "delete", t.iface))
	}
	return errors.Join(problems...)
}
