// Methods of EAP, as the server and as the client. The layer around them is the host's.

import EAPMethods
import PluginABI
import PluginKit

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "eap", version: "0.1", provides: [.eap("mschapv2"), .eap("gtc"), .eap("md5")],
    initialize: { table in
        let host = Host(table)
        for (name, method) in [("mschapv2", MSCHAPv2.method), ("gtc", GTC.method), ("md5", MD5Challenge.method)] {
            let status = host.provide(.eap(name), method)
            guard status == MARTLET_OK else { return status }
        }
        return MARTLET_OK
    })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }
