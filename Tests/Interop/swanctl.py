"""Debian's swanctl, unchanged, as a client of martletd: `Swanctl(gateway)` runs it against a gateway's control socket."""

import os
import re
import subprocess

from lab import Failed, expect, run, wait
from strongswan import SWANCTL, required, unconfined

FOLDERS = "x509 x509ca x509ocsp x509aa x509ac x509crl pubkey private rsa ecdsa bliss pkcs8 pkcs12".split()

# A martlet.conf without connections: clients bring them.
BARE = """
gateway {
    control = @FOLDER@/vici.sock
    state = @FOLDER@/state
    resolver = no
    log { level = debug }
    retransmit_initial = 0.5
}
"""


class Swanctl:
    def __init__(self, gateway, socket=None):
        required()
        self.gateway, self.socket = gateway, socket or gateway.socket
        self.folder = gateway.folder / "swanctl"
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "swanctl.conf"
        settings = gateway.folder / "swanctl-strongswan.conf"
        settings.write_text("swanctl { load = random openssl pem pkcs1 pkcs8 pkcs12 pubkey x509 }\n")
        self.environment = dict(os.environ, STRONGSWAN_CONF=str(settings), SWANCTL_DIR=str(self.folder))

    def write(self, text):
        self.file.write_text(text)
        self.file.chmod(0o600)

    def command(self, *words):
        return [str(unconfined(SWANCTL, self.gateway.lab)), *map(str, words), "--uri", f"unix://{self.socket}"]

    def __call__(self, *words, check=True, timeout=30):
        """Standard output; raises Failed with both streams where the exit status is not 0."""
        return self.result(*words, check=check, timeout=timeout).stdout

    def result(self, *words, check=False, timeout=30):
        return run(*self.command(*words), check=check, timeout=timeout, env=self.environment)

    def fails(self, *words, says=()):
        """Expects an exit status other than 0, and each of `says` in what is printed."""
        done = self.result(*words)
        text = done.stdout + done.stderr
        expect(done.returncode != 0, f"swanctl {' '.join(map(str, words))} succeeds: {text}")
        for word in [says] if isinstance(says, str) else says:
            expect(word in text, f"swanctl {' '.join(map(str, words))} does not say {word!r}: {text}")
        return text

    def listen(self, *words):
        """swanctl as a process of the lab's that prints until it ends: its Popen, with what it has printed in `.seen()`."""
        output = self.gateway.folder / ("swanctl" + "".join(words) + ".out")
        with open(output, "wb") as file:
            # stdbuf: swanctl prints into a buffer where nobody looks on.
            process = subprocess.Popen(["stdbuf", "-oL", *self.command(*words)], stdout=file, stderr=file, env=self.environment, start_new_session=True)
        self.gateway.lab.processes.append(process)
        process.seen = lambda: output.read_text(errors="replace")
        return process


def expect_lines(text, *patterns):
    """Each pattern, a regular expression, matches some line of the text, in this order."""
    lines = iter(text.splitlines())
    for pattern in patterns:
        if not any(re.search(pattern, line) for line in lines):
            raise Failed(f"no line, or none after the one before, matches {pattern!r} in:\n{text}")
