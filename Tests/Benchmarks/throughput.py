#!/usr/bin/env python3
"""Moves TCP through a tunnel between two gateways on this machine, one cipher after the other, and prints rate and CPU time a packet.

Both gateways, the kernel's TCP and the sending and receiving programs share the machine's cores: the figure is for comparison over time.
"""

import os
import sys
import time
from pathlib import Path

os.environ["MARTLET_BUILD"] = sys.argv[1]
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "Interop"))

import lab  # noqa: E402

COUNT = 100_000_000
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(gateway):
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def packets(gateway):
    return sum(int(child[direction]["packets"] or 0) for child in gateway.children() for direction in ("inbound", "outbound"))


def measure(suite, provider):
    both = dict(esp=suite, ike="aes256gcm16-prfsha256-x25519", connection=f"crypto = {provider}", level="info")
    with lab.pair(both=both) as (tunnel, east, west):
        east.cli("up", "site")
        tunnel.transfer("east", "west", "10.1.0.1", "10.2.0.1", 1_000_000)
        before = [(cpu_seconds(g), packets(g)) for g in (east, west)]
        begun = time.monotonic()
        tunnel.transfer("east", "west", "10.1.0.1", "10.2.0.1", COUNT, seconds=120)
        elapsed = time.monotonic() - begun
        text = []
        for name, gateway, (cpu, count) in zip(("sealing", "opening"), (east, west), before):
            text.append(f"{name} {1e6 * (cpu_seconds(gateway) - cpu) / max(1, packets(gateway) - count):.1f} us of CPU a packet")
        print(f"{suite} from {provider}: {8e-6 * COUNT / elapsed:.0f} Mbit/s of TCP; {', '.join(text)} (system calls included)", flush=True)


for suite in ("aes256gcm16", "chacha20poly1305", "aes256-sha256"):
    for provider in ("openssl", "gcrypt"):
        try:
            measure(suite, provider)
        except lab.Failed as error:
            print(f"{suite} from {provider}: {str(error).splitlines()[0]}", flush=True)
