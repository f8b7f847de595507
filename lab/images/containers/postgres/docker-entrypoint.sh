#!/usr/bin/env bash
# Makes the cluster at the first start from POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE; then runs CMD.
set -euo pipefail

if [[ ${1:-} == postgres && ! -s $PGDATA/PG_VERSION ]]; then
	user=${POSTGRES_USER:-postgres}
	password=${POSTGRES_PASSWORD:-}
	if [[ -n ${POSTGRES_PASSWORD_FILE:-} ]]; then
		password=$(<"$POSTGRES_PASSWORD_FILE")
	fi
	if [[ -z $password ]]; then
		echo "docker-entrypoint.sh: set POSTGRES_PASSWORD_FILE (or POSTGRES_PASSWORD): no password, no cluster." >&2
		exit 1
	fi
	initdb --username="$user" --auth-local=trust --auth-host=scram-sha-256 --pwfile=<(printf '%s\n' "$password") >&2
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	pg_ctl --wait --options="-c listen_addresses='' -c unix_socket_directories=/var/run/postgresql" start >&2
	if [[ ${POSTGRES_DB:-$user} != postgres ]]; then
		createdb --host=/var/run/postgresql --username="$user" "${POSTGRES_DB:-$user}"
	fi
	pg_ctl --wait --mode=fast stop >&2
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
