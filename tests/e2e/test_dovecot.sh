# SPDX-License-Identifier: MIT
# A real server: Dovecot, 1,000 messages of 1 KB to 1 MB, over TLS and STLS. Each way to read starts from a
# fresh mount whose ls -l has shown estimates.
. tests/e2e/lib.sh
. tests/e2e/dovecot.sh
dovecot_available || skip 'no dovecot-pop3d here'

COUNT=${COUNT:-1000}
tests/e2e/make-mail "$COUNT" "$WORK/dovecot/mail/Maildir/new"
dovecot_start
MAIL=$WORK/dovecot/mail/Maildir
OPTIONS=password_file=$WORK/password,tls_ca=$WORK/dovecot/cert.pem
TLS=pop3s://u@localhost:$DOVECOT_TLS STLS=pop3://u@localhost:$DOVECOT_STLS

mount_dovecot() { check "mount $1" "$POP3FS" -o "$OPTIONS" "$1" "$MNT" && ls -l "$MNT" > /dev/null; }
# The server moves new mail to cur at the first login, and adds flags to its name.
mount_dovecot "$TLS"
same 'all are listed' "$COUNT" "$(ls "$MNT" | wc -l)"
$SUDO chmod -R a+rX "$WORK/dovecot/mail"
$SUDO sh -c "mkdir '$WORK/all'; cp -p $MAIL/*/*host* '$WORK/all/'"
$SUDO chmod -R a+rX "$WORK/all"
expected_files "$WORK/all"
same 'all are known' "$COUNT" "$(ls "$WORK/expected" | wc -l)"
unmount_it

from_copy() { diff -r "$WORK/copy" "$WORK/expected"; status=$?; rm -rf "$WORK/copy"; return $status; }
# each COMMAND: runs it for every file, its output must be the file's bytes; and stat must tell their number.
each() {
	mkdir "$WORK/copy"
	(cd "$MNT" && for f in *; do "$@" "$f" > "$WORK/copy/$f" || exit; done) && from_copy &&
		same_sizes "$MNT" "$WORK/expected"
}

mount_dovecot "$TLS"
check 'cat' each cat
check 'tail -c' each tail -c 10000000
unmount_it
mount_dovecot "$STLS"
check 'tail -c, cold' each tail -c 10000000
unmount_it
mount_dovecot "$STLS"
check 'cp -r' cp -r "$MNT" "$WORK/copy"
check 'cp -r: bytes' from_copy
unmount_it
mount_dovecot "$TLS"
mkdir "$WORK/copy"
check 'tar' sh -c "tar -C '$MNT' -cf - . | tar -C '$WORK/copy' -xf -"
rm -rf "$WORK/copy/.deleted"
check 'tar: bytes' from_copy
unmount_it
mount_dovecot "$TLS"
check 'rsync -a' rsync -a "$MNT/" "$WORK/copy"
check 'rsync -a: bytes' from_copy
same 'rsync finds nothing to do' '' "$(rsync -ai --size-only "$MNT/" "$WORK/expected" 2>/dev/null | grep '^>f[^+]*s')"
unmount_it
mount_dovecot "$STLS"
check 'mmap' each "$BUILD/mmapcat"
check 'grep -r' sh -c "[ \$(grep -rl 'Message-ID' '$MNT' | wc -l) = $COUNT ]"

# A tenth (100 of 1,000) is deleted, those and no others.
ls "$MNT" | awk 'NR % 10 == 3' > "$WORK/doomed"
DOOMED=$(wc -l < "$WORK/doomed")
(cd "$MNT" && xargs -d '\n' getfattr --only-values -n user.pop3.uidl < "$WORK/doomed" | sed 's/host/host\n/g') | sort > "$WORK/doomed-uids"
same 'marked' $DOOMED "$(wc -l < "$WORK/doomed-uids")"
(cd "$MNT" && xargs -d '\n' rm < "$WORK/doomed")
output=$("$POP3FS" --unmount "$MNT"); status=$?
same '--unmount: status' 0 $status
holds '--unmount: says so' "$output" "$DOOMED deleted, 0 already gone, 0 still pending"
ls "$WORK/all" | sed 's/:.*//' | sort > "$WORK/before"
$SUDO ls "$MAIL/new" "$MAIL/cur" | grep host | sed 's/:.*//' | sort > "$WORK/after"
check 'exactly those are gone' sh -c "comm -23 '$WORK/before' '$WORK/after' | cmp - '$WORK/doomed-uids'"
finish
