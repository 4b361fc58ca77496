# SPDX-License-Identifier: MIT
# fstab's way: mount(8) looks for pop3fs in its own path.
. tests/e2e/lib.sh
[ "$(id -u)" = 0 ] || skip 'only root mounts by mount(8)'
[ -x /usr/local/bin/pop3fs ] || skip 'pop3fs is not installed'

mail m1
mail m2
server_start --tls
OPTIONS=password_file=$WORK/password,tls_ca=$WORK/cert.pem,noauto,_netdev
check 'mount -t fuse.pop3fs' mount -t fuse.pop3fs -o "$OPTIONS" "pop3s://u@localhost:$PORT" "$MNT"
same 'listed' 2 "$(ls "$MNT" | wc -l)"
check 'read' cmp "$MNT"/*m1.eml "$WORK/mail/new/m1"
check 'unmount' unmount_it
finish
