# SPDX-License-Identifier: MIT
# Free opens once every size is known (DESIGN 11), and watchers that hear of new and vanished mail (DESIGN 12).
. tests/e2e/lib.sh
command -v inotifywait > /dev/null || skip 'inotify-tools are not installed'

for n in 1 2 3; do mail "m$n" "s$n"; done
server_start --tls
file() { echo "$MNT/2026-11-20_0812_A_$1.eml"; }
# held FILE: how many descriptors the daemon holds for somebody who reads it; none, when opens are free.
held() {
	dd if="$1" iflag=nocache count=0 status=none # out of the page cache, so that the daemon is asked
	exec 6< "$1"
	read -r -n 1 -u 6 _
	$SUDO ls -l "/proc/$(daemon_of "$MNT")/fd" | grep -cE '/[0-9a-f]{64}'
	exec 6<&-
}
watch() {
	inotifywait -q -m -e create,delete --format '%e %f' "$MNT" > "$WORK/events" 2> "$WORK/watch.log" &
	WATCHER=$!
	PIDS="$PIDS $WATCHER"
	sleep 0.3
}
end_watch() { { kill "$WATCHER" && wait "$WATCHER"; } 2> /dev/null; }

check 'mount' mount_it
cat "$(file s2)" > /dev/null
same 'opens are asked for' 1 "$(held "$(file s1)")"
cat "$(file s3)" > /dev/null
cat "$MNT"/* "$MNT"/* > "$WORK/got"
same 'and not when all sizes are known' 0 "$(held "$(file s1)")"
check 'bytes' cmp "$WORK/got" <(cat "$WORK"/mail/new/m? "$WORK"/mail/new/m?)
output=$(bash -c "echo x >> '$(file s1)'" 2>&1)
holds 'a write' "$output" 'Read-only file system'
output=$(bash -c "echo x > '$(file s1)'" 2>&1)
holds 'a truncation' "$output" 'Read-only file system'

watch
mail m4 s4
fetched=$(asked RETR)
"$POP3FS" --refresh "$MNT" > /dev/null
check 'a new message is announced' wait_until '[ "$(cat "$WORK/events")" = "CREATE 2026-11-20_0812_A_s4.eml" ]'
same 'and was fetched before' $((fetched + 1)) "$(asked RETR)"
same 'its size is exact' "$(stat -c %s "$WORK/mail/new/m4")" "$(stat -c %s "$(file s4)")"
check 'its bytes' cmp "$(file s4)" "$WORK/mail/new/m4"
exec 5< "$(file s1)"
rm "$WORK/mail/new/m1"
"$POP3FS" --refresh "$MNT" > /dev/null
check 'a vanished one too' wait_until '[ "$(tail -1 "$WORK/events")" = "DELETE 2026-11-20_0812_A_s1.eml" ]'
same 'and is gone' 3 "$(ls "$MNT" | wc -l)"
check 'who has it open reads it' cmp - "$WORK/mail/new/m2" <<< "$(sed 's/s1$/s2/;s/m1$/m2/' <&5)"
exec 5<&-
same 'nothing was deleted for it' 0 "$(asked DELE)"
same 'nothing is pending' 0 "$(getfattr --absolute-names --only-values -n user.pop3.pending "$MNT")"
check 'nobody else can make a message' sh -c "! mknod '$MNT/x.eml' p 2> /dev/null && ! touch '$MNT/y.eml' 2> /dev/null"
for n in $(seq 200); do mail "n$n" "t$n"; done
begin=$(milliseconds)
"$POP3FS" --refresh "$MNT" > /dev/null
echo "200 announcements: $(($(milliseconds) - begin)) ms"
check '200 more' wait_until '[ "$(grep -c CREATE "$WORK/events")" = 201 ]'
same 'and they stand there' 203 "$(ls "$MNT" | wc -l)"
same 'no other events' "$(grep -c . "$WORK/events")" 202
end_watch
fetched=$(asked RETR)
find "$WORK/cache" -type f -delete
check 'a body that the cache has lost is fetched again for a read without an open' cmp "$(file t7)" "$WORK/mail/new/n7"
same 'once' $((fetched + 1)) "$(asked RETR)"
server_stop
check 'or the read fails' sh -c "! cat '$(file t8)' > '$WORK/got' 2> /dev/null"
server_start --tls
check 'and when the server is back it does not' wait_until 'cmp -s "$(file t8)" "$WORK/mail/new/n8"'
rm "$(file s2)"
check 'unmount' "$POP3FS" --unmount "$MNT"
check 'what was removed by hand is deleted' test ! -e "$WORK/mail/new/m2"
same 'and only that' 202 "$(ls "$WORK/mail/new" | wc -l)"

rm "$WORK"/mail/new/*
mail m1 s1
check 'mount, read-only' mount_it ro
watch
mail m2 s2
rm "$WORK/mail/new/m1"
"$POP3FS" --refresh "$MNT" > /dev/null
same 'the new one shows, the old one does not' '2026-11-20_0812_A_s2.eml' "$(ls "$MNT")"
same 'nothing is announced' '' "$(cat "$WORK/events")"
end_watch
check 'unmount' unmount_it

# New mail that cannot be fetched is not shown before it can be.
check 'mount' mount_it
cat "$MNT"/* "$MNT"/* > /dev/null
server_stop
server_start --tls --fault 'RETR#1 reply -ERR not now\r\n' --fault 'RETR#2 reply -ERR not now\r\n'
mail m3 s3
"$POP3FS" --refresh "$MNT" > /dev/null 2>&1
same 'not shown' 1 "$(ls "$MNT" | wc -l)"
check '--refresh' "$POP3FS" --refresh "$MNT"
same 'shown' 2 "$(ls "$MNT" | wc -l)"
check 'bytes' cmp "$(file s3)" "$WORK/mail/new/m3"
check 'unmount' unmount_it

check 'mount, prefetch=off' mount_it prefetch=off
cat "$MNT"/* > /dev/null; cat "$MNT"/* > /dev/null
same 'every open is asked for' 1 "$(held "$(file s3)")"
check 'unmount' unmount_it

# A daemon that is killed in the middle of its announcements leaves a dead mount behind, not one that hangs.
for round in $(seq 12); do
	mount_it || fail "mount $round"
	watch
	daemon=$(daemon_of "$MNT")
	for n in $(seq 200); do mail "k$round.$n" "k$round.$n"; done
	"$POP3FS" --refresh "$MNT" > /dev/null 2>&1 &
	PIDS="$PIDS $!"
	wait_until '[ -s "$WORK/events" ]' || fail "announced $round"
	kill -9 "$daemon"
	stat "$MNT/x" > /dev/null 2>&1 &
	if ! wait_until "ended $!"; then
		fail "the mount hangs, round $round"
		$SUDO umount -f "$MNT"
	fi
	wait_until "ended $daemon" || fail "the daemon has not ended, round $round"
	if [ "$(id -u)" = 0 ]; then umount -l "$MNT"; else fusermount3 -uz "$MNT"; fi
	end_watch
	rm "$WORK"/mail/new/k*
	forget
done
check 'and nothing of it runs on' wait_until '! pgrep -r S,R,D -f "$WORK/mnt$" > "$WORK/left"'
finish
