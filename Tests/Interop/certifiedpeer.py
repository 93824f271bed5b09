#!/usr/bin/env python3
"""A peer that shows certificates which no honest daemon would: `certifiedpeer.py TARGET FOLDER`, inside a host of a lab. For each folder in FOLDER, by name, it begins an
IKE SA and proves itself with `key.pem` and the certificates `0.der`, `1.der` ... as the host name in `name`, by ECDSA with P-256 (RFC 4754); then it ends what came up. What
it was answered is a line of JSON: for each case the payloads, a notification as its number. RFC 7296 sections 1.2, 2.15 and 3.6.
"""
import json
import pathlib
import subprocess
import sys

from hostilepeer import AUTH, DELETE, IDI, IKE_AUTH, INFORMATIONAL, NOTIFY, Initiator, chain, prf

CERT, ECDSA_256, X509 = 37, 9, 4


def raw_signature(key, octets):
    """r and s, 32 octets each. RFC 4754 section 7."""
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(key)], input=octets, capture_output=True, check=True).stdout
    numbers, at = [], 2
    for _ in range(2):
        size = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + size], "big"))
        at += 2 + size
    return b"".join(number.to_bytes(32, "big") for number in numbers)


def ask(initiator, folder):
    peer = initiator.begin()
    identity = bytes([2, 0, 0, 0]) + (folder / "name").read_bytes()
    proof = raw_signature(folder / "key.pem", peer.first + peer.other_nonce + prf(peer.identity_key, identity))
    certificates = [(CERT, bytes([X509]) + file.read_bytes()) for file in sorted(folder.glob("?.der"))]
    payloads = [(IDI, identity), *certificates, (AUTH, bytes([ECDSA_256, 0, 0, 0]) + proof), *peer.child()]
    answer = peer.open(initiator.ask(peer.seal(IKE_AUTH, 1, *chain(payloads)), 10, 3) or b"")
    if answer is None:
        return None
    if AUTH in dict(answer):
        initiator.ask(peer.seal(INFORMATIONAL, 2, *chain([(DELETE, bytes([1, 0, 0, 0]))])), 1, 3)
    return [int.from_bytes(body[2:4], "big") if kind == NOTIFY else f"payload {kind}" for kind, body in answer]


if __name__ == "__main__":
    initiator = Initiator(sys.argv[1], sys.argv[2])
    print(json.dumps({folder.name: ask(initiator, folder) for folder in sorted(pathlib.Path(sys.argv[2]).iterdir())}))
