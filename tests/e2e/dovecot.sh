# SPDX-License-Identifier: MIT
# A Dovecot of its own, below $WORK/dovecot: ports $DOVECOT_TLS and $DOVECOT_STLS on 127.0.0.1, user "u",
# password "secret word", mail in $WORK/dovecot/mail/Maildir. Sourced by the tests that want one.

dovecot_available() {
	[ -x /usr/sbin/dovecot ] && [ -e /usr/lib/dovecot/pop3 ]
}

# dovecot_start [LINE...]: starts it with more lines of configuration.
dovecot_start() {
	D=$WORK/dovecot
	mkdir -p "$D/mail/Maildir/new" "$D/mail/Maildir/cur" "$D/mail/Maildir/tmp" "$D/run" "$D/state"
	chmod 755 "$WORK" "$D"
	DOVECOT_TLS=$(free_port) DOVECOT_STLS=$(free_port)
	make_certificate "$D"
	printf 'u:{PLAIN}secret word::::::\n' > "$D/users"
	cat > "$D/dovecot.conf" <<-CONF
		base_dir = $D/run
		state_dir = $D/state
		log_path = $D/log
		protocols = pop3
		listen = 127.0.0.1
		ssl = required
		ssl_cert = <$D/cert.pem
		ssl_key = <$D/key.pem
		disable_plaintext_auth = yes
		auth_mechanisms = plain login cram-md5 scram-sha-256
		mail_location = maildir:$D/mail/Maildir
		mail_uid = nobody
		mail_gid = nogroup
		first_valid_uid = 1
		first_valid_gid = 1
		pop3_uidl_format = %f
		passdb {
		  driver = passwd-file
		  args = scheme=PLAIN $D/users
		}
		userdb {
		  driver = static
		  args = uid=nobody gid=nogroup home=$D/mail
		}
		service pop3-login {
		  inet_listener pop3 {
		    port = $DOVECOT_STLS
		  }
		  inet_listener pop3s {
		    port = $DOVECOT_TLS
		  }
		}
		service stats {
		  client_limit = 100
		}
	CONF
	for line in "$@"; do printf '%s\n' "$line" >> "$D/dovecot.conf"; done
	$SUDO chown -R nobody:nogroup "$D/mail"
	$SUDO /usr/sbin/dovecot -c "$D/dovecot.conf" || { cat "$D/log" >&2; return 1; }
	wait_for_port "$DOVECOT_TLS"
}

dovecot_stop() {
	[ -e "$WORK/dovecot/run/master.pid" ] || return 0
	dovecot_pid=$($SUDO cat "$WORK/dovecot/run/master.pid")
	$SUDO kill "$dovecot_pid" 2>/dev/null || return 0
	wait_until "! $SUDO kill -0 $dovecot_pid 2>/dev/null"
}
