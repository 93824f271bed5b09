"""`martlet top` in a pseudo terminal: what it shows, and that it leaves the terminal as it was."""

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

from lab import BUILD, Failed, expect, pair, wait


class Terminal:
    """A program in a terminal of its own; `screen` is the frame that was drawn last."""

    def __init__(self, *command, columns=80, rows=24):
        self.master, self.slave = os.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen([str(word) for word in command], stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True, preexec_fn=self._take, env=dict(os.environ, TERM="xterm"))
        self.output = ""

    def _take(self):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds=0.1):
        while select.select([self.master], [], [], seconds)[0]:
            self.output += os.read(self.master, 65536).decode(errors="replace")
            seconds = 0

    @property
    def screen(self):
        """The lines of the last whole frame."""
        frames = [part.split("\x1b[J")[0] for part in self.output.split("\x1b[H")[1:] if "\x1b[J" in part]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frames[-1]).replace("\r", "").split("\n") if frames else []

    def shows(self, pattern, seconds=10):
        def look():
            self.read()
            return re.search(pattern, "\n".join(self.screen))

        try:
            return wait(look, f"top shows {pattern!r}", seconds)
        except Failed as error:
            raise Failed(f"{error}:\n" + "\n".join(self.screen)) from None

    def fits(self):
        expect(len(self.screen) <= self.rows and all(len(line) <= self.columns for line in self.screen), lambda: f"a frame does not fit {self.columns}x{self.rows}:\n" + "\n".join(self.screen))

    def ended(self, status):
        """It has ended so, and the terminal is as it was."""
        end = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        expect(self.process.poll() == status, f"top ended with {self.process.poll()}, not {status}")
        self.read()
        expect(termios.tcgetattr(self.slave) == self.before, "top has left the terminal in another mode")
        for on, off in (("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h"), ("\x1b[?7l", "\x1b[?7h")):
            expect(self.output.count(on) == self.output.count(off) > 0 and self.output.rfind(off) > self.output.rfind(on), f"top has left {on!r}")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@contextlib.contextmanager
def top(gateway, *words, **size):
    with contextlib.closing(Terminal(BUILD / "martlet", "--socket", gateway.socket, "top", *words, **size)) as terminal:
        yield terminal


def test_shows_traffic_and_keys():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        flood = lab.start("east", "ping", "-q", "-n", "-i", "0.02", "-s", "1000", "-I", "10.1.0.1", "10.2.0.1", stdout=subprocess.DEVNULL)
        with top(a, "--interval", "0.3") as terminal:
            terminal.shows(r"1 tunnel: 1 up, 0 down; in [1-9]")
            terminal.shows(r"peer/site +up .*[1-9][0-9.]* kbit/s")
            terminal.shows(r"by traffic, every 0.3s")
            terminal.fits()
            terminal.type("n")
            terminal.shows("by name")
            terminal.type("ar")
            terminal.shows("by age, reversed")
            for columns, rows in ((40, 10), (20, 5), (5, 2), (200, 50)):
                terminal.resize(columns, rows)
                os.kill(terminal.process.pid, signal.SIGWINCH)
                marker = len(terminal.output)
                wait(lambda: terminal.read() or terminal.output.count("\x1b[J", marker) > 2, "frames come after a change of size", 5)
                terminal.fits()
            terminal.shows("NETWORKS THERE")
            terminal.type("q")
            terminal.ended(0)
        flood.kill()


def test_leaves_the_terminal_as_it_was():
    with pair() as (lab, a, b):
        for end, status in ((lambda t: t.type("\x03"), 0), (lambda t: t.process.send_signal(signal.SIGTERM), -signal.SIGTERM), (lambda t: t.process.send_signal(signal.SIGHUP), -signal.SIGHUP)):
            with top(a) as terminal:
                terminal.shows("1 tunnel: 0 up, 1 down")
                end(terminal)
                terminal.ended(status)


def test_stops_and_goes_on():
    """^Z gives the terminal back, and fg takes it again."""
    with pair() as (lab, a, b):
        with top(a) as terminal:
            terminal.shows("1 tunnel")
            terminal.process.send_signal(signal.SIGTSTP)
            wait(lambda: open(f"/proc/{terminal.process.pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T", "top has stopped", 5)
            terminal.read()
            expect(termios.tcgetattr(terminal.slave) == terminal.before and terminal.output.endswith("\x1b[?1049l"), "a stopped top keeps the terminal")
            terminal.process.send_signal(signal.SIGCONT)
            terminal.output = ""
            terminal.shows("1 tunnel")
            terminal.type("q")
            terminal.process.wait(timeout=5)
            terminal.read()
            expect(terminal.output.endswith("\x1b[?1049l") and termios.tcgetattr(terminal.slave) == terminal.before, "top has left the terminal in another mode")


def test_waits_for_a_daemon_that_went_away():
    with pair() as (lab, a, b):
        with top(a, "--interval", "0.2") as terminal:
            terminal.shows("1 tunnel")
            a.kill()
            terminal.shows("not running|closed the connection")
            terminal.shows("trying again")
            terminal.shows("peer/site")
            a.start()
            terminal.shows("by traffic")
            terminal.type("q")
            terminal.ended(0)
        a.stop()
        with contextlib.closing(Terminal(BUILD / "martlet", "--socket", a.socket, "top")) as terminal:
            wait(lambda: terminal.process.poll() is not None, "top ends where no daemon is", 5)
            terminal.read()
            expect(terminal.process.returncode == 1 and "not running" in terminal.output and "\x1b[?1049h" not in terminal.output, lambda: f"top without a daemon: {terminal.output}")


def test_one_frame_where_there_is_no_terminal():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        for words in (["top", "--interval", "0.2"], ["top", "--once", "--interval", "0.2"]):
            done = a.cli(*words)
            expect("peer/site" in done.stdout and "\x1b" not in done.stdout and done.stdout.count("TUNNEL") == 1, lambda: f"{words}: {done.stdout}")
        document = json.loads(a.cli("top", "--once", "--json", "--interval", "0.2").stdout)
        expect(document["ike_sas"][0]["children"][0]["inbound"]["bits_per_second"] is not None, f"no rate: {document}")
        with top(a, "--once", "--interval", "0.2") as terminal:
            wait(lambda: terminal.process.poll() is not None, "one frame was printed", 10)
            terminal.read()
            expect("peer/site" in terminal.output and "\x1b[?1049h" not in terminal.output, lambda: f"{terminal.output}")
