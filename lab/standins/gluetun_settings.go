package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// gluetunRole is HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE.
type gluetunRole struct {
	Name     string `json:"name"`
	Auth     string `json:"auth"`
	APIKey   string `json:"apikey"`
	Username string `json:"username"`
	Password string `json:"password"`
}

type gluetunSettings struct {
	provider string
	remote   netip.AddrPort // the server; not valid for a provider whose servers only the real one knows
	protocol string         // udp or tcp
	iface    string
	ignored  []string         // what the real one does and this one only says
	openvpn  *openVPNSettings // nil: WireGuard

	privateKey     string
	presharedKey   string
	publicKey      string
	addresses      []netip.Prefix
	allowedIPs     []netip.Prefix
	keepalive      time.Duration
	mtu            int
	implementation string // auto, kernelspace or userspace

	inputPorts      []uint16
	vpnInputPorts   []uint16
	outboundSubnets []netip.Prefix

	healthAddress string
	healthTargets []string
	healthICMP    []netip.Addr // empty: the small check asks DNS
	healthRestart bool

	dnsAddress     netip.Addr
	keepNameserver bool
	controlAddress string
	role           *gluetunRole // nil: only the public default role
}

func (g gluetunSettings) kind() string {
	if g.openvpn != nil {
		return "openvpn"
	}
	return "wireguard"
}

// gluetunSource looks settings up as the real one does: a secret file wins over the environment.
type gluetunSource struct {
	getenv    func(string) string
	secretDir string
	problems  []error
}

func (s *gluetunSource) fail(key, format string, args ...any) {
	s.problems = append(s.problems, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
}

// gluetunNoFile are settings which the real one takes from the environment (or a wg0.conf) and from no file of their own.
var gluetunNoFile = []string{"WIREGUARD_PUBLIC_KEY", "WIREGUARD_ENDPOINT_IP", "WIREGUARD_ENDPOINT_PORT"}

// gluetunFile are files whose names are not the setting's own.
var gluetunFile = map[string]string{"OPENVPN_CERT": "OPENVPN_CLIENTCRT", "OPENVPN_KEY": "OPENVPN_CLIENTKEY"}

// get returns the trimmed value; a secret file that exists and cannot be read is a problem.
func (s *gluetunSource) get(key, fallback string) string {
	if !slices.Contains(gluetunNoFile, key) {
		name := key
		if other, ok := gluetunFile[key]; ok {
			name = other
		}
		path := s.getenv(name + "_SECRETFILE")
		if path == "" {
			path = filepath.Join(s.secretDir, strings.ToLower(name))
		}
		content, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.fail(key, "secret file: %w", err)
		}
		if v := strings.TrimSpace(string(content)); v != "" {
			return v
		}
	}
	if v := strings.TrimSpace(s.getenv(key)); v != "" {
		return v
	}
	return fallback
}

func (s *gluetunSource) list(key, fallback string) []string {
	var items []string
	for item := range strings.SplitSeq(s.get(key, fallback), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

func (s *gluetunSource) boolean(key string, fallback bool) bool {
	switch strings.ToLower(s.get(key, "")) {
	case "":
		return fallback
	case "on", "yes", "true", "enabled":
		return true
	case "off", "no", "false", "disabled":
		return false
	}
	s.fail(key, "neither on nor off")
	return fallback
}

func (s *gluetunSource) prefixes(key, fallback string, hosts bool) []netip.Prefix {
	var found []netip.Prefix
	for _, item := range s.list(key, fallback) {
		if addr, err := netip.ParseAddr(item); err == nil && hosts {
			found = append(found, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			s.fail(key, "%q is not a network like 10.0.0.0/8", item)
			continue
		}
		found = append(found, prefix)
	}
	return found
}

func (s *gluetunSource) ports(key string) []uint16 {
	var found []uint16
	for _, item := range s.list(key, "") {
		port, err := strconv.ParseUint(item, 10, 16)
		if err != nil || port == 0 {
			s.fail(key, "%q is not a port number", item)
			continue
		}
		found = append(found, uint16(port))
	}
	return found
}

// key reads a WireGuard key. No message holds its value.
func (s *gluetunSource) key(name string, needed bool) string {
	value := s.get(name, "")
	if value == "" {
		if needed {
			s.fail(name, "not set")
		}
		return ""
	}
	if raw, err := base64.StdEncoding.DecodeString(value); err != nil || len(raw) != 32 {
		s.fail(name, "not a WireGuard key: 32 bytes in base64 are expected, 44 characters; there are %d characters", len(value))
	}
	return value
}

var gluetunIface = regexp.MustCompile(`^[a-zA-Z0-9_]{1,15}$`)

// parseGluetun reads every setting and reports all problems at once. ipv6 says whether the container has IPv6.
func parseGluetun(getenv func(string) string, secretDir string, ipv6 bool) (gluetunSettings, error) {
	s := &gluetunSource{getenv: getenv, secretDir: secretDir}
	var g gluetunSettings
	var err error

	if !s.boolean("FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT", true) {
		s.fail("FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT", "the stand-in does not run without its firewall")
	}
	for _, key := range []string{"HTTPPROXY", "SHADOWSOCKS", "VPN_PORT_FORWARDING"} {
		if s.boolean(key, false) {
			s.fail(key, "the stand-in cannot do this: set off")
		}
	}
	// On by default in the real one, without effect on anything but the internet.
	ignored := func(key string) {
		g.ignored = append(g.ignored, key+"="+s.get(key, "on"))
	}
	for _, key := range []string{"PUBLICIP_ENABLED", "VERSION_INFORMATION"} {
		if s.boolean(key, true) {
			ignored(key)
		}
	}
	if period, err := time.ParseDuration(s.get("UPDATER_PERIOD", "0")); err != nil || (period != 0 && period < time.Minute) {
		s.fail("UPDATER_PERIOD", "neither 0 nor a duration of a minute or more")
	} else if period > 0 {
		ignored("UPDATER_PERIOD")
	}

	g.provider = strings.ToLower(s.get("VPN_SERVICE_PROVIDER", "private internet access"))
	if g.provider == "pia" {
		g.provider = "private internet access"
	}
	if g.iface = s.get("VPN_INTERFACE", "tun0"); !gluetunIface.MatchString(g.iface) {
		s.fail("VPN_INTERFACE", "not an interface name")
	}
	switch kind := strings.ToLower(s.get("VPN_TYPE", "openvpn")); kind {
	case "wireguard":
		s.wireGuard(&g, ipv6)
	case "openvpn":
		s.openVPN(&g, ipv6)
	default:
		s.fail("VPN_TYPE", "%q is neither openvpn nor wireguard", kind)
	}
	if countries := s.list("SERVER_COUNTRIES", ""); len(countries) > 0 {
		if g.provider == "custom" {
			s.fail("SERVER_COUNTRIES", "there is no choice of countries with the provider custom")
		}
		g.ignored = append(g.ignored, "SERVER_COUNTRIES: not checked, as only the real one has its list of servers")
	}

	g.inputPorts = s.ports("FIREWALL_INPUT_PORTS")
	g.vpnInputPorts = s.ports("FIREWALL_VPN_INPUT_PORTS")
	g.outboundSubnets = s.prefixes("FIREWALL_OUTBOUND_SUBNETS", "", true)
	for _, subnet := range g.outboundSubnets {
		if subnet.Addr().IsUnspecified() {
			s.fail("FIREWALL_OUTBOUND_SUBNETS", "%s would open the firewall to everywhere", subnet)
		}
	}

	g.healthAddress = s.get("HEALTH_SERVER_ADDRESS", "127.0.0.1:9999")
	for _, target := range s.list("HEALTH_TARGET_ADDRESSES", "cloudflare.com:443,github.com:443") {
		g.healthTargets = append(g.healthTargets, withPort(target))
	}
	if strings.ToLower(s.get("HEALTH_SMALL_CHECK_TYPE", "icmp")) == "icmp" {
		for _, item := range s.list("HEALTH_ICMP_TARGET_IPS", "1.1.1.1,8.8.8.8") {
			addr, err := netip.ParseAddr(item)
			switch {
			case err != nil:
				s.fail("HEALTH_ICMP_TARGET_IPS", "%q is not an IP address", item)
			case addr.IsUnspecified(): // the server's own address
				g.healthICMP = append(g.healthICMP, g.remote.Addr())
			default:
				g.healthICMP = append(g.healthICMP, addr)
			}
		}
	}
	g.healthRestart = s.boolean("HEALTH_RESTART_VPN", true)

	if g.dnsAddress, err = netip.ParseAddr(s.get("DNS_ADDRESS", "127.0.0.1")); err != nil {
		s.fail("DNS_ADDRESS", "not an IP address")
	}
	g.keepNameserver = s.boolean("DNS_KEEP_NAMESERVER", false)
	if s.boolean("DNS_SERVER", true) { // the real one asks in the clear as well, until its lists are there
		g.ignored = append(g.ignored, "DNS_SERVER: names are asked for in the clear, and none is blocked")
	}
	if !g.keepNameserver && g.dnsAddress == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		g.dnsAddress = netip.AddrFrom4([4]byte{1, 1, 1, 1}) // as the real one
	}

	g.controlAddress = s.get("HTTP_CONTROL_SERVER_ADDRESS", ":8000")
	if _, err := os.Stat(s.get("HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH", "/gluetun/auth/config.toml")); err == nil {
		s.fail("HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH", "the stand-in does not read this file: use HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE")
	}
	g.role, err = parseGluetunRole(s.get("HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE", "{}"))
	if err != nil {
		s.fail("HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE", "%w", err)
	}
	return g, errors.Join(s.problems...)
}

// parseGluetunRole is nil for an empty role. No message holds a value.
func parseGluetunRole(text string) (*gluetunRole, error) {
	var role gluetunRole
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&role); err != nil {
		return nil, errors.New(`not a JSON object like {"auth":"apikey","apikey":"…"}`)
	}
	switch {
	case role.Auth == "":
		return nil, nil
	case role.Auth == "none",
		role.Auth == "apikey" && role.APIKey != "",
		role.Auth == "basic" && role.Username != "" && role.Password != "":
		return &role, nil
	}
	return nil, errors.New("auth is none of none, apikey (needs apikey), basic (needs username and password)")
}

// withPort adds the default port 443 to a target without one.
func withPort(target string) string {
	if addr, err := netip.ParseAddr(target); err == nil {
		return netip.AddrPortFrom(addr, 443).String()
	}
	if strings.Contains(target, ":") {
		return target
	}
	return target + ":443"
}

// The providers whose WireGuard the real one speaks, and the address that is the same for all of one's customers.
var gluetunWireGuard = map[string]string{"airvpn": "", "custom": "", "fastestvpn": "", "ivpn": "", "mullvad": "",
	"nordvpn": "10.5.0.2/32", "protonvpn": "10.2.0.2/32", "surfshark": "", "windscribe": ""}

func (s *gluetunSource) wireGuard(g *gluetunSettings, ipv6 bool) {
	address, ok := gluetunWireGuard[g.provider]
	if !ok {
		s.fail("VPN_SERVICE_PROVIDER", "%q is not valid for WireGuard: it is one of %s", g.provider,
			strings.Join(slices.Sorted(maps.Keys(gluetunWireGuard)), ", "))
	}
	conf := s.getenv("WIREGUARD_CONF_SECRETFILE")
	if conf == "" {
		conf = filepath.Join(s.secretDir, "wg0.conf")
	}
	if _, err := os.Stat(conf); err == nil {
		s.fail("WIREGUARD_CONF_SECRETFILE", "the stand-in does not read %s: give each value by itself", conf)
	}
	custom := g.provider == "custom"
	g.protocol = "udp"
	g.privateKey = s.key("WIREGUARD_PRIVATE_KEY", true)
	g.presharedKey = s.key("WIREGUARD_PRESHARED_KEY", g.provider == "airvpn")
	g.publicKey = s.key("WIREGUARD_PUBLIC_KEY", custom)
	if custom {
		ip, err := netip.ParseAddr(s.get("WIREGUARD_ENDPOINT_IP", ""))
		if err != nil {
			s.fail("WIREGUARD_ENDPOINT_IP", "not an IP address (a DNS name is not accepted)")
		}
		port, err := strconv.ParseUint(s.get("WIREGUARD_ENDPOINT_PORT", ""), 10, 16)
		if err != nil || port == 0 {
			s.fail("WIREGUARD_ENDPOINT_PORT", "not a port number")
		}
		g.remote = netip.AddrPortFrom(ip, uint16(port))
	}
	if g.addresses = s.prefixes("WIREGUARD_ADDRESSES", address, true); len(g.addresses) == 0 {
		s.fail("WIREGUARD_ADDRESSES", "interface address is not set")
	}
	for _, p := range g.addresses {
		if p.Addr().Is6() && !ipv6 {
			s.fail("WIREGUARD_ADDRESSES", "interface address is IPv6 but IPv6 is not supported: %s", p)
		}
	}
	var err error
	g.allowedIPs = s.prefixes("WIREGUARD_ALLOWED_IPS", "0.0.0.0/0,::/0", false)
	if g.keepalive, err = time.ParseDuration(s.get("WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL", "0")); err != nil || g.keepalive < 0 {
		s.fail("WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL", "not a duration like 25s")
	}
	if g.mtu, err = strconv.Atoi(s.get("WIREGUARD_MTU", "1320")); err != nil || g.mtu < 576 || g.mtu > 65535 {
		s.fail("WIREGUARD_MTU", "not a number from 576 to 65535")
	}
	g.implementation = strings.ToLower(s.get("WIREGUARD_IMPLEMENTATION", "auto"))
	if !slices.Contains([]string{"auto", "kernelspace", "userspace"}, g.implementation) {
		s.fail("WIREGUARD_IMPLEMENTATION", "none of auto, kernelspace, userspace")
	}
}
