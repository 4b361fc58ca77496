# SPDX-License-Identifier: MIT
# What every end-to-end test needs: a directory of its own, checks that count, mounts and servers that end
# with the test, also when it fails. A test is a script that sources this and calls `finish` at its end.

set -u
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
TESTS=$PWD/tests
POP3FS=${POP3FS:-$BUILD/pop3fs}
SERVER=$BUILD/pop3-server
SUDO=
[ "$(id -u)" = 0 ] || SUDO=sudo
WORK=$(mktemp -d "${TMPDIR:-/tmp}/pop3fs-e2e.XXXXXX")
MNT=$WORK/mnt
mkdir "$MNT" "$WORK/home"
export HOME=$WORK/home XDG_CACHE_HOME=$WORK/cache XDG_CONFIG_HOME=$WORK/config
PASSED=0 FAILED=0
PIDS=

# Ends everything that the test started, by pid, and removes its directory.
clean_up() {
	status=$?
	trap - EXIT INT TERM
	for mount in $(awk -v w="$WORK/" 'index($2, w) == 1 { print $2 }' /proc/mounts); do
		daemon=$(getfattr --absolute-names --only-values -n user.pop3.pid "$mount" 2>/dev/null)
		if [ "$(id -u)" = 0 ]; then umount -l "$mount"; else fusermount3 -uz "$mount"; fi
		[ -n "$daemon" ] && kill -9 "$daemon" 2>/dev/null
	done
	for pid in $PIDS; do kill -9 "$pid" 2>/dev/null; done
	command -v dovecot_stop >/dev/null && dovecot_stop
	[ -n "${KEEP:-}" ] || $SUDO rm -rf "$WORK"
	exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM

pass() { PASSED=$((PASSED + 1)); echo "ok: $*"; }
fail() { FAILED=$((FAILED + 1)); echo "FAILED: $*"; }

# check WHAT COMMAND...: the command succeeds.
check() {
	what=$1
	shift
	if "$@"; then pass "$what"; else fail "$what: $*"; fi
}

# same WHAT EXPECTED SEEN
same() {
	if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: expected \"$2\", saw \"$3\""; fi
}

# holds WHAT TEXT PART: the text holds the part.
holds() {
	case $2 in *"$3"*) pass "$1" ;; *) fail "$1: no \"$3\" in \"$2\"" ;; esac
}

finish() {
	echo "$PASSED passed, $FAILED failed"
	[ $FAILED = 0 ]
	exit
}

# skip WHY: nothing of this test can run here.
skip() {
	echo "skipped: $*"
	exit 0
}

# wait_until CONDITION: at most 10 seconds.
wait_until() {
	for _ in $(seq 500); do
		if eval "$1"; then return 0; fi
		sleep 0.02
	done
	echo "never: $1" >&2
	return 1
}

listening() { ss -Hltn "sport = :$1" 2>/dev/null | grep -q .; }
wait_for_port() { wait_until "listening $1"; }

# A port that nothing listens on.
free_port() {
	while :; do
		port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 20000))
		listening $port || break
	done
	echo $port
}

# make_certificate DIR: cert.pem and key.pem for localhost, valid as its own CA.
make_certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$1/key.pem" -out "$1/cert.pem" 2>/dev/null
}

# The password "secret word" in a file that only we can read.
(umask 077; printf 'secret word\n' > "$WORK/password")

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# daemon_of MOUNTPOINT: its process id.
daemon_of() { getfattr --absolute-names --only-values -n user.pop3.pid "$1" 2>/dev/null; }
