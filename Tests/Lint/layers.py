#!/usr/bin/env python3
"""Who may import whom. Prints a line for each import that breaks a layer; docs/ARCHITECTURE.md shows the layers as a picture."""

import re
import subprocess
import sys
from pathlib import Path

# The modules of the system that anything below may use.
SYSTEM = {"Glibc", "Synchronization"}
# What each folder's code may import. The pure targets see neither the system nor each other's siblings.
ALLOWED = {
    "Sources/IKEWire": set(),
    "Sources/ViciWire": set(),
    "Sources/ClientView": {"ViciWire"},
    "Sources/IPsecConf": {"IKEWire"},
    "Sources/IKECrypto": {"IKEWire", "CSecret"},
    "Sources/IKECore": {"IKEWire", "IKECrypto"},
    "Sources/ESPCore": {"IKEWire", "IKECrypto"},
    "Sources/PluginKit": {"PluginABI", "CSwiftVersion", "CSecret"} | SYSTEM,
    "Sources/PluginCrypto": {"PluginABI", "IKECrypto", "IKEWire"} | SYSTEM,
    "Sources/CertificateKit": {"COpenSSLX509", "PluginKit", "PluginABI"} | SYSTEM,
    "Sources/RevocationKit": {"CertificateKit", "PluginKit", "CCURL"} | SYSTEM,
    # What data planes share: the contract's values as Swift's, routes and rules.
    "Sources/PlaneKit": {"PluginABI", "PluginKit", "ESPCore", "IKEWire", "CLinux"} | SYSTEM,
    "Sources/Gateway": {
        "IKECore", "IKECrypto", "IKEWire", "PluginABI", "PluginCrypto", "ViciWire", "CLinux", "CSecret", "CSQLite", "CSwiftVersion",
    } | SYSTEM,
    "Sources/martletd": {"Gateway"} | SYSTEM,
    "Sources/martlet": {"ClientView", "IPsecConf", "ViciWire", "ArgumentParser"} | SYSTEM,
    # A plugin sees the contract and its own library: never the core, the gateway or another plugin.
    "Plugins/OpenSSL": {"PluginKit", "PluginABI", "COpenSSL"} | SYSTEM,
    "Plugins/Gcrypt": {"PluginKit", "PluginABI", "CGcrypt"} | SYSTEM,
    "Plugins/X509": {"PluginKit", "PluginABI", "CertificateKit", "RevocationKit"} | SYSTEM,
    "Plugins/PSK": {"PluginKit", "PluginABI"} | SYSTEM,
    # Methods of EAP: digests and TLS by OpenSSL.
    "Plugins/EAP": {"PluginKit", "PluginABI", "CertificateKit", "EAPMethods", "CTLS"} | SYSTEM,
    # The data plane in user space also has the pure ESP code.
    "Plugins/TUN": {"PluginKit", "PluginABI", "PluginCrypto", "PlaneKit", "ESPCore", "IKECrypto", "IKEWire", "CLinux", "CSecret"} | SYSTEM,
    # Directories: the library, and the plugin's own functions.
    "Plugins/LDAP": {"PluginKit", "PluginABI", "LDAPSchema", "CertificateKit", "COpenSSLX509", "CLDAP"} | SYSTEM,
    # Accounting.
    "Plugins/Observer": {"PluginKit", "PluginABI", "ObserverRecords"} | SYSTEM,
    # That of the kernel has the wire's values and ranges as prefixes, no algorithm.
    "Plugins/XFRM": {"PluginKit", "PluginABI", "PlaneKit", "XFRMMessages", "ESPCore", "IKEWire", "CLinux", "CSecret", "CXFRM"} | SYSTEM,
}
IMPORT = re.compile(r"^\s*(?:@[\w()]+\s+)*(?:public |package |internal |fileprivate |private )?import\s+(?:(?:struct|class|enum|protocol|func|typealias|let|var)\s+)?([A-Za-z_]\w*)")


def main():
    listed = subprocess.run(["git", "ls-files", "--", "Sources", "Plugins"], capture_output=True, text=True, check=True).stdout.split()
    broken = 0
    for name in sorted(n for n in listed if n.endswith(".swift") and Path(n).exists()):
        folder = "/".join(name.split("/")[:2])
        allowed = ALLOWED.get(folder)
        if allowed is None:
            print(f"{name}: {folder} has no layer yet: add it to Tests/Lint/layers.py")
            broken += 1
            continue
        for number, line in enumerate(Path(name).read_text().splitlines(), 1):
            match = IMPORT.match(line)
            if match and match.group(1) not in allowed | {folder.split("/")[1]}:
                print(f"{name}:{number}: {folder} may not import {match.group(1)}")
                broken += 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
