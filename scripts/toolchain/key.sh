# shellcheck shell=bash
# Source this: what names a toolchain in the cache. Kept apart from lib.sh because scripts/env.sh needs it everywhere.

# nexus_hash_files FOLDER PATH...: hash of the names and the content of all files there, relative to FOLDER.
nexus_hash_files() {
	local folder=$1
	shift
	(
		cd "$folder" || exit
		find "$@" -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
		uname -sm
	) | sha256sum | cut -c1-16
}

# nexus_toolchain_key ROOT: changes with the pins, the engine's sources and the way of putting it together.
nexus_toolchain_key() {
	nexus_hash_files "$1" lab/engine scripts/toolchain/versions.env scripts/toolchain/lib.sh scripts/toolchain/from-path.sh \
		scripts/toolchain/from-release.sh scripts/toolchain/from-source.sh
}
