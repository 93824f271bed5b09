"""An HTTP server of an authority inside of a lab's host: its CRLs and its OCSP answers. Started as a program; `Responder` is what a test holds of it.

Paths: /crl the list as it is now; /ocsp an answer by the program openssl; /hang takes requests and says nothing; /dead answers with 503.
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PORT = 8087
AT = f"http://127.0.0.1:{PORT}"


class Responder:
    """`signer`: an identity that signs OCSP answers in place of the authority; with `no_certs` its certificate does not come with them."""

    def __init__(self, lab, host, authority, signer=None, index=None, port=PORT, no_certs=False):
        from lab import wait

        self.folder = Path(tempfile.mkdtemp(dir=lab.folder))
        self.authority = authority
        if signer:
            (self.folder / "signer.pem").write_bytes(signer.certificate)
            (self.folder / "signer.key").write_bytes(signer.key)
        who = (self.folder / "signer.pem", self.folder / "signer.key") if signer else (authority.file, authority.key_file)
        settings = {"index": str(index or authority.folder / "index.txt"), "ca": str(authority.file), "signer": str(who[0]), "key": str(who[1]), "crl": str(self.folder / "crl.der"), "log": str(self.folder / "log"), "port": port, "no_certs": no_certs}
        self.log = self.folder / "log"
        self.log.touch()
        self.publish()
        self.process = lab.start(host, sys.executable, __file__, json.dumps(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait(lambda: "ready" in self.requests(), "the responder listens")

    def publish(self, crl=None):
        """The authority's list as of now."""
        from pki import openssl

        pem = self.folder / "crl.pem"
        pem.write_bytes(crl or self.authority.crl())
        openssl("crl", "-in", pem, "-outform", "DER", "-out", self.folder / "crl.new")
        os.replace(self.folder / "crl.new", self.folder / "crl.der")

    def requests(self):
        return self.log.read_text().split()


def serve(settings):
    lock = threading.Lock()

    def note(word):
        with lock, open(settings["log"], "a") as log:
            log.write(word + "\n")

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def reply(self, body, status=200):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            note(self.path)
            if self.path == "/crl":
                return self.reply(Path(settings["crl"]).read_bytes())
            self.other()

        def do_POST(self):
            note(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/ocsp":
                return self.other()
            with tempfile.TemporaryDirectory() as folder:
                request, answer = Path(folder) / "request", Path(folder) / "answer"
                request.write_bytes(body)
                subprocess.run(
                    ["openssl", "ocsp", "-index", settings["index"], "-CA", settings["ca"], "-rsigner", settings["signer"], "-rkey", settings["key"], "-reqin", request, "-respout", answer, "-ndays", "1",
                     *(["-resp_no_certs"] if settings["no_certs"] else [])],
                    check=True, capture_output=True,
                )
                self.reply(answer.read_bytes())

        def other(self):
            if self.path == "/hang":
                time.sleep(600)
            self.reply(b"", 503)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", settings["port"]), Handler)
    note("ready")
    server.serve_forever()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
