#!/bin/bash
# Two gateways in two network namespaces, configured by etc/demo, and real traffic through the tunnel between them. One line a step:
# "ok" and what was seen, or "FAIL" and why, with the end of both gateways' logs. Needs root. Everything is taken down again at
# the end, however it ends: processes by their ids, namespaces by names that nobody else has, one temporary folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
config=${CONFIG:-debug}
bytes=5000000

work= tag= pids=() namespaces=() failed=
ok() { printf 'ok    %s\n' "$*"; }
note() { printf '      %s\n' "$*"; }

# Says why a step failed, shows what the gateways logged, and ends.
fail() {
    printf 'FAIL  %s\n' "$*"
    failed=yes
    for side in east west; do
        if [ -n "$work" ] && [ -s "$work/$side.log" ]; then
            note "the end of $side's log:"
            tail -n 15 "$work/$side.log" | sed 's/^/      | /'
        fi
    done
    exit 1
}

alive() { kill -0 "$1" 2>/dev/null; }

# Ends one process that this script started, and waits until it is gone.
finish_process() {
    local pid=$1 tries=0
    alive "$pid" || return 0
    kill -TERM "$pid" 2>/dev/null || true
    while alive "$pid" && [ $tries -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -KILL "$pid" 2>/dev/null || true
}

clean() {
    local status=$?
    trap - EXIT INT TERM HUP
    set +e
    for pid in "${pids[@]}"; do finish_process "$pid"; done 2>/dev/null
    local left=
    # Only what this script started can be in its namespaces.
    for namespace in "${namespaces[@]}"; do
        for pid in $(ip netns pids "$namespace" 2>/dev/null); do
            left="$left process $pid ($(tr '\0' ' ' </proc/$pid/cmdline 2>/dev/null)), now ended;"
            kill -KILL "$pid" 2>/dev/null
        done
        ip netns del "$namespace" 2>/dev/null
    done
    [ -z "$work" ] || rm -rf "$work"
    for pid in "${pids[@]}"; do if alive "$pid"; then left="$left process $pid"; fi; done
    if [ -n "$tag" ] && ip netns list 2>/dev/null | grep -q "^$tag"; then left="$left namespaces $tag*"; fi
    if [ -n "$work" ] && [ -e "$work" ]; then left="$left $work"; fi
    if [ -n "$left" ]; then
        printf 'FAIL  left behind:%s\n' "$left"
        status=1
    elif [ ${#namespaces[@]} -gt 0 ]; then
        ok "stopped both gateways; no process, namespace or file is left"
    fi
    [ "$status" = 0 ] || [ -n "$failed" ] || printf 'FAIL  the demonstration ended early, with status %s\n' "$status"
    exit "$status"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

[ "$(id -u)" = 0 ] || fail "this needs root, to make network namespaces"
[ -c /dev/net/tun ] || fail "there is no /dev/net/tun on this machine: modprobe tun"
work=$(mktemp -d /tmp/martlet-demo-XXXXXX)
tag=$(basename "$work")

# Build, unless MARTLET_BUILD names a folder where that is done.
if [ -n "${MARTLET_BUILD:-}" ]; then
    bin=$(realpath "$MARTLET_BUILD")
else
    note "building (minutes when nothing is built yet)"
    begun=$SECONDS
    if ! swift build -c "$config" >"$work/build.log" 2>&1; then
        grep -E 'error:' "$work/build.log" | head -n 20 || tail -n 20 "$work/build.log"
        fail "the build failed"
    fi
    bin=$(swift build -c "$config" --show-bin-path)
    ok "built the daemon, the client and the plugins in $((SECONDS - begun)) s ($config)"
fi
for program in martletd martlet; do [ -x "$bin/$program" ] || fail "there is no $program in $bin"; done

# Two hosts on one link. Their neighbour entries are permanent and IPv6 is off on the link, so that nothing but the
# gateways has a reason to send.
inside() { local side=$1; shift; ip netns exec "$tag-$side" "$@"; }
# The same for the background: the job becomes the command, so that $! is the command's own id.
within() { local side=$1; shift; exec ip netns exec "$tag-$side" "$@"; }
for side in east west; do
    ip netns add "$tag-$side" 2>"$work/error" || fail "cannot make a network namespace: $(cat "$work/error")"
    namespaces+=("$tag-$side")
    ip -n "$tag-$side" link set lo up
done
ip link add outer netns "$tag-east" address 02:00:00:00:00:01 type veth peer name outer netns "$tag-west" address 02:00:00:00:00:02 2>"$work/error" \
    || fail "cannot join the namespaces: $(cat "$work/error")"
for number in 1 2; do
    if [ $number = 1 ]; then side=east other=2; else side=west other=1; fi
    inside $side sh -c 'echo 1 >/proc/sys/net/ipv6/conf/outer/disable_ipv6' 2>/dev/null || true
    ip -n "$tag-$side" addr add 192.0.2.$number/24 dev outer
    ip -n "$tag-$side" link set outer up
    ip -n "$tag-$side" neigh replace 192.0.2.$other lladdr 02:00:00:00:00:0$other dev outer nud permanent
    # The networks behind the gateways, an address each.
    ip -n "$tag-$side" addr add 10.$number.0.1/16 dev lo
    ip -n "$tag-$side" -6 addr add fd0$number::1/64 dev lo nodad 2>/dev/null || true
done
ok "two hosts on one link: east 192.0.2.1 before 10.1.0.0/16 and fd01::/64, west 192.0.2.2 before 10.2.0.0/16 and fd02::/64"

# What passes on the link, from the first packet on.
within east tcpdump -i outer -n -s 0 -B 16384 -Z root -U -w "$work/wire.pcap" 2>"$work/tcpdump.log" &
capture=$!
pids+=("$capture")
for _ in $(seq 100); do
    grep -qs 'listening on' "$work/tcpdump.log" && break
    alive "$capture" || break
    sleep 0.1
done
grep -q 'listening on' "$work/tcpdump.log" || fail "tcpdump did not start: $(tail -n 1 "$work/tcpdump.log")"

if inside east ping -n -c 1 -W 1 -I 10.1.0.1 10.2.0.1 >/dev/null 2>&1; then fail "west's network answers although there is no tunnel"; fi
ok "without a tunnel, west's network does not answer"

# The gateways run from etc/demo as it is; only their control sockets are put where this run alone sees them.
socket() { echo "$work/$1.sock"; }
martlet() { local side=$1; shift; inside "$side" "$bin/martlet" --socket "$(socket "$side")" "$@"; }
declare -A daemon
for side in west east; do
    printf 'include %s/etc/demo/%s.conf\ngateway {\n    control = %s\n}\n' "$root" "$side" "$(socket "$side")" >"$work/$side.conf"
    within "$side" "$bin/martletd" --config "$work/$side.conf" --foreground >"$work/$side.log" 2>&1 &
    daemon[$side]=$!
    pids+=("${daemon[$side]}")
done
for side in west east; do
    for _ in $(seq 100); do
        martlet $side version >/dev/null 2>&1 && break
        alive "${daemon[$side]}" || fail "$side's gateway ended at once"
        sleep 0.1
    done
    martlet $side version >/dev/null 2>&1 || fail "$side's gateway does not answer on its control socket"
done
ok "two gateways run, from etc/demo/east.conf and etc/demo/west.conf"

timeout 30 ip netns exec "$tag-east" "$bin/martlet" --socket "$(socket east)" up site >"$work/up.log" 2>&1 || {
    reason=$(sed -n 's/^martlet: //p' "$work/up.log" | head -n 1)
    fail "martlet up site: ${reason:-the tunnel did not come up within 30 seconds}"
}
ok "martlet up site: $(tail -n 1 "$work/up.log")"

# Traffic. The pings carry a text that is looked for on the wire afterwards.
marker="not in clear"
pattern=$(printf %s "$marker" | od -An -tx1 | tr -d ' \n')
ping_through() {
    local side=$1 source=$2 target=$3 received
    inside "$side" ping -n -c 10 -i 0.05 -W 2 -p "$pattern" -I "$source" "$target" >"$work/ping.log" 2>&1 || true
    received=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$work/ping.log")
    [ "${received:-0}" = 10 ] || fail "ping from $source to $target: ${received:-0} of 10 answered"
    ok "ping from $source to $target: 10 of 10 answered"
}
transfer() {
    local from=$1 to=$2 source=$3 target=$4 receiver port=
    : >"$work/receive.log"
    within "$to" python3 -B "$root/Tests/Interop/transfer.py" receive "$target" $bytes >"$work/receive.log" 2>&1 &
    receiver=$!
    pids+=("$receiver")
    for _ in $(seq 100); do
        port=$(sed -n 's/^listening //p' "$work/receive.log")
        [ -z "$port" ] || break
        sleep 0.1
    done
    [ -n "$port" ] || fail "the receiving end of a transfer did not start: $(tail -n 1 "$work/receive.log")"
    timeout 60 ip netns exec "$tag-$from" python3 -B "$root/Tests/Interop/transfer.py" send "$source" "$target" "$port" $bytes >"$work/send.log" 2>&1 \
        || fail "the transfer from $source to $target did not arrive: $(tail -n 1 "$work/send.log")"
    wait "$receiver" || fail "what arrived from $source at $target is not what was sent"
    ok "$bytes bytes over TCP from $source to $target, and every one is right"
}
ping_through east 10.1.0.1 10.2.0.1
ping_through west 10.2.0.1 10.1.0.1
if [ -e /proc/sys/net/ipv6 ]; then ping_through east fd01::1 fd02::1; fi
transfer east west 10.1.0.1 10.2.0.1
transfer west east 10.2.0.1 10.1.0.1

for side in east west; do
    martlet $side status >"$work/$side.status" 2>&1 || fail "martlet status does not work on $side: $(tail -n 1 "$work/$side.status")"
    ok "$side's martlet status:"
    sed 's/^/      | /' "$work/$side.status"
done

# The wire: first what it carried, then that none of the contents can be read there.
martlet east down west >"$work/down.log" 2>&1 || fail "martlet down west: $(tail -n 1 "$work/down.log")"
ok "martlet down west: $(tail -n 1 "$work/down.log")"
# The kernel hands packets to a capture in blocks, a second late at most.
sleep 1.5
finish_process "$capture"
dropped=$(sed -n 's/^\([0-9]*\) packets\{0,1\} dropped by kernel.*/\1/p' "$work/tcpdump.log")
[ "${dropped:-0}" = 0 ] || fail "the capture missed $dropped packets"
count() { tcpdump -n -r "$work/wire.pcap" "$@" 2>/dev/null | wc -l; }
ike='(udp port 500 or (udp port 4500 and udp[8:4] = 0))'
esp='(ip proto 50 or (udp port 4500 and udp[8:4] != 0))'
all=$(count) n_ike=$(count "$ike") n_esp=$(count "$esp")
others=$((all - n_ike - n_esp))
if [ "$others" != 0 ]; then
    tcpdump -n -r "$work/wire.pcap" "not $ike and not $esp" 2>/dev/null | head -n 5 | sed 's/^/      | /'
    fail "$others packets on the wire are neither IKE nor ESP"
fi
# Two exchanges to come up and one to go down.
[ "$n_ike" -ge 6 ] || fail "only $n_ike packets of IKE on the wire"
[ "$n_esp" -ge $((2 * bytes / 1500)) ] || fail "only $n_esp packets of ESP on the wire: the traffic took another way"
ok "on the wire: $n_ike packets of IKE, $n_esp of ESP, 0 of anything else"
python3 -B - "$work/wire.pcap" "$marker" "$root/Tests/Interop" <<'P' >"$work/clear.log" 2>&1 || fail "the wire carried contents in clear: $(tail -n 1 "$work/clear.log")"
import sys
sys.path.insert(0, sys.argv[3])
from transfer import stream
data, block = open(sys.argv[1], "rb").read(), next(stream(65536))
wanted = {"the pings' text": sys.argv[2].encode()} | {f"octets {n} and on of the transfer": block[n:n + 24] for n in range(0, 60000, 5000)}
found = [name for name, text in wanted.items() if text in data]
print(", ".join(found))
sys.exit(1 if found else 0)
P
ok "on the wire: nothing of the pings' text or of the transferred bytes can be read"

for side in east west; do
    finish_process "${daemon[$side]}"
    wait "${daemon[$side]}" || fail "$side's gateway ended with status $?"
    if ip -n "$tag-$side" link show martlet0 >/dev/null 2>&1; then fail "$side's gateway left its interface"; fi
    if ip -n "$tag-$side" rule | grep -q 5210; then fail "$side's gateway left its routing rules"; fi
done
ok "both gateways took their interface, routes and rules with them"
