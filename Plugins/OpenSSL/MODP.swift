// Key exchange in the MODP groups. RFC 3526; values and secrets are padded to the size of the modulus (RFC 7296 section 2.14).

import COpenSSL
import PluginABI
import PluginKit

extension Source {
    func modp() -> [AlgorithmTable] {
        guard hasKeyType("DH") else { return [] }
        return ([(2048, 14), (3072, 15), (4096, 16)] as [(Int, UInt16)]).map { bits, id in
            let group = "modp_\(bits)"
            let size = bits / 8
            let properties = properties
            return Algorithm.keyExchange(
                "MODP-\(bits)", id: id, publicSize: size, sharedSize: size,
                generate: { publicValue throws(PluginError) in
                    let key = try generated("DH", group: group, properties)
                    var number: OpaquePointer?
                    defer { BN_free(number) }
                    guard EVP_PKEY_get_bn_param(key.pointer, OSSL_PKEY_PARAM_PUB_KEY, &number) == 1, BN_bn2binpad(number, publicValue, Int32(size)) == Int32(size) else {
                        throw PluginError(failed())
                    }
                    return MODPKey(key, group, size, properties)
                },
                importPrivate: { bytes throws(PluginError) in
                    let number = try PrivateNumber(bytes)
                    guard let parameters = Parameters(text: [(OSSL_PKEY_PARAM_GROUP_NAME, group)], numbers: [(OSSL_PKEY_PARAM_PRIV_KEY, number.pointer)]) else { throw .memory }
                    return MODPKey(try imported("DH", MARTLET_EVP_KEYPAIR, parameters, properties), group, size, properties)
                })
        }
    }
}

private final class MODPKey: PrivateKey {
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
        guard let value = BN_bin2bn(peer.baseAddress, Int32(peer.count), nil) else { return failed(MARTLET_E_MEMORY) }
        defer { BN_free(value) }
        guard isInRange(value) else { return failed(MARTLET_E_INVALID) }
        guard let parameters = Parameters(text: [(OSSL_PKEY_PARAM_GROUP_NAME, group)], numbers: [(OSSL_PKEY_PARAM_PUB_KEY, value)]) else { return MARTLET_E_MEMORY }
        do throws(PluginError) {
            let peerKey = try imported("DH", MARTLET_EVP_PUBLIC_KEY, parameters, properties)
            return derive(key, peerKey, properties, shared, size, padded: true)
        } catch {
            return error.status
        }
    }

    //= RFC 6989 §2.1: 1 < r < p - 1, which is all that a group with a safe prime needs.
    private func isInRange(_ value: OpaquePointer) -> Bool {
        var prime: OpaquePointer?
        defer { BN_free(prime) }
        guard EVP_PKEY_get_bn_param(key.pointer, OSSL_PKEY_PARAM_FFC_P, &prime) == 1, BN_sub_word(prime, 1) == 1 else { return false }
        return BN_cmp(value, prime) < 0 && BN_is_zero(value) == 0 && BN_is_one(value) == 0
    }
}
