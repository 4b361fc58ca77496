# SPDX-License-Identifier: MIT
# Deleting, against the test server: exactly what was asked for, when it was asked for, and the truth about it.
. tests/e2e/lib.sh

server_files() { ls "$WORK/mail/new" | tr '\n' ' '; }
for n in 1 2 3 4 5 6 7 8; do mail m$n s$n; done
server_start --tls
check 'mount' mount_it
file() { echo "$MNT/2026-11-20_0812_A_s$1.eml"; }

check 'rm' rm "$(file 1)" "$(file 2)"
same 'hidden at once' 6 "$(ls "$MNT" | wc -l)"
check 'nothing sent yet' test "$(asked DELE)" = 0
same 'kept in .deleted' 2 "$(ls "$MNT/.deleted" | wc -l)"
same 'which is not listed' 0 "$(ls -a "$MNT" | grep -c deleted)"
same 'and can be read there' "$(cat "$WORK/mail/new/m1")" "$(cat "$MNT/.deleted/2026-11-20_0812_A_s1.eml")"
check 'taken back' mv "$MNT/.deleted/2026-11-20_0812_A_s1.eml" "$MNT/"
check 'it is back' test -f "$(file 1)"
holds 'not under another name' "$(LC_ALL=C mv "$MNT/.deleted/2026-11-20_0812_A_s2.eml" "$MNT/x" 2>&1)" 'Read-only'
holds 'no deleting for good' "$(LC_ALL=C rm -f "$MNT/.deleted/2026-11-20_0812_A_s2.eml" 2>&1)" 'not permitted'
check 'sync commits' sync "$MNT"
same 'deleted on the server' 'm1 m3 m4 m5 m6 m7 m8 ' "$(server_files)"
check 'still mounted' is_mounted "$MNT"
same 'no longer pending' 0 "$(ls "$MNT/.deleted" | wc -l)"
same 'the others are read' "$(cat "$WORK/mail/new/m5")" "$(cat "$(file 5)")"

exec 3< "$(file 3)"
rm "$(file 3)"
holds 'the command commits' "$("$POP3FS" --commit "$MNT")" '1 deleted'
same 'a deleted file that is open is read to its end' 'body of m3' "$(sed -n 5p <&3)"
exec 3<&-
same 'nothing to commit' 'nothing to delete' "$("$POP3FS" --commit "$MNT")"

rm "$(file 4)"
umount "$MNT" 2>/dev/null || fusermount3 -u "$MNT"
check 'a plain umount commits' wait_until '[ ! -e "$WORK/mail/new/m4" ]'

check 'mount' mount_it
daemon=$(daemon_of "$MNT")
rm "$(file 5)"
kill -TERM "$daemon"
check 'SIGTERM ends it' wait_until "ended $daemon"
check 'SIGTERM unmounts' sh -c "! grep -q ' $MNT ' /proc/mounts"
same 'and commits' 'm1 m6 m7 m8 ' "$(server_files)"

check 'mount' mount_it
rm "$(file 6)"
kill -9 "$(daemon_of "$MNT")"
wait_until 'LC_ALL=C ls "$MNT" 2>&1 | grep -q "not connected"'
same 'kill -9 deletes nothing' 'm1 m6 m7 m8 ' "$(server_files)"
output=$("$POP3FS" --unmount "$MNT" 2>&1); status=$?
same '--unmount of a dead mount' 1 $status
holds 'it says so' "$output" 'daemon has died'
check 'it is unmounted' sh -c "! grep -q ' $MNT ' /proc/mounts"
rm -rf "$WORK"/cache/pop3fs/*

check 'mount' mount_it
daemon=$(daemon_of "$MNT")
rm "$(file 6)"
server_stop
output=$("$POP3FS" --unmount "$MNT" 2>&1); status=$?
same '--unmount without a server: status' 1 $status
holds 'it says what was not deleted' "$output" 'not deleted: 2026-11-20_0812_A_s6.eml'
holds 'and why' "$output" 'Connection refused'
check 'the daemon has ended' ended "$daemon"
same 'nothing deleted' 'm1 m6 m7 m8 ' "$(server_files)"

# The connection is lost at each point of a commit: what is said is what is true.
for fault in 'DELE#1 lose' 'DELE#2 drop 0' 'QUIT#1 lose' 'QUIT#1 drop 0' 'QUIT#1 partial 1' 'QUIT lose' 'QUIT partial 1' \
	'DELE drop 2' 'UIDL#2+ drop 5' 'QUIT#1 stall'; do
	for n in 1 2 3 4; do mail m$n s$n; done
	rm -f "$WORK"/mail/new/m[5-9]
	server_start --tls --fault "$fault"
	mount_it timeout=1 || fail "mount: $fault"
	rm "$(file 2)" "$(file 3)"
	output=$("$POP3FS" --unmount "$MNT" 2>&1); status=$?
	left=$(server_files)
	case $left in *m1*m4*) pass "$fault: no wrong one" ;; *) fail "$fault: left are $left" ;; esac
	case $left in
	'm1 m4 ') same "$fault: status" 0 $status ;;
	*)
		same "$fault: status" 1 $status
		for n in 2 3; do
			case $left in *m$n*) holds "$fault: names m$n" "$output" "A_s$n.eml" ;; esac
		done
		;;
	esac
	check "$fault: unmounted" sh -c "! grep -q ' $MNT ' /proc/mounts"
	server_stop
	forget
done

# A second signal does not cut a commit short.
for n in 1 2 3 4; do mail m$n s$n; done
server_start --tls --fault 'QUIT#1 delay 700'
check 'mount' mount_it
daemon=$(daemon_of "$MNT")
rm "$(file 2)"
kill -TERM "$daemon"; sleep 0.2; kill -TERM "$daemon"; kill -INT "$daemon"; kill -HUP "$daemon"
check 'the daemon ends' wait_until "ended $daemon"
same 'the commit was not cut short' 'm1 m3 m4 ' "$(server_files)"

# A commit that waits behind a listing in which a message has vanished: the kernel holds the directory's lock
# for the fsync, and wants it when it is told of the vanished one.
server_stop
for n in 1 2 3 4; do mail m$n s$n; done
server_start --tls --fault 'RETR@1 gone' --fault 'UIDL#2+ delay 300'
check 'mount' mount_it
ls -l "$MNT" > /dev/null
holds 'another client has deleted it' "$(LC_ALL=C cat "$(file 1)" 2>&1)" 'No such file'
rm "$(file 2)"
check 'sync beside a new listing' timeout 10 sync "$MNT"
same 'both are gone' 'm3 m4 ' "$(server_files)"
check 'the vanished one leaves the list' wait_until '[ "$(ls "$MNT" | wc -l)" = 2 ]'
check 'and cannot be looked up' sh -c "! test -e '$(file 1)'"
check 'unmount' unmount_it

# A mount point that is named from where the caller stands.
cd "$WORK"
MNT=mnt check 'mount, relative' mount_it
daemon=$(daemon_of "$MNT")
kill -TERM "$daemon"
check 'SIGTERM ends it' wait_until "ended $daemon"
check 'and unmounts' sh -c "! grep -q ' $MNT ' /proc/mounts"
cd - > /dev/null
server_stop
for n in 1 2 3 4; do mail m$n s$n; done
rm "$WORK/mail/new/m2"
server_start --tls

# In use: not unmounted, but committed.
check 'mount' mount_it
exec 3< "$(file 1)"
rm "$(file 3)"
output=$("$POP3FS" --unmount "$MNT" 2>&1); status=$?
same '--unmount of a mount in use' 1 $status
check 'it says so' sh -c "echo '$output' | grep -qi 'in use\|busy'"
same 'the deletion is done' 'm1 m4 ' "$(server_files)"
exec 3<&-
check 'unmount' unmount_it
finish
