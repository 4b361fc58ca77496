# SPDX-License-Identifier: MIT
# Each allocation of our own code fails in its turn, EVERY-th by EVERY-th: the daemon says so and ends, or goes on without
# what it could not have. Nothing is cut, deleted unasked, or forgotten, and nobody waits for ever.
. tests/e2e/lib.sh

grep -qaE '__(asan|tsan)_init' "$POP3FS" && skip 'a sanitizer has an allocator of its own'
EVERY=${EVERY:-10}
mkdir "$WORK/all"
for n in 1 2 3 4 5 6; do mail "m$n" "s$n"; done
cp "$WORK"/mail/new/* "$WORK/all/"
server_start --tls
file() { echo "$MNT/2026-11-20_0812_A_$1.eml"; }
wrong() { echo "$1: $2" >> "$WORK/wrong"; }
: > "$WORK/wrong"

# in_time COMMAND...: within 10 seconds; its status.
in_time() {
	timeout 10 "$@" >> "$WORK/out" 2>&1 < /dev/null
	status=$?
	[ $status != 124 ] || wrong "$N" "$* does not end"
	return $status
}

# use: reads all, removes one, commits. $REMOVED: rm has succeeded.
use() {
	for f in $(ls "$MNT" 2> /dev/null); do
		n=${f##*_s} n=${n%.eml}
		[ -e "$WORK/all/m$n" ] || continue # its name was made without its header
		timeout 10 cat "$MNT/$f" > "$WORK/got" 2> /dev/null && ! cmp -s "$WORK/got" "$WORK/all/m$n" && wrong "$N" "$f is altered"
	done
	in_time rm "$(file s6)" && REMOVED=yes
	in_time "$POP3FS" --status "$MNT"
	in_time "$POP3FS" --commit "$MNT"
}

# life N: of a daemon whose N-th allocation fails.
life() {
	N=$1 REMOVED=
	forget
	cp -n "$WORK"/all/* "$WORK/mail/new/"
	LD_PRELOAD=$BUILD/failalloc.so FAIL_ALLOC=$N COUNT_ALLOCS=$WORK/count "$POP3FS" -f \
		-o "password_file=$WORK/password,tls_ca=$WORK/cert.pem" "pop3s://u@localhost:$PORT" "$MNT" > "$WORK/out" 2>&1 &
	daemon=$!
	PIDS="$PIDS $daemon"
	wait_until "ended $daemon || is_mounted $MNT"
	if is_mounted "$MNT"; then
		use
		if [ "$(id -u)" = 0 ]; then umount "$MNT"; else fusermount3 -u "$MNT"; fi
	fi
	wait_until "ended $daemon" || { wrong "$N" 'does not end'; kill -9 "$daemon"; }
	wait "$daemon"
	[ $? -lt 128 ] || wrong "$N" "crashed: $(tail -n 1 "$WORK/out")"
	[ "$(cd "$WORK/mail/new" && echo m[1-5])" = 'm1 m2 m3 m4 m5' ] || wrong "$N" 'a message is deleted that was not to be'
	[ -n "$REMOVED" ] || [ -e "$WORK/mail/new/m6" ] || wrong "$N" 'a deletion is invented'
	if [ -n "$REMOVED" ] && [ -e "$WORK/mail/new/m6" ]; then # it is pending, then
		mount_it > /dev/null 2>&1 && unmount_it
		[ ! -e "$WORK/mail/new/m6" ] || wrong "$N" 'a deletion is forgotten'
	fi
}

life 0
total=$(cat "$WORK/count")
check 'allocations are counted' test "$total" -gt 0
same 'with all of them, the message is deleted' 'yes 5' "$REMOVED $(ls "$WORK/mail/new" | wc -l)"
life 1
holds 'without the first it ends' "$(cat "$WORK/out")" 'out of memory'
for n in $(seq $((1 + RANDOM % EVERY)) "$EVERY" "$total"); do life "$n"; done
same "$total allocations fail in turn, every ${EVERY}th" '' "$(cat "$WORK/wrong")"
finish
