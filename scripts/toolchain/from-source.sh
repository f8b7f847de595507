#!/usr/bin/env bash
# Third way: the engine built from Go modules (lab/engine), for machines that reach the Go module proxy and no release.
# Each binary is cached under a hash of what it is made from, so an interrupted build goes on where it stopped.
set -euo pipefail
# shellcheck source=scripts/toolchain/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

engine=$NEXUS_ROOT/lab/engine
sdk=github.com/pulumi/pulumi/sdk/v3
cli_package=github.com/pulumi/pulumi/pkg/v3/cmd/pulumi
cli_flags="-X $sdk/go/common/version.Version=v$PULUMI_CLI_VERSION"

part_of() { # NAME FLAGS
	echo "$NEXUS_PARTS/source-$1-$(
		cd "$engine/$1"
		{ nexus_hash_files . . && echo "$2"; } | sha256sum | cut -c1-16
	)"
}

require_go() {
	local found
	command -v go >/dev/null ||
		not_here "Go $GO_MIN_VERSION or newer is not installed (https://go.dev/dl), and it has to build the engine"
	found=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
	found=${found#go}
	[ "$(printf '%s\n' "$GO_MIN_VERSION" "$found" | sort -V | head -n1)" = "$GO_MIN_VERSION" ] ||
		not_here "Go $found is too old: $GO_MIN_VERSION or newer has to build the engine (https://go.dev/dl)"
}

# build NAME PART MINUTES OUTPUT PACKAGE LDFLAGS [FLAG...]: prints how far it is every half minute.
build() {
	local name=$1 part=$2 minutes=$3 output=$4 package=$5 ldflags=$6 status=0 builder start next
	shift 6
	require_go
	say "building $name from Go modules: about $minutes minutes on 2 cores, the first time"
	new=$(scratch)
	trap 'rm -rf "$new"' EXIT
	(
		cd "$engine/$name"
		# Without cgo the result does not depend on a C compiler or on the libc of this machine.
		CGO_ENABLED=0 GOFLAGS="" GOWORK=off exec go build -v -mod=readonly -trimpath -buildvcs=false "$@" \
			-ldflags "-s -w $ldflags" -o "$new/$output" "$package" 2>"$new/log"
	) &
	builder=$!
	trap 'kill "$builder" 2>/dev/null || true; wait "$builder" 2>/dev/null || true; rm -rf "$new"' EXIT
	start=$SECONDS
	next=30
	while kill -0 "$builder" 2>/dev/null; do
		sleep 0.2
		if ((SECONDS - start >= next)); then
			say "  $name: $((next / 60)) min $((next % 60)) s, $(built "$new/log")"
			next=$((next + 30))
		fi
	done
	wait "$builder" || status=$?
	if [ "$status" != 0 ]; then
		grep -v -E '^go: downloading |^[A-Za-z0-9._/-]+$' "$new/log" | tail -n 20 >&2 || true
		fail "go build of lab/engine/$name failed (see above); run scripts/setup again to go on"
	fi
	say "  $name: built in $((SECONDS - start)) s"
	rm "$new/log"
	if [ "$name" = pulumi ]; then
		# The script that runs a Python program is not in the pulumi package; it lies in the engine's SDK module.
		cp "$(cd "$engine/$name" && GOFLAGS="" GOWORK=off go list -m -f '{{.Dir}}' "$sdk")/python/cmd/pulumi-language-python-exec" "$new/"
		chmod u+w "$new/pulumi-language-python-exec"
	fi
	mv "$new" "$part"
	trap - EXIT
}

built() {
	local compiled fetched
	fetched=$(grep -c '^go: downloading ' "$1" || true)
	compiled=$(grep -c -v '^go: ' "$1" || true)
	echo "$fetched modules downloaded, $compiled packages compiled"
}

cli=$(part_of pulumi "$cli_flags")
docker=$(part_of provider-docker "$PULUMI_PLUGIN_DOCKER_VERSION")
random=$(part_of provider-random "$PULUMI_PLUGIN_RANDOM_VERSION")
missing=0
for part in "$cli" "$docker" "$random"; do
	[ -d "$part" ] || missing=$((missing + 1))
done
if [ "$missing" -gt 0 ]; then
	require_go
	say "$missing of 3 binaries have to be built; interrupt at will, the next run goes on"
fi
[ -d "$cli" ] || build pulumi "$cli" "6 to 10" pulumi "$cli_package" "$cli_flags"
[ -d "$random" ] || build provider-random "$random" 2 pulumi-resource-random . \
	"-X main.version=$PULUMI_PLUGIN_RANDOM_VERSION"
[ -d "$docker" ] || build provider-docker "$docker" "4 to 8" pulumi-resource-docker . \
	"-X main.version=$PULUMI_PLUGIN_DOCKER_VERSION" -tags no_compose

new=$(scratch)
trap 'rm -rf "$new"' EXIT
mkdir "$new/bin"
host=$engine/pulumi-language-python
cp -l "$cli/pulumi" "$cli/pulumi-language-python-exec" "$new/bin/"
cp "$host/pulumi-language-python" "$new/bin/"
cp "$host/host.py" "$new/bin/pulumi-language-python.py"
echo "$PULUMI_CLI_VERSION" >"$new/bin/pulumi-language-python.version"
found=$(cli_version "$new/bin/pulumi")
[ "$found" = "v$PULUMI_CLI_VERSION" ] || fail "the pulumi that was built says it is '${found:-nothing}'"
install_plugin "$new" docker "source $(basename "$docker")" "$docker/pulumi-resource-docker" ||
	fail "could not install the docker plugin into $PULUMI_HOME"
install_plugin "$new" random "source $(basename "$random")" "$random/pulumi-resource-random" ||
	fail "could not install the random plugin into $PULUMI_HOME"
finish "$new" source "$(basename "$cli")"
