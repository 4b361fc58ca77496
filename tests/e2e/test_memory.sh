# SPDX-License-Identifier: MIT
# What a mailbox remembers from mount to mount: messages, bodies, names, deletions; with and without its server.
. tests/e2e/lib.sh

make_certificate "$WORK"
for n in $(seq -w 1 30); do mail "m$n" "s$n"; done
file() { echo "$MNT/2026-11-20_0812_A_s$1.eml"; }
server_files() { (cd "$WORK/mail/new" && ls) | tr '\n' ' '; }
index_of() { find "$WORK/cache/pop3fs" -name index.sqlite; }
query() { sqlite3 "$(index_of)" "$1"; }
# reads_all WHAT: every file is the server's
reads_all() {
	bad=0
	for f in "$MNT"/*.eml; do
		n=${f##*_s} n=${n%.eml}
		cmp -s "$f" "$WORK/mail/new/m$n" || bad=$((bad + 1))
	done
	same "$1" 0 $bad
}

# Known messages are neither listed nor fetched again, and their inodes stay.
server_start --tls
check 'mount' mount_it
ls -i "$MNT" > "$WORK/inodes"
reads_all 'reads'
check 'unmount' unmount_it
: > "$WORK/server.log"
check 'mount again' mount_it
same 'names and inode numbers stay' "$(cat "$WORK/inodes")" "$(ls -i "$MNT")"
reads_all 'reads again'
same 'no TOP' 0 "$(asked TOP)"
same 'no RETR' 0 "$(asked RETR)"
mail m31 s31
rm "$WORK/mail/new/m30"
"$POP3FS" --refresh "$MNT" > /dev/null
same 'what is new is asked for, and nothing else' 1 "$(asked TOP)"
check 'unmount' "$POP3FS" --unmount "$MNT"

# What has gone comes back under another inode number, with the body that was kept.
mail m30 s30
: > "$WORK/server.log"
check 'mount' mount_it
same 'not the number of before' '' "$(ls -i "$MNT" | awk '/s30/ { print $1 }' | grep -xf <(awk '{ print $1 }' "$WORK/inodes"))"
check 'the body of before' cmp "$(file 30)" "$WORK/mail/new/m30"
same 'no RETR' 0 "$(asked 'RETR 30')"

# A deletion outlives the daemon, and can be taken back after it.
rm "$(file 01)" "$(file 02)" "$(file 03)"
crash
check 'mount after a crash' mount_it
same 'pending ones stand in .deleted' '2026-11-20_0812_A_s01.eml 2026-11-20_0812_A_s02.eml 2026-11-20_0812_A_s03.eml ' \
	"$(ls "$MNT/.deleted" | tr '\n' ' ')"
check 'and nowhere else' test ! -e "$(file 01)"
check 'one can be read there' cmp "$MNT/.deleted/2026-11-20_0812_A_s02.eml" "$WORK/mail/new/m02"
mv "$MNT/.deleted/2026-11-20_0812_A_s02.eml" "$MNT/"
check 'taken back' cmp "$(file 02)" "$WORK/mail/new/m02"
crash
check 'mount' mount_it
check 'it stays taken back' test -e "$(file 02)"
holds '--unmount deletes the others' "$("$POP3FS" --unmount "$MNT")" '2 deleted, 0 already gone, 0 still pending'
check 'they are gone' sh -c "! ls '$WORK/mail/new/m01' '$WORK/mail/new/m03' 2> /dev/null"
check 'it is not' test -e "$WORK/mail/new/m02"
same 'nothing is pending' 0 "$(query 'SELECT count(*) FROM pending')"
same 'nothing is kept of what was deleted' 0 "$(query "SELECT count(*) FROM message WHERE key IN ('m01', 'm03')")"

# Two mounts of one account: what one takes back the other does not delete.
check 'mount' mount_it
rm "$(file 04)" "$(file 05)"
mkdir "$WORK/second"
check 'a second mount' "$POP3FS" -o "password_file=$WORK/password,tls_ca=$WORK/cert.pem" "pop3s://u@localhost:$PORT" "$WORK/second"
same 'it knows what is pending' 2 "$(ls "$WORK/second/.deleted" | wc -l)"
mv "$MNT/.deleted/2026-11-20_0812_A_s04.eml" "$MNT/"
check 'unmount the second' "$POP3FS" --unmount "$WORK/second"
check 'taken back in the one, not deleted by the other' test -e "$WORK/mail/new/m04"
check 'what was not taken back is deleted' test ! -e "$WORK/mail/new/m05"
check 'unmount' "$POP3FS" --unmount "$MNT"
check 'both left' test -e "$WORK/mail/new/m04"

# A copy of the cache deletes nothing that was asked of the original.
check 'mount' mount_it
rm "$(file 06)"
crash
cp -a "$WORK/cache" "$WORK/copied"
check 'mount' mount_it
mv "$MNT/.deleted/2026-11-20_0812_A_s06.eml" "$MNT/"
check 'unmount' "$POP3FS" --unmount "$MNT"
: > "$WORK/server.log"
output=$(XDG_CACHE_HOME=$WORK/copied mount_it 2>&1)
holds 'a copied cache says so' "$output" '1 pending deletions stay with the original'
reads_all 'and serves'
same 'without RETR' 0 "$(asked RETR)"
check 'unmount' "$POP3FS" --unmount "$MNT"
check 'and deletes nothing' test -e "$WORK/mail/new/m06"

# A damaged index is set aside; what is pending in it is kept where it can be read.
check 'mount' mount_it
rm "$(file 07)"
crash
index=$(index_of)
sqlite3 "$index" 'PRAGMA wal_checkpoint(TRUNCATE)' > /dev/null
page=$(sqlite3 "$index" "SELECT rootpage FROM sqlite_schema WHERE name = 'message'")
dd if=/dev/urandom of="$index" bs=4096 seek=$((page - 1)) count=1 conv=notrunc 2> /dev/null
output=$(mount_it 2>&1)
holds 'a damaged index is set aside' "$output" 'index set aside as'
holds 'and says what was saved' "$output" '1 pending deletions are taken over'
same 'it is pending' '2026-11-20_0812_A_s07.eml' "$(ls "$MNT/.deleted")"
reads_all 'reads'
check 'unmount' "$POP3FS" --unmount "$MNT"
check 'deleted' test ! -e "$WORK/mail/new/m07"
echo 'no database at all, but long enough to look at' > "$index"
output=$(mount_it 2>&1)
holds 'what is no index is set aside' "$output" 'index set aside as'
reads_all 'reads'
check 'unmount' "$POP3FS" --unmount "$MNT"
sqlite3 "$index" 'PRAGMA user_version = 99'
output=$(mount_it 2>&1)
holds 'a newer one too' "$output" 'it is of a newer version'
reads_all 'reads'
check 'unmount' "$POP3FS" --unmount "$MNT"

# A body that was changed or cut in the cache is not believed.
for body in "$WORK"/cache/pop3fs/*/bodies/*; do echo changed > "$body"; done
check 'mount' mount_it
reads_all 'changed bodies are fetched again'
check 'unmount' "$POP3FS" --unmount "$MNT"

# Without the server.
mail m40 s40
check 'mount' mount_it
same 'one is not fetched' 1 "$("$POP3FS" --status --json "$MNT" | awk '/"messages"/ { m = $2 + 0 } /"cached"/ { c = $2 + 0 } END { print m - c }')"
check 'unmount' unmount_it
server_stop
same 'a first mount that fails says just why' 'pop3fs: pop3s://other@localhost:'"$PORT"': localhost: Connection refused' \
	"$(mount_it '' "pop3s://other@localhost:$PORT" 2>&1)"
begin=$(milliseconds)
output=$(mount_it 2>&1)
took=$(($(milliseconds) - begin))
holds 'mounts without the server' "$output" 'showing the mailbox as it was at'
same 'in one line' 1 "$(echo "$output" | wc -l)"
echo "took $took ms"
check 'status says since when' sh -c "'$POP3FS' --status '$MNT' | grep -q '^offline since  20'"
check 'cached mail reads' cmp "$(file 08)" "$WORK/mail/new/m08"
output=$(LC_ALL=C cat "$(file 40)" 2>&1)
holds 'what is not cached fails' "$output" 'No route to host'
begin=$(milliseconds)
for _ in 1 2 3 4 5 6 7 8 9 10; do cat "$(file 40)" 2> /dev/null; done
took=$(($(milliseconds) - begin))
check "at once (10 in $took ms)" test $took -lt 500
rm "$(file 08)" "$(file 09)"
mv "$MNT/.deleted/2026-11-20_0812_A_s09.eml" "$MNT/"
output=$("$POP3FS" --unmount "$MNT" 2>&1)
same 'unmount exits 1' 1 $?
holds 'and says what is pending' "$output" '1 still pending'
holds 'by name' "$output" '2026-11-20_0812_A_s08.eml'
holds '--cache-info knows' "$("$POP3FS" --cache-info)" 'to be deleted  1'
output=$("$POP3FS" --cache-clear 2>&1)
same '--cache-clear refuses' 1 $?
holds 'and says why' "$output" '1 messages are still to be deleted'
server_start --tls
check 'mount when the server is back' mount_it
check 'not listed' test ! -e "$(file 08)"
holds 'unmount deletes' "$("$POP3FS" --unmount "$MNT")" '1 deleted'
check 'it is gone' test ! -e "$WORK/mail/new/m08"
check 'the other is not' test -e "$WORK/mail/new/m09"

# A wrong password is no missing server; one that says nothing is waited for, but not for long.
echo wrong > "$WORK/wrong"
chmod 600 "$WORK/wrong"
output=$("$POP3FS" -o "password_file=$WORK/wrong,tls_ca=$WORK/cert.pem" "pop3s://u@localhost:$PORT" "$MNT" 2>&1)
same 'with a wrong password it does not mount' 1 $?
check 'nor is it mounted' sh -c "! grep -q ' $MNT ' /proc/mounts"
server_stop
server_start --tls --fault 'GREETING stall'
begin=$(milliseconds)
output=$(mount_it 2>&1)
took=$(($(milliseconds) - begin))
holds 'mounts beside a silent server' "$output" 'showing the mailbox as it was at'
check "after 5 s ($took ms)" test $took -ge 4900 -a $took -lt 8000
check 'cached mail reads' cmp "$(file 10)" "$WORK/mail/new/m10"
check 'unmount' unmount_it
server_stop
server_start --tls

# What has been gone for more than 30 days is forgotten.
check 'mount' mount_it
cat "$(file 11)" "$(file 12)" > /dev/null
rm "$WORK/mail/new/m11" "$WORK/mail/new/m12"
"$POP3FS" --refresh "$MNT" > /dev/null
check 'unmount' "$POP3FS" --unmount "$MNT"
same 'two have gone' 2 "$(query "SELECT count(*) FROM message WHERE gone AND key IN ('m11', 'm12')")"
query "UPDATE message SET gone = gone - 31 * 86400 WHERE key = 'm11'"
bodies=$(ls "$WORK"/cache/pop3fs/*/bodies | wc -l)
check 'mount' mount_it
same 'one is forgotten' m12 "$(query "SELECT key FROM message WHERE key IN ('m11', 'm12')")"
same 'and its body' $((bodies - 1)) "$(ls "$WORK"/cache/pop3fs/*/bodies | wc -l)"
check 'unmount' unmount_it

# The server goes and comes while mounted.
check 'mount' mount_it
cat "$(file 10)" > /dev/null
server_stop
output=$(LC_ALL=C cat "$(file 40)" 2>&1)
holds 'reads fail' "$output" 'No route to host'
mail m41 s41
server_start --tls
check 'it is found again' wait_until "! '$POP3FS' --status '$MNT' | grep -q offline"
check 'reads again' cmp "$(file 40)" "$WORK/mail/new/m40"
check 'new mail shows' wait_until "[ -e '$(file 41)' ]"

# Clearing.
output=$("$POP3FS" --cache-clear 2>&1)
same 'what is mounted is not cleared' 1 $?
holds 'it says why' "$output" 'it is mounted'
check 'unmount' unmount_it
check 'another account is not cleared' "$POP3FS" --cache-clear pop3s://other@localhost:$PORT
check 'it is all there' test -e "$(index_of)"
holds 'cleared' "$("$POP3FS" --cache-clear pop3s://u@localhost:$PORT)" "forgotten: u@localhost:$PORT, lf"
same 'nothing is left' '' "$(ls "$WORK/cache/pop3fs")"
holds 'nothing is remembered' "$("$POP3FS" --cache-info)" 'nothing is remembered'

# Each message is fetched once, whoever reads it over how many mounts.
: > "$WORK/server.log"
for n in $(seq 20); do
	mount_it || fail "mount $n"
	case $((n % 4)) in
	0) cat "$MNT"/*"$((n % 10)).eml" > /dev/null ;;
	1)
		readers=
		for i in 1 2 3 4; do cat "$MNT"/*"$i.eml" > /dev/null & readers="$readers $!"; done
		wait $readers
		;;
	2) cp -r "$MNT" "$WORK/copy$n" ;;
	3) ls -l "$MNT" > /dev/null ;;
	esac
	case $((n % 3)) in
	0) "$POP3FS" --unmount "$MNT" > /dev/null || fail "unmount $n" ;;
	1) unmount_it || fail "unmount $n" ;;
	2) while ! { if [ "$(id -u)" = 0 ]; then umount "$MNT"; else fusermount3 -u "$MNT"; fi; } 2> /dev/null; do sleep 0.05; done ;;
	esac
done
same 'no message was fetched twice' '' "$(grep '^RETR' "$WORK/server.log" | sort | uniq -d)"
same 'all were fetched' "$(ls "$WORK/mail/new" | wc -l)" "$(asked RETR)"
finish
