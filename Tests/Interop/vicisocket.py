"""The vici protocol as a client: requests, and commands that stream events. Messages are dictionaries, lists and strings."""

import contextlib
import socket
import struct

REQUEST, RESPONSE, _, REGISTER, _, CONFIRM, _, EVENT = range(8)
SECTION, SECTION_END, VALUE, LIST, ITEM, LIST_END = range(1, 7)


def encoded(message):
    out = b""
    for key, value in message.items():
        name = bytes([len(key)]) + key.encode()
        if isinstance(value, dict):
            out += bytes([SECTION]) + name + encoded(value) + bytes([SECTION_END])
        elif isinstance(value, (list, tuple)):
            out += bytes([LIST]) + name + b"".join(bytes([ITEM]) + struct.pack(">H", len(item.encode())) + item.encode() for item in value) + bytes([LIST_END])
        else:
            octets = value if isinstance(value, bytes) else str(value).encode()
            out += bytes([VALUE]) + name + struct.pack(">H", len(octets)) + octets
    return out


def decoded(octets):
    stack, items, at = [{}], None, 0

    def text(width):
        nonlocal at
        length = int.from_bytes(octets[at : at + width], "big")
        at += width + length
        return octets[at - length : at].decode(errors="replace")

    while at < len(octets):
        kind = octets[at]
        at += 1
        if kind == SECTION:
            stack.append(stack[-1].setdefault(text(1), {}))
        elif kind == SECTION_END:
            stack.pop()
        elif kind == VALUE:
            name = text(1)
            stack[-1][name] = text(2)
        elif kind == LIST:
            items = stack[-1].setdefault(text(1), [])
        elif kind == ITEM:
            items.append(text(2))
    return stack[0]


class ViciSocket:
    def __init__(self, path, seconds=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _send(self, kind, name, message=b""):
        payload = bytes([kind, len(name)]) + name.encode() + message
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def _exactly(self, count):
        out = b""
        while len(out) < count:
            piece = self.socket.recv(count - len(out))
            if not piece:
                raise ConnectionError("the daemon closed the control connection")
            out += piece
        return out

    def _receive(self):
        packet = self._exactly(int.from_bytes(self._exactly(4), "big"))
        if packet[0] == EVENT:
            return EVENT, decoded(packet[2 + packet[1] :])
        return packet[0], decoded(packet[1:])

    def request(self, command, message=None, events=None):
        """Sends a command. Returns its response, or, with `events`, the events of that name which it streamed."""
        streamed = []
        if events:
            self._send(REGISTER, events)
            kind, _ = self._receive()
            if kind != CONFIRM:
                raise ConnectionError(f"the daemon does not know the event {events}")
        self._send(REQUEST, command, encoded(message or {}))
        while True:
            kind, answer = self._receive()
            if kind == EVENT:
                streamed.append(answer)
            elif kind == RESPONSE:
                return streamed if events else answer
            else:
                raise ConnectionError(f"the daemon does not know the command {command}")

    def listen(self, *names):
        """Registers for events; `events` then gives them as they come."""
        for name in names:
            self._send(REGISTER, name)
            kind, _ = self._receive()
            if kind != CONFIRM:
                raise ConnectionError(f"the daemon does not know the event {name}")

    def events(self, seconds=2.0, until=None):
        """Name and message of each event, until none has come for so long, or `until(name, message)` is true."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            while True:
                packet = self._exactly(int.from_bytes(self._exactly(4), "big"))
                name, message = packet[2 : 2 + packet[1]].decode(), decoded(packet[2 + packet[1] :])
                yield name, message
                if until and until(name, message):
                    return
