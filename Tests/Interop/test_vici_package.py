"""The package `vici` of PyPI, unchanged, as a client of martletd: what a program of an administrator's does with it."""

import socket
import sys
import threading

from lab import ROOT, Skipped, expect, outer, wait
from strongswan import facing
from swanctl import BARE


def package():
    for folder in sorted((ROOT / ".build" / "python" / "lib").glob("python3*/site-packages")):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    try:
        import vici
    except ImportError:
        raise Skipped("the Python package vici is not installed (make deps)")
    return vici


def session(vici, gateway):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(str(gateway.socket))
    return vici.Session(connection)


def connection(host, child=None):
    """A connection as a program gives it: lists where charon has lists."""
    other = "west" if host == "east" else "east"
    place = outer(host)
    return {
        "peer": {
            "version": 2, "local_addrs": [place["local"]], "remote_addrs": [place["remote"]], "proposals": ["aes256gcm16-prfsha256-x25519"], "mobike": "no",
            "local": {"auth": "psk", "id": f"{host}.example"}, "remote": {"auth": "psk", "id": f"{other}.example"},
            "children": {"site": {"local_ts": [place["local_ts"]], "remote_ts": [place["remote_ts"]], "esp_proposals": ["aes256gcm16"], **(child or {})}},
        }
    }


def refused(vici, call, *arguments):
    """What a command says that fails."""
    try:
        result = call(*arguments)
        # A streamed command runs as its events are taken.
        if result is not None and not isinstance(result, dict):
            list(result)
    except vici.exception.CommandException as error:
        return str(error)
    raise AssertionError(f"{call.__name__} of {arguments} succeeds")


def test_a_program_runs_a_tunnel():
    vici = package()
    secret = "the secret of a program, long enough"
    with facing(start=False, peer=dict(secret=secret)) as (lab, ours, theirs):
        ours.write(BARE)
        theirs.start()
        ours.start()
        control, watcher = session(vici, ours), session(vici, ours)
        events = []

        def watch():
            for name, message in watcher.listen(["ike-updown", "child-updown", "child-rekey", "ike-rekey"], timeout=0.2):
                events.append(name and name.decode())
                if name and name.decode() == "ike-updown" and "up" not in message:
                    break

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        wait(lambda: None in events, "the watcher is registered")
        expect(control.version()["daemon"] == b"martletd", "version")
        control.load_shared({"id": "peer", "type": "IKE", "data": secret, "owners": ["east.example", "west.example"]})
        control.load_conn(connection("east"))
        expect(control.get_conns()["conns"] == [b"peer"] and control.get_shared()["keys"] == [b"peer"], "what was loaded is not listed")
        expect([name for listed in control.list_conns() for name in listed] == ["peer"], "list-conns")
        lines = [event["msg"].decode() for event in control.initiate({"child": "site", "timeout": 20000})]
        expect(any("established" in line for line in lines), f"the log of the initiation: {lines}")
        sa = next(control.list_sas())["peer"]
        expect(sa["state"] == b"ESTABLISHED" and [child["state"] for child in sa["child-sas"].values()] == [b"INSTALLED"], f"list-sas: {sa}")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        expect(control.rekey({"child": "site"})["matches"] == b"1" and control.rekey({"ike": "peer"})["matches"] == b"1", "rekey")
        expect(int(control.get_counters({"name": "peer"})["counters"]["peer"]["child-rekey"]) == 1, "the counters of the connection")
        control.reset_counters({"name": "peer"})
        list(control.terminate({"ike": "peer", "timeout": 5000}))
        thread.join(20)
        seen = [name for name in events if name]
        expect(seen == ["ike-updown", "child-updown", "child-rekey", "ike-rekey", "child-updown", "ike-updown"], f"the events: {seen}")
        control.install({"child": "site"})
        expect([name for listed in control.list_policies({"trap": "yes"}) for name in listed] == ["peer/site"], "list-policies")
        control.uninstall({"child": "site"})
        control.load_pool({"rw": {"addrs": "10.9.0.0/24", "dns": ["10.2.0.53"]}})
        expect(list(control.get_pools()) == ["rw"] and control.get_pools()["rw"]["base"] == b"10.9.0.1", "get-pools")
        control.unload_pool({"name": "rw"})
        control.unload_conn({"name": "peer"})
        control.clear_creds()
        expect(control.get_conns()["conns"] == [] and control.get_shared()["keys"] == [] and list(control.list_conns()) == [], "something is left")
        # Failures are exceptions that say why.
        expect("neither PEM nor DER" in refused(vici, control.load_key, {"type": "RSA", "data": "x"}), "load-key")
        wrong = connection("east")
        wrong["peer"]["rekey_time"] = "soon"
        expect("peer.rekey_time" in refused(vici, control.load_conn, wrong), "load-conn")
        expect("nobody" in refused(vici, control.initiate, {"child": "nobody"}), "initiate")
        for call in (control.get_keys, control.get_authorities, control.stats, control.get_algorithms, control.reload_settings, control.flush_certs):
            call()
        for call in (control.list_certs, control.list_authorities, control.list_sas):
            expect(list(call()) == [], call.__name__)
