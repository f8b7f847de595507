#!/usr/bin/env bash
# Starts qBittorrent with its configuration in /config/qBittorrent, as the rootless upstream image does.
set -euo pipefail

folder=/config/qBittorrent
if [[ ! -f $folder/qBittorrent.conf ]]; then
	mkdir -p "$folder"
	cp /defaults/qBittorrent.conf "$folder/qBittorrent.conf"
fi
# Left behind by a container that was killed; its process id means nothing here.
rm -f "$folder/lockfile"

exec qbittorrent-nox --webui-port="$QBT_WEBUI_PORT" "$@"
