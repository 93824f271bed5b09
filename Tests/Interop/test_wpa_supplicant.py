"""Users that log in by the methods with TLS of wpa_supplicant, an implementation of its own, at a gateway of ours: PEAP and TLS 1.3, which no strongSwan here has, with the others. That both ends have
the same key is shown by AUTH."""

import json
import shutil
import sys
from pathlib import Path

from certificates import martlet, place
from lab import Gateway, Lab, Skipped, expect, print_tails, wait
from pki import Authority
from test_eap import keeps_secrets

PROGRAM = Path(__file__).with_name("eapoverike.py")
USER, PASSWORD = "carol@example.org", "carols rather long words 71"
GATEWAY = """
connections {
    wpa {
        local_addrs = 192.0.2.2
        remote_addrs = %any
        remote_port = 5600
        proposals = aes256-sha256-modp2048
        mobike = no
        local { auth = pubkey
 certs = own.pem
 id = vpn.example }
        remote { auth = eap-dynamic
 id = %any
 eap_id = %any }
        children { wpa { local_ts = 10.2.0.0/16
 remote_ts = 10.9.0.0/16
 esp_proposals = aes256-sha256 } }
    }
}
"""
TLS = 'client_cert="{0}/user.pem"\n private_key="{0}/user.key"\n'
METHODS = {
    "PEAP": 'eap=PEAP\n phase1="peapver=0"\n phase2="auth=MSCHAPV2"',
    "PEAP in pieces": 'eap=PEAP\n phase1="peapver=0"\n phase2="auth=MSCHAPV2"\n fragment_size=200',
    "TTLS with PAP": 'eap=TTLS\n phase2="auth=PAP"',
    "TTLS with MSCHAPv2": 'eap=TTLS\n phase2="auth=MSCHAPV2"',
    "TTLS with EAP-GTC": 'eap=TTLS\n phase2="autheap=GTC"',
    "TLS 1.2": 'eap=TLS\n phase1="tls_disable_tlsv1_3=1"\n' + TLS,
    "TLS 1.3": 'eap=TLS\n phase1="tls_disable_tlsv1_3=0"\n' + TLS,
    "TLS 1.3 in pieces": 'eap=TLS\n phase1="tls_disable_tlsv1_3=0"\n fragment_size=250\n' + TLS,
}


def test_each_method():
    if not shutil.which("eapol_test"):
        raise Skipped("eapol_test is not installed (make deps)")
    root = Authority("Root", "rsa")
    user = root.issue("user", "rsa", san=f"email:{USER}", eku="clientAuth")
    with Lab() as lab:
        head = martlet("west").split("connections {")[0]
        west = Gateway(lab, "west", head + GATEWAY + f'secrets {{ eap-carol {{ id = {USER}\n secret = "{PASSWORD}" }} }}\n')
        place(west.folder, root.issue("vpn.example", "rsa", eku="serverAuth"), [root])
        for name, data in (("user.pem", user.certificate), ("user.key", user.key), ("ca.pem", root.certificate)):
            (lab.folder / name).write_bytes(data)
        try:
            west.start()

            def result(method, password=PASSWORD):
                file, log = lab.folder / "wpa.conf", lab.folder / "wpa.log"
                body = METHODS[method].format(lab.folder)
                file.write_text(f'network={{\n key_mgmt=IEEE8021X\n identity="{USER}"\n password="{password}"\n ca_cert="{lab.folder}/ca.pem"\n {body}\n}}\n')
                done = lab.inside("east", sys.executable, PROGRAM, "192.0.2.2", file, log, check=False, timeout=240)
                expect(done.returncode == 0, lambda: f"{method}: {done.stderr}{log.read_text(errors='replace')[-2000:]}")
                return json.loads(done.stdout)

            for method in METHODS:
                said = result(method)
                expect(said[0] == "EAP-Success" and "payload 39" in said, lambda: f"{method}: {said}")
                wait(lambda: not west.status()["ike_sas"], f"{method}: it is over", 30)
            for method in ("PEAP", "TTLS with MSCHAPv2"):
                said = result(method, "not the words of carol")
                expect(said[0] == "EAP-Failure" and "payload 39" not in said, lambda: f"{method}: {said}")
            expect(west.log().count("gave a wrong password") == 2, "the gateway does not say why")
            keeps_secrets(west, secrets=(PASSWORD,))
        except BaseException:
            print_tails(west)
            raise
