"""A steady stream of UDP at 20 Mbit/s: `sink ADDRESS` prints its port; `source FROM TO PORT SECONDS` prints how many packets it sent."""

import socket
import sys
import time


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


if sys.argv[1] == "sink":
    with socket.socket(family(sys.argv[2]), socket.SOCK_DGRAM) as receiver:
        receiver.bind((sys.argv[2], 0))
        print(receiver.getsockname()[1], flush=True)
        while True:
            receiver.recv(65536)
else:
    source, target, port, seconds = sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
    payload = bytes(1200)
    pause = len(payload) * 8 / 20e6
    sent = 0
    with socket.socket(family(source), socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            while sent < passed / pause:
                try:
                    sender.sendto(payload, (target, port))
                except OSError:
                    pass
                sent += 1
            time.sleep(0.002)
    print(sent)
