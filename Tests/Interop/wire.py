"""A slow wire: `wire.py SECONDS INTERFACE INTERFACE` carries frames from each interface to the other, each SECONDS later.

Every frame travels with its virtio-net header, so that a checksum which the sender's kernel has left open stays so.
"""

import collections
import selectors
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, ETH_P_ALL = 263, 15, 3

delay = float(sys.argv[1])
ends = []
for name in sys.argv[2:4]:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.bind((name, ETH_P_ALL))
    ends.append(end)
poller = selectors.DefaultSelector()
for end, other in (ends, ends[::-1]):
    poller.register(end, selectors.EVENT_READ, other)
under_way = collections.deque()
print("ready", flush=True)
while True:
    for key, _ in poller.select(max(0, under_way[0][0] - time.monotonic()) if under_way else None):
        frame, source = key.fileobj.recvfrom(70000)
        if source[2] != socket.PACKET_OUTGOING:
            under_way.append((time.monotonic() + delay, key.data, frame))
    while under_way and under_way[0][0] <= time.monotonic():
        _, target, frame = under_way.popleft()
        try:
            target.send(frame)
        except OSError:
            pass
