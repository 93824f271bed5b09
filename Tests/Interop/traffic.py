"""A load on a tunnel, and what became of it."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

from lab import Failed, expect
from stream import PAYLOAD

# Of the stream's 20 Mbit/s each way; what the queues of a machine that is busy otherwise may lose of it is the rest.
LEAST_MBITS, LEAST_SHARE = 19, 90


class Overrun(Failed):
    """The machine was too busy to tell what the tunnel would have done: it did not send the load, or packets found a queue full."""


def overruns(lab):
    """How many packets either host has dropped because nobody read them in time: at UDP sockets and at interfaces."""
    count = 0
    for host in ("east", "west"):
        for line in lab.inside(host, "cat", "/proc/net/snmp", "/proc/net/snmp6").stdout.splitlines():
            if line.startswith("Udp: ") and line.split()[1].isdigit():
                count += int(line.split()[5])
            elif line.startswith("Udp6RcvbufErrors"):
                count += int(line.split()[1])
        for link in json.loads(lab.inside(host, "ip", "-s", "-j", "link").stdout):
            count += link["stats64"]["tx"]["dropped"] + link["stats64"]["rx"]["dropped"]
    return count


class Load:
    """UDP at 20 Mbit/s each way and a ping every 20 ms, from its making to `finish`, at most for `seconds`."""

    def __init__(self, lab, seconds=120, east="10.1.0.1", west="10.2.0.1"):
        self.lab, self.before = lab, overruns(lab)
        program = Path(__file__).with_name("stream.py")
        ends = (("east", east, "west", west), ("west", west, "east", east))
        self.sinks = [lab.start(host, sys.executable, program, "sink", address, stdout=subprocess.PIPE, text=True) for _, _, host, address in ends]
        ports = [sink.stdout.readline().strip() for sink in self.sinks]
        self.ping = lab.start("east", "ping", "-n", "-i", "0.02", "-c", int(seconds * 50), "-W", "2", "-I", east, west, stdout=subprocess.PIPE, text=True)
        self.sources = [
            lab.start(host, sys.executable, program, "source", address, target, port, seconds, stdout=subprocess.PIPE, text=True)
            for (host, address, _, target), port in zip(ends, ports)
        ]

    def finish(self):
        """Ends the load. Fails if a ping was lost, less was sent than 19 Mbit/s each way, or less than 90 % of it arrived; returns how much did, in percent, each way."""
        for process, number in ((self.ping, signal.SIGINT), *((source, signal.SIGTERM) for source in self.sources)):
            if process.poll() is None:
                process.send_signal(number)
        ends = [source.communicate(timeout=30)[0].split() for source in self.sources]
        sent = [int(count) for count, _ in ends]
        rates = [round(int(count) * PAYLOAD * 8 / 1e6 / float(seconds), 2) for count, seconds in ends]
        for sink in self.sinks:
            sink.send_signal(signal.SIGTERM)
        received = [int(sink.communicate(timeout=30)[0].split()[0]) for sink in self.sinks]
        text = self.ping.communicate(timeout=30)[0]
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+)", text)}
        transmitted = int((re.search(r"(\d+) packets transmitted", text) or [0, 0])[1])
        # What was on its way when the load ended is not lost.
        last = max(answered, default=0)
        lost = set(range(1, last + 1)) - answered
        dropped = overruns(self.lab) - self.before
        if lost and dropped:
            raise Overrun(f"{len(lost)} pings were lost, and {dropped} packets found a queue full")
        expect(last > 0 and not lost and transmitted - last <= 50, lambda: f"of {transmitted} pings {len(lost)} were lost: {sorted(lost)[:20]}; the last answered is {last}; {dropped} packets found a queue full")
        if min(rates) < LEAST_MBITS:
            raise Overrun(f"this machine is too slow for the load: {rates} Mbit/s were sent, where {LEAST_MBITS} each way are asked for")
        arrived = [round(100 * there / count, 1) for there, count in zip(received, sent)]
        if min(arrived) < LEAST_SHARE:
            raise (Overrun if dropped else Failed)(f"of the stream at {rates} Mbit/s arrived {arrived} %; {dropped} packets found a queue full")
        return arrived
