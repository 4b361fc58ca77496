# SPDX-License-Identifier: MIT
# A server that gives the maildrop to one session at a time: others get it soon after its last use.
. tests/e2e/lib.sh
. tests/e2e/dovecot.sh
dovecot_available || skip 'no dovecot-pop3d here'
command -v curl > /dev/null || skip 'no curl here'

tests/e2e/make-mail 20 "$WORK/dovecot/mail/Maildir/new" 1024 4096
dovecot_start 'pop3_lock_session = yes'
OPTIONS=password_file=$WORK/password,tls_ca=$WORK/dovecot/cert.pem,idle=2,prefetch=off
other() { curl -sS --max-time 30 --cacert "$WORK/dovecot/cert.pem" -u 'u:secret word' "pop3s://localhost:$DOVECOT_TLS/$1"; }
check 'mount' "$POP3FS" -o "$OPTIONS" "pop3s://u@localhost:$DOVECOT_TLS" "$MNT"
for n in 1 2 3 4; do
	set -- "$MNT"/*
	check "a read" cat "${@:$n:1}" > "$WORK/got"
	begin=$(milliseconds)
	check 'the other client comes in' other "$n" > /dev/null
	took=$(($(milliseconds) - begin))
	check "within idle and a second ($took ms)" test $took -le 3000
	check 'and pop3fs goes on' cat "${@:$((n + 10)):1}" > "$WORK/got"
done
check 'unmount' unmount_it
finish
