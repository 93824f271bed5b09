// Key exchange on curves: x25519 and x448 (RFC 8031) and the ECP groups (RFC 5903: x and y without a prefix, the secret is x).

import COpenSSL
import PluginABI
import PluginKit

extension Source {
    func curves() -> [AlgorithmTable] {
        var tables: [AlgorithmTable] = []
        for (name, id, size) in [("X25519", 31, 32), ("X448", 32, 56)] as [(String, UInt16, Int)] where hasKeyType(name) { tables.append(montgomery(name, id: id, size: size)) }
        if hasKeyType("EC") {
            for (group, id, size) in [("P-256", 19, 32), ("P-384", 20, 48), ("P-521", 21, 66)] as [(String, UInt16, Int)] {
                tables.append(ecp(group, id: id, size: size))
            }
        }
        return tables
    }

    /// `size` is that of a key, a public value and a secret.
    private func montgomery(_ name: String, id: UInt16, size: Int) -> AlgorithmTable {
        let properties = properties
        return Algorithm.keyExchange(
            name, id: id, publicSize: size, sharedSize: size,
            generate: { publicValue throws(PluginError) in
                let key = try generated(name, group: nil, properties)
                var written = size
                guard EVP_PKEY_get_raw_public_key(key.pointer, publicValue, &written) == 1, written == size else { throw PluginError(failed()) }
                return MontgomeryKey(name, size, key, properties)
            },
            importPrivate: { bytes throws(PluginError) in
                guard bytes.count == size else { throw .invalid }
                guard let key = EVP_PKEY_new_raw_private_key_ex(nil, name, properties, bytes.baseAddress, bytes.count) else { throw PluginError(failed(MARTLET_E_INVALID)) }
                return MontgomeryKey(name, size, PKey(key), properties)
            })
    }

    /// `size` is that of a coordinate.
    private func ecp(_ group: String, id: UInt16, size: Int) -> AlgorithmTable {
        let properties = properties
        return Algorithm.keyExchange(
            "ECP-\(group.dropFirst(2))", id: id, publicSize: 2 * size, sharedSize: size,
            generate: { publicValue throws(PluginError) in
                let key = try generated("EC", group: group, properties)
                // The encoded point: 4, x, y.
                var point = [UInt8](repeating: 0, count: 2 * size + 1)
                var written = 0
                guard EVP_PKEY_get_octet_string_param(key.pointer, OSSL_PKEY_PARAM_PUB_KEY, &point, point.count, &written) == 1,
                    written == point.count, point[0] == 4
                else { throw PluginError(failed()) }
                for index in 0..<2 * size { publicValue[index] = point[index + 1] }
                return ECPKey(key, group, size, properties)
            },
            importPrivate: { bytes throws(PluginError) in
                let number = try PrivateNumber(bytes)
                guard let parameters = Parameters(text: [(OSSL_PKEY_PARAM_GROUP_NAME, group)], numbers: [(OSSL_PKEY_PARAM_PRIV_KEY, number.pointer)]) else { throw .memory }
                return ECPKey(try imported("EC", MARTLET_EVP_KEYPAIR, parameters, properties), group, size, properties)
            })
    }
}

private final class MontgomeryKey: PrivateKey {
    private let name: String
    private let size: Int
    private let key: PKey
    private let properties: String?

    init(_ name: String, _ size: Int, _ key: PKey, _ properties: String?) {
        self.name = name
        self.size = size
        self.key = key
        self.properties = properties
    }

    override func agree(peer: UnsafeBufferPointer<UInt8>, shared: UnsafeMutablePointer<UInt8>) -> martlet_status {
        guard let peerKey = EVP_PKEY_new_raw_public_key_ex(nil, name, properties, peer.baseAddress, peer.count) else { return failed(MARTLET_E_INVALID) }
        let status = derive(key, PKey(peerKey), properties, shared, size)
        guard status == MARTLET_OK else { return status }
        //= RFC 8031 §2: the all-zero secret is refused, without telling how far the comparison went.
        var bits: UInt8 = 0
        for index in 0..<size { bits |= shared[index] }
        return bits == 0 ? MARTLET_E_INVALID : MARTLET_OK
    }
}

private final class ECPKey: PrivateKey {
    private let key: PKey
    private let group: String
    private let size: Int
    private let properties: String?

    init(_ key: PKey, _ group: String, _ size: Int, _ properties: String?) {
        self.key = key
        self.group = group
        self.size = size
        self.properties = properties
    }

    override func agree(peer: UnsafeBufferPointer<UInt8>, shared: UnsafeMutablePointer<UInt8>) -> martlet_status {
        let point = [4] + Array(peer)
        let parameters = point.withUnsafeBufferPointer { Parameters(text: [(OSSL_PKEY_PARAM_GROUP_NAME, group)], octets: [(OSSL_PKEY_PARAM_PUB_KEY, $0)]) }
        guard let parameters else { return MARTLET_E_MEMORY }
        do throws(PluginError) {
            let peerKey = try imported("EC", MARTLET_EVP_PUBLIC_KEY, parameters, properties)
            //= RFC 6989 §2.3: the point is in range and on the curve; these groups have cofactor 1.
            guard let check = EVP_PKEY_CTX_new_from_pkey(nil, peerKey.pointer, properties) else { return failed(MARTLET_E_MEMORY) }
            defer { EVP_PKEY_CTX_free(check) }
            guard EVP_PKEY_public_check_quick(check) == 1 else { return failed(MARTLET_E_INVALID) }
            return derive(key, peerKey, properties, shared, size)
        } catch {
            return error.status
        }
    }
}
