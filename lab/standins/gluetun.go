package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
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
	gluetunShutdown  = time.Second // the real one waits no longer for its VPN program, and ends
)

// gluetunTimes are the waits of the real one (3.41.1). Only this package's tests have others.
type gluetunTimes struct {
	backoff     time.Duration // after a crash, doubled while the tunnel does not come up at all
	settle      time.Duration // a VPN that has not failed by then counts as running
	startup     time.Duration // for the check of a new tunnel
	smallPeriod time.Duration
	smallTries  []time.Duration // timeout of each try
	fullPeriod  time.Duration
	fullTries   []time.Duration
}

func realTimes() gluetunTimes {
	s := time.Second
	return gluetunTimes{
		backoff: 15 * s, settle: 100 * time.Millisecond, startup: 6 * s,
		smallPeriod: 60 * s, smallTries: []time.Duration{5 * s, 5 * s, 5 * s, 10 * s, 10 * s, 10 * s, 15 * s, 15 * s, 15 * s, 30 * s},
		fullPeriod: 300 * s, fullTries: []time.Duration{10 * s, 15 * s, 30 * s},
	}
}

// life is one run of the VPN program, from its start to its end.
type life struct {
	up    <-chan struct{} // a value each time the tunnel has come up
	ended <-chan error    // its end, when nobody asked for it
	close func() error    // ends it and waits for that, as the real one without limit
}

// vpn keeps the tunnel as the control server wants it and makes it again when it fails.
type vpn struct {
	standIn
	settings gluetunSettings
	open     func(context.Context) (life, error)
	times    gluetunTimes
	backoff  time.Duration
	health   healthState
	checker  *checker
	sooner   chan os.Signal // each one is a check that does not wait for its time: for tests, the real one has none

	applying sync.Mutex // one change asked for at a time
	mu       sync.Mutex
	status   string
	cancel   context.CancelFunc // ends the life that runs now
	changed  chan struct{}      // closed and replaced at each change of status
}

func newVPN(s standIn, settings gluetunSettings, open func(context.Context) (life, error)) *vpn {
	times := realTimes()
	v := &vpn{standIn: s, settings: settings, open: open, times: times, backoff: times.backoff,
		checker: newChecker(settings), sooner: make(chan os.Signal, 1), status: statusStopped, changed: make(chan struct{})}
	v.health.set(errors.New("healthcheck did not run yet"))
	return v
}

func (v *vpn) getStatus() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.status
}

func (v *vpn) setStatus(status string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.status = status
	close(v.changed)
	v.changed = make(chan struct{})
}

// while waits as long as the status is the given one and returns the last status seen.
func (v *vpn) while(ctx context.Context, given string) string {
	for {
		v.mu.Lock()
		status, changed := v.status, v.changed
		v.mu.Unlock()
		if status != given {
			return status
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status
		}
	}
}

// apply is what PUT /v1/vpn/status does. As in the real one, nothing but a running VPN can be stopped and nothing but
// a stopped one started: a crashed one comes back by itself. It answers when the change is done.
func (v *vpn) apply(ctx context.Context, wanted string) string {
	v.applying.Lock()
	defer v.applying.Unlock()
	from, during := statusRunning, statusStopping
	if wanted == statusRunning {
		from, during = statusStopped, statusStarting
	}
	if status := v.getStatus(); status != from {
		return "already " + status
	}
	v.setStatus(during)
	if wanted == statusStopped {
		log.Print("gluetun: vpn: stopping")
		v.cancel()
	}
	return v.while(ctx, during)
}

// restart is what a failed health check does: without a back-off.
func (v *vpn) restart(ctx context.Context, reason error) {
	log.Printf("gluetun: vpn: restarting because it failed to pass the healthcheck: %v", reason)
	v.apply(ctx, statusStopped)
	v.apply(ctx, statusRunning)
}

// loop starts and restarts the VPN until ctx ends. The firewall is not closed, whatever happens here.
func (v *vpn) loop(ctx context.Context) {
	for {
		if v.while(ctx, statusStopped); ctx.Err() != nil {
			return
		}
		err := v.live(ctx)
		if ctx.Err() != nil {
			return
		}
		if v.getStatus() == statusStopping {
			v.setStatus(statusStopped)
			continue
		}
		v.setStatus(statusCrashed) // the health server goes on saying what it said
		log.Printf("gluetun: vpn: crashed: %v", err)
		log.Printf("gluetun: vpn: retrying in %s", v.backoff)
		select {
		case <-time.After(v.backoff):
		case <-ctx.Done():
		}
		v.backoff *= 2
	}
}

// live is one life of the VPN: it returns when the VPN fails, is stopped, or ctx ends.
func (v *vpn) live(ctx context.Context) error {
	here, cancel := context.WithCancel(ctx)
	defer cancel()
	v.cancel = cancel
	l, err := v.open(here)
	if err != nil {
		return err
	}
	settled := time.After(v.times.settle)
	for {
		select {
		case <-settled:
			v.backoff = v.times.backoff
			v.setStatus(statusRunning)
		case <-l.up:
			go v.tunnelUp(here, ctx)
		case err := <-l.ended:
			return errors.Join(err, l.close())
		case <-here.Done():
			return l.close()
		}
	}
}

// tunnelUp checks a new tunnel, and goes on until `here`, the VPN's life, ends.
func (v *vpn) tunnelUp(here, ctx context.Context) {
	err := v.checker.startup(here, v.times.startup)
	if here.Err() != nil {
		return
	}
	v.health.set(err)
	if err != nil && v.settings.healthRestart {
		v.restart(ctx, err)
		return
	}
	if err != nil { // and no more checks
		log.Printf("gluetun: health: failed (HEALTH_RESTART_VPN is off): %v", err)
		return
	}
	log.Print("gluetun: health: the tunnel works")
	small, full := time.NewTimer(v.times.smallPeriod), time.NewTimer(v.times.fullPeriod)
	for {
		var err error
		select {
		case <-here.Done():
			return
		case <-v.sooner:
			log.Print("gluetun: health: checking sooner than the real one would (SIGUSR1)")
			small.Reset(0)
			continue
		case <-small.C:
			err = v.checker.small(here, v.times.smallTries)
			small.Reset(v.times.smallPeriod)
		case <-full.C:
			err = v.checker.full(here, v.times.fullTries)
			full.Reset(v.times.fullPeriod)
		}
		if here.Err() != nil {
			return
		}
		previous := v.health.get()
		v.health.set(err)
		switch {
		case err != nil && v.settings.healthRestart:
			v.restart(ctx, err)
			return
		case err != nil:
			log.Printf("gluetun: health: failed (HEALTH_RESTART_VPN is off): %v", err)
		case previous != nil:
			log.Print("gluetun: health: the tunnel works again")
		}
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
	if err := wall.apply(localRules(net)); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	if err := wall.applyPostRules(gluetunPostRules); err != nil {
		return fmt.Errorf("firewall: %s: %w", gluetunPostRules, err)
	}
	log.Print("gluetun: firewall: on, nothing may leave but to local networks")
	settings, err := parseGluetun(os.Getenv, gluetunSecrets, ipv6Possible())
	if err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	for _, line := range settings.ignored {
		log.Printf("gluetun: the stand-in does not do this: %s", line)
	}
	if settings.openvpn != nil {
		if settings.openvpn.user, err = nonRootUser("/etc/passwd", settings.openvpn.uid, settings.openvpn.gid); err != nil {
			return err
		}
	}
	for _, arguments := range routingCommands(net, settings.outboundSubnets) {
		if err := run("ip", arguments...); err != nil {
			return fmt.Errorf("routing: %w", err)
		}
	}
	if err := wall.apply(settingsRules(net, settings)); err != nil {
		return fmt.Errorf("firewall: %w", err)
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
	allowed := false
	v := newVPN(s, settings, func(ctx context.Context) (life, error) {
		if !settings.remote.IsValid() {
			return life{}, fmt.Errorf("finding a VPN server: the stand-in knows no server of %s: set the provider custom, or use the real gluetun",
				settings.provider)
		}
		if !allowed { // for good, as the server stays the same
			if err := wall.apply(connectionRules(net, settings)); err != nil {
				return life{}, fmt.Errorf("allowing VPN connection through firewall: %w", err)
			}
			allowed = true
		}
		if settings.openvpn != nil {
			return startOpenVPN(ctx, *settings.openvpn)
		}
		return startWireGuard(settings, ipv6)
	})
	signal.Notify(v.sooner, syscall.SIGUSR1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	servers := make(chan error, 2)
	var all sync.WaitGroup
	all.Go(func() { servers <- s.serve(ctx, settings.healthAddress, &v.health, time.Second) })
	all.Go(func() { servers <- s.serve(ctx, settings.controlAddress, v.controlHandler(ctx), time.Second) })
	all.Go(func() { v.loop(ctx) })
	v.apply(ctx, statusRunning)
	select {
	case <-ctx.Done():
	case err = <-servers:
	}
	cancel()
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(gluetunShutdown):
		return errors.New("shutdown timed out: the VPN program does not end")
	}
	log.Print("gluetun: ended; the firewall stays")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
