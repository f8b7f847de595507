# qBittorrent for as long as the tunnel it was started with is there.
#
#   downloader.sh run      the container's entry point
#   downloader.sh healthy  its health check
#
# qBittorrent binds its sockets to tun0 by number (Session\Interface) and notices neither a tun0 that was made anew,
# which has another number, nor the end of the VPN container, whose network namespace it then keeps. In both cases the
# container ends here, and Docker's restart policy starts it in the namespace that the VPN container has by then.
set -u

tunnel=/sys/class/net/tun0
began=/tmp/tun0
live=/config/qBittorrent/qBittorrent.conf
seed=/run/secrets/qBittorrent.conf

there() { cat "$tunnel/ifindex" 2>/dev/null; }

# Docker takes eth* away with the VPN container. A tun0 of the kernel's WireGuard stays in the namespace without it.
cut_off() { ! compgen -G '/sys/class/net/eth*' >/dev/null; }

# Ends process $1, the app, once it can do nothing with its tunnel any more.
watch() {
	local number seen='' times=0
	while sleep 5; do
		number=$(there)
		if cut_off; then
			echo "the VPN container is gone: ending, to be started in its next network namespace"
			break
		fi
		# A tun0 that does not last was an attempt of the VPN container's: three looks at the same one.
		[[ $number == "$seen" ]] && ((times += 1)) || times=1
		seen=$number
		if [[ -n $number && $number != "$(<$began)" && $times -ge 3 ]]; then
			echo "tun0 was made anew: ending, to be started on this one"
			break
		fi
	done
	kill "$1"
	# As long as Docker's own patience (stop_grace).
	sleep 120
	kill -KILL "$1"
}

case $1 in
run)
	rm -f $began
	until there >$began; do
		cut_off && echo "the VPN container is gone" && exit 1
		sleep 1
	done
	# The app rewrites its file at exit. What is declared wins whenever the declaration has changed; between those
	# times what was set in its own page stays.
	mkdir -p /config/qBittorrent
	if ! cmp -s $seed $live.declared; then
		install -m 600 $seed $live && install -m 600 $seed $live.declared || exit 1
	fi
	watch $$ &
	exec /entrypoint.sh
	;;
healthy)
	cut_off && echo "the VPN container is gone" && exit 1
	[[ -s $began && $(there) == "$(<$began)" ]] || { echo "tun0 is not the one that qBittorrent uses"; exit 1; }
	(($(<$tunnel/flags) & 1)) || { echo "tun0 is down"; exit 1; }
	exec curl -fsS -o /dev/null "http://127.0.0.1:$QBT_WEBUI_PORT/"
	;;
esac
