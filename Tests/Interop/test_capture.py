"""The wire, seen by tshark: nothing in clear but IKE and ESP; and both standard, when the session's keys are given to it."""

import json
import os
import subprocess
import time

from lab import Failed, carries, expect, pair, wait


def capture(lab, file):
    process = lab.start("west", "tshark", "-q", "-i", lab.wire(), "-w", file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "Capturing on" in line:
            break
    time.sleep(1.0)
    return process


def read(file, *words, keys=None):
    environment = {**os.environ, **({"WIRESHARK_CONFIG_DIR": str(keys)} if keys else {})}
    done = subprocess.run(["tshark", "-r", str(file), *words], capture_output=True, text=True, env=environment, timeout=120)
    return done.stdout


def finish(process):
    time.sleep(1.0)
    process.terminate()
    process.wait(timeout=20)


def decrypts(ike, esp, both=None):
    with pair(both={**dict(ike=ike, esp=esp), **(both or {})}, east=dict(gateway="debug_export_keys = @FOLDER@/keys")) as (lab, a, b):
        file = lab.folder / "capture.pcapng"
        process = capture(lab, file)
        a.cli("up", "site")
        carries(lab, a, b, bytes_each=50_000)
        a.cli("rekey", "site")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        a.cli("down", "peer")
        finish(process)
        expect("debug_export_keys" in a.log() or "keys are written" in a.log().lower(), "writing keys is not logged")
        keys = a.folder / "keys"
        for name in ("ikev2_decryption_table", "esp_sa"):
            expect((keys / name).exists() and (keys / name).stat().st_mode & 0o077 == 0, f"{name} is missing, or others can read it")
        options = ["-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:FALSE"]
        clear = read(file, "-Y", "not (isakmp or esp or udpencap or arp or icmpv6 or igmp or mdns)", keys=None)
        expect(not clear.strip(), lambda: f"something else than IKE and ESP passed:\n{clear[:2000]}")
        inner = read(file, "-Y", "isakmp.exchangetype == 35 && isakmp.auth.method", "-T", "fields", "-e", "isakmp.auth.method", *options, keys=keys)
        expect(len(inner.split()) >= 2, lambda: f"tshark does not see the AUTH payloads inside IKE_AUTH: {inner!r}")
        pings = read(file, "-Y", "esp && icmp.type == 8", *options, keys=keys)
        expect(len(pings.splitlines()) >= 6, lambda: f"tshark sees {len(pings.splitlines())} pings inside ESP")
        broken = read(file, "-Y", "isakmp && _ws.malformed", *options, keys=keys)
        expect(not broken.strip(), lambda: f"tshark calls messages malformed:\n{broken}")


def test_gcm():
    decrypts("aes256gcm16-prfsha256-x25519", "aes256gcm16")


def test_cbc_in_udp():
    decrypts("aes256-sha256-modp2048", "aes128-sha256", both=dict(connection="encap = yes"))


def test_keys_are_not_written_unless_asked():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        left = [path.name for path in lab.folder.rglob("*") if path.name in ("ikev2_decryption_table", "esp_sa")]
        expect(not left, f"keys were written without being asked for: {left}")
