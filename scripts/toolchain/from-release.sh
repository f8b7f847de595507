#!/usr/bin/env bash
# Second way: the official release archive, checked against the checksum file of the release, and the official plugins.
# NEXUS_PULUMI_RELEASE_URL names another folder that holds the same files (a mirror).
set -euo pipefail
# shellcheck source=scripts/toolchain/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

url=${NEXUS_PULUMI_RELEASE_URL:-https://github.com/pulumi/pulumi/releases/download/v$PULUMI_CLI_VERSION}
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) platform=linux-x64 ;;
Linux-aarch64 | Linux-arm64) platform=linux-arm64 ;;
*) not_here "no release is known for $(uname -s) on $(uname -m)" ;;
esac
archive=pulumi-v$PULUMI_CLI_VERSION-$platform.tar.gz
checksums=pulumi-$PULUMI_CLI_VERSION-checksums.txt
part=$NEXUS_PARTS/release-$PULUMI_CLI_VERSION-$platform
downloads=$NEXUS_CACHE/downloads

# fetch URL FILE [SHA256]: not reachable is a reason to go another way, a bad checksum never is.
fetch() {
	local status=0 message
	message=$("$NEXUS_BASE_PYTHON" "$NEXUS_ROOT/scripts/toolchain/download.py" "$@") || status=$?
	case $status in
	0) ;;
	"$NOT_HERE") not_here "$message" ;;
	*) fail "${message:-download of $1 failed}" ;;
	esac
}

new=$(scratch)
trap 'rm -rf "$new"' EXIT

if [ ! -d "$part" ]; then
	mkdir -p "$downloads"
	fetch "$url/$checksums" "$new/$checksums"
	sha256=$(awk -v name="$archive" '$2 == name || $2 == "*" name { print $1 }' "$new/$checksums")
	[[ $sha256 =~ ^[0-9a-f]{64}$ ]] || fail "$url/$checksums has no SHA-256 for $archive; nothing was installed"
	say "downloading $url/$archive"
	fetch "$url/$archive" "$downloads/$archive" "$sha256"
	mkdir "$new/unpacked"
	tar -xzf "$downloads/$archive" -C "$new/unpacked"
	found=$(cli_version "$new/unpacked/pulumi/pulumi")
	[ "$found" = "v$PULUMI_CLI_VERSION" ] || fail "pulumi of $archive says it is '${found:-nothing}'; nothing was installed"
	mv "$new/unpacked/pulumi" "$part"
	rm -f "$downloads/$archive"
fi

mkdir "$new/bin"
cp -l "$part"/* "$new/bin/"
for name in docker random; do
	install_plugin "$new" "$name" "release $(plugin_version "$name")" ||
		not_here "pulumi could not download plugin $name $(plugin_version "$name")"
done
rm -f "$new/$checksums"
rm -rf "$new/unpacked"
finish "$new" release "$url/$archive"
