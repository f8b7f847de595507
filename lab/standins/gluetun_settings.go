package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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
	iface          string
	privateKey     string
	presharedKey   string
	publicKey      string
	endpoint       netip.AddrPort
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
	healthICMP    []netip.Addr // empty: the small check dials the targets
	healthRestart bool
	healthPeriod  time.Duration

	dnsAddress     netip.Addr
	keepNameserver bool
	controlAddress string
	role           *gluetunRole // nil: only the public default role
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

// get returns the trimmed value; a secret file that exists and cannot be read is a problem.
func (s *gluetunSource) get(key, fallback string) string {
	path := s.getenv(key + "_SECRETFILE")
	if path == "" {
		path = filepath.Join(s.secretDir, strings.ToLower(key))
	}
	content, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(content))
	}
	if !errors.Is(err, os.ErrNotExist) {
		s.fail(key, "secret file: %w", err)
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
			s.fail(name, "not set: give the variable or the secret file %s", filepath.Join(s.secretDir, strings.ToLower(name)))
		}
		return ""
	}
	if raw, err := base64.StdEncoding.DecodeString(value); err != nil || len(raw) != 32 {
		s.fail(name, "not a WireGuard key: 32 bytes in base64 are expected, 44 characters; there are %d characters", len(value))
	}
	return value
}

var gluetunIface = regexp.MustCompile(`^[a-zA-Z0-9_]{1,15}$`)

// parseGluetun reads every setting and reports all problems at once.
func parseGluetun(getenv func(string) string, secretDir string) (gluetunSettings, error) {
	s := &gluetunSource{getenv: getenv, secretDir: secretDir}
	var g gluetunSettings

	if v := strings.ToLower(s.get("VPN_SERVICE_PROVIDER", "private internet access")); v != "custom" {
		s.fail("VPN_SERVICE_PROVIDER", "%q: the stand-in only speaks custom WireGuard: set custom, or use the real gluetun", v)
	}
	if v := strings.ToLower(s.get("VPN_TYPE", "openvpn")); v != "wireguard" {
		s.fail("VPN_TYPE", "%q: the stand-in only speaks custom WireGuard: set wireguard, or use the real gluetun", v)
	}
	if !s.boolean("FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT", true) {
		s.fail("FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT", "the stand-in does not run without its firewall")
	}
	if s.boolean("DNS_SERVER", true) {
		s.fail("DNS_SERVER", "the stand-in has no DNS server: set off, and DNS_ADDRESS")
	}
	for _, key := range []string{"HTTPPROXY", "SHADOWSOCKS", "VPN_PORT_FORWARDING", "PUBLICIP_ENABLED", "VERSION_INFORMATION"} {
		fallback := key == "PUBLICIP_ENABLED" || key == "VERSION_INFORMATION" // on by default in the real one
		if s.boolean(key, fallback) {
			s.fail(key, "the stand-in cannot do this: set off")
		}
	}
	if v := s.get("UPDATER_PERIOD", "0"); v != "0" && v != "0s" {
		s.fail("UPDATER_PERIOD", "the stand-in cannot do this: set 0")
	}
	conf := getenv("WIREGUARD_CONF_SECRETFILE")
	if conf == "" {
		conf = filepath.Join(secretDir, "wg0.conf")
	}
	if _, err := os.Stat(conf); err == nil {
		s.fail("WIREGUARD_CONF_SECRETFILE", "the stand-in does not read %s: give each value by itself", conf)
	}

	if g.iface = s.get("VPN_INTERFACE", "tun0"); !gluetunIface.MatchString(g.iface) {
		s.fail("VPN_INTERFACE", "not an interface name")
	}
	g.privateKey = s.key("WIREGUARD_PRIVATE_KEY", true)
	g.presharedKey = s.key("WIREGUARD_PRESHARED_KEY", false)
	g.publicKey = s.key("WIREGUARD_PUBLIC_KEY", true)
	endpointIP, err := netip.ParseAddr(s.get("WIREGUARD_ENDPOINT_IP", ""))
	if err != nil {
		s.fail("WIREGUARD_ENDPOINT_IP", "not an IP address (a DNS name is not accepted)")
	}
	endpointPort, err := strconv.ParseUint(s.get("WIREGUARD_ENDPOINT_PORT", ""), 10, 16)
	if err != nil || endpointPort == 0 {
		s.fail("WIREGUARD_ENDPOINT_PORT", "not a port number")
	}
	g.endpoint = netip.AddrPortFrom(endpointIP, uint16(endpointPort))
	if g.addresses = s.prefixes("WIREGUARD_ADDRESSES", "", true); len(g.addresses) == 0 {
		s.fail("WIREGUARD_ADDRESSES", "not set")
	}
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
				g.healthICMP = append(g.healthICMP, endpointIP)
			default:
				g.healthICMP = append(g.healthICMP, addr)
			}
		}
	}
	g.healthRestart = s.boolean("HEALTH_RESTART_VPN", true)
	// The real one has no such setting: its small check comes each minute and is tried ten times, so
	// an outage shows after about three minutes.
	if g.healthPeriod, err = time.ParseDuration(s.get("STAND_IN_HEALTH_PERIOD", "10s")); err != nil || g.healthPeriod <= 0 {
		s.fail("STAND_IN_HEALTH_PERIOD", "not a duration like 10s")
	}

	if g.dnsAddress, err = netip.ParseAddr(s.get("DNS_ADDRESS", "127.0.0.1")); err != nil {
		s.fail("DNS_ADDRESS", "not an IP address")
	}
	g.keepNameserver = s.boolean("DNS_KEEP_NAMESERVER", false)
	if !g.keepNameserver && g.dnsAddress == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		g.dnsAddress = netip.AddrFrom4([4]byte{1, 1, 1, 1}) // as the real one, whose server is off
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
