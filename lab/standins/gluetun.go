package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	statusStarting = "starting"
	statusRunning  = "running"
	statusStopping = "stopping"
	statusStopped  = "stopped"
	statusCrashed  = "crashed"

	gluetunSecrets   = "/run/secrets"
	gluetunPostRules = "/iptables/post-rules.txt"
	gluetunBackoff   = 2 * time.Second // the real one waits 15 s after a crash, then longer
)

// vpn keeps the tunnel as the control server wants it and makes it again when it fails.
type vpn struct {
	standIn
	settings gluetunSettings
	ipv6     bool
	health   healthState

	mu      sync.Mutex
	status  string
	wanted  bool
	cancel  context.CancelFunc // ends the session that runs now
	changed chan struct{}      // closed and replaced at each change of status or wanted
}

func newVPN(s standIn, settings gluetunSettings, ipv6 bool) *vpn {
	v := &vpn{standIn: s, settings: settings, ipv6: ipv6, status: statusStopped, wanted: true, changed: make(chan struct{})}
	v.health.set(errors.New("healthcheck did not run yet"))
	return v
}

func (v *vpn) getStatus() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.status
}

// update changes the state and wakes those who wait for it.
func (v *vpn) update(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *vpn) setStatus(status string) { v.update(func() { v.status = status }) }

// until waits for a status for which done is true and returns the last status seen.
func (v *vpn) until(ctx context.Context, done func(status string, wanted bool) bool) string {
	for {
		v.mu.Lock()
		status, changed, finished := v.status, v.changed, done(v.status, v.wanted)
		v.mu.Unlock()
		if finished {
			return status
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status
		}
	}
}

// start is what PUT /v1/vpn/status running does.
func (v *vpn) start(ctx context.Context) string {
	already := ""
	v.update(func() {
		if v.wanted {
			already = "already " + v.status
			return
		}
		v.wanted, v.status = true, statusStarting
	})
	if already != "" {
		return already
	}
	return v.until(ctx, func(status string, _ bool) bool { return status != statusStarting })
}

// stop is what PUT /v1/vpn/status stopped does.
func (v *vpn) stop(ctx context.Context) string {
	already := ""
	v.update(func() {
		if !v.wanted {
			already = "already " + v.status
			return
		}
		v.wanted, v.status = false, statusStopping
		if v.cancel != nil {
			v.cancel()
		}
	})
	if already != "" {
		return already
	}
	return v.until(ctx, func(status string, _ bool) bool { return status == statusStopped })
}

// loop runs sessions until ctx ends. The firewall is not touched, whatever happens here.
func (v *vpn) loop(ctx context.Context) {
	for ctx.Err() == nil {
		session, cancel := context.WithCancel(ctx)
		wanted := false
		v.update(func() {
			if wanted = v.wanted; wanted {
				v.status, v.cancel = statusStarting, cancel
			} else {
				v.status, v.cancel = statusStopped, nil
			}
		})
		if !wanted {
			cancel()
			v.until(ctx, func(_ string, wanted bool) bool { return wanted })
			continue
		}
		err := v.session(session)
		if session.Err() == nil {
			log.Printf("gluetun: vpn: restarting: %v", err)
			v.health.set(err)
			v.setStatus(statusCrashed)
			select {
			case <-session.Done():
			case <-time.After(gluetunBackoff):
			}
		}
		cancel()
	}
}

// session is one life of the tunnel: it returns when the tunnel fails or ctx ends.
func (v *vpn) session(ctx context.Context) (err error) {
	log.Printf("gluetun: wireguard: connecting to %s", v.settings.endpoint)
	t, err := openTunnel(v.settings, v.ipv6)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	v.update(func() {
		if v.wanted {
			v.status = statusRunning
		}
	})
	check := startupCheck(ctx, v.settings.healthTargets)
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch previous := v.health.get(); {
		case check != nil && v.settings.healthRestart:
			return check
		case check != nil:
			log.Printf("gluetun: health: failed (HEALTH_RESTART_VPN is off): %v", check)
		case previous != nil:
			log.Print("gluetun: health: the tunnel works")
		}
		v.health.set(check)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.ended:
			return fmt.Errorf("the interface %s is gone", v.settings.iface)
		case <-time.After(v.settings.healthPeriod):
		}
		check = smallCheck(ctx, v.settings)
	}
}

// useNameserver points the container's resolver at DNS_ADDRESS. The file is written in place: it is
// a bind mount, shared with the containers that ride in this network namespace.
func useNameserver(s gluetunSettings, path string) error {
	if s.keepNameserver {
		log.Print("gluetun: dns: keeping the container's own nameservers: names may be asked for outside the tunnel")
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log.Printf("gluetun: dns: using %s", s.dnsAddress)
	return os.WriteFile(path, []byte(patchResolvConf(string(content), s.dnsAddress)), 0o644)
}

func runGluetun(ctx context.Context, s standIn, args []string) error {
	if len(args) > 0 {
		if args[0] != "healthcheck" {
			return fmt.Errorf("command %q is unknown to the stand-in: only healthcheck", args[0])
		}
		return askHealth(ctx, http.MethodGet, "http://"+envOr("HEALTH_SERVER_ADDRESS", "127.0.0.1:9999"))
	}
	s.announce()
	wall, err := findFirewall()
	if err != nil {
		return err
	}
	if err := wall.apply(lockdownRules()); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	log.Print("gluetun: firewall: on, nothing may leave")
	settings, err := parseGluetun(os.Getenv, gluetunSecrets)
	if err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	net, err := findNetwork()
	if err != nil {
		return err
	}
	for _, d := range net.defaults {
		log.Printf("gluetun: network: default route by %s, gateway %s, own address %s", d.iface, d.gateway, d.own)
	}
	for _, l := range net.locals {
		log.Printf("gluetun: network: local %s on %s", l.prefix.Masked(), l.iface)
	}
	if err := wall.apply(settingsRules(net, settings)); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	if err := wall.applyPostRules(gluetunPostRules); err != nil {
		return fmt.Errorf("firewall: %s: %w", gluetunPostRules, err)
	}
	for _, arguments := range routingCommands(net, settings.outboundSubnets) {
		if err := run("ip", arguments...); err != nil {
			return fmt.Errorf("routing: %w", err)
		}
	}
	if err := useNameserver(settings, "/etc/resolv.conf"); err != nil {
		return err
	}
	warnOfDirectTargets(settings, net)
	if settings.role == nil {
		log.Print("gluetun: control: WARNING: no HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE: anybody may stop the VPN")
	}

	ipv6 := ipv6InTunnel()
	if !ipv6 {
		log.Print("gluetun: network: no IPv6 in the tunnel; what IPv6 there is, the firewall keeps in")
	}
	v := newVPN(s, settings, ipv6)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	servers := make(chan error, 2)
	var all sync.WaitGroup
	all.Go(func() { servers <- s.serve(ctx, settings.healthAddress, &v.health, time.Second) })
	all.Go(func() { servers <- s.serve(ctx, settings.controlAddress, v.controlHandler(), time.Second) })
	all.Go(func() { v.loop(ctx) })
	select {
	case <-ctx.Done():
	case err = <-servers:
	}
	cancel()
	all.Wait()
	log.Print("gluetun: ended; the firewall stays")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
