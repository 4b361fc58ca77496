# SPDX-License-Identifier: MIT
# New mail, and mail that another client deleted, while mounted.
. tests/e2e/lib.sh

mail m1 one
mail m2 two
server_start --tls
check 'mount' mount_it
file() { echo "$MNT/2026-11-20_0812_A_$1.eml"; }
check 'a name that is not there yet' sh -c "! test -e '$(file three)'"
mail m3 three
same 'a young listing stays' 2 "$(ls "$MNT" | wc -l)"
same '--refresh' 'messages: 3' "$("$POP3FS" --refresh "$MNT" | sed 's/ (.*)//')"
check 'new mail by name, though it was known not to be there' test -e "$(file three)"
same 'and in the list' 3 "$(ls "$MNT" | wc -l)"
check 'its bytes' cmp "$(file three)" "$WORK/mail/new/m3"
cat "$(file one)" > /dev/null
rm "$WORK/mail/new/m1" "$WORK/mail/new/m2"
"$POP3FS" --refresh "$MNT" > /dev/null
check 'vanished mail leaves' wait_until '[ "$(ls "$MNT" | wc -l)" = 1 ] && ! test -e "$(file one)"'
same 'no header was asked for twice' 3 "$(asked TOP)"
check 'unmount' unmount_it

check 'mount, refresh=0.1' mount_it refresh=0.1
sleep 0.2
mail m4 four
same 'ls looks for new mail' 2 "$(ls "$MNT" | wc -l)"
sleep 0.2
server_stop
begin=$(milliseconds)
same 'ls without a server' 2 "$(ls "$MNT" | wc -l)"
check 'does not wait' test $(($(milliseconds) - begin)) -lt 500
output=$("$POP3FS" --refresh "$MNT" 2>&1); status=$?
same '--refresh without a server: status' 1 $status
holds '--refresh without a server' "$output" 'Connection refused'
server_start --tls --fault 'UIDL drop 9'
check 'the server is found again' wait_until '! "$POP3FS" --status "$MNT" | grep -q "^offline"'
sleep 0.2
same 'a listing that breaks off changes nothing' 2 "$(ls "$MNT" | wc -l)"
server_stop
server_start --tls --fault 'UIDL#1 delay 3000'
mail m5 five
sleep 0.2
begin=$(milliseconds)
same 'a slow listing: the known one has to do' 2 "$(ls "$MNT" | wc -l)"
took=$(($(milliseconds) - begin))
check 'after 2 s' test $took -ge 1900 -a $took -lt 2900
check 'and then the new one' wait_until '[ "$(ls "$MNT" | wc -l)" = 3 ]'
check 'unmount' unmount_it
finish
