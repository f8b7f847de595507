package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	testKey   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	testOther = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="
)

func gluetunEnv(pairs ...string) func(string) string {
	return envOf(append([]string{
		"VPN_SERVICE_PROVIDER", "custom", "VPN_TYPE", "wireguard", "WIREGUARD_ENDPOINT_IP", "172.30.0.20",
		"WIREGUARD_ENDPOINT_PORT", "51820", "WIREGUARD_PUBLIC_KEY", testOther, "WIREGUARD_PRIVATE_KEY", testKey,
		"WIREGUARD_ADDRESSES", "10.13.13.2/32", "DNS_SERVER", "off", "PUBLICIP_ENABLED", "off", "VERSION_INFORMATION", "off",
	}, pairs...)...)
}

func gluetunParsed(t *testing.T, pairs ...string) gluetunSettings {
	t.Helper()
	s, err := parseGluetun(gluetunEnv(pairs...), t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// idle is a VPN that never comes up.
func idle(ctx context.Context) (life, error) {
	return life{nil, nil, func() error { return nil }}, nil
}

// A container on one network with a way out and on one internal network.
const (
	testLinks = `[{"ifname":"lo","link_type":"loopback","addr_info":[{"family":"inet","local":"127.0.0.1"}]},
{"ifname":"eth0","link_type":"ether","addr_info":[{"family":"inet","local":"172.30.0.10"},{"family":"inet6","local":"fd00:1::10"}]},
{"ifname":"eth1","link_type":"ether","addr_info":[{"family":"inet","local":"172.31.0.10"}]}]`
	testRoutes4 = `[{"dst":"default","gateway":"172.30.0.1","dev":"eth0"},{"dst":"172.30.0.0/24","dev":"eth0"},{"dst":"172.31.0.0/24","dev":"eth1"}]`
	testRoutes6 = `[{"dst":"fd00:1::/64","dev":"eth0"},{"dst":"default","gateway":"fd00:1::1","dev":"eth0"}]`
)

func testNetwork(t *testing.T, routes6 string) network {
	t.Helper()
	n, err := parseNetwork([]byte(testLinks), []byte(testRoutes4), []byte(routes6))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantLines(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if g := strings.Join(got, "\n"); g != strings.TrimSpace(want) {
		t.Errorf("%s:\n%s\nnot\n%s", what, g, strings.TrimSpace(want))
	}
}

func TestGluetunLockdownComesFirst(t *testing.T) {
	r := lockdownRules()
	wantLines(t, "IPv4", r.v4, `
--policy INPUT DROP
--policy OUTPUT DROP
--policy FORWARD DROP
-A INPUT -i lo -j ACCEPT
-A OUTPUT -o lo -j ACCEPT`)
	if !slices.Equal(r.v4, r.v6) {
		t.Errorf("IPv6: %q", r.v6)
	}
}

func TestGluetunFirewall(t *testing.T) {
	s := gluetunParsed(t, "FIREWALL_INPUT_PORTS", "8080", "FIREWALL_VPN_INPUT_PORTS", "6881", "FIREWALL_OUTBOUND_SUBNETS", "192.168.7.9/16")
	n := testNetwork(t, "")
	r := localRules(n)
	wantLines(t, "local IPv4", r.v4, `
-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -o eth0 -s 172.30.0.10 -d 172.30.0.0/24 -j ACCEPT
-A OUTPUT -o eth1 -s 172.31.0.10 -d 172.31.0.0/24 -j ACCEPT
-A INPUT -i eth0 -d 172.30.0.0/24 -j ACCEPT
-A INPUT -i eth1 -d 172.31.0.0/24 -j ACCEPT`)
	wantLines(t, "local IPv6", r.v6, `
-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -o eth0 -d ff02::1:ff00:0/104 -j ACCEPT
-A OUTPUT -o eth1 -d ff02::1:ff00:0/104 -j ACCEPT`)
	r = settingsRules(n, s)
	wantLines(t, "settings IPv4", r.v4, `
-A OUTPUT -o eth0 -s 172.30.0.10 -d 192.168.0.0/16 -j ACCEPT
-A INPUT -i eth0 -p tcp -m tcp --dport 8080 -j ACCEPT
-A INPUT -i eth0 -p udp -m udp --dport 8080 -j ACCEPT`)
	r = connectionRules(n, s)
	wantLines(t, "connection IPv4", r.v4, `
-A OUTPUT -d 172.30.0.20 -o eth0 -p udp -m udp --dport 51820 -j ACCEPT
-A OUTPUT -o tun0 -j ACCEPT
-A INPUT -i tun0 -p tcp -m tcp --dport 6881 -j ACCEPT
-A INPUT -i tun0 -p udp -m udp --dport 6881 -j ACCEPT`)
	wantLines(t, "connection IPv6", r.v6, `
-A OUTPUT -o tun0 -j ACCEPT
-A INPUT -i tun0 -p tcp -m tcp --dport 6881 -j ACCEPT
-A INPUT -i tun0 -p udp -m udp --dport 6881 -j ACCEPT`)
}

// With IPv6 on both sides each rule must be in its own family's table.
func TestGluetunFirewallFamilies(t *testing.T) {
	s := gluetunParsed(t, "WIREGUARD_ENDPOINT_IP", "fd00:9::1", "FIREWALL_OUTBOUND_SUBNETS", "fd00:7::/32,10.0.0.0/8")
	var r firewallRules
	n := testNetwork(t, testRoutes6)
	for _, more := range []firewallRules{localRules(n), settingsRules(n, s), connectionRules(n, s)} {
		r.v4, r.v6 = append(r.v4, more.v4...), append(r.v6, more.v6...)
	}
	for _, rule := range r.v4 {
		if strings.Contains(rule, "fd00") || strings.Contains(rule, "ff02") {
			t.Errorf("IPv4: %s", rule)
		}
	}
	for _, want := range []string{"-A OUTPUT -d fd00:9::1 -o eth0 -p udp -m udp --dport 51820 -j ACCEPT",
		"-A OUTPUT -o eth0 -s fd00:1::10 -d fd00:1::/64 -j ACCEPT", "-A OUTPUT -o eth0 -s fd00:1::10 -d fd00:7::/32 -j ACCEPT",
		"-A INPUT -i eth0 -d fd00:1::/64 -j ACCEPT"} {
		if !slices.Contains(r.v6, want) {
			t.Errorf("IPv6 lacks %s: %q", want, r.v6)
		}
	}
	if strings.Contains(strings.Join(r.v6, "\n"), "172.") || strings.Contains(strings.Join(r.v6, "\n"), "10.0.0.0") {
		t.Errorf("IPv6: %q", r.v6)
	}
}

func TestGluetunPostRules(t *testing.T) {
	r := postRules("# a comment\niptables -I OUTPUT 1 -o eth+ -s 10.13.13.2/32 -j DROP\nip6tables-nft -A INPUT -j DROP\n\n iptables -F\nreboot now\n")
	if !slices.Equal(r.v4, []string{"-I OUTPUT 1 -o eth+ -s 10.13.13.2/32 -j DROP"}) || !slices.Equal(r.v6, []string{"-A INPUT -j DROP"}) {
		t.Errorf("%+v", r)
	}
}

func TestGluetunRouting(t *testing.T) {
	var lines []string
	for _, c := range routingCommands(testNetwork(t, testRoutes6), []netip.Prefix{netip.MustParsePrefix("192.168.7.9/16")}) {
		lines = append(lines, strings.Join(c, " "))
	}
	wantLines(t, "ip", lines, `
-4 route replace default via 172.30.0.1 dev eth0 table 200
-4 rule add from 172.30.0.10 table 200 priority 100
-6 route replace default via fd00:1::1 dev eth0 table 200
-6 rule add from fd00:1::10 table 200 priority 100
-4 route replace 192.168.0.0/16 via 172.30.0.1 dev eth0 table 199
-4 rule add to 192.168.0.0/16 table 199 priority 99
-4 rule add to 172.30.0.0/24 table main priority 98
-4 rule add to 172.31.0.0/24 table main priority 98
-6 rule add to fd00:1::/64 table main priority 98`)
}

func TestGluetunNeedsAWayOut(t *testing.T) {
	_, err := parseNetwork([]byte(testLinks), []byte(`[{"dst":"172.30.0.0/24","dev":"eth0"}]`), nil)
	wantError(t, err, "no default route", "not internal")
	_, err = parseNetwork([]byte(testLinks), []byte(`nonsense`), nil)
	wantError(t, err, "ip route")
}

func TestGluetunSettings(t *testing.T) {
	s := gluetunParsed(t, "WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL", "25s", "WIREGUARD_ALLOWED_IPS", "0.0.0.0/0",
		"HEALTH_TARGET_ADDRESSES", "10.13.13.1:9000,cloudflare.com,9.9.9.9", "HEALTH_ICMP_TARGET_IPS", "0.0.0.0", "DNS_ADDRESS", "10.13.13.1",
		"HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE", `{"auth":"apikey","apikey":"k"}`)
	if s.iface != "tun0" || s.mtu != 1320 || s.implementation != "auto" || s.healthAddress != "127.0.0.1:9999" || !s.healthRestart ||
		s.controlAddress != ":8000" || s.keepalive != 25*time.Second || s.remote.String() != "172.30.0.20:51820" || s.protocol != "udp" ||
		s.role == nil || s.role.APIKey != "k" || s.dnsAddress.String() != "10.13.13.1" || s.healthICMP[0].String() != "172.30.0.20" {
		t.Errorf("%+v", s)
	}
	if !slices.Equal(s.healthTargets, []string{"10.13.13.1:9000", "cloudflare.com:443", "9.9.9.9:443"}) {
		t.Errorf("targets %q", s.healthTargets)
	}
	wantLines(t, "wg", strings.Split(strings.TrimSpace(wireGuardConfig(s)), "\n"), `
[Interface]
PrivateKey = `+testKey+`
FwMark = 51820
[Peer]
PublicKey = `+testOther+`
Endpoint = 172.30.0.20:51820
AllowedIPs = 0.0.0.0/0
PersistentKeepalive = 25`)
	if s := gluetunParsed(t, "WIREGUARD_ADDRESSES", "10.0.0.2", "HEALTH_SMALL_CHECK_TYPE", "dns"); s.addresses[0].String() != "10.0.0.2/32" ||
		len(s.healthICMP) != 0 || s.dnsAddress.String() != "1.1.1.1" {
		t.Errorf("%+v", s)
	}
}

func TestGluetunSecretFilesWin(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "wireguard_private_key"), testOther+"\n")
	write(t, filepath.Join(dir, "elsewhere"), testKey)
	s, err := parseGluetun(gluetunEnv("WIREGUARD_PRESHARED_KEY", testOther, "WIREGUARD_PRESHARED_KEY_SECRETFILE", filepath.Join(dir, "elsewhere")), dir, false)
	if err != nil || s.privateKey != testOther || s.presharedKey != testKey {
		t.Errorf("%v: private %v, preshared %v", err, s.privateKey == testOther, s.presharedKey == testKey)
	}
	if !strings.Contains(wireGuardConfig(s), "PresharedKey = "+testKey+"\n") {
		t.Error("the preshared key is not in the configuration")
	}
}

func TestGluetunSettingsProblems(t *testing.T) {
	const bad = "c2VjcmV0LXZhbHVlLXRoYXQtaXMtdG9vLXNob3J0"
	for key, value := range map[string]string{
		"VPN_SERVICE_PROVIDER": "torguard", "VPN_TYPE": "ipsec", "WIREGUARD_PRIVATE_KEY": bad, "WIREGUARD_PUBLIC_KEY": "",
		"WIREGUARD_PRESHARED_KEY": bad, "WIREGUARD_ENDPOINT_IP": "vpn.example.com", "WIREGUARD_ENDPOINT_PORT": "0",
		"WIREGUARD_ADDRESSES": "10.0.0.2/32,fc00::2/128", "SERVER_COUNTRIES": "Sweden",
		"WIREGUARD_ALLOWED_IPS": "all", "WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL": "25", "WIREGUARD_MTU": "9", "WIREGUARD_IMPLEMENTATION": "kernel",
		"FIREWALL_INPUT_PORTS": "8080,x", "FIREWALL_OUTBOUND_SUBNETS": "0.0.0.0/0", "HEALTH_ICMP_TARGET_IPS": "host", "HEALTH_RESTART_VPN": "maybe",
		"DNS_ADDRESS": "dns", "HTTPPROXY": "on", "VPN_PORT_FORWARDING": "on", "UPDATER_PERIOD": "1s",
		"FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT": "off", "VPN_INTERFACE": "a b",
		"HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE": `{"auth":"apikey","apikey":"` + bad + `","extra":1}`,
	} {
		_, err := parseGluetun(gluetunEnv(key, value), t.TempDir(), false)
		if err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: %v", key, value, err)
		}
		if err != nil && strings.Contains(err.Error(), bad) {
			t.Errorf("%s: the message shows the value", key)
		}
	}
	_, err := parseGluetun(envOf("VPN_TYPE", "wireguard", "VPN_SERVICE_PROVIDER", "custom"), t.TempDir(), false) // all at once
	wantError(t, err, "WIREGUARD_ADDRESSES: interface address is not set", "WIREGUARD_PRIVATE_KEY: not set", "WIREGUARD_ENDPOINT_IP")
	_, err = parseGluetun(envOf(), t.TempDir(), false)
	wantError(t, err, "OPENVPN_USER: empty", "OPENVPN_PASSWORD: empty", "private internet access")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "wg0.conf"), "")
	_, err = parseGluetun(gluetunEnv(), dir, false)
	wantError(t, err, "wg0.conf")
	dir = t.TempDir()
	write(t, filepath.Join(dir, "wireguard_private_key", "in-the-way"), "") // cannot be read as a file
	_, err = parseGluetun(gluetunEnv(), dir, false)
	wantError(t, err, "WIREGUARD_PRIVATE_KEY: secret file")
}

func TestGluetunRoles(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `{"auth":"none"}`: true, `{"auth":"basic","username":"u","password":"p"}`: true, `{"auth":"apikey"}`: false,
		`{"auth":"basic","username":"u"}`: false, `{"auth":"token"}`: false, `no json`: false,
	} {
		if _, err := parseGluetunRole(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestGluetunResolvConf(t *testing.T) {
	got := patchResolvConf("search home\nnameserver 127.0.0.11\nnameserver 1.1.1.1\noptions ndots:0\n", netip.MustParseAddr("10.13.13.1"))
	if got != "nameserver 10.13.13.1\nsearch home\noptions ndots:0\n" {
		t.Errorf("%q", got)
	}
}

func TestGluetunControl(t *testing.T) {
	s := part(t, "gluetun")
	role := `{"auth":"apikey","apikey":"right"}`
	private := newVPN(s, gluetunParsed(t, "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE", role), idle)
	public := newVPN(s, gluetunParsed(t), idle)
	basicRole := newVPN(s, gluetunParsed(t, "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE", `{"auth":"basic","username":"u","password":"p"}`), idle)
	for _, c := range []struct {
		v          *vpn
		method     string
		path       string
		key, value string
		code       int
		body       string
	}{
		{private, "GET", "/v1/vpn/status", "", "", 401, ""},
		{private, "GET", "/v1/vpn/status", "X-API-Key", "wrong", 401, ""},
		{private, "PUT", "/v1/vpn/status", "", "", 401, ""},
		{private, "GET", "/v1/nothing", "X-API-Key", "right", 401, ""},
		{private, "GET", "/v1/vpn/status", "X-API-Key", "right", 200, `{"status":"stopped"}`},
		{private, "GET", "/v1/vpn/status?api_key=right", "", "", 200, `{"status":"stopped"}`},
		{private, "GET", "/v1/version", "X-API-Key", "right", 200, `"commit":"stand-in"`},
		{private, "GET", "/v1/publicip/ip", "X-API-Key", "right", 200, `{"public_ip":""}`},
		{private, "GET", "/v1/portforward", "X-API-Key", "right", 200, `{"port":0}`},
		{private, "GET", "/v1/vpn/settings", "X-API-Key", "right", 200, `"addresses":["10.13.13.2/32"]`},
		{private, "PUT", "/v1/vpn/status", "X-API-Key", "right", 400, "invalid status"},
		{public, "GET", "/v1/vpn/status", "", "", 200, "stopped"}, // as the real 3.41.1
		{public, "GET", "/v1/vpn/settings", "", "", 401, ""},
		{basicRole, "GET", "/v1/version", "", "", 401, ""},
		{basicRole, "GET", "/v1/version", "Authorization", basic("u", "p"), 200, "v3.41.1"},
	} {
		w := get(t, s, c.v.controlHandler(t.Context()), c.method, c.path, `{"status":"on"}`, c.key, c.value)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %s %s=%s: %d %s", c.method, c.path, c.key, c.value, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), testKey) {
			t.Errorf("%s shows the private key", c.path)
		}
	}
}

func TestGluetunHealthServer(t *testing.T) {
	s := part(t, "gluetun")
	v := newVPN(s, gluetunParsed(t), idle)
	server := httptest.NewServer(&v.health)
	defer server.Close()
	wantError(t, askHealth(t.Context(), "GET", server.URL), "500", "did not run yet")
	v.health.set(errors.New("no echo"))
	wantError(t, askHealth(t.Context(), "GET", server.URL), "500", "no echo")
	v.health.set(nil)
	if err := askHealth(t.Context(), "GET", server.URL); err != nil {
		t.Error(err)
	}
	wantCode(t, get(t, s, &v.health, "POST", "/", ""), 400)
}

func TestGluetunChecks(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	up := strings.TrimPrefix(server.URL, "http://")
	tries := []time.Duration{time.Second, time.Second}
	c := newChecker(gluetunSettings{healthTargets: []string{"127.0.0.1:1", up}})
	if err := errors.Join(c.startup(t.Context(), time.Second), c.full(t.Context(), tries)); err != nil {
		t.Errorf("one of two answers: %v", err)
	}
	server.Close()
	wantError(t, c.startup(t.Context(), time.Second), "startup check", "refused")
	wantError(t, c.full(t.Context(), tries), "full periodic check", "all check tries failed", "refused")
}

// A ping that is not permitted is the last one.
func TestGluetunPingsNoMoreWhereItMayNot(t *testing.T) {
	pings, result := 0, errors.New("no echo")
	c := newChecker(gluetunSettings{healthICMP: []netip.Addr{netip.MustParseAddr("10.13.13.1")}})
	c.names = []string{"127.0.0.1:1", "127.0.0.1:2"}
	c.ping = func(context.Context, netip.Addr) error { pings++; return result }
	tries := []time.Duration{time.Second, time.Second}
	wantError(t, c.small(t.Context(), tries), "no echo\nno echo")
	result = &net.OpError{Op: "write", Err: os.NewSyscallError("sendto", syscall.EPERM)}
	wantError(t, c.small(t.Context(), tries), "small periodic check", "with DNS server 127.0.0.1:1", "with DNS server 127.0.0.1:2")
	result = nil
	wantError(t, c.small(t.Context(), tries), "with DNS server")
	if pings != 3 {
		t.Errorf("%d pings", pings)
	}
}

func TestGluetunEcho(t *testing.T) {
	packet, err := icmpEcho()
	if err != nil || packet[0] != 8 || icmpChecksum(packet) != 0 { // a right checksum makes the sum zero
		t.Errorf("%v %x", err, packet)
	}
	other, _ := icmpEcho()
	if string(packet) == string(other) {
		t.Error("two echoes are alike")
	}
}

// What the real one does at each event, with a VPN program that does as it is told.
func TestGluetunLoop(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	v := newVPN(part(t, "gluetun"), gluetunParsed(t, "HEALTH_TARGET_ADDRESSES", strings.TrimPrefix(server.URL, "http://")), nil)
	v.times = gluetunTimes{backoff: 20 * time.Millisecond, settle: time.Millisecond, startup: time.Second,
		smallPeriod: 5 * time.Millisecond, smallTries: []time.Duration{time.Second}, fullPeriod: time.Hour}
	v.backoff = v.times.backoff
	var echo atomic.Pointer[error]
	v.checker.ping = func(context.Context, netip.Addr) error { return *echo.Load() }
	answer := func(err error) { echo.Store(&err) }
	answer(nil)
	var refuse atomic.Bool
	opened, closed, crash := make(chan time.Time, 100), make(chan time.Time, 100), make(chan error)
	v.open = func(context.Context) (life, error) {
		opened <- time.Now()
		if refuse.Load() {
			return life{}, errors.New("no device")
		}
		up := make(chan struct{}, 1)
		up <- struct{}{}
		return life{up, crash, func() error { closed <- time.Now(); return nil }}, nil
	}
	eventually := func(what string, check func() bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !check(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not %s within 5 s; status %s", what, v.getStatus())
			}
		}
	}
	healthy := func() bool { return v.health.get() == nil }

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { v.loop(ctx); close(ended) }()
	outcome := func(status, want string) {
		t.Helper()
		if got := v.apply(ctx, status); got != want {
			t.Errorf("%s: %s, not %s", status, got, want)
		}
	}
	outcome("stopped", "already stopped")
	outcome("running", "running")
	outcome("running", "already running")
	eventually("healthy", healthy)
	<-opened

	crash <- errors.New("the device has ended") // stays healthy, comes back after the back-off
	first := <-closed
	eventually("crashed", func() bool { return v.getStatus() == statusCrashed })
	if !healthy() {
		t.Error("a crash is no failed health check")
	}
	outcome("stopped", "already crashed")
	if wait := (<-opened).Sub(first); wait < v.times.backoff {
		t.Errorf("came back after %s", wait)
	}
	eventually("running", func() bool { return v.getStatus() == statusRunning })

	answer(errors.New("no echo")) // restarts at once
	again := <-closed
	answer(nil)
	if wait := (<-opened).Sub(again); wait >= v.times.backoff {
		t.Errorf("restarted after %s", wait)
	}
	eventually("healthy again", func() bool { return v.getStatus() == statusRunning && healthy() })

	outcome("stopped", "stopped")
	if !healthy() {
		t.Error("stopping is no failed health check")
	}
	refuse.Store(true) // waits longer each time
	outcome("running", "crashed")
	a, b, c := <-opened, <-opened, <-opened
	if b.Sub(a) < v.times.backoff || c.Sub(b) < 2*v.times.backoff {
		t.Errorf("tried again after %s and %s", b.Sub(a), c.Sub(b))
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the loop does not end")
	}
}

func TestGluetunChecksSooner(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	v := newVPN(part(t, "gluetun"), gluetunParsed(t, "HEALTH_TARGET_ADDRESSES", strings.TrimPrefix(server.URL, "http://")), nil)
	v.times.smallPeriod, v.times.smallTries = time.Hour, []time.Duration{time.Second}
	asked := make(chan struct{}, 1)
	v.checker.ping = func(context.Context, netip.Addr) error { asked <- struct{}{}; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { v.tunnelUp(ctx, ctx); close(ended) }()
	v.sooner <- syscall.SIGUSR1
	select {
	case <-asked:
	case <-time.After(5 * time.Second):
		t.Error("it was not checked sooner than after an hour")
	}
	cancel()
	<-ended
}

func TestGluetunProviders(t *testing.T) {
	commercial := func(provider string, pairs ...string) (gluetunSettings, error) {
		return parseGluetun(envOf(append([]string{"VPN_SERVICE_PROVIDER", provider, "VPN_TYPE", "wireguard", "WIREGUARD_PRIVATE_KEY", testKey}, pairs...)...),
			t.TempDir(), false)
	}
	for provider, address := range gluetunWireGuard {
		if provider == "custom" {
			continue
		}
		s, err := commercial(provider)
		if address == "" {
			wantError(t, err, "WIREGUARD_ADDRESSES: interface address is not set")
		} else if err != nil || s.addresses[0].String() != address {
			t.Errorf("%s: %v %v", provider, s.addresses, err)
		}
		_, err = commercial(provider, "WIREGUARD_ADDRESSES", "10.1.2.3", "SERVER_COUNTRIES", "Sweden", "WIREGUARD_PRESHARED_KEY", testOther)
		if err != nil {
			t.Errorf("%s: %v", provider, err)
		}
	}
	_, err := commercial("airvpn", "WIREGUARD_ADDRESSES", "10.1.2.3")
	wantError(t, err, "WIREGUARD_PRESHARED_KEY: not set")
	s, err := commercial("mullvad", "WIREGUARD_ADDRESSES", "10.1.2.3", "DNS_SERVER", "on")
	if err != nil || s.remote.IsValid() || len(s.ignored) != 3 {
		t.Errorf("%v %+v", err, s)
	}
	if s := gluetunParsed(t); len(s.ignored) != 0 {
		t.Errorf("%q", s.ignored)
	}
	s, err = parseGluetun(gluetunEnv("WIREGUARD_ADDRESSES", "10.0.0.2/32,fc00::2/128"), t.TempDir(), true)
	if err != nil || len(s.addresses) != 2 {
		t.Errorf("with IPv6: %v %v", err, s.addresses)
	}

	open := func(provider string, pairs ...string) error {
		_, err := parseGluetun(envOf(append([]string{"VPN_SERVICE_PROVIDER", provider}, pairs...)...), t.TempDir(), false)
		return err
	}
	for _, provider := range gluetunOpenVPN {
		wantError(t, open(provider), "OPENVPN_", "empty, and needed with the provider "+provider)
		if _, special := gluetunOpenVPNNeeds[provider]; !special {
			if err := open(provider, "OPENVPN_USER", "u", "OPENVPN_PASSWORD", "p"); err != nil {
				t.Error(err)
			}
		}
	}
	wantError(t, open("mullvad2", "OPENVPN_USER", "u"), "VPN_SERVICE_PROVIDER")
	wantError(t, open("nordvpn", "OPENVPN_USER", "u", "OPENVPN_PASSWORD", "p", "OPENVPN_VERSION", "2.5", "PUID", "me", "OPENVPN_VERBOSITY", "7"),
		"OPENVPN_VERSION", "PUID", "OPENVPN_VERBOSITY")
}

// Public key and endpoint are no secrets to the real one: it reads no file for them.
func TestGluetunReadsNoFileForTheServer(t *testing.T) {
	dir := t.TempDir()
	for _, key := range gluetunNoFile {
		write(t, filepath.Join(dir, strings.ToLower(key)), "from a file")
	}
	s, err := parseGluetun(gluetunEnv(), dir, false)
	if err != nil || s.publicKey != testOther || s.remote.String() != "172.30.0.20:51820" {
		t.Errorf("%v %+v", err, s)
	}
}

func TestGluetunOpenVPN(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "client.ovpn")
	write(t, path, "client\ndev tun7\nproto tcp-client # slow\nremote 10.9.8.7 1195\nremote 10.9.8.8\nverb 3\nauth-user-pass /x\nuser root\ncipher AES-256-GCM\n\n")
	write(t, filepath.Join(dir, "openvpn_user"), "somebody\n")
	write(t, filepath.Join(dir, "elsewhere"), "secret\n")
	s, err := parseGluetun(envOf("VPN_SERVICE_PROVIDER", "custom", "VPN_TYPE", "openvpn", "OPENVPN_CUSTOM_CONFIG", path,
		"OPENVPN_PASSWORD_SECRETFILE", filepath.Join(dir, "elsewhere"), "PUID", "1007"), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if o := s.openvpn; s.kind() != "openvpn" || o.username != "somebody" || o.password != "secret" || o.uid != 1007 || o.gid != 1000 {
		t.Errorf("%+v", o)
	}
	n := testNetwork(t, "")
	if rule := connectionRules(n, s).v4[0]; rule != "-A OUTPUT -d 10.9.8.7 -o eth0 -p tcp -m tcp --dport 1195 -j ACCEPT" {
		t.Error(rule)
	}
	s.openvpn.user = "nobody"
	wantLines(t, "configuration", []string{strings.TrimSpace(openVPNConfig(*s.openvpn))}, `
client
cipher AES-256-GCM
proto tcp-client
remote 10.9.8.7 1195
dev tun0
mute-replay-warnings
auth-nocache
pull-filter ignore "auth-token"
auth-retry nointeract
suppress-timestamps
auth-user-pass /etc/openvpn/auth.conf
verb 1
pull-filter ignore "route-ipv6"
pull-filter ignore "ifconfig-ipv6"
user nobody
persist-tun
persist-key`)
	_, err = parseGluetun(envOf("VPN_SERVICE_PROVIDER", "custom", "OPENVPN_CUSTOM_CONFIG", path+".not"), dir, false)
	wantError(t, err, "OPENVPN_CUSTOM_CONFIG", "no such file")
}

// As the real one's own tests have it.
func TestGluetunOpenVPNRemote(t *testing.T) {
	for text, want := range map[string]string{
		"bla\nproto tcp\nremote 1.2.3.4 1194 tcp\ndev tun6":                     "1.2.3.4:1194 tcp",
		"proto udp\nproto tcp\nremote 1.2.3.4 443 tcp\nremote 5.2.3.4 1194 udp": "1.2.3.4:443 udp",
		"remote 1.2.3.4\nproto tcp":                                             "1.2.3.4:443 tcp",
		"remote 1.2.3.4":                                                        "1.2.3.4:1194 udp",
		"port 99\nremote 1.2.3.4":                                               "1.2.3.4:99 udp",
		"proto tcp":                                                             "remote line not found",
		"proto bad":                                                             "line 1: network protocol not supported",
		"remote vpn.example.com 1194":                                           "line 1: host is not an IP address",
		"client\nremote 1.2.3.4 0":                                              "line 2: port is not valid",
		"remote 1.2.3.4 1 udp x":                                                "line 1: remote line has not 2 to 4 fields",
		"port 1 2":                                                              "line 1: port line has not 2 fields",
		"remote 1.2.3.4 1 udp4":                                                 "line 1: network protocol not supported",
	} {
		remote, proto, err := openVPNRemote(strings.Split(text, "\n"))
		got := fmt.Sprint(remote, " ", proto)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
	}
}

func TestGluetunUser(t *testing.T) {
	passwd := filepath.Join(t.TempDir(), "passwd")
	write(t, passwd, "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
	for uid, want := range map[int]string{65534: "nobody", 1000: "nonrootuser"} {
		for range 2 {
			if got, err := nonRootUser(passwd, uid, 7); err != nil || got != want {
				t.Errorf("%d: %s %v", uid, got, err)
			}
		}
	}
	content, err := os.ReadFile(passwd)
	if err != nil || strings.Count(string(content), "\n") != 3 || !strings.HasSuffix(string(content), "\nnonrootuser:x:1000:7::/dev/null:/usr/sbin/nologin\n") {
		t.Errorf("%v %s", err, content)
	}
}
