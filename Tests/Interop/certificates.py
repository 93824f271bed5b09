"""Configurations with certificates: files in the folders beside a martlet.conf or swanctl.conf, and the connection that names them."""

from lab import outer

ID = {"east": "east.example", "west": "west.example"}


def place(folder, identity=None, authorities=(), intermediates=(), crls=(), chain=True, secret_folder="private"):
    """Puts files into swanctl's folders; the certificate of ours is x509/own.pem with what is above it."""
    for name in ("x509", "x509ca", "x509crl", "private", "pkcs8", "pkcs12", "rsa", "ecdsa", "pubkey"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if identity:
        (folder / "x509" / "own.pem").write_bytes(identity.certificate + (identity.chain if chain else b""))
        key = folder / secret_folder / "own.key"
        key.write_bytes(identity.key)
        key.chmod(0o600)
    for number, authority in enumerate(authorities):
        (folder / "x509ca" / f"ca{number}.pem").write_bytes(authority.certificate)
    for number, data in enumerate(crls):
        (folder / "x509crl" / f"crl{number}.pem").write_bytes(data)


def connection(host, local="", remote="", connection="", ike="aes256gcm16-prfsha256-x25519", esp="aes256gcm16", local_id=None, remote_id=None, auth="pubkey", remote_auth="pubkey", nat=False):
    """The section `connections` with one connection, `peer`, that proves itself with x509/own.pem."""
    place = outer(host, nat)
    other = "west" if host == "east" else "east"
    return f"""
connections {{
    peer {{
        local_addrs = {place['local']}
        remote_addrs = {place['remote']}
        proposals = {ike}
        local {{ auth = {auth}
 certs = own.pem
 id = {local_id or ID[host]}
 {local} }}
        remote {{ auth = {remote_auth}
 id = {remote_id or ID[other]}
 {remote} }}
        {connection}
        children {{ site {{ local_ts = {place['local_ts']}
 remote_ts = {place['remote_ts']}
 esp_proposals = {esp} }} }}
    }}
}}
"""


def martlet(host, gateway="", plugins="", more="", **settings):
    """A whole martlet.conf."""
    return f"""
gateway {{
    control = @FOLDER@/vici.sock
    state = @FOLDER@/state
    resolver = no
    log {{ level = trace }}
    retransmit_initial = 0.5
    {gateway}
}}
plugins {{ {plugins} }}
{connection(host, **settings)}
{more}"""
