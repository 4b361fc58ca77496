# SPDX-License-Identifier: MIT
# The daemon is killed at any moment of a busy mount: readers, deletions, commits, evictions, new mail. The next mount
# works, no message is cut, no deletion is lost or invented, the index is sound. The same on a full disk, and on one
# whose writes fail now and then. KILLS=N for each of the three.
. tests/e2e/lib.sh

KILLS=${KILLS:-8}
make_certificate "$WORK"

# A message of a random size, up to 40 kB.
random_mail() {
	{
		printf 'From: A <a@example.org>\nSubject: s%s\nDate: Fri, 20 Nov 2026 08:12:00 +0000\n\n' "$1"
		head -c $((RANDOM * 5 / 4)) /dev/urandom | base64
	} > "$WORK/all/$1"
	ln "$WORK/all/$1" "$WORK/mail/new/$1"
}
file() { echo "$MNT/2026-11-20_0812_A_s$1.eml"; }

# Whoever reads a message gets all of it, or an error.
read_at_random() {
	while :; do
		for f in $(ls "$MNT" 2> /dev/null | shuf -n 8); do
			n=${f##*_s} n=${n%.eml}
			if cat "$MNT/$f" > "$WORK/read$1" 2> /dev/null && ! cmp -s "$WORK/read$1" "$WORK/all/$n"; then
				echo "$f" >> "$WORK/wrong"
			fi
		done
	done
}

# What rm was tried on, where it succeeded, and what was taken back, in this order.
delete_at_random() {
	while :; do
		f=$(ls "$MNT" 2> /dev/null | shuf -n 1) n=${f##*_s} n=${n%.eml}
		[ -n "$n" ] || continue
		echo "try $n" >> "$WORK/asked"
		rm -f "$MNT/$f" 2> /dev/null || continue
		if [ $((RANDOM % 4)) = 0 ]; then
			mv "$MNT/.deleted/$f" "$MNT/$f" 2> /dev/null || continue
			echo "back $n" >> "$WORK/asked"
		else
			echo "rm $n" >> "$WORK/asked"
		fi
		sleep 0.02
	done
}

commit_now_and_then() {
	while :; do
		sleep "0.$((RANDOM % 3))"
		"$POP3FS" --commit "$MNT" > /dev/null 2>&1
	done
}

# One life of a mount; whoever worked in it ends with it.
live_and_die() {
	workers=
	read_at_random 1 & workers=$!
	read_at_random 2 & workers="$workers $!"
	delete_at_random & workers="$workers $!"
	[ $((RANDOM % 2)) = 0 ] || { commit_now_and_then & workers="$workers $!"; }
	PIDS="$PIDS $workers"
	sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
	random_mail "new$1"
	crash
	kill -9 $workers
	wait $workers 2> /dev/null
	rm -f "$WORK"/read?
}

# Of each message that was ever there: gone although nobody removed it, or there although rm had succeeded and nobody
# took it back.
judge() {
	invented=0 lost=0
	for n in $(ls "$WORK/all"); do
		last=$(grep " $n\$" "$WORK/asked" | tail -1)
		if [ -e "$WORK/mail/new/$n" ]; then
			[ "$last" != "rm $n" ] || lost=$((lost + 1))
		else
			case $last in '' | back*) invented=$((invented + 1)) ;; esac # "try": the end of it was not seen
		fi
	done
	same "$1: no deletion is invented" 0 $invented
	same "$1: no deletion is lost" 0 $lost
}

# rounds WHAT: as many lives as KILLS says, and the end.
rounds() {
	rm -rf "$WORK/all" "$WORK/mail/new"
	mkdir -p "$WORK/all" "$WORK/mail/new"
	: > "$WORK/asked"
	rm -f "$WORK/wrong"
	for n in $(seq -w 1 150); do random_mail "m$n"; done
	server_start --tls
	unsound=0 unmounted=0
	for round in $(seq "$KILLS"); do
		# Where one write in 40 fails, a mount may fail too, with a true error.
		for _ in $(seq ${TRIES:-1}); do
			mount_it refresh=0.2,cache_size=1M > "$WORK/mount.log" 2>&1 && break
		done
		is_mounted "$MNT" || { unmounted=$((unmounted + 1)); cat "$WORK/mount.log"; continue; }
		live_and_die "$round"
		index=$(find "$CACHE" -name index.sqlite)
		[ "$(env -u LD_PRELOAD sqlite3 "file:$index?mode=ro" 'PRAGMA integrity_check' 2>&1)" = ok ] || unsound=$((unsound + 1))
	done
	same "$1: each mount after a kill works" 0 $unmounted
	same "$1: the index is sound" 0 $unsound
	unset LD_PRELOAD
	[ -z "$FULL" ] || rm -f "$FULL"
	check "$1: the last mount" mount_it
	bad=0
	for f in "$MNT"/*.eml; do
		n=${f##*_s} n=${n%.eml}
		cmp -s "$f" "$WORK/all/$n" || bad=$((bad + 1))
	done
	same "$1: every message is whole" 0 $bad
	"$POP3FS" --unmount "$MNT" > /dev/null || fail "$1: unmount"
	check "$1: no reader got a wrong byte" test ! -e "$WORK/wrong"
	check "$1: there were deletions" grep -q '^rm ' "$WORK/asked"
	judge "$1"
	server_stop
}

CACHE=$WORK/cache FULL=
rounds 'killed'

# A disk of 3 MB that something else has filled up to a rest.
if $SUDO mount -t tmpfs -o "size=3m,mode=700,uid=$(id -u),gid=$(id -g)" tmpfs "$WORK/cache" 2> /dev/null; then
	FULL=$WORK/cache/filler
	head -c 2000000 /dev/zero > "$FULL"
	rounds 'full disk'
	$SUDO umount "$WORK/cache"
	FULL=
else
	echo 'skipped: full disk: no tmpfs can be mounted here'
fi

# The sanitizers' runtime wants to be the first library.
if ! grep -qa __asan_init "$POP3FS" && ! grep -qa __tsan_init "$POP3FS"; then
	rm -rf "$WORK/cache"
	check 'writes can be made to fail' test -e "$BUILD/failwrite.so"
	TRIES=8
	export LD_PRELOAD=$BUILD/failwrite.so FAIL_BELOW=$WORK/cache FAIL_ONE_IN=40
	rounds 'bad disk'
else
	echo 'skipped: bad disk: under a sanitizer nothing can be preloaded'
fi
finish
