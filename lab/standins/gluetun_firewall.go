package main

import (
	"errors"
	"fmt"
	"log"
	"net/netip"
	"os"
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

// settingsRules open what the settings ask for, and no more. They stay whatever the tunnel does: its
// end leaves the packets no way out. What they let through is what the real one (3.41.1) lets through.
func settingsRules(n network, s gluetunSettings) firewallRules {
	var r firewallRules
	r.both("-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	r.both("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	seen := map[string]bool{}
	for _, d := range n.defaults {
		if !seen[d.iface] {
			r.family(s.endpoint.Addr(), fmt.Sprintf("-A OUTPUT -d %s -o %s -p udp -m udp --dport %d -j ACCEPT",
				s.endpoint.Addr(), d.iface, s.endpoint.Port()))
		}
		seen[d.iface] = true
	}
	r.both("-A OUTPUT -o " + s.iface + " -j ACCEPT")

	multicast := map[string]bool{}
	for _, l := range n.locals {
		r.family(l.own, fmt.Sprintf("-A OUTPUT -o %s -s %s -d %s -j ACCEPT", l.iface, l.own, l.prefix.Masked()))
		if !multicast[l.iface] { // neighbour discovery
			r.v6 = append(r.v6, fmt.Sprintf("-A OUTPUT -o %s -d ff02::1:ff00:0/104 -j ACCEPT", l.iface))
		}
		multicast[l.iface] = true
	}
	for _, subnet := range s.outboundSubnets {
		for _, d := range n.defaults {
			if d.own.Is4() == subnet.Addr().Is4() {
				r.family(d.own, fmt.Sprintf("-A OUTPUT -o %s -s %s -d %s -j ACCEPT", d.iface, d.own, subnet.Masked()))
			}
		}
	}
	for _, l := range n.locals {
		r.family(l.own, fmt.Sprintf("-A INPUT -i %s -d %s -j ACCEPT", l.iface, l.prefix.Masked()))
	}
	inputPort := func(iface string, port uint16) {
		for _, protocol := range []string{"tcp", "udp"} {
			r.both(fmt.Sprintf("-A INPUT -i %s -p %s -m %s --dport %d -j ACCEPT", iface, protocol, protocol, port))
		}
	}
	for _, port := range s.inputPorts {
		opened := map[string]bool{}
		for _, d := range n.defaults {
			if !opened[d.iface] {
				inputPort(d.iface, port)
			}
			opened[d.iface] = true
		}
	}
	for _, port := range s.vpnInputPorts {
		inputPort(s.iface, port)
	}
	return r
}

// postRules reads the user's own rules, lines of /iptables/post-rules.txt.
func postRules(content string) firewallRules {
	var r firewallRules
	for line := range strings.Lines(content) {
		program, rule, _ := strings.Cut(strings.TrimSpace(line), " ")
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

// applyPostRules sets the user's own rules last.
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
