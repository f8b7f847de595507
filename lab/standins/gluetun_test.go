package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
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
	s, err := parseGluetun(gluetunEnv(pairs...), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
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
	r := settingsRules(testNetwork(t, ""), s)
	wantLines(t, "IPv4", r.v4, `
-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -d 172.30.0.20 -o eth0 -p udp -m udp --dport 51820 -j ACCEPT
-A OUTPUT -o tun0 -j ACCEPT
-A OUTPUT -o eth0 -s 172.30.0.10 -d 172.30.0.0/24 -j ACCEPT
-A OUTPUT -o eth1 -s 172.31.0.10 -d 172.31.0.0/24 -j ACCEPT
-A OUTPUT -o eth0 -s 172.30.0.10 -d 192.168.0.0/16 -j ACCEPT
-A INPUT -i eth0 -d 172.30.0.0/24 -j ACCEPT
-A INPUT -i eth1 -d 172.31.0.0/24 -j ACCEPT
-A INPUT -i eth0 -p tcp -m tcp --dport 8080 -j ACCEPT
-A INPUT -i eth0 -p udp -m udp --dport 8080 -j ACCEPT
-A INPUT -i tun0 -p tcp -m tcp --dport 6881 -j ACCEPT
-A INPUT -i tun0 -p udp -m udp --dport 6881 -j ACCEPT`)
	wantLines(t, "IPv6", r.v6, `
-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -o tun0 -j ACCEPT
-A OUTPUT -o eth0 -d ff02::1:ff00:0/104 -j ACCEPT
-A OUTPUT -o eth1 -d ff02::1:ff00:0/104 -j ACCEPT
-A INPUT -i eth0 -p tcp -m tcp --dport 8080 -j ACCEPT
-A INPUT -i eth0 -p udp -m udp --dport 8080 -j ACCEPT
-A INPUT -i tun0 -p tcp -m tcp --dport 6881 -j ACCEPT
-A INPUT -i tun0 -p udp -m udp --dport 6881 -j ACCEPT`)
}

// With IPv6 on both sides each rule must be in its own family's table.
func TestGluetunFirewallFamilies(t *testing.T) {
	s := gluetunParsed(t, "WIREGUARD_ENDPOINT_IP", "fd00:9::1", "FIREWALL_OUTBOUND_SUBNETS", "fd00:7::/32,10.0.0.0/8")
	r := settingsRules(testNetwork(t, testRoutes6), s)
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
	r := postRules("# a comment\niptables -I OUTPUT 1 -o eth+ -s 10.13.13.2/32 -j DROP\nip6tables-nft -A INPUT -j DROP\n\nreboot now\n")
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
		s.controlAddress != ":8000" || s.keepalive != 25*time.Second || s.endpoint.String() != "172.30.0.20:51820" ||
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
	s, err := parseGluetun(gluetunEnv("WIREGUARD_PRESHARED_KEY", testOther, "WIREGUARD_PRESHARED_KEY_SECRETFILE", filepath.Join(dir, "elsewhere")), dir)
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
		"VPN_SERVICE_PROVIDER": "mullvad", "VPN_TYPE": "openvpn", "WIREGUARD_PRIVATE_KEY": bad, "WIREGUARD_PUBLIC_KEY": "",
		"WIREGUARD_PRESHARED_KEY": bad, "WIREGUARD_ENDPOINT_IP": "vpn.example.com", "WIREGUARD_ENDPOINT_PORT": "0", "WIREGUARD_ADDRESSES": "",
		"WIREGUARD_ALLOWED_IPS": "all", "WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL": "25", "WIREGUARD_MTU": "9", "WIREGUARD_IMPLEMENTATION": "kernel",
		"FIREWALL_INPUT_PORTS": "8080,x", "FIREWALL_OUTBOUND_SUBNETS": "0.0.0.0/0", "HEALTH_ICMP_TARGET_IPS": "host", "HEALTH_RESTART_VPN": "maybe",
		"DNS_SERVER": "on", "DNS_ADDRESS": "dns", "HTTPPROXY": "on", "VPN_PORT_FORWARDING": "on", "PUBLICIP_ENABLED": "on", "UPDATER_PERIOD": "24h",
		"FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT": "off", "VPN_INTERFACE": "a b", "STAND_IN_HEALTH_PERIOD": "0",
		"HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE": `{"auth":"apikey","apikey":"` + bad + `","extra":1}`,
	} {
		_, err := parseGluetun(gluetunEnv(key, value), t.TempDir())
		if err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: %v", key, value, err)
		}
		if err != nil && strings.Contains(err.Error(), bad) {
			t.Errorf("%s: the message shows the value", key)
		}
	}
	_, err := parseGluetun(envOf(), t.TempDir()) // all at once
	wantError(t, err, "VPN_SERVICE_PROVIDER", "WIREGUARD_PRIVATE_KEY: not set", "wireguard_private_key", "WIREGUARD_ENDPOINT_IP")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "wg0.conf"), "")
	_, err = parseGluetun(gluetunEnv(), dir)
	wantError(t, err, "wg0.conf")
	dir = t.TempDir()
	write(t, filepath.Join(dir, "wireguard_private_key", "in-the-way"), "") // cannot be read as a file
	_, err = parseGluetun(gluetunEnv(), dir)
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
	private := newVPN(s, gluetunParsed(t, "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE", role), false)
	public := newVPN(s, gluetunParsed(t), false)
	basicRole := newVPN(s, gluetunParsed(t, "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE", `{"auth":"basic","username":"u","password":"p"}`), false)
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
		w := get(t, s, c.v.controlHandler(), c.method, c.path, `{"status":"on"}`, c.key, c.value)
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
	v := newVPN(s, gluetunParsed(t), false)
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

func TestGluetunStartupCheck(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	up := strings.TrimPrefix(server.URL, "http://")
	if err := startupCheck(t.Context(), []string{"127.0.0.1:1", up}); err != nil {
		t.Errorf("one of two answers: %v", err)
	}
	server.Close()
	wantError(t, startupCheck(t.Context(), []string{"127.0.0.1:1", up}), "startup check", "refused")
	s := gluetunSettings{healthTargets: []string{up}}
	wantError(t, smallCheck(t.Context(), s), "small periodic check", "refused")
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

// The loop's hand-shakes with start and stop, without a tunnel: nothing here can make an interface.
func TestGluetunStatusIsKept(t *testing.T) {
	v := newVPN(part(t, "gluetun"), gluetunParsed(t), false)
	v.wanted = false
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { v.loop(ctx); close(ended) }()
	if got := v.stop(ctx); got != "already stopped" {
		t.Errorf("stop: %s", got)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the loop does not end")
	}
	if v.getStatus() != statusStopped {
		t.Errorf("status %s", v.getStatus())
	}
}
