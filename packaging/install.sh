#!/bin/bash
# Builds for release and installs below DESTDIR: programs, plugins, the Swift runtime they need, headers, configuration, unit, manuals.
# Configuration files that are there already are kept.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${DESTDIR=}" "${PREFIX:=/usr}" "${SYSCONFDIR:=/etc}" "${UNITDIR:=$PREFIX/lib/systemd/system}"
case $PREFIX in /*) ;; *) echo "install: PREFIX is not an absolute path: $PREFIX" >&2; exit 2 ;; esac
scratch=.build/packaging
export MARTLET_PACKAGING=1

# Product by product: what is for tests alone stays out.
for product in martletd martlet martlet-openssl martlet-gcrypt martlet-psk martlet-x509 martlet-eap martlet-tun martlet-xfrm martlet-ldap martlet-observer; do
    swift build -c release --scratch-path "$scratch" --product "$product"
done
bin=$(swift build -c release --scratch-path "$scratch" --show-bin-path)
toolchain=$(swift -print-target-info | python3 -c 'import json, sys; print(json.load(sys.stdin)["paths"]["runtimeLibraryPaths"][0])')

prefix=$DESTDIR$PREFIX
library=$prefix/lib/martlet
etc=$DESTDIR$SYSCONFDIR/martlet
documents=$prefix/share/doc/martlet
put() { install -D -p -m "$1" "$2" "$3"; }

put 755 "$bin/martletd" "$prefix/sbin/martletd"
put 755 "$bin/martlet" "$prefix/bin/martlet"
for plugin in "$bin"/libmartlet-*.so; do put 644 "$plugin" "$library/plugins/$(basename "$plugin")"; done

# The part of the Swift runtime that these files need, and what that needs in turn.
needed() { readelf -d "$@" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u; }
wanted=$(needed "$prefix/sbin/martletd" "$prefix/bin/martlet" "$library"/plugins/*.so)
mkdir -p "$library/runtime"
done=" "
while [ -n "$wanted" ]; do
    next=
    for name in $wanted; do
        case $done in *" $name "*) continue ;; esac
        done="$done$name "
        [ -e "$toolchain/$name" ] || continue
        put 644 "$toolchain/$name" "$library/runtime/$name"
        next="$next $(needed "$toolchain/$name")"
    done
    wanted=$(tr ' ' '\n' <<<"$next" | sed '/^$/d' | sort -u)
done
# Symbols for debuggers alone are left out; the notes that the plugin loader reads stay.
strip --strip-unneeded "$library"/runtime/*.so "$library"/plugins/*.so
strip --strip-all "$prefix/sbin/martletd" "$prefix/bin/martlet"

for header in Sources/PluginABI/include/martlet/*.h; do put 644 "$header" "$prefix/include/martlet/$(basename "$header")"; done

# Secrets go into these files: nobody else reads them.
keep() { [ -e "$2" ] || put 640 "$1" "$2"; }
install -d -m 755 "$etc"
install -d -m 750 "$etc/conf.d"
# Where certificates and keys go: what swanctl calls its folders.
for folder in x509 x509ca x509crl x509ocsp pubkey; do install -d -m 755 "$etc/$folder"; done
for folder in private pkcs8 pkcs12; do install -d -m 700 "$etc/$folder"; done
configuration=$scratch/martlet.conf
# The daemon knows /usr; anywhere else its configuration says where the plugins are.
if [ "$PREFIX" = /usr ]; then cp etc/martlet.conf "$configuration"; else
    sed "s|# path = /usr/lib/martlet/plugins|path = $PREFIX/lib/martlet/plugins|" etc/martlet.conf >"$configuration"
fi
keep "$configuration" "$etc/martlet.conf"
for file in etc/conf.d/*; do put 640 "$file" "$etc/conf.d/$(basename "$file")"; done

sed "s|@SBIN@|$PREFIX/sbin|g; s|@CONFIG@|$SYSCONFDIR/martlet/martlet.conf|g" packaging/systemd/martletd.service >"$scratch/martletd.service"
put 644 "$scratch/martletd.service" "$DESTDIR$UNITDIR/martletd.service"

put 644 packaging/systemd/martlet.sysusers "$prefix/lib/sysusers.d/martlet.conf"

for page in packaging/man/*.[1-8]; do
    put 644 "$page" "$prefix/share/man/man${page##*.}/$(basename "$page")"
    gzip -9nf "$prefix/share/man/man${page##*.}/$(basename "$page")"
done
for file in README.md LICENSE docs/*.md; do put 644 "$file" "$documents/$(basename "$file")"; done
for file in etc/examples/*; do put 644 "$file" "$documents/examples/$(basename "$file")"; done
for plugin in Plugins/*/README.md; do put 644 "$plugin" "$documents/plugins/$(basename "$(dirname "$plugin")").md"; done
# Swift's runtime comes under its own licence.
licence=$(dirname "$(dirname "$(dirname "$toolchain")")")/share/swift/LICENSE.txt
if [ -e "$licence" ]; then put 644 "$licence" "$documents/LICENSE.swift"; else echo "install: Swift's licence is not in the toolchain; ship it with the runtime" >&2; fi
echo "installed below ${DESTDIR:-/}"
