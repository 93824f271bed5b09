#!/usr/bin/env python3
"""Carries the EAP of wpa_supplicant over IKE: `eapoverike.py TARGET CONFIGURATION LOG`, inside a host of a lab. Its program eapol_test speaks RADIUS to us (RFC 3579), and what it says goes to TARGET
in IKE_AUTH; the last AUTH is made with the key that it has derived (RFC 7296 section 2.16). What came of it is a line of JSON: how EAP ended, and the payloads of the last answer.
"""

import hashlib
import hmac
import json
import re
import socket
import struct
import subprocess
import sys

from hostilepeer import AUTH, DELETE, IDI, IKE_AUTH, INFORMATIONAL, NOTIFY, Initiator, chain, prf

EAP = 48
SECRET = b"a secret of RADIUS"
EAP_MESSAGE, STATE, AUTHENTICATOR = 79, 24, 80
IDENTITY = bytes([2, 0, 0, 0]) + b"wpa.example"


class Radius:
    """The other end of eapol_test: RFC 2865 section 3, RFC 3579 section 3."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 1812))
        self.socket.settimeout(30)

    def receive(self):
        """The packet of EAP in the next request."""
        self.request, self.peer = self.socket.recvfrom(9000)
        rest, packet = self.request[20:], b""
        while rest:
            if rest[0] == EAP_MESSAGE:
                packet += rest[2 : rest[1]]
            rest = rest[rest[1] :]
        return packet

    def answer(self, packet):
        code = {3: 2, 4: 3}.get(packet[0], 11)
        attributes = b"".join(bytes([EAP_MESSAGE, 2 + len(piece)]) + piece for piece in (packet[n : n + 253] for n in range(0, len(packet), 253)))
        attributes += (bytes([STATE, 3]) + b"s" if code == 11 else b"") + bytes([AUTHENTICATOR, 18])
        head = struct.pack("!BBH", code, self.request[1], 20 + len(attributes) + 16)
        asked = self.request[4:20]
        attributes += hmac.new(SECRET, head + asked + attributes + bytes(16), hashlib.md5).digest()
        self.socket.sendto(head + hashlib.md5(head + asked + attributes + SECRET).digest() + attributes, self.peer)


def carry(target, configuration, log):
    radius, initiator, number = Radius(), Initiator(target, None), 0
    with open(log, "w") as output:
        words = ["eapol_test", "-c", configuration, "-a", "127.0.0.1", "-p", "1812", "-s", SECRET.decode(), "-n", "-t", "60"]
        client = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    peer = initiator.begin()

    def ask(payloads):
        nonlocal number
        number += 1
        return peer.open(initiator.ask(peer.seal(IKE_AUTH, number, *chain(payloads)), 10, 3) or b"") or []

    try:
        packet = dict(ask([(IDI, IDENTITY), *peer.child()]))[EAP]
        first = radius.receive()
        # It begins with its identity, which here answers the gateway's question.
        answer = bytes([2, packet[1]]) + first[2:]
        while True:
            payloads = ask([(EAP, answer)])
            if EAP not in dict(payloads):
                return ["no EAP", *map(name, payloads)]
            packet = dict(payloads)[EAP]
            radius.answer(packet)
            if packet[0] in (3, 4):
                break
            answer = radius.receive()
        client.wait(timeout=30)
    finally:
        client.kill()
        client.wait()
    if packet[0] == 4:
        return ["EAP-Failure", *map(name, payloads)]
    with open(log, errors="replace") as file:
        keys = re.findall(r"Derived key - hexdump\(len=(?:64|128)\): ([0-9a-f ]+)", file.read())
    if not keys:
        return ["EAP-Success, and the client has no key"]
    octets = peer.first + peer.other_nonce + prf(peer.identity_key, IDENTITY)
    proof = prf(prf(bytes.fromhex(keys[-1])[:64], b"Key Pad for IKEv2"), octets)
    payloads = ask([(AUTH, bytes([2, 0, 0, 0]) + proof)])
    if AUTH in dict(payloads):
        initiator.ask(peer.seal(INFORMATIONAL, number + 1, *chain([(DELETE, bytes([1, 0, 0, 0]))])), 1, 3)
    return ["EAP-Success", *map(name, payloads)]


def name(payload):
    kind, body = payload
    return f"notification {int.from_bytes(body[2:4], 'big')}" if kind == NOTIFY else f"payload {kind}"


if __name__ == "__main__":
    print(json.dumps(carry(*sys.argv[1:4])))
