package main

import (
	"errors"
	"fmt"
	"log"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// firewallRules are arguments of iptables and ip6tables, in the order in which they are set.
type firewallRules struct{ v4, v6 []string }

func (r *firewallRules) both(rule string) {
	r.v4 = append(r.v4, rule)
	r.v6 = append(r.v6, rule)
}

func (r *firewallRules) family(addr netip.Addr, rule string) {
	if addr.Is4() {
		r.v4 = append(r.v4, rule)
	} else {
		r.v6 = append(r.v6, rule)
	}
}

// lockdownRules come before any setting is read: nothing in or out but loopback.
func lockdownRules() firewallRules {
	var r firewallRules
	for _, chain := range []string{"INPUT", "OUTPUT", "FORWARD"} {
		r.both("--policy " + chain + " DROP")
	}
	r.both("-A INPUT -i lo -j ACCEPT")
	r.both("-A OUTPUT -o lo -j ACCEPT")
	return r
}

// localRules are set next, still before any setting is read: the local networks, and answers. Then come the post rules.
func localRules(n network) firewallRules {
	var r firewallRules
	r.both("-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	r.both("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	multicast := map[string]bool{}
	for _, l := range n.locals {
		r.family(l.own, fmt.Sprintf("-A OUTPUT -o %s -s %s -d %s -j ACCEPT", l.iface, l.own, l.prefix.Masked()))
		if !multicast[l.iface] { // neighbour discovery
			r.v6 = append(r.v6, fmt.Sprintf("-A OUTPUT -o %s -d ff02::1:ff00:0/104 -j ACCEPT", l.iface))
		}
		multicast[l.iface] = true
	}
	for _, l := range n.locals {
		r.family(l.own, fmt.Sprintf("-A INPUT -i %s -d %s -j ACCEPT", l.iface, l.prefix.Masked()))
	}
	return r
}

// port opens a port of an interface for both protocols.
func (r *firewallRules) port(iface string, port uint16) {
	for _, protocol := range []string{"tcp", "udp"} {
		r.both(fmt.Sprintf("-A INPUT -i %s -p %s -m %s --dport %d -j ACCEPT", iface, protocol, protocol, port))
	}
}

// defaultInterfaces are those of the default routes, each once.
func (n network) defaultInterfaces() []string {
	var found []string
	for _, d := range n.defaults {
		if !slices.Contains(found, d.iface) {
			found = append(found, d.iface)
		}
	}
	return found
}

// settingsRules open what the settings ask for, and no more. They stay whatever the tunnel does.
func settingsRules(n network, s gluetunSettings) firewallRules {
	var r firewallRules
	for _, subnet := range s.outboundSubnets {
		for _, d := range n.defaults {
			if d.own.Is4() == subnet.Addr().Is4() {
				r.family(d.own, fmt.Sprintf("-A OUTPUT -o %s -s %s -d %s -j ACCEPT", d.iface, d.own, subnet.Masked()))
			}
		}
	}
	for _, port := range s.inputPorts {
		for _, iface := range n.defaultInterfaces() {
			r.port(iface, port)
		}
	}
	return r
}

// connectionRules let the VPN program reach its server and everything use the tunnel: the last rules, set when the VPN
// first starts. They stay: the tunnel's end leaves the packets no way out.
func connectionRules(n network, s gluetunSettings) firewallRules {
	var r firewallRules
	for _, iface := range n.defaultInterfaces() {
		r.family(s.remote.Addr(), fmt.Sprintf("-A OUTPUT -d %s -o %s -p %s -m %s --dport %d -j ACCEPT",
			s.remote.Addr(), iface, s.protocol, s.protocol, s.remote.Port()))
	}
	r.both("-A OUTPUT -o " + s.iface + " -j ACCEPT")
	for _, port := range s.vpnInputPorts {
		r.port(s.iface, port)
	}
	return r
}

// postRules reads the user's own rules, lines of /iptables/post-rules.txt; a line that begins with anything else, a
// blank included, is no rule.
func postRules(content string) firewallRules {
	var r firewallRules
	for line := range strings.Lines(content) {
		program, rule, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		switch strings.TrimSuffix(strings.TrimSuffix(program, "-nft"), "-legacy") {
		case "iptables":
			r.v4 = append(r.v4, rule)
		case "ip6tables":
			r.v6 = append(r.v6, rule)
		}
	}
	return r
}

// firewall holds the programs that work here; v6 is empty where the kernel has no IPv6 filter.
type firewall struct{ v4, v6 string }

// findFirewall tries the programs in the real one's order. Missing IPv6 rules are only accepted
// where nothing could be sent by IPv6.
func findFirewall() (firewall, error) {
	pick := func(names ...string) (string, error) {
		var problems []error
		for _, name := range names {
			err := errors.Join(run(name, "-A", "OUTPUT", "-o", "stand-in-test", "-j", "DROP"),
				run(name, "-D", "OUTPUT", "-o", "stand-in-test", "-j", "DROP"))
			if err == nil {
				return name, nil
			}
			problems = append(problems, err)
		}
		return "", errors.Join(problems...)
	}
	v4, err := pick("iptables", "iptables-nft", "iptables-legacy")
	if err != nil {
		return firewall{}, fmt.Errorf("no usable iptables: is the NET_ADMIN capability there? %w", err)
	}
	v6, err := pick("ip6tables", "ip6tables-nft", "ip6tables-legacy")
	if err != nil && ipv6Possible() {
		return firewall{}, fmt.Errorf("IPv6 is on and no usable ip6tables: %w", err)
	}
	return firewall{v4, v6}, nil
}

func (f firewall) apply(r firewallRules) error {
	for _, rule := range r.v4 {
		if err := run(f.v4, strings.Fields(rule)...); err != nil {
			return err
		}
	}
	if f.v6 == "" {
		return nil
	}
	for _, rule := range r.v6 {
		if err := run(f.v6, strings.Fields(rule)...); err != nil {
			return err
		}
	}
	return nil
}

// applyPostRules sets the user's own rules.
func (f firewall) applyPostRules(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	log.Printf("gluetun: firewall: rules of %s", path)
	return f.apply(postRules(string(content)))
}
