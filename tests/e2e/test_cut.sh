# SPDX-License-Identifier: MIT
# The line is cut once at every kB (STEP=1; by default every eighth) of a grep -r over 200 messages: no byte
# changes, no read fails.
. tests/e2e/lib.sh
STEP=${STEP:-8}

tests/e2e/make-mail 200 "$WORK/mail/new" 500 2500
server_start --tls
mkfifo "$WORK/cut"
"$BUILD/relay" "$PORT" 0 < "$WORK/cut" > "$WORK/relay.out" &
PIDS="$PIDS $!"
exec 7> "$WORK/cut"
wait_until '[ -s "$WORK/relay.out" ]'
FAR=$(sed 's/port //' "$WORK/relay.out")
cat "$WORK"/mail/new/* | sort > "$WORK/expected"
total=$(($(stat -c %s "$WORK/expected") / 1000))
wrong=0 lost=0 runs=0
for at in $(seq 1 "$STEP" $total); do
	"$POP3FS" -o "password_file=$WORK/password,tls_ca=$WORK/cert.pem" "pop3s://u@localhost:$FAR" "$MNT" || break
	echo $((at * 1000)) >&7
	if ! grep -rh '' "$MNT" > "$WORK/got"; then
		lost=$((lost + 1))
	elif ! sort "$WORK/got" | cmp - "$WORK/expected"; then
		wrong=$((wrong + 1))
	fi
	case $("$POP3FS" --status "$MNT") in *'2 logins'*) runs=$((runs + 1)) ;; esac
	unmount_it || break
	forget
done
echo "$total kB, cut in $runs"
same 'no read was lost' 0 $lost
same 'no byte was changed' 0 $wrong
check 'the line was cut at each kB' test $runs -ge $((total / STEP * 95 / 100))
finish
