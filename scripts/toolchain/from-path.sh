#!/usr/bin/env bash
# First way: a pulumi of the pinned version on PATH with its language host beside it, and both plugins in its home.
# Links to it and copies the plugins; nothing is downloaded and nothing of the user's is changed.
set -euo pipefail
# shellcheck source=scripts/toolchain/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cli=$(command -v pulumi || true)
[ -n "$cli" ] || not_here "no pulumi on PATH"
cli=$(readlink -f "$cli")
found=$(cli_version "$cli")
[ "$found" = "v$PULUMI_CLI_VERSION" ] ||
	not_here "$cli is ${found:-not working}, and v$PULUMI_CLI_VERSION is pinned"
for file in pulumi-language-python pulumi-language-python-exec; do
	[ -e "$(dirname "$cli")/$file" ] || not_here "no $file beside $cli"
done
home=${NEXUS_USER_PULUMI_HOME:-$HOME/.pulumi}
for name in docker random; do
	[ -x "$(plugin_binary "$name" "$home")" ] || not_here "no plugin $name $(plugin_version "$name") in $home/plugins"
done

new=$(scratch)
trap 'rm -rf "$new"' EXIT
mkdir "$new/bin"
for file in pulumi pulumi-language-python pulumi-language-python-exec; do
	ln -s "$(dirname "$cli")/$file" "$new/bin/$file"
done
for name in docker random; do
	binary=$(plugin_binary "$name" "$home")
	install_plugin "$new" "$name" "path $binary $(stat -c '%s %Y' "$binary")" "$binary" ||
		fail "could not copy $binary to $PULUMI_HOME"
done
finish "$new" path "$cli"
