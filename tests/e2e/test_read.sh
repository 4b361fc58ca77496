# SPDX-License-Identifier: MIT
# Listing and reading, against the test server: names, times, sizes, attributes, and who may not wait for whom.
. tests/e2e/lib.sh

mail m1 'Re: budget'
mail m2 'Re: budget'
mail m3 '=?utf-8?q?Gr=C3=BC=C3=9Fe?='
printf 'no header at all\n' > "$WORK/mail/new/m4"
: > "$WORK/mail/new/m5"
server_start --tls --fault 'RETR@6 slow 20000'
{ mail m6 slow; yes 'a long message' | head -n 13000; } >> "$WORK/mail/new/m6"
check 'mount' mount_it prefetch=off
same 'one TOP a message' 6 "$(asked TOP)"
same 'nothing fetched' 0 "$(asked RETR)"

names=$(ls "$MNT")
holds 'a name' "$names" '2026-11-20_0812_A_Re-budget.eml'
holds 'an equal name' "$names" '2026-11-20_0812_A_Re-budget_'
holds 'a name beyond ASCII' "$names" '2026-11-20_0812_A_Grüße.eml'
holds 'a message without a header' "$names" '1970-01-01_0000_unknown_no-subject.eml'
same 'number of files' 6 "$(ls "$MNT" | wc -l)"
same 'nothing else' "$(printf '.\n..\n%s' "$names")" "$(ls -a "$MNT")"

f=$MNT/2026-11-20_0812_A_Grüße.eml
same 'mode, owner, links' "600 $(id -u) 1" "$(stat -c '%a %u %h' "$f")"
same 'mtime is the Date' 1795162320 "$(stat -c %Y "$f")"
check 'the estimate is not 0' test "$(stat -c %s "$f")" -gt 0
same 'bytes' "$(cat "$WORK/mail/new/m3")" "$(cat "$f")"
same 'exact size' "$(stat -c %s "$WORK/mail/new/m3")" "$(stat -c %s "$f")"
same 'fetched once' 1 "$(asked RETR)"
cat "$f" > /dev/null
same 'and kept' 1 "$(asked RETR)"
: > "$WORK/server.log"
cat "$MNT"/*budget* > /dev/null
same 'one command a message' 'RETR 1 RETR 2 ' "$(tr '\n' ' ' < "$WORK/server.log")"
same 'subject' 'Grüße' "$(getfattr --only-values --absolute-names -n user.mail.subject "$f")"
same 'unique-id' 'm3' "$(getfattr --only-values --absolute-names -n user.pop3.uidl "$f")"
same 'date' '2026-11-20T08:12:00Z' "$(getfattr --only-values --absolute-names -n user.mail.date "$f")"
same 'attributes' 6 "$(getfattr --absolute-names "$f" | grep -c ^user)"
check 'no other attribute' sh -c "! getfattr --absolute-names -n user.other '$f' 2>/dev/null"
same 'inode numbers' 6 "$(ls -i "$MNT" | awk '$1 > 15' | wc -l)"
same 'an empty message' '' "$(cat "$MNT"/1970-01-01_0000_unknown_no-subject*_*)"
check 'df' df "$MNT"
check 'status' sh -c "'$POP3FS' --status '$MNT' | grep -q '^messages *6 '"
holds 'status tells TLS' "$("$POP3FS" --status "$MNT")" 'TLSv1.3'

for refused in "touch $MNT/new" "sh -c 'echo x > $f'" "sh -c 'echo x >> $f'" "truncate -s 0 $f" "mv $f $MNT/other" \
	"ln $f $MNT/link" "ln -s x $MNT/link" "chmod 644 $f" "mkfifo $MNT/fifo" "setfattr -n user.x -v 1 $f" \
	"setfattr -x user.mime_type $f"; do
	holds "read-only: $refused" "$(eval "LC_ALL=C $refused" 2>&1)" 'Read-only file system'
done
holds 'mkdir' "$(LC_ALL=C mkdir "$MNT/dir" 2>&1)" 'Operation not permitted'
holds 'rmdir' "$(LC_ALL=C rmdir "$MNT/.deleted" 2>&1)" 'Operation not permitted'
holds 'no such file' "$(LC_ALL=C cat "$MNT/none" 2>&1)" 'No such file'

# A slow download (10 s): ls, stat and cached reads do not wait; Ctrl-C does not either; the next open uses it.
slow=$(ls "$MNT"/*slow.eml)
cat "$slow" > "$WORK/slow" &
reader=$!
sleep 0.3
begin=$(milliseconds)
ls -l "$MNT" > /dev/null; cat "$f" > /dev/null; df "$MNT" > /dev/null
check 'ls beside a download' test $(($(milliseconds) - begin)) -lt 500
begin=$(milliseconds)
kill -INT $reader 2>/dev/null || true
kill -TERM $reader
wait $reader 2>/dev/null
check 'an interrupted reader ends' test $(($(milliseconds) - begin)) -lt 1000
check 'the download goes on' cmp "$slow" "$WORK/mail/new/m6"
same 'it was one download' 1 "$(asked 'RETR 6')"
check 'past the page cache, in one piece' sh -c "dd if='$slow' iflag=direct bs=1M status=none | cmp - '$WORK/mail/new/m6'"

check 'unmount' unmount_it
same 'the cache is for nobody else' '' "$(find "$WORK/cache" -type f ! -perm 600 -o -type d -path '*/pop3fs*' ! -perm 700)"
check 'mount, cache=memory' mount_it cache=memory,cache_dir=$WORK/none
check 'reads' sh -c "cat '$MNT'/* > /dev/null"
check 'unmount' unmount_it
check 'nothing is left behind' test ! -e "$WORK/none"

check 'mount with CRLF' mount_it eol=crlf
sed 's/$/\r/' "$WORK/mail/new/m3" > "$WORK/crlf"
check 'bytes as on the wire' cmp "$WORK/crlf" "$f"
same 'LIST was exact then' "$(stat -c %s "$f")" "$(getfattr --only-values --absolute-names -n user.pop3.size "$f")"
check 'unmount' unmount_it

check 'mount with options' mount_it 'path=%s-%i,umask=022,uid=1234,ro'
same 'name by template' 1 "$(ls "$MNT" | grep -c '^Grüße-[0-9a-f]*\.eml$')"
same 'mode and owner' '644 1234' "$(stat -c '%a %u' "$MNT"/Grüße-*)"
holds 'a read-only mount deletes nothing' "$(LC_ALL=C rm -f "$MNT"/Grüße-* 2>&1)" 'Read-only file system'
check 'unmount' unmount_it

# Sizes that LIST gets wrong, both ways: every reader sees all bytes and no more.
for lie in -60 -30 1 70 5000; do
	server_stop
	server_start --tls --fault "LIST size $lie"
	check "mount, LIST lies by $lie" mount_it
	ls -l "$MNT" > /dev/null
	cp -r "$MNT" "$WORK/copy"
	tail -c 5 "$f" > "$WORK/tail"
	check "bytes when LIST lies by $lie" cmp "$WORK/copy/${f##*/}" "$WORK/mail/new/m3"
	check "mmap when LIST lies by $lie" sh -c "'$BUILD/mmapcat' '$MNT'/*Re-budget.eml | cmp - '$WORK/mail/new/m1'"
	same "size when LIST lies by $lie" "$(stat -c %s "$WORK/mail/new/m1")" "$(stat -c %s "$MNT"/*Re-budget.eml)"
	rm -rf "$WORK/copy"
	check 'unmount' unmount_it
done
finish
