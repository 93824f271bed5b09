"""Transport mode, asked of a data plane that carries tunnels alone."""

from lab import expect, wait
from strongswan import facing

# From host to host, which is all that transport mode is for.
HOSTS = dict(local_ts="dynamic", remote_ts="dynamic")


def test_strongswan_asks_for_transport_mode_and_gets_a_tunnel():
    with facing(martlet={**HOSTS, "gateway": "plane = tun"}, peer={**HOSTS, "child": "mode = transport"}) as (lab, martlet, peer):
        peer.up()
        wait(lambda: martlet.children() and peer.children(), "both have a child")
        modes = [child["mode"] for sa in peer.list_sas() for child in sa["child-sas"].values()]
        expect(modes == ["TUNNEL"], lambda: f"strongSwan has {modes}")
        expect(martlet.children()[0]["local_selectors"] == ["192.0.2.1/32"], lambda: f"{martlet.children()}")
        # The rekey asks again, and gets the same.
        old = martlet.children()[0]["inbound"]["spi"]
        peer.rekey(child="site")
        wait(lambda: len(martlet.children()) == len(peer.children()) == 1 and martlet.children()[0]["inbound"]["spi"] != old, "the child is rekeyed")
        expect([child["mode"] for sa in peer.list_sas() for child in sa["child-sas"].values() if child["state"] == "INSTALLED"] == ["TUNNEL"], "the rekey changed the mode")
