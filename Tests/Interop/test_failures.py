"""What a person is told when it does not work: the exit code, what `martlet up` prints, and what the other end logs."""

import json
import shutil
import subprocess

from lab import BUILD, Failed, Gateway, Lab, configuration, expect, pair, run, wait


def attempt(code, words, far=None, east=None, west=None, both=None, prepare=None, keeps_ike=False):
    """`up` must fail with exit 1, `code` and `words`; the far end must log `far`. No SA is left, or, with `keeps_ike`, an IKE SA without a child; and no secret shown."""
    quick = dict(gateway="retransmit_tries = 2")
    with pair(both={**quick, **(both or {})}, east=east, west=west) as (lab, a, b):
        if prepare:
            prepare(lab)
        done = a.cli("up", "site", check=False, timeout=40)
        text = done.stdout + done.stderr
        expect(done.returncode == 1, lambda: f"up ended with {done.returncode}:\n{text}")
        for word in words:
            expect(word.lower() in text.lower(), lambda: f"`up` does not say {word!r}:\n{text}")
        status = a.status()
        failure = [connection for connection in status["connections"] if connection["name"] == "peer"][0]
        shown = json.dumps(failure)
        expect(code in shown, lambda: f"`status --json` does not hold the code {code}: {shown}")
        for word in far or ():
            wait(lambda: b.logged(word), f"west logs {word!r}", 3)
        for secret in ("correct horse", "another secret"):
            for place, content in (("up", text), ("east's log", a.log()), ("west's log", b.log()), ("status", shown)):
                expect(secret not in content, f"{place} shows a secret")
        if keeps_ike:
            expect(len(a.sas()) == len(b.sas()) == 1 and not a.children() and not b.children(), "a refused child takes its IKE SA down, or is there")
        else:
            wait(lambda: not a.status()["ike_sas"] and not b.sas(), "no SA is left", 10)


def test_no_common_proposal():
    attempt("no-common-proposal", ["NO_PROPOSAL_CHOSEN", "aes256gcm16"], ["no-common-proposal", "aes128-sha256-modp2048"], west=dict(ike="aes128-sha256-modp2048"))


def test_no_common_esp_proposal():
    attempt("no-common-proposal", ["esp_proposals", "NO_PROPOSAL_CHOSEN"], ["no-common-proposal", "chacha20poly1305"], west=dict(esp="chacha20poly1305"), keeps_ike=True)


def test_wrong_secret():
    attempt("authentication-failed", ["AUTHENTICATION_FAILED", "secret"], ["authentication-failed"], west=dict(secret="another secret entirely"))


def test_unknown_identity():
    attempt("authentication-failed", ["east.example"], ["unknown-identity", "east.example", "north.example"], west=dict(remote_id="@north.example"))


def test_unacceptable_selectors():
    attempt("traffic-selectors-unacceptable", ["TS_UNACCEPTABLE", "10.2.0.0/16"], ["traffic-selectors-unacceptable", "10.7.0.0/16"], west=dict(local_ts="10.7.0.0/16"), keeps_ike=True)


def test_no_connection():
    attempt("no-common-proposal", ["192.0.2.2"], ["no-connection", "192.0.2.1"], west=dict(remote="192.0.2.77"))


def test_no_answer():
    def wall(lab):
        lab.inside("west", "nft", "table inet wall { chain in { type filter hook input priority 0; udp dport 500 drop; }; }")

    attempt("no-answer", ["192.0.2.2", "500", "3 times"], prepare=wall)


def test_wrong_usage():
    with pair(start=False) as (lab, a, b):
        for words in (["nonsense"], ["up"], ["status", "--colour-of-the-sky"]):
            done = a.cli(*words, check=False)
            expect(done.returncode == 2, lambda: f"martlet {words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        done = a.cli("status", check=False)
        expect(done.returncode == 1 and str(a.socket) in done.stdout + done.stderr, lambda: f"no daemon: exit {done.returncode}\n{done.stdout}{done.stderr}")
        done = lab.inside("east", BUILD / "martletd", "--no-such-option", check=False)
        expect(done.returncode == 2, f"martletd with a wrong option: exit {done.returncode}")
        for command in ("status", "up", "down", "rekey", "check", "plugins", "algorithms", "log", "version"):
            done = a.cli(command, "--help", check=False)
            expect(done.returncode == 0 and "xample" in done.stdout, lambda: f"martlet {command} --help: exit {done.returncode}, no example\n{done.stdout}")


def test_unknown_names():
    with pair() as (lab, a, b):
        for words in (["up", "nowhere"], ["down", "nowhere"], ["rekey", "nowhere"]):
            done = a.cli(*words, check=False)
            expect(done.returncode == 1 and "nowhere" in done.stdout + done.stderr, lambda: f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def test_check():
    with pair(start=False) as (lab, a, b):
        expect(a.cli("check", a.file).returncode == 0, "a good configuration is refused")
        bad = a.folder / "bad.conf"
        bad.write_text(a.file.read_text().replace("remote_ts", "remote_st"))
        done = a.cli("check", bad, check=False)
        text = done.stdout + done.stderr
        expect(done.returncode == 1 and "bad.conf:" in text and "remote_ts" in text, lambda: f"exit {done.returncode}:\n{text}")
        bad.write_text(a.file.read_text().replace("remote_ts", "mode = transport\n remote_ts"))
        done = a.cli("check", bad, check=False)
        expect(done.returncode == 1 and "the data plane tun carries tunnels alone" in done.stdout + done.stderr, lambda: f"mode = transport is accepted: {done.stdout}{done.stderr}")
        first = Gateway(lab, "east", bad.read_text())
        first.start(ready=False)
        expect(first.process.wait(timeout=10) == 1, "the daemon starts with a configuration that fails closed")


def plugin_folder(lab):
    folder = lab.folder / "plugins"
    folder.mkdir()
    for file in BUILD.glob("libmartlet-*.so"):
        shutil.copy(file, folder)
    return folder


def test_plugins_that_cannot_be_loaded():
    """One line for each, with the file and the reason; the daemon starts with what is left, or refuses if a connection needs it."""
    with pair(start=False) as (lab, a, b):
        folder = plugin_folder(lab)
        (folder / "libmartlet-gcrypt.so").chmod(0o666)
        (folder / "libmartlet-rubbish.so").write_bytes(b"this is no library")
        a.write(configuration("east", plugins=f"path = {folder}"))
        a.start()
        for name, word in (("libmartlet-gcrypt.so", "can be written by its group or by others"), ("libmartlet-rubbish.so", "the dynamic linker refuses it")):
            lines = [line for line in a.log().splitlines() if name in line and str(folder) in line]
            expect(len(lines) == 1 and word in lines[0], lambda: f"{name}: {lines}\n{a.log()}")
        loaded = json.dumps(json.loads(a.cli("plugins", "--json").stdout))
        expect("openssl" in loaded, f"the good plugins are not loaded: {loaded}")
        a.stop()
        (folder / "libmartlet-psk.so").unlink()
        a.start(ready=False)
        expect(a.process.wait(timeout=10) == 1, "the daemon starts although a connection needs the plugin psk")
        expect("psk" in a.log().splitlines()[-1] or "psk" in a.log(), "the log does not name the plugin that is missing")
