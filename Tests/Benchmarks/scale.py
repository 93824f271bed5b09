#!/usr/bin/env python3
"""Key exchange at scale: what a responder takes for set-ups, what an established SA takes of memory, and what reading the status of
100,000 SAs does to the exchanges of the others. A release daemon with a plane that carries nothing, in a network namespace of its own,
against a load generator in the same namespace. Needs root.

    scale.py BUILD [cpu] [memory] [reader] [certificates]      all where none is named; MARTLET_BENCH_SAS=20000 for fewer SAs

`certificates` is cpu and memory with ECDSA P-256 certificates on both sides, those of the peers all different; with a shared key otherwise.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")

CONFIGURATION = """
gateway {{
    listen = 127.0.0.1
    control = {work}/sock
    log {{
        level = {level}
    }}
}}
plugins {{
    tun {{
        load = no
    }}
}}
connections {{
    peers {{
        local_addrs = 127.0.0.1
        remote_addrs = %any
        proposals = aes256gcm16-prfsha256-x25519
        unique = never
        local {{
            auth = {auth}
            id = @gateway.bench
        }}
        remote {{
            auth = {auth}
            id = %any
        }}
        children {{
            net {{
                local_ts = 172.16.0.0/16
                remote_ts = 10.0.0.0/8
                esp_proposals = aes256gcm16
            }}
        }}
    }}
}}
secrets {{
    ike-all {{
        secret = "known to everybody who has read the benchmark"
    }}
}}
"""


CERTIFICATE = """basicConstraints = critical, CA:{ca}
keyUsage = critical, {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Failed(Exception):
    pass


def first():
    """This process, and what it becomes, before all ordinary ones: figures of a machine that has other work are figures of that work."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Bench:
    """A namespace with a daemon and a load generator in it."""

    def __init__(self, build, level="error", certificates=False):
        self.build, self.level, self.certificates = Path(build).resolve(), level, certificates
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.work = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="martlet-bench-")))
            self.namespace = self.work.name
            self.run("ip", "netns", "add", self.namespace)
            self.stack.callback(self.run, "ip", "netns", "del", self.namespace)
            self.run("ip", "-n", self.namespace, "link", "set", "lo", "up")
            plugins = self.work / "plugins"
            plugins.mkdir()
            self.run(
                "gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{ROOT}/Sources/PluginABI/include",
                "-o", plugins / "libmartlet-null.so", ROOT / "Tests/Benchmarks/null-plane.c")
            if self.certificates:
                self.make_certificates()
            (self.work / "martlet.conf").write_text(CONFIGURATION.format(work=self.work, level=self.level, auth="pubkey" if self.certificates else "psk"))
            log = self.stack.enter_context(open(self.work / "log", "w"))
            self.daemon = self.start(
                [self.build / "martletd", "--config", self.work / "martlet.conf", "--plugins", plugins, "--plugins", self.build, "--foreground"], stdout=log, stderr=log)
            for _ in range(200):
                if (self.work / "sock").exists() and self.cli("status").returncode == 0:
                    break
                if self.daemon.poll() is not None:
                    raise Failed((self.work / "log").read_text())
                time.sleep(0.05)
            peers = [self.work / "authority"] if self.certificates else []
            self.load = self.start([self.build / "LoadGenerator", "127.0.0.2", "127.0.0.1", *peers], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            self.expect("ready", self.load.stdout.readline())
            return self
        except BaseException:
            self.stack.close()
            raise

    def __exit__(self, *_):
        self.stack.close()

    def make_certificates(self):
        """An authority whose key the peers' certificates are made with, and the gateway's certificate, in swanctl's folders."""
        folder = self.work / "authority"
        for name in ("authority", "x509", "x509ca", "private"):
            (self.work / name).mkdir()

        def key(file):
            self.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file)
            file.chmod(0o600)

        key(folder / "ca.key")
        self.run("openssl", "req", "-x509", "-new", "-key", folder / "ca.key", "-days", "300", "-subj", "/C=CH/O=Martlet Benchmark/CN=Root", "-out", folder / "ca.pem")
        (self.work / "x509ca" / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
        key(self.work / "private" / "gateway.key")
        self.run("openssl", "req", "-new", "-key", self.work / "private" / "gateway.key", "-subj", "/C=CH/O=Martlet Benchmark/CN=gateway.bench", "-out", folder / "gateway.csr")
        (folder / "extensions").write_text(CERTIFICATE.format(ca="FALSE", usage="digitalSignature") + "extendedKeyUsage = serverAuth\nsubjectAltName = DNS:gateway.bench\n")
        self.run(
            "openssl", "x509", "-req", "-in", folder / "gateway.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "200", "-extfile", folder / "extensions",
            "-out", self.work / "x509" / "gateway.pem")

    def come_first(self):
        """The same for the daemon and the load generator, all their threads."""
        for process in (self.daemon, self.load):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))

    def run(self, *command):
        subprocess.run([str(part) for part in command], check=True, stderr=subprocess.DEVNULL if command[0] == "openssl" else None)

    def start(self, command, **options):
        process = subprocess.Popen(["ip", "netns", "exec", self.namespace, *map(str, command)], **options)
        self.stack.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        # `ip netns exec` becomes the program itself.
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()

    def cli(self, *arguments):
        return subprocess.run([str(self.build / "martlet"), "--socket", str(self.work / "sock"), *arguments], capture_output=True, text=True)

    @staticmethod
    def expect(start, line):
        if not line.startswith(start):
            raise Failed(f"the load generator says {line!r}")
        return line

    def ask(self, command, start):
        self.load.stdin.write(command + "\n")
        return self.expect(start, self.load.stdout.readline()).split()

    def set_up(self, count, in_flight=20):
        words = self.ask(f"setup {count} {in_flight}", "established")
        if int(words[1]) != count:
            raise Failed(f"{' '.join(words)}\n{(self.work / 'log').read_text()[-3000:]}")
        return float(words[5])

    def liveness(self, count, pause=2):
        words = self.ask(f"liveness {count} {pause}", "answers")
        return {"answers": int(words[1]), "p50": float(words[3]), "p99": float(words[5]), "worst": float(words[7])}

    def cpu(self):
        """User and system seconds of the daemon."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def resident(self):
        """KiB of the daemon in memory."""
        for line in Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise Failed("no VmRSS")


def say(text):
    print(text, flush=True)


def cpu(build, certificates=False, aim=0.25):
    """Three runs of 1,000 set-ups after a warm-up, many at a time and one at a time."""
    what = "set-ups with ECDSA P-256 certificates on both sides" if certificates else "set-ups"
    with Bench(build, certificates=certificates) as bench:
        bench.set_up(200)
        bench.come_first()
        for in_flight in (20, 1):
            results = []
            for _ in range(3):
                before = bench.cpu()
                elapsed = bench.set_up(1000, in_flight)
                after = bench.cpu()
                results.append((sum(after) - sum(before), after[0] - before[0], after[1] - before[1], elapsed))
            total, user, system, elapsed = sorted(results)[1]
            say(f"1,000 {what}, {in_flight} at a time: {total:.2f} CPU s of the responder ({user:.2f} user, {system:.2f} system), {elapsed:.2f} s elapsed (median of 3); aim: {aim}")


def memory(build, most, certificates=False, aim=4):
    with Bench(build, certificates=certificates) as bench:
        bench.set_up(100)
        time.sleep(0.5)
        base, count = bench.resident(), 0
        for target in (1000, 20_000, 100_000):
            if target > most:
                break
            bench.set_up(target - count)
            count = target
            time.sleep(1.5)
            say(f"{target} IKE SAs with a child each: {(bench.resident() - base) / count:.2f} KiB of resident memory each{', set up with certificates' if certificates else ''}; aim: {aim}")


def reader(build, most):
    """Liveness round trips while the status of all SAs is read without a pause, and without."""
    with Bench(build) as bench:
        bench.set_up(most)
        time.sleep(1)
        bench.come_first()
        quiet = bench.liveness(3000)
        stop, reads = threading.Event(), []

        def read():
            while not stop.is_set():
                begun = time.monotonic()
                done = subprocess.run([str(bench.build / "martlet"), "--socket", str(bench.work / "sock"), "status", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=first)
                reads.append((time.monotonic() - begun, done.returncode, done.stderr))

        thread = threading.Thread(target=read)
        before = bench.resident()
        thread.start()
        time.sleep(0.5)
        busy = bench.liveness(3000)
        peak = bench.resident()
        stop.set()
        thread.join()
        for name, figures in (("nobody reads", quiet), ("the status is read", busy)):
            say(f"liveness round trip of {most} SAs while {name}: p50 {figures['p50']:.0f} us, p99 {figures['p99']:.0f} us, worst {figures['worst']:.0f} us ({figures['answers']} answers)")
        say(f"p99 moved by {(busy['p99'] - quiet['p99']) / 1000:.2f} ms; aim: less than 1. {len(reads)} reads, {max(r[0] for r in reads):.1f} s the longest; memory grew by {(peak - before) / 1024:.1f} MB")
        for _, code, words in reads:
            if code != 0:
                say(f"a read failed: {words.strip()[:300]}")


def main():
    build, *parts = sys.argv[1:]
    most = int(os.environ.get("MARTLET_BENCH_SAS", 100_000))
    try:
        if not parts or "cpu" in parts:
            cpu(build)
        if not parts or "memory" in parts:
            memory(build, most)
        if not parts or "reader" in parts:
            reader(build, most)
        if not parts or "certificates" in parts:
            cpu(build, certificates=True, aim=0.8)
            memory(build, min(most, 20_000), certificates=True, aim=8)
    except Failed as error:
        say(f"scale.py: {error}")
        return 1
    return 0


sys.exit(main())
