# SPDX-License-Identifier: MIT
# Reading ahead: what is fetched, and that each message is fetched once, whoever waits for it meanwhile.
. tests/e2e/lib.sh

for n in $(seq -w 1 40); do mail "m$n" "s$n"; done
server_start --tls
fetched() { [ "$(asked RETR)" = "$1" ]; }
check 'mount' mount_it
set -- "$MNT"/*
cat "${20}" > /dev/null
cat "${5}" > /dev/null
cat "${39}" > /dev/null
sleep 0.3
same 'files that are opened alone bring nothing else' 3 "$(asked RETR)"
cat "$1" "$2" > /dev/null
check 'two in order bring the four that follow; one of them is there' wait_until 'fetched 8'
holds 'status tells' "$("$POP3FS" --status "$MNT")" '3 (3 not opened since)'
cat "$WORK"/mail/new/* | sort > "$WORK/sorted"
for n in 0 1 2 3; do cat "$MNT"/*s[0-9]$n.eml "$MNT"/*s[0-9]$((n + 4)).eml > "$WORK/part$n" & PARTS="${PARTS:-} $!"; done
wait $PARTS
cat "$MNT"/*[89].eml "$WORK"/part? | sort > "$WORK/got"
check 'all, by parallel readers' cmp "$WORK/got" "$WORK/sorted"
sleep 0.3
same 'each was fetched once' 40 "$(asked RETR)"
check 'unmount' unmount_it
forget

: > "$WORK/server.log"
check 'mount' mount_it prefetch=off
cat "$MNT"/*s0[1-4].eml > /dev/null
sleep 0.3
same 'prefetch=off' 4 "$(asked RETR)"
check 'unmount' unmount_it
forget

: > "$WORK/server.log"
check 'mount' mount_it prefetch=all
check 'prefetch=all' wait_until 'fetched 40'
holds 'newest first' "$(grep -m1 RETR "$WORK/server.log")" 'RETR 40'
cat "$MNT"/* | sort > "$WORK/got"
check 'bytes' cmp "$WORK/got" "$WORK/sorted"
check 'unmount' unmount_it
forget

# What is remembered, by one who walks through it twice: the second listing tells the kernel what it does not know still.
: > "$WORK/server.log"
for size in 4095 4096 4097 8192 131072 131073 300000; do
	mail "z$size" "z$size"
	head -c "$size" /dev/zero | tr '\0' z | fold -w 70 | head -c $((size - $(wc -c < "$WORK/mail/new/z$size"))) >> "$WORK/mail/new/z$size"
done
check 'mount' mount_it
cp -r "$MNT" "$WORK/copy"
check 'unmount' unmount_it
check 'mount' mount_it
ls -l --time-style=full-iso "$MNT" > "$WORK/listed"
check 'who walks through it reads what was fetched' diff -r "$MNT" "$WORK/copy"
same 'fetched once' 47 "$(asked RETR)"
check 'and again' diff -r "$MNT" "$WORK/copy"
check 'with the attributes of before' cmp "$WORK/listed" <(ls -l --time-style=full-iso "$MNT")
check 'unmount' unmount_it
forget
rm "$WORK"/mail/new/z*

# Without TOP a date comes with the message; the next listing shows it, also where nobody has read that.
server_stop
server_start --tls --no TOP
: > "$WORK/server.log"
check 'mount' mount_it eol=crlf
undated() { ls -l --time-style=+%Y "$MNT" | grep -cv -e 2026 -e total; }
same 'no dates yet' 40 "$(undated)"
files=("$MNT"/*)
cat "${files[0]}" "${files[1]}" > /dev/null
check 'two in order bring the four that follow' wait_until 'fetched 6'
check 'their dates show' wait_until '[ "$(undated)" = 34 ]'
check 'unmount' unmount_it
forget

# A reader goes before what is read ahead, also when the session breaks in the middle.
server_stop
server_start --tls --fault 'RETR#7 drop 40' --fault 'RETR#11 drop 0'
: > "$WORK/server.log"
check 'mount' mount_it
for f in "$MNT"/*; do cat "$f"; done | sort > "$WORK/got"
check 'bytes over a broken line' cmp "$WORK/got" "$WORK/sorted"
check 'unmount' unmount_it
forget

# An unmount waits a moment for what is being read ahead; what has not come by then counts as not fetched, and comes
# whole in the next mount.
cut_by_unmount() { # cut_by_unmount FAULT
	server_stop
	server_start --tls --fault "$1"
	: > "$WORK/server.log"
	check 'mount' mount_it
	(for f in "$MNT"/*; do read -r _ < "$f"; break; done)
	check 'more is on the way' wait_until '[ "$(asked RETR)" -ge 3 ]'
	check 'unmount' unmount_it
	check 'mount' mount_it prefetch=off
	cat "$MNT"/* | sort > "$WORK/got"
	check 'bytes' cmp "$WORK/got" "$WORK/sorted"
	check 'unmount' unmount_it
	forget
}
cut_by_unmount 'RETR#3 delay 700'
same 'what comes late is not fetched again' 40 "$(asked RETR)"
cut_by_unmount 'RETR#3 stall'
same 'what was read is not fetched again, what never came is' '1 2' \
	"$(grep -cx 'RETR 1' "$WORK/server.log") $(grep -cx 'RETR 3' "$WORK/server.log")"

# Who has listed the directory and opens its first file goes through all of it; one that was named does not.
: > "$WORK/server.log"
check 'mount' mount_it
(for f in "$MNT"/*; do read -r _ < "$f"; break; done)
check 'listing and opening the first brings the sixteen that follow' wait_until 'fetched 17'
check 'unmount' unmount_it
forget
: > "$WORK/server.log"
check 'mount' mount_it
first=$(ls "$MNT" | head -n 1)
cat "$MNT/$first" > /dev/null
(for f in "$MNT"/*; do :; done; read -r _ < "${20}")
sleep 0.3
same 'the first file alone, or another after a listing, brings itself' 2 "$(asked RETR)"
check 'unmount' unmount_it
forget

# Readers in parallel, and then somebody who opens one file.
server_stop
server_start --tls --fault 'RETR#1 delay 500'
: > "$WORK/server.log"
check 'mount' mount_it
set -- "$MNT"/*
PARTS=
for n in 3 12 21 30; do cat "${!n}" > /dev/null & PARTS="$PARTS $!"; done
wait $PARTS
sleep 2.5
same 'four at once bring the neighbours of one' 6 "$(asked RETR)"
cat "${37}" > /dev/null
sleep 0.3
same 'one later brings itself' 7 "$(asked RETR)"
check 'unmount' unmount_it
finish
