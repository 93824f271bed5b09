// Methods of EAP, as the server and as the client. The layer around them is the host's.

import EAPMethods
import PluginABI
import PluginKit

/// The preferred ones first: `eap-dynamic` offers them in this order.
private nonisolated(unsafe) let methods = [
    ("mschapv2", MSCHAPv2.method), ("tls", EAPTLS.method), ("ttls", TTLS.method), ("peap", PEAP.method), ("gtc", GTC.method), ("md5", MD5Challenge.method),
]

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "eap", version: "0.1", provides: methods.map { .eap($0.0) },
    initialize: { table in
        let host = Host(table)
        guard Settings.read(host) else { return MARTLET_E_INVALID }
        for (name, method) in methods {
            let status = host.provide(.eap(name), method)
            guard status == MARTLET_OK else { return status }
        }
        return MARTLET_OK
    })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }
