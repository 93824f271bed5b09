#!/bin/bash
# Installs the Debian packages that are missing: deps.sh GROUP ... with the groups build, demo, test, kernel and bench.
# Installs nothing where nothing is missing, starts no service and leaves none enabled.
set -euo pipefail

packages=()
for group in "$@"; do
    case $group in
    build) packages+=(libssl-dev libgcrypt20-dev libmnl-dev libldap-dev libcurl4-openssl-dev libsqlite3-dev pkg-config gcc libc6-dev libstdc++-12-dev git ca-certificates) ;;
    demo) packages+=(iproute2 iputils-ping tcpdump python3) ;;
    test)
        packages+=(iproute2 iputils-ping iperf3 iptables tcpdump python3 python3-venv nftables tshark procps util-linux)
        # A directory.
        packages+=(slapd ldap-utils openssl)
        # Peers of another make, and a kernel with ESP of its own.
        packages+=(charon-systemd strongswan-swanctl libcharon-extra-plugins libcharon-extauth-plugins libstrongswan-standard-plugins libstrongswan-extra-plugins eapoltest)
        [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ] || packages+=(user-mode-linux)
        ;;
    # A distribution's kernel in a virtual machine, for the tests of nf_tables and XFRM interfaces (half a gigabyte): without it they are skipped.
    kernel) packages+=(linux-image-amd64 qemu-system-x86 busybox-static) ;;
    bench) packages+=(iproute2 iperf3 python3 binutils valgrind) ;;
    *) echo "deps.sh: there is no group $group" >&2; exit 2 ;;
    esac
done

if ! command -v swift >/dev/null; then
    echo "There is no swift in PATH. Martlet needs the Swift 6.3 toolchain: https://www.swift.org/install/linux/" >&2
    exit 1
fi
if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian: see to it that you have what these Debian packages hold: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    [[ " ${missing[*]-} " == *" $package "* ]] && continue
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "These Debian packages are missing: ${missing[*]}" >&2
    echo "Install them as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

# No service of these packages or of what they depend on is started, and none stays enabled.
policy=/usr/sbin/policy-rc.d
own_policy=
work=$(mktemp -d)
links() { find /etc/systemd/system -type l 2>/dev/null | sort; }
finish() {
    if [ -n "$own_policy" ]; then rm -f "$policy"; fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
if [ ! -e "$policy" ]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
links >"$work/before"

export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
install() { "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$work/log" 2>&1; }
if [[ " ${missing[*]} " == *" tshark "* ]] && command -v debconf-set-selections >/dev/null; then
    # Only root captures here.
    echo 'wireshark-common wireshark-common/install-setuid boolean false' | debconf-set-selections
fi
echo "installing ${missing[*]}"
# The package lists may be absent or old: fetch them once when the first attempt fails.
if ! install; then
    "${apt[@]}" update >"$work/update" 2>&1 || cat "$work/update" >&2
    if ! install; then
        cat "$work/log" >&2
        echo "These Debian packages could not be installed: ${missing[*]}" >&2
        exit 1
    fi
fi

links >"$work/after"
comm -13 "$work/before" "$work/after" | while read -r link; do
    case $link in
    *.wants/*.service | *.wants/*.socket | *.wants/*.timer)
        unit=$(basename "$link")
        systemctl disable --quiet "$unit" 2>/dev/null || rm -f "$link"
        echo "left $unit disabled"
        ;;
    esac
done
# What is started by a script of old is in no folder of systemd's.
if [[ " ${missing[*]} " == *" slapd "* ]] && command -v update-rc.d >/dev/null; then
    update-rc.d slapd disable >/dev/null 2>&1 || true
    echo "left slapd disabled"
fi
