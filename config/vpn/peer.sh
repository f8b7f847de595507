#!/bin/sh
# The embedded VPN provider: one WireGuard server for one client, which routes what comes out of the tunnel.
# Reads its keys from /run/secrets and ADDRESS, CLIENT, PORT and CLIENT_PUBLIC_KEY from the environment.
set -eu

# The kernel's WireGuard where there is one, else the userspace implementation on a TUN device.
if ! ip link add wg0 type wireguard 2>/dev/null; then
  command -v wireguard-go >/dev/null || {
    echo "embedded VPN peer: this kernel has no WireGuard and this image no wireguard-go;" \
      "on the Docker host run: modprobe wireguard" >&2
    exit 1
  }
  wireguard-go wg0
fi

wg set wg0 listen-port "$PORT" private-key /run/secrets/private_key \
  peer "$CLIENT_PUBLIC_KEY" preshared-key /run/secrets/preshared_key allowed-ips "$CLIENT/32"
ip address add "$ADDRESS/24" dev wg0
ip link set wg0 mtu 1320 up

# What the client sends leaves under this container's own address, and nothing else is forwarded.
iptables -P FORWARD DROP
iptables -A FORWARD -i wg0 ! -o wg0 -j ACCEPT
iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -t nat -A POSTROUTING -s "$CLIENT/32" ! -o wg0 -j MASQUERADE
iptables -A INPUT -i wg0 -p tcp --dport 9998 -j ACCEPT
iptables -A INPUT -i wg0 -p icmp -j ACCEPT
iptables -A INPUT -i wg0 -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP

echo "embedded VPN peer: listening on $PORT; this is for development and hides nothing"

trap 'exit 0' TERM INT
# A TCP port inside the tunnel for the client's own health check.
while :; do
  nc -l 9998 </dev/null >/dev/null 2>&1 &
  wait $! || sleep 1
done
