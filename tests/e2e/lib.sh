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
mkdir -p "$MNT" "$WORK/home" "$WORK/mail/new"
export HOME=$WORK/home XDG_CACHE_HOME=$WORK/cache XDG_CONFIG_HOME=$WORK/config
PASSED=0 FAILED=0
PIDS=

# Ends everything that the test started, by pid, and removes its directory.
clean_up() {
	status=$?
	trap - EXIT INT TERM
	for mount in $(awk -v w="$WORK/" 'index($2, w) == 1 { print $2 }' /proc/mounts); do
		daemon=$(getfattr --absolute-names --only-values -n user.pop3.pid "$mount" 2>/dev/null)
		if [ "$(id -u)" = 0 ]; then umount -l "$mount"; else fusermount3 -uz "$mount" || $SUDO umount -l "$mount"; fi
		[ -n "$daemon" ] && kill -9 "$daemon" 2>/dev/null
	done
	for pid in $PIDS; do { kill -9 "$pid" && wait "$pid"; } 2>/dev/null; done
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

# server_start OPTION...: the test server on $WORK/mail, its port in $PORT, its commands in $WORK/server.log.
# PORT=N keeps a port.
server_start() {

	"$SERVER" --maildir "$WORK/mail" --user u --password 'secret word' --cert "$WORK/cert.pem" --key "$WORK/key.pem" \
		--log "$WORK/server.log" --port "${PORT:-0}" "$@" > "$WORK/server.out" &
	SERVER_PID=$!
	PIDS="$PIDS $SERVER_PID"
	wait_until '[ -s "$WORK/server.out" ]' || return 1
	PORT=$(sed -n 's/^port //p' "$WORK/server.out")
}

server_stop() {
	kill "$SERVER_PID" 2>/dev/null
	wait "$SERVER_PID" 2>/dev/null
	: > "$WORK/server.out"
}

# How often a verb has come to the test server.
asked() { grep -c "^$1" "$WORK/server.log"; }

# mail NAME [SUBJECT]: a small message on the test server.
mail() {
	printf 'From: A <a@example.org>\nSubject: %s\nDate: Fri, 20 Nov 2026 08:12:00 +0000\n\nbody of %s\n.\nend\n' \
		"${2:-$1}" "$1" > "$WORK/mail/new/$1"
}

# mount_it [OPTION,...] [SOURCE]: mounts on $MNT, by default from the test server.
mount_it() {
	"$POP3FS" -o "password_file=$WORK/password,tls_ca=$WORK/cert.pem${1:+,$1}" \
		"${2:-pop3s://u@localhost:$PORT}" "$MNT"
}

# What earlier mounts remember is forgotten.
forget() { "$POP3FS" --cache-clear --force > /dev/null; }

is_mounted() { grep -q " $1 fuse.pop3fs " /proc/mounts; }

# Has the process ended? One that nobody has waited for yet has.
ended() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# unmount_it: umount, and the daemon's end.
unmount_it() {
	daemon=$(daemon_of "$MNT")
	if [ "$(id -u)" = 0 ]; then umount "$MNT"; else fusermount3 -u "$MNT"; fi &&
		wait_until "ended $daemon"
}

# crash: the daemon is killed; what is left of the mount goes.
crash() {
	daemon=$(daemon_of "$MNT")
	kill -9 "$daemon"
	wait_until "ended $daemon"
	if [ "$(id -u)" = 0 ]; then umount -l "$MNT"; else fusermount3 -uz "$MNT"; fi
}

# same_sizes DIRECTORY DIRECTORY: of all files; links are followed.
same_sizes() { diff <(cd "$1" && stat -Lc '%s %n' -- *) <(cd "$2" && stat -Lc '%s %n' -- *); }

# expected_files MAILDIR: $WORK/expected/NAME for each mounted file, a link to the server's own file.
expected_files() {
	rm -rf "$WORK/expected"
	mkdir "$WORK/expected"
	(cd "$MNT" && getfattr -R -n user.pop3.uidl . 2>/dev/null) |
		awk -v maildir="$1" -v to="$WORK/expected" -v q="'" '
			/^# file: / { name = substr($0, 9) }
			/^user.pop3.uidl=/ {
				uid = $0; sub(/^[^"]*"/, "", uid); sub(/"$/, "", uid)
				printf "ln -s %s/%s* %s/%s%s%s\n", maildir, uid, to, q, unescape(name), q
			}
			function unescape(s,   out, code) { # getfattr writes odd octets as \ooo
				while (match(s, /\\[0-7][0-7][0-7]/)) {
					code = substr(s, RSTART + 1, 3)
					out = out substr(s, 1, RSTART - 1) sprintf("%c", substr(code, 1, 1) * 64 + substr(code, 2, 1) * 8 + substr(code, 3, 1))
					s = substr(s, RSTART + 4)
				}
				return out s
			}' > "$WORK/links"
	LC_ALL=C bash "$WORK/links"
}
