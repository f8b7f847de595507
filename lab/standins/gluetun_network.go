package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Tables, priorities and mark are the real one's.
const (
	gluetunMark          = 51820 // mark of the tunnel's own packets, and the table of the tunnel
	gluetunOutboundTable = 199
	gluetunInboundTable  = 200
)

type defaultRoute struct {
	iface   string
	gateway netip.Addr
	own     netip.Addr
}

type localNetwork struct {
	iface  string
	own    netip.Addr
	prefix netip.Prefix
}

// network is what the container's own interfaces are, before the tunnel.
type network struct {
	defaults []defaultRoute
	locals   []localNetwork
}

type ipRoute struct {
	Dst     string `json:"dst"`
	Gateway string `json:"gateway"`
	Dev     string `json:"dev"`
}

type ipLink struct {
	Name  string `json:"ifname"`
	Type  string `json:"link_type"`
	Addrs []struct {
		Family string `json:"family"`
		Local  string `json:"local"`
	} `json:"addr_info"`
}

// parseNetwork reads `ip -json address` and `ip -json route` (IPv4, then IPv6).
func parseNetwork(links, routes4, routes6 []byte) (network, error) {
	var found []ipLink
	if err := json.Unmarshal(links, &found); err != nil {
		return network{}, fmt.Errorf("ip address: %w", err)
	}
	var n network
	for family, text := range map[string][]byte{"inet": routes4, "inet6": routes6} {
		var routes []ipRoute
		if len(strings.TrimSpace(string(text))) > 0 {
			if err := json.Unmarshal(text, &routes); err != nil {
				return network{}, fmt.Errorf("ip route: %w", err)
			}
		}
		for _, route := range routes {
			i := slices.IndexFunc(found, func(l ipLink) bool { return l.Name == route.Dev })
			if i < 0 {
				continue
			}
			var own netip.Addr
			for _, a := range found[i].Addrs {
				if a.Family == family {
					var err error
					if own, err = netip.ParseAddr(a.Local); err != nil {
						return network{}, fmt.Errorf("ip address: %w", err)
					}
					break
				}
			}
			if route.Dst == "default" {
				gateway, err := netip.ParseAddr(route.Gateway)
				if err != nil || !own.IsValid() {
					return network{}, fmt.Errorf("default route through %s has no gateway or no own address", route.Dev)
				}
				n.defaults = append(n.defaults, defaultRoute{route.Dev, gateway, own})
				continue
			}
			if route.Gateway != "" || found[i].Type != "ether" || !own.IsValid() {
				continue
			}
			text := route.Dst
			if !strings.Contains(text, "/") {
				text += map[string]string{"inet": "/32", "inet6": "/128"}[family]
			}
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return network{}, fmt.Errorf("ip route: %w", err)
			}
			n.locals = append(n.locals, localNetwork{route.Dev, own, prefix})
		}
	}
	slices.SortFunc(n.defaults, func(a, b defaultRoute) int { return a.own.Compare(b.own) })
	slices.SortFunc(n.locals, func(a, b localNetwork) int { return a.prefix.Addr().Compare(b.prefix.Addr()) })
	if len(n.defaults) == 0 {
		return network{}, errors.New("no default route: attach the container to a network that is not internal")
	}
	if len(n.locals) == 0 {
		return network{}, errors.New("no local network found: attach the container to a bridge network")
	}
	return n, nil
}

// command runs a program and puts what it printed in the error.
func command(stdin string, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(problem.String()))
	}
	return out, nil
}

func run(name string, args ...string) error {
	_, err := command("", name, args...)
	return err
}

func findNetwork() (network, error) {
	links, err := command("", "ip", "-json", "address")
	if err != nil {
		return network{}, err
	}
	routes4, err := command("", "ip", "-json", "-4", "route")
	if err != nil {
		return network{}, err
	}
	routes6, err := command("", "ip", "-json", "-6", "route")
	if err != nil && ipv6Possible() {
		return network{}, err
	}
	return parseNetwork(links, routes4, routes6)
}

// ipv6Possible says whether anything could be sent by IPv6 in this network namespace.
func ipv6Possible() bool {
	content, err := os.ReadFile("/proc/net/if_inet6")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) == 6 && fields[5] != "lo" {
			return true
		}
	}
	return false
}

// ipv6InTunnel says whether an interface made now gets IPv6: Docker turns that off for new ones.
func ipv6InTunnel() bool {
	content, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	return err == nil && strings.TrimSpace(string(content)) == "0" && ipv6Possible()
}

func ipFamily(a netip.Addr) string {
	if a.Is4() {
		return "-4"
	}
	return "-6"
}

// routingCommands are the arguments of `ip` that keep local networks, answers to inbound connections
// and the outbound subnets on the container's own interfaces.
func routingCommands(n network, outbound []netip.Prefix) [][]string {
	var commands [][]string
	add := func(args ...string) { commands = append(commands, args) }
	table := func(n int) string { return fmt.Sprint(n) }
	for _, d := range n.defaults {
		add(ipFamily(d.own), "route", "replace", "default", "via", d.gateway.String(), "dev", d.iface, "table", table(gluetunInboundTable))
		add(ipFamily(d.own), "rule", "add", "from", d.own.String(), "table", table(gluetunInboundTable), "priority", "100")
	}
	for _, subnet := range outbound {
		routed := false
		for _, d := range n.defaults {
			if d.own.Is4() == subnet.Addr().Is4() {
				add(ipFamily(d.own), "route", "replace", subnet.Masked().String(), "via", d.gateway.String(), "dev", d.iface, "table", table(gluetunOutboundTable))
				routed = true
			}
		}
		if routed {
			add(ipFamily(subnet.Addr()), "rule", "add", "to", subnet.Masked().String(), "table", table(gluetunOutboundTable), "priority", "99")
		}
	}
	for _, l := range n.locals {
		add(ipFamily(l.own), "rule", "add", "to", l.prefix.Masked().String(), "table", "main", "priority", "98")
	}
	return commands
}

// patchResolvConf puts one nameserver in place of those that are there and keeps the other lines.
func patchResolvConf(content string, nameserver netip.Addr) string {
	lines := []string{"nameserver " + nameserver.String() + "\n"}
	for line := range strings.Lines(content) {
		if !strings.HasPrefix(line, "nameserver") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
