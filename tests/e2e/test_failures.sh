# SPDX-License-Identifier: MIT
# What goes wrong at the mount and after it: a true message, a status, and a mount that goes on afterwards.
. tests/e2e/lib.sh

mail m1 one
mail m2 two
server_start --tls

# refused WHAT STATUS TEXT COMMAND...: it fails with this status and says so, and nothing is mounted.
refused() {
	what=$1 wanted=$2 text=$3
	shift 3
	output=$("$@" 2>&1); status=$?
	same "$what: status" "$wanted" $status
	holds "$what: message" "$output" "$text"
	check "$what: not mounted" sh -c "! grep -q ' $MNT ' /proc/mounts"
}

URL=pop3s://u@localhost:$PORT
printf 'wrong\n' > "$WORK/wrong"; chmod 600 "$WORK/wrong"
printf 'secret word\n' > "$WORK/open"; chmod 644 "$WORK/open"
CA=tls_ca=$WORK/cert.pem
refused 'wrong password' 1 'wrong user name or password' "$POP3FS" -o "password_file=$WORK/wrong,$CA" "$URL" "$MNT"
refused 'name not found' 1 'Name or service not known' mount_it '' pop3s://u@nosuch.invalid
refused 'connection refused' 1 'Connection refused' mount_it '' "pop3s://u@localhost:$(free_port)"
refused 'certificate' 1 'not valid: self-signed certificate' "$POP3FS" -o "password_file=$WORK/password" "$URL" "$MNT"
refused 'other name' 1 'mismatch' mount_it '' "pop3s://u@127.1:$PORT"
refused 'mount point missing' 1 'No such file or directory' "$POP3FS" -o "password_file=$WORK/password" "$URL" "$WORK/none"
refused 'mount point no directory' 1 'Not a directory' "$POP3FS" -o "password_file=$WORK/password" "$URL" "$WORK/password"
refused 'password file that others read' 1 'others can read it' "$POP3FS" -o "password_file=$WORK/open,$CA" "$URL" "$MNT"
refused 'no password' 1 'no terminal to ask' setsid -w "$POP3FS" -o "$CA" "$URL" "$MNT"
refused 'password command' 1 'exit status 3' "$POP3FS" -o "password_command=exit 3,$CA" "$URL" "$MNT"
refused 'unknown option' 2 'colour: no such option' mount_it colour=blue
refused 'bad value' 2 'timeout=never' mount_it timeout=never
refused 'bad source' 2 'imap://u@h' mount_it '' imap://u@h
refused 'account not there' 2 'has no account' sh -c "mkdir -p '$WORK/config/pop3fs'; echo '[a]' > '$WORK/config/pop3fs/config'; '$POP3FS' work '$MNT'"
refused 'no operands' 2 'SOURCE and MOUNTPOINT' "$POP3FS"
refused 'status of what is no mount' 1 'not a pop3fs mount' "$POP3FS" --status "$WORK"
refused 'unmount of what is no mount' 1 'not a pop3fs mount' "$POP3FS" --unmount "$WORK"
refused 'certificate pin' 1 'fingerprint' mount_it 'tls_fingerprint=00:11'
refused 'cache that cannot be' 1 'cache_dir=/proc/x' mount_it cache_dir=/proc/x
if [ "$(id -u)" != 0 ]; then refused 'allow_other' 1 'user_allow_other' mount_it allow_other; fi
server_stop

PORT= ; server_start --fault 'GREETING reply 220 mail.example.org ESMTP\r\n'
refused 'not a POP3 server' 1 'not a POP3 server' mount_it '' "pop3://u@localhost:$PORT"
refused 'TLS on a plain port' 1 'does not speak TLS' mount_it '' "pop3s://u@localhost:$PORT"
server_stop
PORT= ; server_start --tls --fault 'GREETING stall'
begin=$(milliseconds)
refused 'time-out' 1 'no answer within 1 s' mount_it timeout=1
check 'in time' test $(($(milliseconds) - begin)) -lt 3000
server_stop

# Accounts of the configuration file, the ways to give a password, STLS, and -f.
PORT= ; server_start
mkdir -p "$WORK/config/pop3fs"
cat > "$WORK/config/pop3fs/config" <<-CONFIG
	[home]
	source = pop3://u@localhost:$PORT
	password_command = printf 'secret word'
	tls_ca = $WORK/cert.pem
CONFIG
check 'mount of an account, STLS' "$POP3FS" home "$MNT"
same 'listed' 2 "$(ls "$MNT" | wc -l)"
holds 'TLS by STLS' "$("$POP3FS" --status "$MNT")" TLSv1
check 'unmount' unmount_it
"$POP3FS" -d home "$MNT" 2> "$WORK/dialogue" &
foreground=$!
PIDS="$PIDS $foreground"
check 'mount in the foreground' wait_until 'is_mounted "$MNT"'
cat "$MNT"/*one.eml > /dev/null
kill -INT $foreground # ignored, as it was when the shell started this job
sleep 0.2
check "a signal that was ignored stays ignored" is_mounted "$MNT"
kill -TERM $foreground
wait $foreground
same 'it ends well' 0 $?
holds 'the dialogue' "$(cat "$WORK/dialogue")" '> RETR 1'
check 'without the password' sh -c "! grep -q 'secret word\|$(printf '\0u\0secret word' | base64)' '$WORK/dialogue'"
check 'the fingerprint may replace the chain' mount_it "tls_fingerprint=$(openssl x509 -in "$WORK/cert.pem" -noout -fingerprint -sha256 | sed 's/.*=//')" "pop3://u@localhost:$PORT"
check 'unmount' unmount_it
server_stop

# A signal while the listing is read, also at the very beginning: it ends, with nothing left behind.
PORT= ; server_start --tls --fault 'UIDL stall'
for pause in 0 0.02 0.3; do
	"$POP3FS" -f -o "password_file=$WORK/password,$CA" "pop3s://u@localhost:$PORT" "$MNT" 2> "$WORK/interrupted" &
	foreground=$!
	PIDS="$PIDS $foreground"
	wait_until "grep -q pop3fs /proc/$foreground/comm" # the shell that it was before would lose the signal
	sleep $pause
	kill -TERM $foreground
	begin=$(milliseconds)
	wait $foreground
	status=$?
	check "a signal $pause s after the start: status" test $status = 1 -o $status = 143
	check "a signal $pause s after the start: at once" test $(($(milliseconds) - begin)) -lt 1500
	same "a signal $pause s after the start: nothing left" '' "$(find "$WORK/cache" -name 'mount-*')"
done
"$POP3FS" -f -o "password_command=sleep 60,$CA" "pop3s://u@localhost:$PORT" "$MNT" 2> "$WORK/interrupted" &
foreground=$!
sleep 0.3
kill -TERM $foreground
begin=$(milliseconds)
wait $foreground
check 'a signal while the password is awaited: at once' test $(($(milliseconds) - begin)) -lt 1500
server_stop

# A terminal asks for the password without echo, and shows how the headers come in.
PORT= ; server_start --tls --fault 'TOP delay 150'
if command -v tmux > /dev/null; then
	tmux -L pop3fs-test -f /dev/null new-session -d -x 120 -y 20 "env XDG_CACHE_HOME='$XDG_CACHE_HOME' '$POP3FS' -o '$CA' 'pop3s://u@localhost:$PORT' '$MNT' 2>&1; echo status \$?; sleep 20"
	screen() { tmux -L pop3fs-test capture-pane -p; }
	check 'asks' wait_until 'screen | grep -q "Password for u at localhost:"'
	tmux -L pop3fs-test send-keys 'secret word' Enter
	check 'shows progress' wait_until 'screen | grep -q "reading headers: [0-9] of 2"'
	check 'mounts' wait_until 'screen | grep -q "status 0"'
	check 'without echo' sh -c "! tmux -L pop3fs-test capture-pane -p | grep -q 'secret word'"
	check 'unmount' unmount_it
	tmux -L pop3fs-test kill-server
fi
server_stop

# A server that falls silent costs one time-out; the mount goes on when it answers again.
PORT= ; server_start --tls
check 'mount' mount_it timeout=1
kill -STOP "$SERVER_PID"
begin=$(milliseconds)
output=$(LC_ALL=C cat "$MNT"/*one.eml 2>&1)
took=$(($(milliseconds) - begin))
kill -CONT "$SERVER_PID"
holds 'a silent server' "$output" 'Connection timed out'
check 'one time-out' test $took -lt 2000
check 'it goes on' cmp "$MNT"/*one.eml "$WORK/mail/new/m1"
kill -STOP "$SERVER_PID"
begin=$(milliseconds)
for n in 1 2 3 4; do cat "$MNT"/*two.eml > /dev/null 2>&1 & readers="${readers:-} $!"; done
wait $readers
took=$(($(milliseconds) - begin))
kill -CONT "$SERVER_PID"
check 'many readers wait no longer' test $took -lt 2500
server_stop
holds 'server gone' "$(LC_ALL=C cat "$MNT"/*two.eml 2>&1)" 'No route to host'
check 'ls without a server' ls -l "$MNT"
check 'cached mail without a server' cmp "$MNT"/*one.eml "$WORK/mail/new/m1"
server_start --tls --fault 'RETR#1 drop 30' --fault 'RETR#2 drop 30'
check 'it is found again' wait_until '! "$POP3FS" --status "$MNT" | grep -q "^offline"'
holds 'a message that is always cut' "$(LC_ALL=C cat "$MNT"/*two.eml 2>&1)" 'Input/output error'
check 'and then not' cmp "$MNT"/*two.eml "$WORK/mail/new/m2"
check 'unmount' unmount_it
finish
