"""What happens to the daemon, and which tunnels live on: exit codes, log lines, counters."""

import os
import signal
import socket
import struct
import subprocess
import time

from lab import BUILD, Failed, Gateway, Lab, carries, configuration, expect, pair, run, wait

QUICK = "retransmit_tries = 3"


def test_killed_and_restarted():
    with pair(both=dict(gateway=QUICK)) as (lab, a, b):
        a.cli("up", "site")
        carries(lab, a, b, bytes_each=100_000)
        a.kill()
        expect(a.process.returncode == -signal.SIGKILL, "the daemon was not killed")
        a.start()
        expect(a.logged("left in table"), "the log does not say what the killed daemon left behind")
        expect(not a.sas(), "a daemon that was killed remembers an SA")
        a.cli("up", "site")
        carries(lab, a, b, bytes_each=100_000)
        wait(lambda: len(b.sas()) == 1 and len(b.children()) == 1, "west has dropped the SA of the daemon that was killed", 5)
        expect(b.logged("the peer has begun anew"), "west does not log why it dropped the old SA")


def test_dead_peer_is_noticed_and_comes_back():
    with pair(both=dict(gateway=QUICK), east=dict(connection="dpd_delay = 1s\n keyingtries = 0", child="dpd_action = start")) as (lab, a, b):
        a.cli("up", "site")
        b.kill()
        wait(lambda: not a.sas(), "east notices that west is dead", 20)
        expect(a.logged("no-answer"), "the log does not say that there was no answer")
        b.start()
        wait(lambda: a.children() and b.children(), "the tunnel is up again", 30)
        carries(lab, a, b, bytes_each=100_000)


def test_a_gateway_that_lost_all_is_found_out_by_the_esp_that_it_gets():
    """West was killed and is back with nothing. Liveness would be asked after in an hour; east's own ESP brings the word that makes it ask (RFC 7296 1.5)."""
    with pair(both=dict(gateway=QUICK), east=dict(connection="dpd_delay = 1h\n keyingtries = 0", child="dpd_action = start")) as (lab, a, b):
        a.cli("up", "site")
        carries(lab, a, b, bytes_each=100_000)
        b.kill()
        b.start()
        expect(a.sas() and not b.sas(), "east has noticed before it has sent anything")

        def sent_and_noticed():
            lab.ping("east", "10.2.0.1", source="10.1.0.1", check=False)
            return b.drops().get("unknown_spi") and a.logged("no-answer") and a.children() and b.children()

        wait(sent_and_noticed, "east's ESP has told it that west is another one", 60)
        carries(lab, a, b, bytes_each=100_000)


def test_sigterm_tells_the_peer():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        expect(a.stop() == 0, lambda: f"SIGTERM: exit {a.process.returncode}")
        expect(a.logged("asked to end by SIGTERM: peers are told") and a.logged("martletd has ended"), "the log does not say that the daemon was asked to end")
        wait(lambda: not b.sas(), "west was told", 2)
        expect(b.logged("the peer closed it"), "west does not log that it was told")
        expect(not a.socket.exists(), "the control socket was left behind")


def test_second_instance():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        second = Gateway(lab, "east", configuration("east"))
        second.folder = lab.folder / "second"
        second.folder.mkdir()
        second.file, second.log_file, second.socket = second.folder / "martlet.conf", second.folder / "log", second.folder / "vici.sock"
        second.write(configuration("east", plugins="tun { interface = martlet9\n table = 52109\n rule_priority = 5300 }"))
        second.start(ready=False)
        expect(second.process.wait(timeout=10) == 1, f"the second instance ended with {second.process.returncode}")
        expect("500" in second.log() and ("in use" in second.log() or "taken" in second.log() or "already" in second.log()), lambda: f"it does not say which port is taken:\n{second.log()}")
        carries(lab, a, b, bytes_each=100_000)
        expect(len(a.children()) == 1, "the first instance lost its tunnel")


def test_second_instance_on_the_same_control_socket():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        second = Gateway(lab, "east", a.file.read_text().replace("gateway {", "gateway {\n port = 5500\n nat_port = 5501", 1))
        second.log_file = lab.folder / "second.log"
        second.file = a.folder / "second.conf"
        second.write(a.file.read_text().replace("gateway {", "gateway {\n port = 5500\n nat_port = 5501", 1))
        second.start(ready=False)
        expect(second.process.wait(timeout=10) == 1, lambda: f"a second daemon on the same control socket ended with {second.process.returncode}:\n{second.log()}")
        expect(str(a.socket) in second.log(), lambda: f"it does not name the socket:\n{second.log()}")
        expect(len(a.children()) == 1, "the first daemon no longer answers")
        carries(lab, a, b, bytes_each=100_000)


def test_disk_full():
    with Lab() as lab:
        full = lab.folder / "full"
        full.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=64k", "martlet-test", full)
        try:
            log = f"log {{ file = {full}/martlet.log\n level = debug }}"
            text = configuration("east", gateway=f"debug_export_keys = {full}/keys").replace("log { level = debug }", log)
            (full / "keys").mkdir(mode=0o700)
            a = Gateway(lab, "east", text).start()
            b = Gateway(lab, "west", configuration("west", local="192.0.2.2", remote="192.0.2.1", local_ts="10.2.0.0/16", remote_ts="10.1.0.0/16")).start()
            a.cli("up", "site")
            with open(full / "ballast", "wb", buffering=0) as ballast:
                try:
                    while True:
                        ballast.write(bytes(4096))
                except OSError:
                    pass
            for _ in range(3):
                a.cli("rekey", "site")
                a.cli("rekey", "peer")
            carries(lab, a, b, bytes_each=100_000)
            expect(len(a.children()) == 1, "the tunnel went with the disk")
            (full / "ballast").unlink()
            a.cli("rekey", "site")
            wait(lambda: "lines of this log were lost" in (full / "martlet.log").read_text(errors="replace"), "the log says how many lines were lost", 5)
            expect(a.stop() == 0, "the daemon did not end in order")
        finally:
            run("umount", "-l", full, check=False)


def packet(kind, name, body=b""):
    payload = bytes([kind]) + (bytes([len(name)]) + name.encode() if name else b"") + body
    return struct.pack(">I", len(payload)) + payload


def test_control_client_hangs_up():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        for kind in range(4):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(str(a.socket))
            client.sendall(packet(3, "list-sa") + packet(3, "log") + packet(0, "list-sas"))
            if kind == 1:
                client.recv(3)
            if kind == 2:
                client.sendall(b"\x00\x00")
            if kind == 3:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        wait(lambda: a.logged("stopped listening") or a.logged("hung up"), "the log says that clients hung up", 3)
        for garbage in (b"\xff\xff\xff\xff", struct.pack(">I", 0), packet(9, "x"), packet(0, "list-sas", b"\x02\x02\x02"), os.urandom(64)):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(str(a.socket))
            client.sendall(garbage)
            client.settimeout(0.3)
            try:
                client.recv(4096)
            except OSError:
                pass
            client.close()
        wait(lambda: a.logged("breaks the protocol"), "the log says that a client broke the protocol", 3)
        expect(a.process.poll() is None and len(a.children()) == 1, "the daemon no longer answers")
        carries(lab, a, b, bytes_each=100_000)


def test_slow_reader_holds_nobody_up():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(a.socket))
        client.sendall(packet(3, "log") + packet(3, "child-rekey"))
        for _ in range(20):
            a.cli("rekey", "site", timeout=10)
        expect(len(a.children()) == 1, "the daemon is held up")
        client.close()


def test_reload_keeps_what_runs():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        good = a.file.read_text()
        a.write(good.replace("esp_proposals", "esp_propsals"))
        a.signal(signal.SIGHUP)
        wait(lambda: a.logged("esp_proposals"), "the log names the misspelt key and the right one", 5)
        expect(len(a.children()) == 1, "a bad configuration closed the tunnel")
        carries(lab, a, b, bytes_each=100_000)
        a.write(good)
        a.signal(signal.SIGHUP)
        time.sleep(0.5)
        expect(len(a.children()) == 1, "a reload without a change closed the tunnel")


def test_initiation_is_idempotent():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        again = a.cli("up", "site")
        expect("up already" in again.stdout, lambda: f"up of what is up: {again.stdout}")
        expect(len(a.children()) == 1 and len(a.sas()) == 1, "a second tunnel was made")


def test_start_action():
    with pair(east=dict(child="start_action = start", connection="keyingtries = 0")) as (lab, a, b):
        wait(lambda: a.children() and b.children(), "the tunnel starts by itself", 10)
        carries(lab, a, b, bytes_each=100_000)
