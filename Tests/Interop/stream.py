"""A steady stream of UDP at 20 Mbit/s: `sink ADDRESS` prints its port, and how many packets came; `source FROM TO PORT SECONDS` prints how many packets it sent. SIGTERM ends either."""

import signal
import socket
import sys
import time


class Ended(Exception):
    pass


def end(*_):
    raise Ended


def bound(address):
    endpoint = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.bind((address, 0))
    return endpoint


signal.signal(signal.SIGTERM, end)
count = 0
try:
    with bound(sys.argv[2]) as endpoint:
        if sys.argv[1] == "sink":
            print(endpoint.getsockname()[1], flush=True)
            while True:
                endpoint.recv(65536)
                count += 1
        target, port, seconds = sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
        payload = bytes(1200)
        pause = len(payload) * 8 / 20e6
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            while count < passed / pause:
                count += 1
                try:
                    endpoint.sendto(payload, (target, port))
                except OSError:
                    pass
            time.sleep(0.002)
except Ended:
    pass
print(count)
