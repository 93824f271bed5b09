"""One TCP transfer: `receive ADDRESS COUNT` prints the port it listens on; `send FROM TO PORT COUNT`. The bytes are known and compared."""

import hashlib
import socket
import sys


def stream(count):
    """`count` bytes that both ends know."""
    block = hashlib.shake_128(b"martlet transfer").digest(65536)
    while count > 0:
        yield block[: min(count, len(block))]
        count -= len(block)


def receive(address, count):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((address, 0))
        server.listen(1)
        server.settimeout(30)
        print("listening", server.getsockname()[1], flush=True)
        peer, _ = server.accept()
        with peer:
            peer.settimeout(60)
            expected, actual = hashlib.sha256(), hashlib.sha256()
            for block in stream(count):
                expected.update(block)
            while data := peer.recv(65536):
                actual.update(data)
            good = expected.digest() == actual.digest()
            peer.sendall(b"y" if good else b"n")
            return 0 if good else 1


def send(source, target, port, count):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(60)
        client.bind((source, 0))
        client.connect((target, port))
        for block in stream(count):
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)
        return 0 if client.recv(1) == b"y" else 1


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        sys.exit(receive(sys.argv[2], int(sys.argv[3])))
    sys.exit(send(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
