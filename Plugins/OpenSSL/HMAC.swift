// HMAC with SHA-2, and with SHA-1 for old peers: integrity transforms and pseudo-random functions.
// RFC 2104, RFC 2404, RFC 4868.

import COpenSSL
import PluginABI
import PluginKit

extension Source {
    func hashed() -> [AlgorithmTable] {
        guard let implementation = mac("HMAC").map(Implementation.init) else { return [] }
        let properties = properties
        let list: [(String, UInt16, UInt16, Int, Int)] = [("SHA2-256", 12, 5, 32, 16), ("SHA2-384", 13, 6, 48, 24), ("SHA2-512", 14, 7, 64, 32), ("SHA1", 2, 2, 20, 12)]
        return list.flatMap { digest, integrity, prf, size, tagSize in
            [
                Algorithm.mac("HMAC-\(digest)-\(tagSize * 8)", id: integrity, keySize: size, tagSize: tagSize) { key throws(PluginError) in
                    try EVPMAC(implementation, digest: digest, properties: properties, key: UnsafeBufferPointer(start: key, count: size), size: size, tagSize: tagSize)
                },
                Algorithm.prf("PRF-HMAC-\(digest)", id: prf, size: size) { key, parts, output in
                    do throws(PluginError) {
                        let mac = try EVPMAC(implementation, digest: digest, properties: properties, key: key, size: size, tagSize: tagSize)
                        return mac.compute(parts: parts, output: output, outputSize: size)
                    } catch {
                        return error.status
                    }
                },
            ]
        }
    }
}

private final class EVPMAC: MACContext {
    private let context: OpaquePointer
    /// The whole digest, before truncation.
    private let size: Int
    private let tagSize: Int
    private let digest: UnsafeMutablePointer<UInt8>

    init(_ implementation: Implementation, digest name: String, properties: String?, key: UnsafeBufferPointer<UInt8>, size: Int, tagSize: Int) throws(PluginError) {
        guard let context = EVP_MAC_CTX_new(implementation.pointer) else { throw .memory }
        guard let parameters = Parameters(text: [(OSSL_MAC_PARAM_DIGEST, name)] + (properties.map { [(OSSL_MAC_PARAM_PROPERTIES, $0)] } ?? [])) else {
            EVP_MAC_CTX_free(context)
            throw .memory
        }
        // A key of no bytes is a key too, which a null pointer is not.
        var empty: UInt8 = 0
        guard (key.isEmpty ? EVP_MAC_init(context, &empty, 0, parameters.list) : EVP_MAC_init(context, key.baseAddress, key.count, parameters.list)) == 1 else {
            EVP_MAC_CTX_free(context)
            throw PluginError(failed())
        }
        self.context = context
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
        compute(parts: parts, output: tag, outputSize: tagSize)
    }

    func compute(parts: UnsafeBufferPointer<martlet_bytes>, output: UnsafeMutablePointer<UInt8>, outputSize: Int) -> martlet_status {
        // Without a key this starts a new message under the old one.
        guard EVP_MAC_init(context, nil, 0, nil) == 1 else { return failed() }
        for part in parts where part.size > 0 {
            guard EVP_MAC_update(context, part.data, part.size) == 1 else { return failed() }
        }
        var written = 0
        guard EVP_MAC_final(context, digest, &written, size) == 1, written == size else { return failed() }
        output.update(from: digest, count: outputSize)
        return MARTLET_OK
    }
}
