"""A steady stream of UDP: `sink ADDRESS` prints its port, and then how many packets came; `source FROM TO PORT SECONDS` sends, and prints how many packets and in how many seconds.

SIGTERM ends either. What does not leave is not counted, and another packet takes its place.
"""

import signal
import socket
import sys
import time

PAYLOAD, BITS_PER_SECOND = 1200, 20e6


class Ended(Exception):
    pass


def end(*_):
    raise Ended


def bound(address):
    endpoint = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.bind((address, 0))
    return endpoint


def main():
    signal.signal(signal.SIGTERM, end)
    count, begun = 0, time.monotonic()
    try:
        with bound(sys.argv[2]) as endpoint:
            if sys.argv[1] == "sink":
                print(endpoint.getsockname()[1], flush=True)
                while True:
                    endpoint.recv(65536)
                    count += 1
            target, port, seconds = sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
            payload = bytes(PAYLOAD)
            while (passed := time.monotonic() - begun) < seconds:
                while count < passed * BITS_PER_SECOND / (PAYLOAD * 8):
                    try:
                        endpoint.sendto(payload, (target, port))
                    except OSError:
                        break
                    count += 1
                time.sleep(0.002)
    except Ended:
        pass
    print(count, time.monotonic() - begun)


if __name__ == "__main__":
    main()
