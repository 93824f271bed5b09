// HMAC with SHA-2, and with SHA-1 for old peers: integrity transforms and pseudo-random functions.
// RFC 2104, RFC 2404, RFC 4868.

import COpenSSL
import PluginABI
import PluginKit

extension Source {
    func hashed() -> [AlgorithmTable] {
        guard let implementation = mac("HMAC").map(Implementation.init) else { return [] }
        let list: [(String, UInt16, UInt16, Int, Int)] = [("SHA2-256", 12, 5, 32, 16), ("SHA2-384", 13, 6, 48, 24), ("SHA2-512", 14, 7, 64, 32), ("SHA1", 2, 2, 20, 12)]
        return list.flatMap { digest, integrity, prf, size, tagSize -> [AlgorithmTable] in
            guard let template = Template(implementation, digest: digest, properties: properties) else {
                host.log(.notice, "OpenSSL offers no HMAC with \(digest) here; what needs it is left out")
                return []
            }
            return [
                Algorithm.mac("HMAC-\(digest)-\(tagSize * 8)", id: integrity, keySize: size, tagSize: tagSize) { key throws(PluginError) in
                    try EVPMAC(template, key: UnsafeBufferPointer(start: key, count: size), size: size, tagSize: tagSize)
                },
                Algorithm.prf("PRF-HMAC-\(digest)", id: prf, size: size) { key, parts, output in
                    do throws(PluginError) {
                        let context = try template.keyed(key)
                        defer { EVP_MAC_CTX_free(context) }
                        return finish(context, parts, output, size)
                    } catch {
                        return error.status
                    }
                },
            ]
        }
    }
}

/// A context of one digest that others are copies of: to look the digest up by name for each key exchange costs more than the digest.
private final class Template: @unchecked Sendable {
    private let context: OpaquePointer

    init?(_ implementation: Implementation, digest: String, properties: String?) {
        guard let context = EVP_MAC_CTX_new(implementation.pointer) else { return nil }
        // Only a context with a key can be copied.
        var noKey: UInt8 = 0
        guard let parameters = Parameters(text: [(OSSL_MAC_PARAM_DIGEST, digest)] + (properties.map { [(OSSL_MAC_PARAM_PROPERTIES, $0)] } ?? [])),
            EVP_MAC_init(context, &noKey, 1, parameters.list) == 1
        else {
            EVP_MAC_CTX_free(context)
            ERR_clear_error()
            return nil
        }
        self.context = context
    }

    deinit { EVP_MAC_CTX_free(context) }

    /// A copy with a key of its own, which its owner frees. From any thread: the template is only read.
    func keyed(_ key: UnsafeBufferPointer<UInt8>) throws(PluginError) -> OpaquePointer {
        guard let copy = EVP_MAC_CTX_dup(context) else { throw PluginError(failed(MARTLET_E_MEMORY)) }
        // A key of no bytes is a key too, which a null pointer is not.
        var empty: UInt8 = 0
        guard (key.isEmpty ? EVP_MAC_init(copy, &empty, 0, nil) : EVP_MAC_init(copy, key.baseAddress, key.count, nil)) == 1 else {
            EVP_MAC_CTX_free(copy)
            throw PluginError(failed())
        }
        return copy
    }
}

/// The whole digest, `size` bytes, of a context that has its key.
private func finish(_ context: OpaquePointer, _ parts: UnsafeBufferPointer<martlet_bytes>, _ output: UnsafeMutablePointer<UInt8>, _ size: Int) -> martlet_status {
    for part in parts where part.size > 0 {
        guard EVP_MAC_update(context, part.data, part.size) == 1 else { return failed() }
    }
    var written = 0
    guard EVP_MAC_final(context, output, &written, size) == 1, written == size else { return failed() }
    return MARTLET_OK
}

private final class EVPMAC: MACContext {
    private let context: OpaquePointer
    /// The whole digest, before truncation.
    private let size: Int
    private let tagSize: Int
    private let digest: UnsafeMutablePointer<UInt8>

    init(_ template: Template, key: UnsafeBufferPointer<UInt8>, size: Int, tagSize: Int) throws(PluginError) {
        context = try template.keyed(key)
        self.size = size
        self.tagSize = tagSize
        digest = .allocate(capacity: size)
        digest.initialize(repeating: 0, count: size)
    }

    deinit {
        EVP_MAC_CTX_free(context)
        wipe(digest, size)
        digest.deallocate()
    }

    override func compute(parts: UnsafeBufferPointer<martlet_bytes>, tag: UnsafeMutablePointer<UInt8>) -> martlet_status {
        // Without a key this starts a new message under the old one.
        guard EVP_MAC_init(context, nil, 0, nil) == 1 else { return failed() }
        let status = finish(context, parts, digest, size)
        guard status == MARTLET_OK else { return status }
        tag.update(from: digest, count: tagSize)
        return MARTLET_OK
    }
}
