// Algorithms of OpenSSL's libcrypto, through EVP alone.

import COpenSSL
import PluginABI
import PluginKit

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "openssl", version: "0.1", provides: [.crypto("openssl")],
    initialize: { table in start(Host(table)) })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

private func start(_ host: Host) -> martlet_status {
    // The library must not be torn down by exit(3) while other threads still use it.
    guard OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1 else {
        host.log(.error, "OpenSSL cannot be initialised")
        return MARTLET_E_FAILED
    }
    let source = Source(host: host, properties: host.setting("properties"))
    let algorithms = source.aeads() + source.ciphers() + source.hashed() + source.curves() + source.modp() + [source.random()]
    return host.provide(
        .crypto("openssl"), Algorithm.provider(name: "openssl", libraryVersion: String(cString: OpenSSL_version(OPENSSL_VERSION)), algorithms))
}

/// Where implementations are fetched from: once, at start-up, and never freed.
struct Source {
    let host: Host
    /// A property query of OpenSSL, for example "fips=yes".
    let properties: String?

    func cipher(_ name: String) -> OpaquePointer? { fetched(name, "cipher", EVP_CIPHER_fetch(nil, name, properties)) }
    func mac(_ name: String) -> OpaquePointer? { fetched(name, "MAC", EVP_MAC_fetch(nil, name, properties)) }

    /// Whether key pairs of a type can be made.
    func hasKeyType(_ name: String) -> Bool {
        let context = EVP_PKEY_CTX_new_from_name(nil, name, properties)
        EVP_PKEY_CTX_free(context)
        return fetched(name, "key type", context) != nil
    }

    private func fetched(_ name: String, _ what: String, _ implementation: OpaquePointer?) -> OpaquePointer? {
        if implementation == nil {
            ERR_clear_error()
            host.log(.notice, "OpenSSL offers no \(what) \(name) here; what needs it is left out")
        }
        return implementation
    }

    func random() -> AlgorithmTable {
        Algorithm.random("OpenSSL DRBG") { bytes, size in
            var offset = 0
            while offset < size {
                let part = min(size - offset, 1 << 20)
                guard RAND_bytes(bytes + offset, Int32(part)) == 1 else { return failed() }
                offset += part
            }
            return MARTLET_OK
        }
    }
}

/// The status of a failed call, with the thread's queue of errors emptied.
func failed(_ status: martlet_status = MARTLET_E_FAILED) -> martlet_status {
    ERR_clear_error()
    return status
}

/// An implementation that was fetched once and is shared by all threads.
struct Implementation: @unchecked Sendable {
    let pointer: OpaquePointer
}
