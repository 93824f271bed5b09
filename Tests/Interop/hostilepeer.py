#!/usr/bin/env python3
"""A peer that knows IKEv2 and breaks its rules: `hostilepeer.py initiator|responder TARGET SEED ROUNDS`, inside a host of a lab.

As the initiator it sends IKE_SA_INIT with octets changed, and then, with keys it has agreed on, IKE_AUTH, CREATE_CHILD_SA and
INFORMATIONAL whose insides are changed; between them it sees that an honest exchange still works. As the responder it answers what
it is asked the same way; as a `client` it only asks for configuration. What it did is one line of JSON at the end. RFC 7296 sections 1.2, 2.14, 2.15 and 3.14, written for this alone.
"""
import ctypes
import ctypes.util
import hashlib
import hmac
import json
import random
import socket
import struct
import sys
import time

SECRET = b"what mallory was given"
# RFC 3526 section 3.
PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05"
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF", 16)
SA, KE, IDI, IDR, AUTH, NONCE, NOTIFY, DELETE, TSI, TSR, SK, CP = 33, 34, 35, 36, 39, 40, 41, 42, 44, 45, 46, 47
INIT, IKE_AUTH, CREATE_CHILD_SA, INFORMATIONAL = 34, 35, 36, 37
library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_cbc"):
    getattr(library, name).restype = ctypes.c_void_p


def aes_cbc(key, iv, data, encrypting):
    """Without padding: `data` is a whole number of blocks."""
    context = ctypes.c_void_p(library.EVP_CIPHER_CTX_new())
    library.EVP_CipherInit_ex(context, ctypes.c_void_p(library.EVP_aes_256_cbc()), None, key, iv, int(encrypting))
    library.EVP_CIPHER_CTX_set_padding(context, 0)
    out, size = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int()
    library.EVP_CipherUpdate(context, out, ctypes.byref(size), data, len(data))
    library.EVP_CIPHER_CTX_free(context)
    return out.raw[:size.value]


def prf(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def prf_plus(key, seed, count):
    made, block, number = b"", b"", 1
    while len(made) < count:
        block = prf(key, block + seed + bytes([number]))
        made, number = made + block, number + 1
    return made[:count]


def chain(payloads):
    """The type of the first, and the octets of all."""
    octets = b""
    for index, (_, body) in enumerate(payloads):
        following = payloads[index + 1][0] if index + 1 < len(payloads) else 0
        octets += struct.pack("!BBH", following, 0, len(body) + 4) + body
    return (payloads[0][0] if payloads else 0), octets


def unchain(first, octets):
    found = []
    while first and len(octets) >= 4:
        following, _, length = struct.unpack("!BBH", octets[:4])
        if length < 4:
            break
        found.append((first, octets[4:length]))
        first, octets = following, octets[length:]
    return found


def transforms(items):
    octets = b""
    for index, (kind, number, attributes) in enumerate(items):
        octets += struct.pack("!BBHBBH", 0 if index + 1 == len(items) else 3, 0, 8 + len(attributes), kind, 0, number) + attributes
    return octets


def proposal(protocol, spi, items):
    body = transforms(items)
    return struct.pack("!BBHBBBB", 0, 0, 8 + len(spi) + len(body), 1, protocol, len(spi), len(items)) + spi + body


AES_256 = (1, 12, struct.pack("!HH", 0x800E, 256))
IKE_SUITE = [AES_256, (2, 5, b""), (3, 12, b""), (4, 14, b"")]
ESP_SUITE = [AES_256, (3, 12, b""), (5, 0, b"")]


def selector(network):
    start, end = bytes([10, network, 0, 0]), bytes([10, network, 255, 255])
    return bytes([1, 0, 0, 0]) + struct.pack("!BBHHH", 7, 0, 16, 0, 65535) + start + end


def notify(kind, data=b"", protocol=0, spi=b""):
    return NOTIFY, struct.pack("!BBH", protocol, len(spi), kind) + spi + data


class Peer:
    """One IKE SA, from this end."""

    def __init__(self, numbers, initiator):
        self.numbers, self.initiator = numbers, initiator
        self.spi, self.other = numbers.randbytes(8), bytes(8)
        self.nonce, self.secret = numbers.randbytes(32), numbers.getrandbits(512)
        self.public = pow(2, self.secret, PRIME).to_bytes(256, "big")
        self.first = b""

    def header(self, following, exchange, response, number, length):
        spis = self.spi + self.other if self.initiator else self.other + self.spi
        flags = (8 if self.initiator else 0) | (32 if response else 0)
        return spis + struct.pack("!BBBBII", following, 0x20, exchange, flags, number, length)

    def init(self, response=False):
        first, octets = chain([(SA, proposal(1, b"", IKE_SUITE)), (KE, struct.pack("!HH", 14, 0) + self.public), (NONCE, self.nonce)])
        self.first = self.header(first, INIT, response, 0, 28 + len(octets)) + octets
        return self.first

    def agree(self, message):
        """The keys, from the other's IKE_SA_INIT; False where it holds none."""
        self.other = message[:8] if not self.initiator else message[8:16]
        theirs = dict(unchain(message[16], message[28:]))
        if KE not in theirs or NONCE not in theirs:
            return False
        self.other_nonce = theirs[NONCE]
        shared = self.shared(theirs[KE])
        self.make_keys(lambda nonces: prf(nonces, shared))
        return True

    def shared(self, their_key):
        return pow(int.from_bytes(their_key[4:], "big"), self.secret, PRIME).to_bytes(256, "big")

    def make_keys(self, seed):
        """RFC 7296 section 2.14; `seed` makes SKEYSEED of both nonces."""
        nonces = self.nonce + self.other_nonce if self.initiator else self.other_nonce + self.nonce
        spis = self.spi + self.other if self.initiator else self.other + self.spi
        made = prf_plus(seed(nonces), nonces + spis, 7 * 32)
        self.derives, ai, ar, ei, er, pi, pr = (made[at * 32:at * 32 + 32] for at in range(7))
        self.out, self.into, self.identity_key = ((ei, ai), (er, ar), pi) if self.initiator else ((er, ar), (ei, ai), pr)

    def follow(self, old, other, nonce, their_key):
        """This is what a rekey makes of `old`: the other end's SPI, nonce and key exchange. Section 2.18."""
        self.other, self.other_nonce = other, nonce
        shared = self.shared(their_key)
        self.make_keys(lambda nonces: prf(old.derives, shared + nonces))

    def seal(self, exchange, number, first, octets, response=False):
        padding = -(len(octets) + 1) % 16
        text = octets + bytes(padding) + bytes([padding])
        iv = self.numbers.randbytes(16)
        length = 4 + 16 + len(text) + 16
        message = self.header(SK, exchange, response, number, 28 + length) + struct.pack("!BBH", first, 0, length) + iv + aes_cbc(self.out[0], iv, text, True)
        return message + hmac.new(self.out[1], message, hashlib.sha256).digest()[:16]

    def open(self, message):
        """The payloads of a protected message; None where it is none of ours."""
        if len(message) < 28 + 4 + 16 + 16 + 16 or message[16] != SK:
            return None
        if hmac.new(self.into[1], message[:-16], hashlib.sha256).digest()[:16] != message[-16:]:
            return None
        text = aes_cbc(self.into[0], message[32:48], message[48:-16], False)
        return unchain(message[28], text[:-1 - text[-1]])

    def proof(self):
        identity = bytes([2, 0, 0, 0]) + b"mallory.example"
        octets = self.first + self.other_nonce + prf(self.identity_key, identity)
        data = prf(prf(SECRET, b"Key Pad for IKEv2"), octets)
        return (IDI if self.initiator else IDR, identity), (AUTH, bytes([2, 0, 0, 0]) + data)

    def child(self, network=9):
        """What a child is asked for or agreed to with; `network` is the one behind this end."""
        networks = (network, 2) if self.initiator else (2, network)
        self.child_spi = self.numbers.randbytes(4)
        return [(SA, proposal(3, self.child_spi, ESP_SUITE)), (TSI, selector(networks[0])), (TSR, selector(networks[1]))]


def spoiled(numbers, octets):
    """The octets with one to three things wrong."""
    octets = bytearray(octets)
    for _ in range(numbers.randint(1, 3)):
        if not octets:
            return numbers.randbytes(numbers.randint(0, 40))
        at = numbers.randrange(len(octets))
        what = numbers.randrange(7)
        if what == 0:
            octets[at] ^= 1 << numbers.randrange(8)
        elif what == 1:
            octets[at] = numbers.choice([0, 1, 127, 128, 255])
        elif what == 2:
            del octets[at:]
        elif what == 3:
            del octets[at:at + numbers.randint(1, 8)]
        elif what == 4:
            octets[at:at] = numbers.randbytes(numbers.randint(1, 40))
        elif what == 5:
            octets[at:at] = octets[at:at + numbers.randint(4, 60)]
        else:
            octets[at:at + 2] = struct.pack("!H", numbers.choice([0, 3, 4, 65535, len(octets), len(octets) + 1]))
    return bytes(octets)


class Initiator:
    def __init__(self, target, seed):
        self.numbers = random.Random(seed)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("", 5600))
        self.socket.connect((target, 500))
        self.sent = self.answered = self.octets_out = self.octets_in = 0
        self.done = {}

    def receive(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            return None

    def ask(self, message, seconds=0.3, tries=1):
        """The response to this message; what belongs to others is left aside."""
        for _ in range(tries):
            self.socket.send(message)
            self.sent += 1
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                answer = self.receive(left)
                if answer is None:
                    break
                if len(answer) >= 28 and answer[19] & 32 and answer[:8] == message[:8] and answer[20:24] == message[20:24]:
                    self.answered += 1
                    return answer
        return None

    def count(self, what):
        self.done[what] = self.done.get(what, 0) + 1

    def flood(self, rounds):
        """IKE_SA_INIT with octets changed. Counts what goes out and what comes back."""
        for _ in range(rounds):
            request = spoiled(self.numbers, Peer(self.numbers, True).init())
            self.socket.send(request[:60000])
            self.sent += 1
            self.octets_out += len(request)
            if answer := self.receive(0.002):
                self.answered += 1
                self.octets_in += len(answer)
        while answer := self.receive(0.1):
            self.octets_in += len(answer)

    def begin(self):
        peer = Peer(self.numbers, True)
        request = peer.init()
        answer = self.ask(request, 1, 5)
        # A cookie comes first where many have knocked.
        if answer and answer[16] == NOTIFY and struct.unpack("!H", answer[34:36])[0] == 16390:
            cookie = unchain(NOTIFY, answer[28:])[0]
            first, octets = chain([cookie] + unchain(request[16], request[28:]))
            peer.first = request[:16] + bytes([first]) + request[17:24] + struct.pack("!I", 28 + len(octets)) + octets
            answer = self.ask(peer.first, 1, 5)
        if not answer or not peer.agree(answer):
            raise SystemExit(f"an honest IKE_SA_INIT was not answered: {answer and answer[28:].hex()}")
        return peer

    def authenticate(self, peer):
        identity, proof = peer.proof()
        answer = peer.open(self.ask(peer.seal(IKE_AUTH, 1, *chain([identity, proof] + peer.child())), 1, 5) or b"")
        if not answer or AUTH not in dict(answer):
            raise SystemExit(f"an honest IKE_AUTH was refused: {answer}")

    def configuration(self, types):
        """What an honest client is told that asks for attributes of these types: the values of each, in hexadecimal. RFC 7296 section 3.15."""
        peer = self.begin()
        identity, proof = peer.proof()
        asked = bytes([1, 0, 0, 0]) + b"".join(struct.pack("!HH", kind, 0) for kind in types)
        everything = bytes([1, 0, 0, 0]) + struct.pack("!BBHHH", 7, 0, 16, 0, 65535) + bytes(4) + b"\xff" * 4
        child = [(kind, everything if kind == TSI else body) for kind, body in peer.child()]
        answer = peer.open(self.ask(peer.seal(IKE_AUTH, 1, *chain([identity, proof, (CP, asked)] + child)), 1, 5) or b"")
        told, octets = {}, dict(answer or [])[CP]
        if octets[0] != 2:
            raise SystemExit(f"that is no CFG_REPLY: {octets.hex()}")
        octets = octets[4:]
        while octets:
            kind, length = struct.unpack("!HH", octets[:4])
            told.setdefault(kind & 0x7FFF, []).append(octets[4 : 4 + length].hex())
            octets = octets[4 + length :]
        self.ask(peer.seal(INFORMATIONAL, 2, *chain([(DELETE, bytes([1, 0, 0, 0]))])), 1, 3)
        print(json.dumps(told))

    def spoil_auth(self):
        peer = self.begin()
        identity, proof = peer.proof()
        first, octets = chain([identity, proof] + peer.child())
        answer = self.ask(peer.seal(IKE_AUTH, 1, first if self.numbers.random() < 0.9 else self.numbers.randrange(256), spoiled(self.numbers, octets)))
        opened = peer.open(answer) if answer else None
        self.count("IKE_AUTH answered" if opened else "IKE_AUTH not answered")
        # What was taken all the same is ended, so that nothing fills up.
        if opened and AUTH in dict(opened):
            self.ask(peer.seal(INFORMATIONAL, 2, *chain([(DELETE, bytes([1, 0, 0, 0]))])))

    def spoil_established(self):
        peer = self.begin()
        self.authenticate(peer)
        number = 2
        for _ in range(self.numbers.randint(1, 4)):
            exchange, payloads = self.numbers.choice([
                (CREATE_CHILD_SA, [(NONCE, self.numbers.randbytes(32))] + peer.child()),
                (CREATE_CHILD_SA, [notify(16393, protocol=3, spi=self.numbers.randbytes(4)), (NONCE, self.numbers.randbytes(32))] + peer.child()),
                (CREATE_CHILD_SA, [(SA, proposal(1, self.numbers.randbytes(8), IKE_SUITE)), (NONCE, self.numbers.randbytes(32)), (KE, struct.pack("!HH", 14, 0) + peer.public)]),
                (INFORMATIONAL, [(DELETE, bytes([3, 4, 0, 2]) + self.numbers.randbytes(8)), notify(40960, b"12345678")]),
            ])
            first, octets = chain(payloads)
            answer = self.ask(peer.seal(exchange, number, first, spoiled(self.numbers, octets)))
            opened = peer.open(answer) if answer else None
            if opened is None:
                # All that is authentic and in turn is answered. RFC 7296 section 2.21.3.
                raise SystemExit(f"an authentic request of exchange {exchange} had no answer")
            self.count(f"exchange {exchange} answered")
            number += 1
            # Not everything that is spoiled is wrong: the new IKE SA stands, and is nobody's here.
            if any(kind == SA and body[5:6] == b"\1" for kind, body in opened):
                self.count("IKE SAs rekeyed")
            # Over by INVALID_SYNTAX, or it stands and answers.
            if any(kind == NOTIFY and body[2:4] == b"\0\7" for kind, body in opened):
                if self.ask(peer.seal(INFORMATIONAL, number, *chain([])), 0.1):
                    raise SystemExit("an SA that ended with INVALID_SYNTAX still answers")
                self.count("ended with INVALID_SYNTAX")
                return
        alive = peer.open(self.ask(peer.seal(INFORMATIONAL, number, *chain([])), 1, 3) or b"")
        # A rekey of the IKE SA that was taken leaves the old one to be deleted: it answers too.
        if alive is None:
            raise SystemExit("an SA that nothing ended does not answer")
        self.ask(peer.seal(INFORMATIONAL, number + 1, *chain([(DELETE, bytes([1, 0, 0, 0]))])))
        self.count("ended by us")

    def run(self, rounds):
        self.flood(rounds * 10)
        for number in range(rounds):
            self.spoil_auth() if number % 2 else self.spoil_established()
        peer = self.begin()
        self.authenticate(peer)
        self.ask(peer.seal(INFORMATIONAL, 2, *chain([(DELETE, bytes([1, 0, 0, 0]))])), 1, 3)
        print(json.dumps({"sent": self.sent, "answered": self.answered, "octets out": self.octets_out, "octets in": self.octets_in, **self.done}))


def respond(seed, seconds):
    """Answers every request with something that is wrong, for so long."""
    numbers = random.Random(seed)
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("", 500))
    listening.settimeout(0.2)
    print("ready", flush=True)
    peers, done, end = {}, {}, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            message, source = listening.recvfrom(65536)
        except TimeoutError:
            continue
        if len(message) < 28 or message[19] & 32:
            continue
        if message[18] == INIT:
            peer = Peer(numbers, False)
            peer.other = message[:8]
            answer = peer.init(response=True)
            if not peer.agree(message):
                continue
            peers[peer.other] = peer
            if numbers.random() < 0.4:
                answer, what = answer[:16] + spoiled(numbers, answer[16:]), "IKE_SA_INIT spoiled"
            else:
                what = "IKE_SA_INIT honest"
            listening.sendto(answer, source)
        elif peer := peers.get(message[:8]):
            if peer.open(message) is None:
                continue
            if message[18] == IKE_AUTH:
                identity, proof = peer.proof()
                first, octets = chain([identity, proof] + peer.child())
                answer, what = peer.seal(IKE_AUTH, 1, first, spoiled(numbers, octets), True), "IKE_AUTH spoiled"
            else:
                answer, what = peer.seal(message[18], int.from_bytes(message[20:24], "big"), *chain([]), True), "INFORMATIONAL answered"
            listening.sendto(answer, source)
        else:
            continue
        done[what] = done.get(what, 0) + 1
    print(json.dumps(done))


if __name__ == "__main__":
    role, target, seed, amount = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if role == "initiator":
        Initiator(target, seed).run(amount)
    elif role == "client":
        Initiator(target, seed).configuration([amount, *map(int, sys.argv[5:])])
    else:
        respond(seed, amount)
