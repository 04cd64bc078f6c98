#!/bin/sh
# Makes the whole file system of the image: the relay, the libraries it is linked to, and nothing else.
#
#   rootfs.sh path/to/zerok-relay folder
set -eu
binary=$1
root=$2

mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/data" "$root/tmp"
install -m 0755 "$binary" "$root/usr/local/bin/zerok-relay"

# Each library at the path at which the loader looks for it, the loader itself among them. musl has none of them.
if libraries=$(ldd "$binary" 2>/dev/null); then
    for library in $(echo "$libraries" | grep -o '/[^ ]*'); do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
fi

# What looks up names and checks the certificates of others.
echo 'relay:x:65532:65532:relay:/data:/sbin/nologin' >"$root/etc/passwd"
echo 'relay:x:65532:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
# A new volume takes over the owner of the folder that it covers. Who is not root leaves that to COPY --chown.
chown 65532:65532 "$root/data" 2>/dev/null || true
chmod 0700 "$root/data"
chmod 1777 "$root/tmp"
