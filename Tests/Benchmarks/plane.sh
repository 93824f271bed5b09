#!/bin/bash
# Throughput and processor time per packet of the TUN plane: two planes in two network namespaces on this machine, AES-256-GCM in UDP,
# AEAD from libcrypto through Tests/PlaneHost. `plane.sh [SECONDS]`. Needs root, iperf3, and a release build of both:
#   swift build -c release --product martlet-tun && swift build -c release --product PlaneHost
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-5}
products=$(swift build -c release --show-bin-path)
work=$(mktemp -d)
a=bench$$a b=bench$$b
cleanup() {
    exec 3>&- 4>&- || true
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null || true
    wait 2>/dev/null || true
    ip netns del $a 2>/dev/null || true
    ip netns del $b 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

for name in $a $b; do ip netns add $name; ip -n $name link set lo up; done
ip link add veth0 netns $a type veth peer name veth0 netns $b
number=1
for name in $a $b; do
    ip -n $name addr add 192.0.2.$number/24 dev veth0
    ip -n $name addr add 10.$number.0.1/24 dev lo
    ip -n $name link set veth0 up
    mkfifo "$work/in$number" "$work/out$number"
    ip netns exec $name "$products/PlaneHost" "$products/libmartlet-tun.so" <"$work/in$number" >"$work/out$number" 2>"$work/log$number" &
    eval "pid$number=$!"
    number=2
done
exec 3>"$work/in1" 5<"$work/out1" 4>"$work/in2" 6<"$work/out2"
ask() { # PLANE LINE
    local line
    if [ "$1" = 1 ]; then echo "$2" >&3; read -r line <&5; else echo "$2" >&4; read -r line <&6; fi
    answer=$line
    case $line in ok*) ;; *) echo "$2: $line"; cat "$work"/log*; exit 1 ;; esac
}
read -r _ <&5
read -r _ <&6
key=$(printf '11%.0s' $(seq 36))
for plane in 1 2; do
    other=$((3 - plane))
    ask $plane "start 1 4500 4242"
    common="child=1 policy=1 encapsulation=1 local=192.0.2.$plane@4500 remote=192.0.2.$other@4500 local_ts=10.$plane.0.0/24 remote_ts=10.$other.0.0/24 key=$key"
    ask $plane "sa spi=c000000$plane direction=0 $common"
    ask $plane "sa spi=c000000$other direction=1 $common"
    ask $plane "activate 1"
done
ip netns exec $b iperf3 -s >/dev/null 2>&1 &
server=$!
sleep 1
field() { sed -n "s/.* $1=\([0-9]*\).*/\1/p"; }
ticks() { # user and system time of a process, in clock ticks
    sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f12,13
}
measure() { # LABEL, IPERF ARGUMENTS
    local label=$1
    shift
    ask 1 "counters c0000002 1 1"; local sent0; sent0=$(echo "$answer" | field packets)
    ask 2 "counters c0000002 0 1"; local got0; got0=$(echo "$answer" | field packets)
    local t1 t2
    t1=$(ticks "$pid1") t2=$(ticks "$pid2")
    ip netns exec $a iperf3 -c 10.2.0.1 -t "$seconds" "$@" 2>/dev/null | grep -E 'receiver' | sed "s|^.* sec  *|$label: |"
    local u1 u2
    u1=$(ticks "$pid1") u2=$(ticks "$pid2")
    ask 1 "counters c0000002 1 1"; local sent1; sent1=$(echo "$answer" | field packets)
    ask 2 "counters c0000002 0 1"; local got1; got1=$(echo "$answer" | field packets)
    # A tick is 10 ms.
    echo "$t1 $u1 $((sent1 - sent0))" | awk '{ printf "  sender    %d packets, %.2f us user and %.2f us system each\n", $5, ($3-$1)*1e4/$5, ($4-$2)*1e4/$5 }'
    echo "$t2 $u2 $((got1 - got0))" | awk '{ printf "  receiver  %d packets, %.2f us user and %.2f us system each\n", $5, ($3-$1)*1e4/$5, ($4-$2)*1e4/$5 }'
}
measure TCP
measure "UDP 1350 bytes at 300 Mbit/s" -u -b 300M -l 1350
for plane in 1 2; do
    ask $plane drops
    echo "drops of plane $plane: $(echo "$answer" | tr ' ' '\n' | grep -v '=0$' | grep = | tr '\n' ' ')"
    ask $plane stop
done
echo quit >&3
echo quit >&4
