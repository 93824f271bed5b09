#!/usr/bin/env python3
"""Every message of IKEv2 wrong in every way, for a daemon: `hostilecases.py requests|responses TARGET SOCKET SEED`, inside a host of a lab.

Each payload of each message is left out, sent twice, cut, one octet shorter or longer, with a length that lies, and critical; the payloads come in another order, with
unknown ones, and not at all. What RFC 7296 has follow stands in `RULES`, with its section. `requests` asks; `responses` has the daemon ask, over its control
socket, and answers. After each case the IKE SA is either gone or whole. What was tried is one line of JSON; what went otherwise than it should, a line each before it.
"""
import json
import random
import socket
import struct
import sys
import threading
import time

from hostilepeer import (
    AUTH, CREATE_CHILD_SA, DELETE, ESP_SUITE, IDI, IDR, IKE_AUTH, IKE_SUITE, INFORMATIONAL, INIT, KE, NONCE, NOTIFY, SA, TSI, TSR, Initiator, Peer, chain, notify, proposal, selector, unchain,
)
from vicisocket import ViciSocket

NAMES = {SA: "SA", KE: "KE", IDI: "IDi", IDR: "IDr", AUTH: "AUTH", NONCE: "Nonce", NOTIFY: "N", DELETE: "D", TSI: "TSi", TSR: "TSr"}
ERRORS = {1: "UNSUPPORTED_CRITICAL_PAYLOAD", 7: "INVALID_SYNTAX", 14: "NO_PROPOSAL_CHOSEN", 17: "INVALID_KE_PAYLOAD", 24: "AUTHENTICATION_FAILED", 38: "TS_UNACCEPTABLE", 44: "CHILD_SA_NOT_FOUND"}
SCENES = ("IKE_SA_INIT", "IKE_AUTH", "new child", "rekey of the child", "rekey of the IKE SA", "delete of the child")

# What follows, the first line that fits: scene, payload, change, outcome of a request, outcome of a response, section of RFC 7296. A `*` fits all.
#   accepted: as an honest message.        answered: without an error, and nothing is done.
#   silence: as if it had not come; the honest message is taken afterwards.
#   refused: with this error; the IKE SA stands.      fatal: with this error; the IKE SA is over.
#   failed: what was asked for fails, the IKE SA stands.      closes: the IKE SA is over.
MALFORMED = "malformed"
RULES = [
    ("*", "*", "as it is", "accepted", "accepted", "1.2 to 1.4"),
    ("*", "*", "critical", "accepted", "accepted", "3.2: the bit says nothing about a known type"),
    ("*", "-", "reversed", "accepted", "accepted", "2.5: the order is no reason to refuse"),
    ("*", "-", "an unknown payload", "accepted", "accepted", "2.5: skipped"),
    ("IKE_SA_INIT", "-", "an unknown critical payload", "refused UNSUPPORTED_CRITICAL_PAYLOAD", "silence", "2.5, 2.21.1"),
    ("IKE_AUTH", "-", "an unknown critical payload", "fatal UNSUPPORTED_CRITICAL_PAYLOAD", "closes", "2.5, 2.21.2"),
    ("*", "-", "an unknown critical payload", "refused UNSUPPORTED_CRITICAL_PAYLOAD", "closes", "2.5; an answer that cannot be read leaves the two ends with different SAs"),
    ("delete of the child", "*", "absent", "answered", "accepted", "1.4: a liveness check; 1.4.1: the answer may be empty"),
    ("delete of the child", "-", "nothing", "answered", "accepted", "1.4, 1.4.1"),
    *(((scene, "-", "nothing", MALFORMED, MALFORMED, "1.2: what an exchange consists of") for scene in ("IKE_SA_INIT", "IKE_AUTH"))),
    ("*", "-", "nothing", MALFORMED, "failed", "1.3; 2.21: an empty answer can be read"),
    ("IKE_AUTH", "IDr", "absent", "accepted", MALFORMED, "1.2: optional in a request"),
    ("IKE_AUTH", "AUTH", "absent", "fatal AUTHENTICATION_FAILED", "closes", "2.16: it asks for EAP, which is not offered here"),
    ("rekey of the child", "N", "absent", "accepted", "-", "1.3.3: without REKEY_SA it asks for one more child"),
    ("rekey of the child", "N", "longer", "accepted", "-", "3.10: data of any length"),
    ("delete of the child", "D", "twice", "accepted", "accepted", "3.11: several are permitted"),
    ("IKE_SA_INIT", "*", "absent", MALFORMED, MALFORMED, "1.2: what an exchange consists of"),
    *((("IKE_AUTH", name, "absent", MALFORMED, "failed", "1.2, 2.21.2: the IKE SA is made all the same") for name in ("SA", "TSi", "TSr"))),
    ("IKE_AUTH", "*", "absent", MALFORMED, MALFORMED, "1.2: what an exchange consists of"),
    ("*", "*", "absent", MALFORMED, "failed", "1.3; 2.21: an answer can be read that lacks something, and what was asked for is not made"),
    ("*", "*", "twice", MALFORMED, MALFORMED, "1.2, 1.3: what an exchange consists of"),
    ("*", "*", "cut", MALFORMED, MALFORMED, "3.3 to 3.13: a field is cut off"),
    ("*", "Nonce", "shorter", "accepted", "accepted", "3.9: 16 to 256 octets"),
    ("*", "Nonce", "longer", "accepted", "accepted", "3.9"),
    *((("IKE_SA_INIT", "KE", change, "refused INVALID_SYNTAX", "silence", "3.4: as long as the prime; RFC 6989 2.5") for change in ("shorter", "longer"))),
    ("*", "KE", "shorter", MALFORMED, MALFORMED, "3.4: as long as the prime"),
    ("*", "KE", "longer", MALFORMED, MALFORMED, "3.4"),
    *((("IKE_AUTH", name, change, "fatal AUTHENTICATION_FAILED", "closes", "2.15, 3.5: another identity, another proof") for name in ("IDi", "IDr", "AUTH") for change in ("shorter", "longer"))),
    ("*", "*", "shorter", MALFORMED, MALFORMED, "3.3, 3.10, 3.11, 3.13: a field is cut off"),
    ("*", "*", "longer", MALFORMED, MALFORMED, "3.3, 3.11, 3.13: an octet that belongs to nothing"),
    ("*", "*", "says one octet more", MALFORMED, MALFORMED, "3.2: Payload Length"),
    ("*", "*", "says one octet less", MALFORMED, MALFORMED, "3.2: Payload Length"),
]


def expected(scene, payload, change, is_request):
    """The outcome, and the section that has it."""
    for a, b, c, request, response, section in RULES:
        if a in ("*", scene) and b in ("*", payload) and c == change:
            outcome = request if is_request else response
            if outcome == MALFORMED:
                # 3.10.1: INVALID_SYNTAX is said under protection alone; 2.21.1: nothing unprotected is believed.
                outcome = "silence" if scene == "IKE_SA_INIT" else "fatal INVALID_SYNTAX" if is_request else "closes"
                section += "; 2.21.1" if scene == "IKE_SA_INIT" else "; 2.21.2" if scene == "IKE_AUTH" else "; 2.21.3"
            return outcome, section
    raise SystemExit(f"no rule for {scene}, {payload}, {change}")


def octets(payloads):
    """As `chain`, of payloads that may have flags and a length that lies."""
    made = b""
    for index, (_, body, *more) in enumerate(payloads):
        flags, lie = more or (0, 0)
        following = payloads[index + 1][0] if index + 1 < len(payloads) else 0
        made += struct.pack("!BBH", following, flags, len(body) + 4 + lie) + body
    return (payloads[0][0] if payloads else 0), made


def changes(payloads):
    """(payload, change, what the payloads become)."""
    yield "-", "as it is", payloads
    for index, (kind, body) in enumerate(payloads):

        def put(*new):
            return payloads[:index] + list(new) + payloads[index + 1 :]

        for change, new in (
            ("absent", put()), ("twice", put((kind, body), (kind, body))), ("cut", put((kind, body[:3]))), ("shorter", put((kind, body[:-1]))), ("longer", put((kind, body + b"\0"))),
            ("says one octet more", put((kind, body, 0, 1))), ("says one octet less", put((kind, body, 0, -1))), ("critical", put((kind, body, 0x80, 0))),
        ):
            yield NAMES[kind], change, new
    middle = len(payloads) // 2
    yield "-", "an unknown payload", payloads[:middle] + [(200, b"123")] + payloads[middle:]
    yield "-", "an unknown critical payload", payloads[:middle] + [(200, b"123", 0x80, 0)] + payloads[middle:]
    yield "-", "nothing", []
    if len(payloads) > 1:
        yield "-", "reversed", payloads[::-1]


def error(payloads):
    """The first error that is notified."""
    for kind, body in payloads or []:
        if kind == NOTIFY and (number := struct.unpack("!H", body[2:4])[0]) < 16384:
            return ERRORS.get(number, str(number))
    return None


def first_payloads(peer):
    return [(SA, proposal(1, b"", IKE_SUITE)), (KE, struct.pack("!HH", 14, 0) + peer.public), (NONCE, peer.nonce)]


class Daemon:
    """What the daemon has, as its control socket tells."""

    def __init__(self, path):
        self.vici = ViciSocket(path)

    def sas(self):
        with_events = self.vici.request("list-sas", events="list-sa")
        return [sa for event in with_events for name, sa in event.items() if name == "mallory"]

    def of(self, peer):
        """The IKE SA that this peer is the other end of: its children, or None where it is gone."""
        key = "initiator-spi" if peer.initiator else "responder-spi"
        for sa in self.sas():
            if sa.get(key) == peer.spi.hex() and sa["state"] in ("ESTABLISHED", "REKEYING"):
                return [child for child in sa.get("child-sas", {}).values() if child["state"] in ("INSTALLED", "REKEYING")]
        return None


class Trials:
    """Counts the cases, and says which went otherwise."""

    def __init__(self):
        self.tried, self.wrong = {}, 0

    def judge(self, scene, payload, change, outcome, should, section):
        self.tried[scene] = self.tried.get(scene, 0) + 1
        if outcome != should:
            self.wrong += 1
            print(f"{scene}, {payload}, {change}: {outcome}, and not {should} ({section})", flush=True)

    def end(self):
        print(json.dumps({**self.tried, "wrong": self.wrong}))


class Requests(Initiator, Trials):
    def __init__(self, target, path, seed):
        Initiator.__init__(self, target, seed)
        Trials.__init__(self)
        self.daemon, self.peer, self.number = Daemon(path), None, 0

    def run_all(self):
        for scene in SCENES:
            cases = list(changes(self.honest(scene)))
            if scene == "IKE_AUTH":
                # What was begun for the list is ended: half-open it would stay for its time.
                self.authenticate(self.peer)
                self.number = 2
                self.leave()
            for index, (payload, change, _) in enumerate(cases):
                should, section = expected(scene, payload, change, True)
                self.judge(scene, payload, change, self.outcome(scene, index, should), should, section)
        self.leave()
        self.end()

    def honest(self, scene):
        """The payloads of the honest message, on an IKE SA that is ready for it."""
        if scene == "IKE_SA_INIT":
            self.peer = Peer(self.numbers, True)
            return first_payloads(self.peer)
        if scene == "IKE_AUTH":
            self.peer = self.begin()
            identity, proof = self.peer.proof()
            return [identity, (IDR, bytes([2, 0, 0, 0]) + b"west.example"), proof] + self.peer.child()
        self.establish()
        if scene == "rekey of the IKE SA":
            self.next = Peer(self.numbers, True)
            return [(SA, proposal(1, self.next.spi, IKE_SUITE)), (NONCE, self.next.nonce), (KE, struct.pack("!HH", 14, 0) + self.next.public)]
        if scene == "delete of the child":
            return [(DELETE, bytes([3, 4, 0, 1]) + self.spi)]
        sa, *selectors = self.peer.child()
        child = [sa, (NONCE, self.numbers.randbytes(32)), *selectors]
        return [notify(16393, protocol=3, spi=self.spi), *child] if scene == "rekey of the child" else child

    def establish(self):
        if self.number:
            return
        self.peer = self.begin()
        self.authenticate(self.peer)
        self.number, self.spi = 2, self.peer.child_spi

    def leave(self):
        """Ends what there is, so that the next case begins anew."""
        if self.number:
            self.exchange(INFORMATIONAL, [(DELETE, bytes([1, 0, 0, 0]))])
        self.number = 0

    def exchange(self, exchange, payloads):
        answer = self.peer.open(self.ask(self.peer.seal(exchange, self.number, *octets(payloads)), 1, 5) or b"")
        self.number += 1
        return answer

    def outcome(self, scene, index, should):
        payloads = self.honest(scene)
        wrong = list(changes(payloads))[index][2]
        if scene == "IKE_SA_INIT":
            return self.outcome_of_init(payloads, wrong, should)
        if scene == "IKE_AUTH":
            self.number = 1
            answer = self.exchange(IKE_AUTH, wrong)
            if answer is None:
                return "silence"
            kinds = dict(answer)
            if AUTH in kinds:
                result = "accepted" if SA in kinds and len(self.daemon.of(self.peer) or []) == 1 else f"half of it: {error(answer)}"
                self.leave()
            else:
                result = self.after_error(answer, 0)
            return result
        children = len(self.daemon.of(self.peer) or [])
        answer = self.exchange(INFORMATIONAL if scene == "delete of the child" else CREATE_CHILD_SA, wrong)
        if answer is None:
            self.number = 0
            return "silence"
        if error(answer):
            return self.after_error(answer, children)
        kinds = dict(answer)
        if scene == "delete of the child":
            left = len(self.daemon.of(self.peer) or [])
            result = "accepted" if DELETE in kinds and left == 0 else "answered" if not answer and left == 1 else f"half of it: {left} children"
        elif scene == "rekey of the IKE SA":
            self.leave()
            self.next.nonce = next((body for kind, body, *_ in wrong if kind == NONCE), b"")
            self.next.follow(self.peer, kinds[SA][8:16], kinds[NONCE], kinds[KE])
            self.peer, self.number = self.next, 0
            result = "accepted" if self.exchange(INFORMATIONAL, []) == [] and len(self.daemon.of(self.peer) or []) == 1 else "half of it: the new IKE SA does not answer"
        else:
            spis = [child["spi-out"] for child in self.daemon.of(self.peer) or []]
            result = "accepted" if SA in kinds and self.peer.child_spi.hex() in spis else f"half of it: {spis}"
        if result != "answered":
            self.leave_all()
        return result

    def leave_all(self):
        # The first request of an IKE SA that a rekey has made has the number 0.
        self.number = self.number or 1
        self.leave()

    def after_error(self, answer, children):
        """Whether the IKE SA stands as before, or is gone."""
        left = self.daemon.of(self.peer)
        if left is None:
            self.number = 0
            return f"fatal {error(answer)}"
        if len(left) != children or self.exchange(INFORMATIONAL, []) != []:
            return f"half alive after {error(answer)}: {len(left)} children, and not {children}"
        return f"refused {error(answer)}"

    def outcome_of_init(self, payloads, wrong, should):
        def message(payloads):
            first, body = octets(payloads)
            return self.peer.header(first, INIT, False, 0, 28 + len(body)) + body

        if should == "silence":
            # The honest one right behind: what was begun for the first would be in its way.
            self.socket.send(message(wrong))
            self.sent += 1
            wrong = payloads
        self.peer.first = message(wrong)
        self.peer.nonce = next((body for kind, body, *_ in wrong if kind == NONCE), b"")
        answer = self.ask(self.peer.first, 1, 5)
        if answer is None:
            return "no answer, to the honest one neither" if should == "silence" else "silence"
        if said := error(unchain(answer[16], answer[28:])):
            return f"refused {said}"
        if not self.peer.agree(answer):
            return "answered with something else"
        self.authenticate(self.peer)
        self.number = 2
        self.leave()
        return should if should == "silence" else "accepted"


class Responses(Trials):
    def __init__(self, target, path, seed):
        super().__init__()
        self.numbers, self.daemon, self.path, self.target = random.Random(seed), Daemon(path), path, target
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("", 500))
        self.socket.settimeout(0.02)
        self.peers, self.said, self.peer = {}, {}, None
        # Which change the next answer in this scene gets, and what it should lead to.
        self.plan, self.counted = None, 0

    def run_all(self):
        for scene in SCENES:
            index = 0
            while index == 0 or index < self.counted:
                outcome, (payload, change, should, section) = self.trial(scene, index)
                self.judge(scene, payload, change, outcome, should, section)
                index += 1
        self.leave()
        self.end()

    # The wire

    def answer(self, scene, payloads, message):
        """Sends the payloads, changed where this is the scene of the plan. The honest ones afterwards where nobody is to have noticed."""
        send = [payloads]
        if self.plan and self.plan[0] == scene:
            cases = list(changes(payloads))
            self.counted = len(cases)
            payload, change, wrong = cases[self.plan[1]]
            should, section = expected(scene, payload, change, False)
            self.case, self.plan = (payload, change, should, section), None
            send = [wrong, payloads] if should == "silence" else [wrong]
        return send

    def handle(self, message, source):
        if len(message) < 28 or message[19] & 32:
            return
        number, key = int.from_bytes(message[20:24], "big"), (message[:16], message[18], message[20:24])
        if key in self.said:
            return [self.socket.sendto(datagram, source) for datagram in self.said[key]]
        if message[18] == INIT:
            self.peer = peer = Peer(self.numbers, False)
            peer.other = message[:8]
            datagrams = []
            for payloads in self.answer("IKE_SA_INIT", first_payloads(peer), message):
                first, body = octets(payloads)
                peer.first = peer.header(first, INIT, True, 0, 28 + len(body)) + body
                peer.nonce = next((body for kind, body, *_ in payloads if kind == NONCE), peer.nonce)
                datagrams.append(peer.first)
            if not peer.agree(message):
                return
            self.peers[peer.spi] = peer
            peer.asked = 0
        else:
            peer = self.peers.get(message[8:16])
            asked = peer and peer.open(message)
            if asked is None:
                return
            datagrams = [peer.seal(message[18], number, *octets(payloads), response=True) for payloads in self.reply(peer, message, asked)]
        # Who asks again has not taken the first of two.
        self.said[key] = datagrams[-1:]
        for datagram in datagrams:
            self.socket.sendto(datagram, source)

    def reply(self, peer, message, asked):
        """What an honest peer answers to a protected request, or what the plan makes of it."""
        kinds = dict(asked)
        if message[18] == IKE_AUTH:
            identity, proof = peer.proof()
            return self.answer("IKE_AUTH", [identity, proof] + peer.child(), message)
        if message[18] == INFORMATIONAL:
            if DELETE in kinds and kinds[DELETE][0] == 3:
                return self.answer("delete of the child", [(DELETE, bytes([3, 4, 0, 1]) + peer.child_spi)], message)
            return [[]]
        if kinds[SA][5] == 1:
            new = Peer(self.numbers, False)
            answers = self.answer("rekey of the IKE SA", [(SA, proposal(1, new.spi, IKE_SUITE)), (NONCE, new.nonce), (KE, struct.pack("!HH", 14, 0) + new.public)], message)
            new.nonce = next((body for kind, body, *_ in answers[-1] if kind == NONCE), new.nonce)
            new.follow(peer, kinds[SA][8:16], kinds[NONCE], kinds[KE])
            self.peers[new.spi], self.next, new.asked, new.child_spi = new, new, 0, peer.child_spi
            return answers
        is_rekey = any(kind == NOTIFY and body[2:4] == b"\x40\x09" for kind, body in asked)
        sa, *selectors = peer.child(9 if is_rekey else 8)
        return self.answer("rekey of the child" if is_rekey else "new child", [sa, (NONCE, self.numbers.randbytes(32)), *selectors], message)

    def serve(self, until, seconds=20):
        """Answers until it is so; False where it was not within the time."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            try:
                self.handle(*self.socket.recvfrom(65536))
            except TimeoutError:
                continue
        return True

    def command(self, name, **message):
        """A command on the control socket, answered on the wire meanwhile: its response."""
        result = []

        def give():
            with ViciSocket(self.path) as vici:
                result.append(vici.request(name, dict(message, timeout="15000")))

        threading.Thread(target=give, daemon=True).start()
        self.serve(lambda: result)
        return result[0].get("success") == "yes" if result else None

    def is_alive(self):
        """The IKE SA answers, and so all that came before has been looked at."""
        message = self.peer.seal(INFORMATIONAL, self.peer.asked, *chain([]))
        self.peer.asked += 1
        heard = []
        for _ in range(5):
            self.socket.sendto(message, (self.target, 500))
            end = time.monotonic() + 1
            while time.monotonic() < end and not heard:
                try:
                    answer, source = self.socket.recvfrom(65536)
                except TimeoutError:
                    continue
                if answer[19] & 32 and answer[8:16] == self.peer.spi and answer[20:24] == message[20:24]:
                    heard.append(self.peer.open(answer) == [])
                else:
                    self.handle(answer, source)
            if heard:
                return heard[0]
        return False

    # The cases

    def leave(self):
        self.command("terminate", ike="mallory")
        if not self.serve(lambda: not self.daemon.sas()):
            raise SystemExit(f"an IKE SA stays: {self.daemon.sas()}")
        self.peers, self.said = {}, {}

    def establish(self):
        children = self.daemon.of(self.peer) if self.peer else None
        if children is not None and [child["name"] for child in children] == ["mallory"]:
            return
        self.leave()
        if not self.command("initiate", ike="mallory", child="mallory"):
            raise SystemExit("an honest peer is refused")

    def trial(self, scene, index):
        self.case = None
        if scene in ("IKE_SA_INIT", "IKE_AUTH"):
            self.leave()
        else:
            self.establish()
        before, self.plan = self.peer, (scene, index)
        command, message = {
            "IKE_SA_INIT": ("initiate", dict(ike="mallory", child="mallory")), "IKE_AUTH": ("initiate", dict(ike="mallory", child="mallory")),
            "new child": ("initiate", dict(ike="mallory", child="second")), "rekey of the child": ("rekey", dict(child="mallory")),
            "rekey of the IKE SA": ("rekey", dict(ike="mallory")), "delete of the child": ("terminate", dict(child="mallory")),
        }[scene]
        done = self.command(command, **message)
        if self.case is None:
            raise SystemExit(f"{scene}: the daemon has not asked")
        should = self.case[2]
        if done and scene == "rekey of the IKE SA":
            self.peer = self.next
        alive = {"accepted": True, "silence": True, "failed": True, "closes": False}[should]
        # What is to go may take a Delete of its own.
        self.serve(lambda: (self.daemon.of(self.peer) is not None) == alive, 5)
        children = self.daemon.of(self.peer)
        if children is None:
            left = [sa for sa in self.daemon.sas() if sa["state"] not in ("DELETING", "DESTROYING")]
            return ("closes" if not left else f"half alive: {left}"), self.case
        if not self.is_alive():
            return "half alive: it does not answer", self.case
        names = sorted(child["name"] for child in self.daemon.of(self.peer) or [])
        wanted = {"new child": ["mallory", "second"], "delete of the child": []}.get(scene, ["mallory"])
        if done and names == wanted:
            return (should if should == "silence" else "accepted"), self.case
        if not done and names == (["mallory"] if before is self.peer and scene not in ("IKE_SA_INIT", "IKE_AUTH") else []):
            return "failed", self.case
        return f"half of it: said to be {'done' if done else 'failed'}, and the children are {names}", self.case


if __name__ == "__main__":
    role, target, path, seed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    (Requests if role == "requests" else Responses)(target, path, seed).run_all()
