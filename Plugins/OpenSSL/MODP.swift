// Key exchange in the MODP groups. RFC 2409, RFC 3526; values and secrets are padded to the size of the modulus (RFC 7296 section 2.14).

import COpenSSL
import PluginABI
import PluginKit

extension Source {
    func modp() -> [AlgorithmTable] {
        guard hasKeyType("DH") else { return [] }
        let groups: [(Int, UInt16, MODPGroup?)] = [(1024, 2, .prime(oakley2)), (2048, 14, .named("modp_2048")), (3072, 15, .named("modp_3072")), (4096, 16, .named("modp_4096"))]
        return groups.compactMap { bits, id, group in
            guard let group else { return nil }
            let size = bits / 8
            let properties = properties
            return Algorithm.keyExchange(
                "MODP-\(bits)", id: id, publicSize: size, sharedSize: size,
                generate: { publicValue throws(PluginError) in
                    let key = try group.makeKey(properties)
                    var number: OpaquePointer?
                    defer { BN_free(number) }
                    guard EVP_PKEY_get_bn_param(key.pointer, OSSL_PKEY_PARAM_PUB_KEY, &number) == 1, BN_bn2binpad(number, publicValue, Int32(size)) == Int32(size) else {
                        throw PluginError(failed())
                    }
                    return MODPKey(key, group, size, properties)
                },
                importPrivate: { bytes throws(PluginError) in
                    let number = try PrivateNumber(bytes)
                    guard let parameters = group.parameters([(OSSL_PKEY_PARAM_PRIV_KEY, number.pointer)]) else { throw .memory }
                    return MODPKey(try imported("DH", MARTLET_EVP_KEYPAIR, parameters, properties), group, size, properties)
                })
        }
    }
}

/// A group that the library knows by name, or its prime; the generator is then 2.
private enum MODPGroup: @unchecked Sendable {
    case named(String)
    case numbers(prime: OpaquePointer, generator: OpaquePointer)

    static func prime(_ digits: String) -> MODPGroup? {
        var prime: OpaquePointer?, generator: OpaquePointer?
        guard BN_hex2bn(&prime, digits) == Int32(digits.utf8.count), BN_hex2bn(&generator, "2") == 1, let prime, let generator else { return nil }
        return .numbers(prime: prime, generator: generator)
    }

    /// The group and a key's numbers.
    func parameters(_ numbers: [(String, OpaquePointer)]) -> Parameters? {
        switch self {
        case .named(let name): Parameters(text: [(OSSL_PKEY_PARAM_GROUP_NAME, name)], numbers: numbers)
        case .numbers(let prime, let generator): Parameters(numbers: [(OSSL_PKEY_PARAM_FFC_P, prime), (OSSL_PKEY_PARAM_FFC_G, generator)] + numbers)
        }
    }

    func makeKey(_ properties: String?) throws(PluginError) -> PKey {
        switch self {
        case .named(let name): return try generated("DH", group: name, properties)
        case .numbers:
            guard let parameters = parameters([]) else { throw .memory }
            return try generated(like: imported("DH", MARTLET_EVP_KEY_PARAMETERS, parameters, properties), properties)
        }
    }
}

/// RFC 2409 section 6.2.
private let oakley2 = """
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF
    """

private final class MODPKey: PrivateKey {
    private let key: PKey
    private let group: MODPGroup
    private let size: Int
    private let properties: String?

    init(_ key: PKey, _ group: MODPGroup, _ size: Int, _ properties: String?) {
        self.key = key
        self.group = group
        self.size = size
        self.properties = properties
    }

    override func agree(peer: UnsafeBufferPointer<UInt8>, shared: UnsafeMutablePointer<UInt8>) -> martlet_status {
        guard let value = BN_bin2bn(peer.baseAddress, Int32(peer.count), nil) else { return failed(MARTLET_E_MEMORY) }
        defer { BN_free(value) }
        guard isInRange(value) else { return failed(MARTLET_E_INVALID) }
        guard let parameters = group.parameters([(OSSL_PKEY_PARAM_PUB_KEY, value)]) else { return MARTLET_E_MEMORY }
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
