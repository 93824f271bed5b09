// A list of OSSL_PARAM, built and freed.

import COpenSSL
import PluginKit

final class Parameters {
    let list: UnsafeMutablePointer<OSSL_PARAM>

    /// Nil when out of memory. Numbers are copied; a private one belongs in secure memory before.
    init?(text: [(String, String)] = [], octets: [(String, UnsafeBufferPointer<UInt8>)] = [], numbers: [(String, OpaquePointer)] = []) {
        guard let builder = OSSL_PARAM_BLD_new() else { return nil }
        defer { OSSL_PARAM_BLD_free(builder) }
        // The builder keeps its keys' addresses, and the values' until the list is made.
        var strings: [UnsafeMutablePointer<CChar>] = []
        defer { for string in strings { CRYPTO_free(string, #file, Int32(#line)) } }
        func kept(_ string: String) -> UnsafeMutablePointer<CChar>? {
            guard let copy = CRYPTO_strdup(string, #file, Int32(#line)) else { return nil }
            strings.append(copy)
            return copy
        }
        for (key, value) in text {
            guard let value = kept(value), let key = Self.key(key), OSSL_PARAM_BLD_push_utf8_string(builder, key, value, 0) == 1 else { return nil }
        }
        for (key, value) in octets {
            guard let key = Self.key(key), OSSL_PARAM_BLD_push_octet_string(builder, key, value.baseAddress, value.count) == 1 else { return nil }
        }
        for (key, value) in numbers {
            guard let key = Self.key(key), OSSL_PARAM_BLD_push_BN(builder, key, value) == 1 else { return nil }
        }
        guard let list = OSSL_PARAM_BLD_to_param(builder) else { return nil }
        self.list = list
    }

    deinit { OSSL_PARAM_free(list) }

    /// The names of parameters are literals in C: they must live as long as any list.
    private static func key(_ name: String) -> UnsafePointer<CChar>? {
        switch name {
        case OSSL_MAC_PARAM_DIGEST: digest
        case OSSL_MAC_PARAM_PROPERTIES: properties
        case OSSL_PKEY_PARAM_GROUP_NAME: group
        case OSSL_PKEY_PARAM_PUB_KEY: publicKey
        case OSSL_PKEY_PARAM_PRIV_KEY: privateKey
        case OSSL_PKEY_PARAM_FFC_P: prime
        case OSSL_PKEY_PARAM_FFC_G: generator
        default: nil
        }
    }

    private nonisolated(unsafe) static let digest = Immortal.string(OSSL_MAC_PARAM_DIGEST)
    private nonisolated(unsafe) static let properties = Immortal.string(OSSL_MAC_PARAM_PROPERTIES)
    private nonisolated(unsafe) static let group = Immortal.string(OSSL_PKEY_PARAM_GROUP_NAME)
    private nonisolated(unsafe) static let prime = Immortal.string(OSSL_PKEY_PARAM_FFC_P)
    private nonisolated(unsafe) static let generator = Immortal.string(OSSL_PKEY_PARAM_FFC_G)
    private nonisolated(unsafe) static let publicKey = Immortal.string(OSSL_PKEY_PARAM_PUB_KEY)
    private nonisolated(unsafe) static let privateKey = Immortal.string(OSSL_PKEY_PARAM_PRIV_KEY)
}
