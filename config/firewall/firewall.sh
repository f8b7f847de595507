#!/bin/sh
# Keeps the containers of one stack from the Docker host, those of $OPEN, the subnets with a way out, from the other
# subnets of $POOL, and everybody else from all of them but for published ports. $CHAIN hangs in mangle/PREROUTING,
# which is before a published port is redirected, and beside everything that the engine and a firewall of the host's
# write; a packet that is dropped here is dropped whichever of iptables' two kinds they use.
#   firewall.sh         keeps the rules there until it is told to stop, and takes them away then
#   firewall.sh check   ends with 0 where they are all there
set -eu

table() { iptables -w 10 -t mangle "$@"; }

rules() {
	# The host itself, whose gateway addresses are of the pool.
	echo "-i lo -j RETURN"
	# Nobody comes in but by a published port, which is not yet an address of the pool here: not a neighbour that routes
	# to it, and not another stack's container.
	echo "! -s $POOL -d $POOL -m conntrack --ctdir ORIGINAL -j DROP"
	echo "! -s $POOL -j RETURN"
	# What answers the host, or a client at a published port.
	echo "-m conntrack --ctdir REPLY -j RETURN"
	# The host's own resolver may be one of its addresses, or a link-local one of the cloud it runs in.
	for server in $(sed -n '/[[:space:]]127\./d; s/^nameserver[[:space:]]*\([0-9.]*\)[[:space:]]*$/\1/p' /etc/resolv.conf); do
		echo "-d $server -p udp --dport 53 -j RETURN"
		echo "-d $server -p tcp --dport 53 -j RETURN"
	done
	echo "-d 169.254.0.0/16 -j DROP"
	for kind in LOCAL BROADCAST MULTICAST; do echo "-m addrtype --dst-type $kind -j DROP"; done
	# The host has no address in an internal network and so no route to it: its default route would take the packet.
	for network in $OPEN; do
		echo "-s $network -d $network -j RETURN"
		echo "-s $network -d $POOL -j DROP"
	done
}

check() {
	table -C PREROUTING -j "$CHAIN" || return 1
	rules | while read -r rule; do
		# shellcheck disable=SC2086 # a rule is words
		table -C "$CHAIN" $rule || exit 1
	done
}

fill() {
	# At once: whatever the chain held before, there is no moment without rules.
	{ echo "*mangle"; echo ":$CHAIN - [0:0]"; rules | sed "s/^/-A $CHAIN /"; echo COMMIT; } |
		iptables-restore -w 10 --noflush
	table -C PREROUTING -j "$CHAIN" 2>/dev/null || table -I PREROUTING 1 -j "$CHAIN"
	echo "the rules of $CHAIN are in place"
}

clear() {
	while table -D PREROUTING -j "$CHAIN" 2>/dev/null; do :; done
	table -F "$CHAIN" && table -X "$CHAIN"
}

case ${1:-keep} in
check) check ;;
keep)
	trap 'clear; exit 0' TERM INT
	while :; do
		check 2>/dev/null || fill
		sleep 5 &
		wait $!
	done
	;;
esac
