// IANA's transforms as the kernel's crypto names them. RFC 4106, RFC 4309, RFC 4543, RFC 7634, RFC 3686, RFC 4868, RFC 8221.

package struct KernelAEAD: Hashable, Sendable {
    package var name: String
    /// Bytes of the key without the salt that follows it.
    package var keyBytes: Int
    package var saltBytes: Int
    package var tagBits: UInt32
}

package struct KernelCipher: Hashable, Sendable {
    package var name: String
    package var keyBytes: Int
    /// What counter modes take beside the key.
    package var nonceBytes: Int
    /// Of every packet.
    package var ivBytes: Int
    package var blockBytes: Int
}

package struct KernelMAC: Hashable, Sendable {
    package var name: String
    package var keyBytes: Int
    package var tagBits: UInt32
}

package enum KernelAlgorithms {
    /// Nil for what is no AEAD, or has no such key length.
    package static func aead(_ id: UInt16, bits: UInt16) -> KernelAEAD? {
        func aes(_ name: String, salt: Int, tag: UInt32) -> KernelAEAD? {
            keyBytes(bits).map { KernelAEAD(name: name, keyBytes: $0, saltBytes: salt, tagBits: tag) }
        }
        return switch id {
        case 14: aes("rfc4309(ccm(aes))", salt: 3, tag: 64)
        case 15: aes("rfc4309(ccm(aes))", salt: 3, tag: 96)
        case 16: aes("rfc4309(ccm(aes))", salt: 3, tag: 128)
        case 18: aes("rfc4106(gcm(aes))", salt: 4, tag: 64)
        case 19: aes("rfc4106(gcm(aes))", salt: 4, tag: 96)
        case 20: aes("rfc4106(gcm(aes))", salt: 4, tag: 128)
        case 21: aes("rfc4543(gcm(aes))", salt: 4, tag: 128)
        case 28 where bits == 0 || bits == 256: KernelAEAD(name: "rfc7539esp(chacha20,poly1305)", keyBytes: 32, saltBytes: 4, tagBits: 128)
        default: nil
        }
    }

    package static func cipher(_ id: UInt16, bits: UInt16) -> KernelCipher? {
        switch id {
        case 11: KernelCipher(name: "ecb(cipher_null)", keyBytes: 0, nonceBytes: 0, ivBytes: 0, blockBytes: 1)
        case 12: keyBytes(bits).map { KernelCipher(name: "cbc(aes)", keyBytes: $0, nonceBytes: 0, ivBytes: 16, blockBytes: 16) }
        case 13: keyBytes(bits).map { KernelCipher(name: "rfc3686(ctr(aes))", keyBytes: $0, nonceBytes: 4, ivBytes: 8, blockBytes: 1) }
        case 23: keyBytes(bits).map { KernelCipher(name: "cbc(camellia)", keyBytes: $0, nonceBytes: 0, ivBytes: 16, blockBytes: 16) }
        default: nil
        }
    }

    package static func mac(_ id: UInt16) -> KernelMAC? {
        switch id {
        case 2: KernelMAC(name: "hmac(sha1)", keyBytes: 20, tagBits: 96)
        case 5: KernelMAC(name: "xcbc(aes)", keyBytes: 16, tagBits: 96)
        case 8: KernelMAC(name: "cmac(aes)", keyBytes: 16, tagBits: 96)
        case 12: KernelMAC(name: "hmac(sha256)", keyBytes: 32, tagBits: 128)
        case 13: KernelMAC(name: "hmac(sha384)", keyBytes: 48, tagBits: 192)
        case 14: KernelMAC(name: "hmac(sha512)", keyBytes: 64, tagBits: 256)
        default: nil
        }
    }

    private static func keyBytes(_ bits: UInt16) -> Int? { bits == 128 || bits == 192 || bits == 256 ? Int(bits / 8) : nil }

    /// Every transform that some kernel has, for a list of what this one has: encryption with the key's bits, then integrity.
    package static let encryption: [(id: UInt16, bits: [UInt16], name: String)] = [
        (18, [128, 192, 256], "AES_GCM_8"), (19, [128, 192, 256], "AES_GCM_12"), (20, [128, 192, 256], "AES_GCM_16"), (28, [0], "CHACHA20_POLY1305"),
        (14, [128, 192, 256], "AES_CCM_8"), (15, [128, 192, 256], "AES_CCM_12"), (16, [128, 192, 256], "AES_CCM_16"), (21, [128, 192, 256], "NULL_AES_GMAC"),
        (12, [128, 192, 256], "AES_CBC"), (13, [128, 192, 256], "AES_CTR"), (23, [128, 192, 256], "CAMELLIA_CBC"), (11, [0], "NULL"),
    ]
    package static let integrity: [(id: UInt16, name: String)] = [
        (12, "HMAC_SHA2_256_128"), (13, "HMAC_SHA2_384_192"), (14, "HMAC_SHA2_512_256"), (2, "HMAC_SHA1_96"), (5, "AES_XCBC_96"), (8, "AES_CMAC_96"),
    ]
}
