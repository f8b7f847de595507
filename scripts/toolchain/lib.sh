# shellcheck shell=bash
# Source this: what install and the from-*.sh scripts share. Each from-*.sh builds $NEXUS_TOOLCHAIN and the plugins in
# $PULUMI_HOME; it exits 10 with one line on stdout where this machine cannot go that way, and with anything else
# but 0 where something is wrong that the next way must not hide. Progress goes to stderr.

NOT_HERE=10

# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
# shellcheck source=scripts/toolchain/versions.env
. "$NEXUS_ROOT/scripts/toolchain/versions.env"

NEXUS_PARTS="$NEXUS_CACHE/toolchain/parts"
NEXUS_BASE_PYTHON="$NEXUS_PYTHON"
[ -x "$NEXUS_BASE_PYTHON" ] || NEXUS_BASE_PYTHON=python3

say() { printf 'toolchain: %s\n' "$*" >&2; }

not_here() {
	printf '%s\n' "$*"
	exit "$NOT_HERE"
}

fail() {
	say "ERROR: $*"
	exit 1
}

# plugin_version NAME: the pin of a plugin.
plugin_version() {
	case $1 in
	docker) echo "$PULUMI_PLUGIN_DOCKER_VERSION" ;;
	random) echo "$PULUMI_PLUGIN_RANDOM_VERSION" ;;
	esac
}

plugin_binary() { # NAME HOME
	echo "$2/plugins/resource-$1-v$(plugin_version "$1")/pulumi-resource-$1"
}

# What a plugin in PULUMI_HOME was made from. Written after the plugin, so a half-installed one has no such record.
plugin_record() { echo "$PULUMI_HOME/nexus/$1-$(plugin_version "$1")"; }

# plugin_is NAME ORIGIN: whether that plugin lies in PULUMI_HOME.
plugin_is() {
	[ -x "$(plugin_binary "$1" "$PULUMI_HOME")" ] && [ "$(cat "$(plugin_record "$1")" 2>/dev/null)" = "$2" ]
}

# install_plugin FOLDER NAME ORIGIN [BINARY]: with the CLI in FOLDER/bin, from BINARY, or downloaded where none is given.
# FOLDER/plugin-NAME keeps the origin, so that a toolchain knows its own plugins from another checkout's.
install_plugin() {
	local folder=$1 name=$2 origin=$3 file=${4:-} version record
	version=$(plugin_version "$name")
	record=$(plugin_record "$name")
	echo "$origin" >"$folder/plugin-$name"
	if plugin_is "$name" "$origin"; then
		return 0
	fi
	say "installing plugin $name $version"
	rm -f "$record"
	mkdir -p "$(dirname "$record")"
	timeout 600 "$folder/bin/pulumi" plugin install resource "$name" "$version" --reinstall ${file:+--file "$file"} >&2 ||
		return 1
	[ -x "$(plugin_binary "$name" "$PULUMI_HOME")" ] || return 1
	echo "$origin" >"$record"
}

# finish FOLDER WAY ORIGIN: FOLDER (with bin/) becomes the toolchain. Renaming comes last.
finish() {
	printf '%s\n' "$2" >"$1/way"
	printf '%s\n' "$3" >"$1/origin"
	rm -rf "$NEXUS_TOOLCHAIN"
	mv "$1" "$NEXUS_TOOLCHAIN"
}

# scratch: a fresh folder on the file system of the cache; the caller removes it.
scratch() {
	mkdir -p "$NEXUS_PARTS"
	mktemp -d "$NEXUS_CACHE/toolchain/tmp.XXXXXX"
}

cli_version() { "$1" version 2>/dev/null || true; }
