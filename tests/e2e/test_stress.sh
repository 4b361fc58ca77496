# SPDX-License-Identifier: MIT
# Everything at once for some seconds: readers, deletions, commits, new mail, another client that deletes, and a
# line that breaks. Afterwards exactly what was to be deleted is gone, and every byte was right.
. tests/e2e/lib.sh

for n in $(seq -w 1 120); do mail "m$n" "s$n"; done
mkdir "$WORK/kept"
cp "$WORK"/mail/new/* "$WORK/kept/"
server_start --tls --fault 'RETR#30 drop 20' --fault 'RETR#90 lose' --fault 'TOP#130 drop 9' --fault 'QUIT#3 drop 0' \
	--fault 'UIDL#4 drop 30' --fault 'DELE#9 drop 0' --fault 'RETR#150 reply nonsense\r\n'
check 'mount' mount_it refresh=0.05,idle=0.2,timeout=5
file() { echo "$MNT/2026-11-20_0812_A_s$1.eml"; }

# read_some SEED: reads files in an odd order; what can be read must be right. Wrong ones are named.
read_some() {
	for round in 1 2 3; do
		for n in $(seq -w 1 120 | shuf --random-source=<(yes "$1$round")); do
			if cat "$(file "$n")" > "$WORK/read.$1" 2> /dev/null; then
				cmp -s "$WORK/read.$1" "$WORK/kept/m$n" || echo "m$n" >> "$WORK/wrong"
			fi
		done
	done
}
# Of each ten, number 3 and 7 are deleted here, number 5 by another client.
delete_some() {
	for n in $(seq -w 3 4 120 | grep '[37]$'); do
		rm -f "$(file "$n")" 2> /dev/null || echo "$n" >> "$WORK/undeleted"
		case $n in *3) sync "$MNT" ;; esac
		sleep 0.02
	done
}
others_delete() { for n in $(seq -w 5 10 120); do rm "$WORK/mail/new/m$n"; sleep 0.05; done; }
mail_comes() { for n in $(seq -w 121 150); do mail "m$n" "s$n"; ls "$MNT" > /dev/null; sleep 0.03; done; }

read_some a & JOBS=$!
read_some b & JOBS="$JOBS $!"
read_some c & JOBS="$JOBS $!"
delete_some & JOBS="$JOBS $!"
others_delete & JOBS="$JOBS $!"
mail_comes & JOBS="$JOBS $!"
wait $JOBS
check 'every byte was right' test ! -e "$WORK/wrong"
check 'every file could be deleted' test ! -e "$WORK/undeleted"
check 'the mount stands' is_mounted "$MNT"
output=$(timeout 30 "$POP3FS" --unmount "$MNT" 2>&1); status=$?
same '--unmount: status' 0 $status
holds '--unmount: report' "$output" 'delete'
expected=$(seq -w 1 150 | while read -r n; do
	if [ "$n" -gt 120 ]; then echo "m$n"; continue; fi
	case $n in *5) ;; *[37]) [ $(((10#$n - 3) % 4)) = 0 ] || echo "m$n" ;; *) echo "m$n" ;; esac
done)
same 'left on the server' "$expected" "$(ls "$WORK/mail/new")"
finish
