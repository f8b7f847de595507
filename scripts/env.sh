# shellcheck shell=bash
# Source this: where things are on this machine, and the Pulumi settings every command needs. Starts nothing.
# NEXUS_CACHE and NEXUS_STATE can be set beforehand.

NEXUS_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export NEXUS_ROOT
export NEXUS_CACHE="${NEXUS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nexus}"
export NEXUS_STATE="${NEXUS_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/nexus}"
export NEXUS_PYTHON="$NEXUS_ROOT/.venv/bin/python"

# shellcheck source=scripts/toolchain/key.sh
. "$NEXUS_ROOT/scripts/toolchain/key.sh"
NEXUS_TOOLCHAIN="$NEXUS_CACHE/toolchain/$(nexus_toolchain_key "$NEXUS_ROOT")"
export NEXUS_TOOLCHAIN

# Sourced twice, or from another checkout: the toolchain of an earlier time must not stay in front.
nexus_path=""
while IFS= read -r -d : nexus_entry; do
	case $nexus_entry in
	"$NEXUS_CACHE"/toolchain/*) ;;
	*) nexus_path="$nexus_path:$nexus_entry" ;;
	esac
done <<<"$PATH:"
export PATH="$NEXUS_TOOLCHAIN/bin$nexus_path"
unset nexus_path nexus_entry

# A CLI of the user's own has its plugins here; scripts/toolchain/from-path.sh looks for them.
if [ "${PULUMI_HOME:-}" != "$NEXUS_CACHE/pulumi-home" ]; then
	export NEXUS_USER_PULUMI_HOME="${PULUMI_HOME:-$HOME/.pulumi}"
fi
export PULUMI_HOME="$NEXUS_CACHE/pulumi-home"
# A team shares a backend: NEXUS_BACKEND_URL, such as s3://bucket (docs/ci.md).
export PULUMI_BACKEND_URL="${NEXUS_BACKEND_URL:-file://$NEXUS_STATE/backend}"
export PULUMI_SKIP_UPDATE_CHECK=true
# Plugins are those that scripts/toolchain/install put into PULUMI_HOME: none is downloaded during a deployment,
# and none that happens to lie on PATH is used in its place.
export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true
export PULUMI_IGNORE_AMBIENT_PLUGINS=true
# Set on many an image: each command, and each worker of the tests, would compile the checkout anew.
unset PYTHONDONTWRITEBYTECODE
# A formatted Output is an error and not a text about an error.
export PULUMI_ERROR_OUTPUT_STRING=true
