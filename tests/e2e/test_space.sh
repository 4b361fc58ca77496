# SPDX-License-Identifier: MIT
# The bound of the cache holds while 16 readers want more than it can hold, and what they read is right. An open file
# is not taken from the cache. What is gone from the server goes first.
. tests/e2e/lib.sh

make_certificate "$WORK"
tests/e2e/make-mail "${COUNT:-300}" "$WORK/mail/new" 1024 "${MAX:-92000}"
largest=$(stat -c %s "$WORK"/mail/new/* | sort -n | tail -1)
total=$(stat -c %s "$WORK"/mail/new/* | awk '{ t += $1 } END { print t }')
bound=$((total / 4))
bodies() { find "$WORK"/cache/pop3fs/*/bodies -type f -printf '%s\n' 2> /dev/null | awk '{ t += $1 } END { print t + 0 }'; }

server_start --tls
check 'mount' mount_it cache_size=$bound
expected_files "$WORK/mail/new"
check 'as many files as messages' test "$(ls "$MNT" | wc -l)" = "$(ls "$WORK/mail/new" | wc -l)"
(while :; do bodies; done > "$WORK/sizes") & WATCH=$!
PIDS="$PIDS $WATCH"
find "$MNT" -name '*.eml' | shuf | xargs -n 10 -P 16 sh -c \
	'for f; do cmp "$f" "$0/${f##*/}" || echo "$f" >> "$0.wrong"; done' "$WORK/expected" > "$WORK/cmp.out" 2>&1
check 'every reader got what the server has' test ! -e "$WORK/expected.wrong"
kill "$WATCH"
wait "$WATCH" 2> /dev/null
most=$(sort -n "$WORK/sizes" | tail -1)
# One message more than the bound, and those that are being written.
check "the bound of $bound held: $most" test "$most" -le $((bound + 4 * largest))
check "at last too: $(bodies)" test "$(bodies)" -le $((bound + largest))
check 'it was made use of' test "$(bodies)" -ge $((bound / 2))

# An open file stays.
set -- "$MNT"/*
exec 5< "$1"
"$POP3FS" --commit "$MNT" > /dev/null
cat "$MNT"/* > /dev/null
check 'what is read ahead has come' wait_until 'n=$(asked RETR); sleep 0.3; [ "$n" = "$(asked RETR)" ]'
fetched=$(asked RETR)
check 'an open file' cmp "$1" "$WORK/expected/${1##*/}"
same 'was not taken from the cache' "$fetched" "$(asked RETR)"
exec 5<&-
check 'unmount' unmount_it
check "mount again" mount_it cache_size=$bound
check 'the bound holds from mount to mount' test "$(bodies)" -le $((bound + largest))
for f in "$MNT"/*1*.eml; do cmp "$f" "$WORK/expected/${f##*/}" || fail "$f"; done
check "and after reading: $(bodies)" test "$(bodies)" -le $((bound + largest))
check 'unmount' unmount_it

# A smaller bound than before.
check 'mount' mount_it cache_size=$((bound / 4))
cat "${100}" > /dev/null
check "a smaller bound is kept to: $(bodies)" test "$(bodies)" -le $((bound / 4 + largest))

# What others delete is kept for a while, unless the space is wanted.
rm "$WORK"/mail/new/*[02468].*
"$POP3FS" --refresh "$MNT" > /dev/null
cat "$MNT"/* > /dev/null
check "what has gone gives way: $(bodies)" test "$(bodies)" -le $((bound / 4 + largest))
check 'unmount' unmount_it

# prefetch=all stops where the cache is full, and does not begin again with each listing.
forget
: > "$WORK/server.log"
check 'mount, prefetch=all' mount_it prefetch=all,cache_size=$bound,refresh=0.2
check 'it fetches' wait_until "[ \$(bodies) -ge $((bound / 2)) ]"
# Exact sizes are smaller than the server's estimates: then some more fit.
for _ in 1 2 3 4; do sleep 0.5; ls "$MNT" > /dev/null; done
fetched=$(asked RETR)
for _ in 1 2 3 4; do ls "$MNT" > /dev/null; sleep 0.3; done
same 'and stops' "$fetched" "$(asked RETR)"
check "within the bound: $(bodies)" test "$(bodies)" -le $((bound + largest))
check 'unmount' unmount_it

# In memory the same bound holds.
check 'mount, cache=memory' mount_it cache=memory,cache_size=$bound
held() { stat -L -c %s /proc/"$(daemon_of "$MNT")"/fd/* 2> /dev/null | awk '{ t += $1 } END { print t + 0 }'; }
for f in "$MNT"/*.eml; do cmp "$f" "$WORK/expected/${f##*/}" || fail "$f"; done
check 'the bound holds in memory' test "$(held)" -le $((bound + largest + 1000000))
check 'unmount' unmount_it
finish
