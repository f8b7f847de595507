package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	openVPNFolder = "/etc/openvpn"
	openVPNUp     = "Initialization Sequence Completed"
)

// openVPNSettings is what the OpenVPN program is started with.
type openVPNSettings struct {
	lines    []string // of the custom configuration
	remote   netip.AddrPort
	proto    string // as the configuration says it: tcp-client, udp4, …
	iface    string
	username string
	password string
	verb     int
	ipv6     bool
	uid, gid int
	user     string // the name of uid
}

// What the real one insists on for OpenVPN, by provider; the others need user name and password.
var (
	gluetunOpenVPN = []string{"airvpn", "custom", "cyberghost", "expressvpn", "fastestvpn", "giganews", "hidemyass", "ipvanish",
		"ivpn", "mullvad", "nordvpn", "perfect privacy", "privado", "private internet access", "privatevpn", "protonvpn", "purevpn",
		"slickvpn", "surfshark", "torguard", "vpn unlimited", "vpnsecure", "vyprvpn", "windscribe"}
	gluetunOpenVPNNeeds = map[string][]string{
		"airvpn":        {"OPENVPN_CERT", "OPENVPN_KEY"},
		"custom":        {"OPENVPN_CUSTOM_CONFIG"},
		"cyberghost":    {"OPENVPN_USER", "OPENVPN_PASSWORD", "OPENVPN_CERT", "OPENVPN_KEY"},
		"ivpn":          {"OPENVPN_USER"},
		"mullvad":       {"OPENVPN_USER"},
		"vpn unlimited": {"OPENVPN_USER", "OPENVPN_PASSWORD", "OPENVPN_CERT", "OPENVPN_KEY"},
		"vpnsecure":     {"OPENVPN_CERT", "OPENVPN_ENCRYPTED_KEY", "OPENVPN_KEY_PASSPHRASE"},
	}
)

func (s *gluetunSource) openVPN(g *gluetunSettings, ipv6 bool) {
	o := &openVPNSettings{iface: g.iface, ipv6: ipv6, username: s.get("OPENVPN_USER", ""), password: s.get("OPENVPN_PASSWORD", "")}
	g.openvpn = o
	if !slices.Contains(gluetunOpenVPN, g.provider) {
		s.fail("VPN_SERVICE_PROVIDER", "%q is not valid for OpenVPN: it is one of %s", g.provider, strings.Join(gluetunOpenVPN, ", "))
		return
	}
	needs, ok := gluetunOpenVPNNeeds[g.provider]
	if !ok {
		needs = []string{"OPENVPN_USER", "OPENVPN_PASSWORD"}
	}
	for _, key := range needs {
		if s.get(key, "") == "" {
			s.fail(key, "empty, and needed with the provider %s", g.provider)
		}
	}
	if v := s.get("OPENVPN_VERSION", "2.6"); v != "2.6" {
		s.fail("OPENVPN_VERSION", "%q: the stand-in only has 2.6", v)
	}
	for _, id := range []struct {
		key string
		to  *int
	}{{"PUID", &o.uid}, {"PGID", &o.gid}} {
		n, err := strconv.ParseUint(s.get(id.key, "1000"), 10, 32)
		if err != nil {
			s.fail(id.key, "not a number")
		}
		*id.to = int(n)
	}
	var err error
	if o.verb, err = strconv.Atoi(s.get("OPENVPN_VERBOSITY", "1")); err != nil || o.verb < 0 || o.verb > 6 {
		s.fail("OPENVPN_VERBOSITY", "not a number from 0 to 6")
	}
	path := s.get("OPENVPN_CUSTOM_CONFIG", "")
	if g.provider != "custom" || path == "" {
		return
	}
	content, err := os.ReadFile(path)
	if err != nil {
		s.fail("OPENVPN_CUSTOM_CONFIG", "%w", err)
		return
	}
	o.lines = strings.Split(strings.ReplaceAll(string(content), "\r", ""), "\n")
	if o.remote, o.proto, err = openVPNRemote(o.lines); err != nil {
		s.fail("OPENVPN_CUSTOM_CONFIG", "%s: %w", path, err)
	}
	g.remote, g.protocol = o.remote, strings.TrimSuffix(o.proto, "-client")
}

// openVPNRemote finds server and protocol as the real one does: the first of each kind, an address and not a name.
func openVPNRemote(lines []string) (netip.AddrPort, string, error) {
	var ip netip.Addr
	var port uint16
	proto := ""
	for i, line := range lines {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		bad := func(why string) (netip.AddrPort, string, error) {
			return netip.AddrPort{}, "", fmt.Errorf("line %d: %s", i+1, why)
		}
		thisPort, thisProto := "", ""
		switch {
		case strings.HasPrefix(line, "proto "):
			if len(fields) != 2 || !slices.Contains([]string{"tcp", "tcp4", "tcp6", "tcp-client", "udp", "udp4", "udp6"}, fields[1]) {
				return bad("network protocol not supported")
			}
			thisProto = fields[1]
		case strings.HasPrefix(line, "port "):
			if len(fields) != 2 {
				return bad("port line has not 2 fields")
			}
			thisPort = fields[1]
		case strings.HasPrefix(line, "remote "):
			if len(fields) < 2 || len(fields) > 4 {
				return bad("remote line has not 2 to 4 fields")
			}
			addr, err := netip.ParseAddr(fields[1])
			if err != nil {
				return bad("host is not an IP address")
			}
			if !ip.IsValid() {
				ip = addr
			}
			if len(fields) > 2 {
				thisPort = fields[2]
			}
			if len(fields) > 3 {
				if thisProto = fields[3]; thisProto != "tcp" && thisProto != "udp" {
					return bad("network protocol not supported")
				}
			}
		}
		if thisPort != "" {
			n, err := strconv.ParseUint(thisPort, 10, 16)
			if err != nil || n == 0 {
				return bad("port is not valid")
			}
			if port == 0 {
				port = uint16(n)
			}
		}
		if proto == "" {
			proto = thisProto
		}
		if proto != "" && ip.IsValid() {
			break
		}
	}
	if !ip.IsValid() {
		return netip.AddrPort{}, "", errors.New("remote line not found")
	}
	if proto == "" {
		proto = "udp"
	}
	if port == 0 {
		if port = 1194; strings.HasPrefix(proto, "tcp") {
			port = 443
		}
	}
	return netip.AddrPortFrom(ip, port), proto, nil
}

// openVPNConfig is the custom configuration as the real one changes it.
func openVPNConfig(o openVPNSettings) string {
	dropped := []string{"", "mute-replay-warnings", "auth-nocache", `pull-filter ignore "auth-token"`, "auth-retry nointeract",
		"suppress-timestamps", "persist-tun", "persist-key"}
	prefixes := []string{"verb ", "auth-user-pass ", "user ", "proto ", "remote ", "dev "}
	without := []string{`pull-filter ignore "route-ipv6"`, `pull-filter ignore "ifconfig-ipv6"`}
	if !o.ipv6 {
		prefixes = append(append(prefixes, "tun-ipv6"), without...)
	}
	var lines []string
	for _, line := range o.lines {
		if !slices.Contains(dropped, line) && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			lines = append(lines, line)
		}
	}
	lines = append(lines, "proto "+o.proto, fmt.Sprintf("remote %s %d", o.remote.Addr(), o.remote.Port()), "dev "+o.iface,
		"mute-replay-warnings", "auth-nocache", `pull-filter ignore "auth-token"`, "auth-retry nointeract", "suppress-timestamps")
	if o.username != "" {
		lines = append(lines, "auth-user-pass "+filepath.Join(openVPNFolder, "auth.conf"))
	}
	lines = append(lines, "verb "+strconv.Itoa(o.verb))
	if !o.ipv6 {
		lines = append(lines, without...)
	}
	lines = append(lines, "user "+o.user, "persist-tun", "persist-key", "")
	return strings.Join(lines, "\n")
}

// nonRootUser gives the name of uid, after writing it to the passwd file where it has none. The real one writes no group:
// musl takes that, glibc does not.
func nonRootUser(passwd string, uid, gid int) (string, error) {
	content, err := os.ReadFile(passwd)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[2] == strconv.Itoa(uid) {
			return fields[0], nil
		}
	}
	file, err := os.OpenFile(passwd, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return "", fmt.Errorf("creating user: %w", err)
	}
	_, err = fmt.Fprintf(file, "nonrootuser:x:%d:%d::/dev/null:/usr/sbin/nologin\n", uid, gid)
	return "nonrootuser", errors.Join(err, file.Close())
}

// startOpenVPN runs Debian's openvpn, which makes itself the non-root user once the tunnel is up. It is ended by a kill
// when ctx is done, as the real one ends it: root without CAP_KILL may not, and then waits without end.
func startOpenVPN(ctx context.Context, o openVPNSettings) (life, error) {
	config := filepath.Join(openVPNFolder, "target.ovpn")
	put := func(path, content string, mode os.FileMode) error {
		return errors.Join(writeFile(path, []byte(content), mode), os.Chown(path, o.uid, o.gid))
	}
	err := put(config, openVPNConfig(o), 0o644)
	if err == nil && o.username != "" {
		err = put(filepath.Join(openVPNFolder, "auth.conf"), o.username+"\n"+o.password, 0o400)
	}
	if err != nil {
		return life{}, err
	}
	command := exec.CommandContext(ctx, "openvpn2.6", "--config", config)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	up, ended, exited := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			log.Printf("gluetun: openvpn: %s", lines.Text())
			if strings.Contains(lines.Text(), openVPNUp) {
				select {
				case up <- struct{}{}:
				case <-ctx.Done():
				}
			}
		}
	}()
	if err := command.Start(); err != nil {
		return life{}, errors.Join(err, writer.Close())
	}
	go func() {
		err := command.Wait()
		writer.Close()
		close(exited)
		ended <- fmt.Errorf("openvpn has ended: %w", err)
	}()
	return life{up, ended, func() error { <-exited; return nil }}, nil
}
