// Algorithms of libgcrypt.

import CGcrypt
import PluginABI
import PluginKit

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "gcrypt", version: "0.1", provides: [.crypto("gcrypt")],
    initialize: { table in start(Host(table)) })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

private func start(_ host: Host) -> martlet_status {
    guard martlet_gcrypt_initialise() == 0 else {
        host.log(.error, "libgcrypt cannot be initialised; version 1.9 or later is needed")
        return MARTLET_E_FAILED
    }
    let version = gcry_check_version(nil).map { String(cString: $0) } ?? "unknown"
    let random = Algorithm.random("libgcrypt CSPRNG") { bytes, size in
        gcry_randomize(bytes, size, GCRY_STRONG_RANDOM)
        return MARTLET_OK
    }
    return host.provide(
        .crypto("gcrypt"), Algorithm.provider(name: "gcrypt", libraryVersion: "libgcrypt \(version)", aeads() + ciphers() + hashed() + curves() + modp() + [random]))
}
