// What transforms are called: every codepoint of the registry, also those nothing here implements, so that an
// explanation can name what a peer offered.
// IANA "IKEv2 Parameters" (numbers); strongSwan's log and swanctl.conf documentation (names and keywords).

/// One identifier of one transform type.
struct TransformEntry: Sendable {
    let type: TransformType
    let id: UInt16
    /// As strongSwan's log and list-sas write it, without the key length: `AES_GCM_16`.
    let name: String
    /// As a proposal in a configuration writes it, the one we write first. `#` stands for the key length: `aes#gcm16`.
    let keywords: [String]
    /// The key lengths that a keyword may name, in bits; empty where the transform has no Key Length attribute.
    let keyLengths: [UInt16]

    fileprivate init(_ type: TransformType, _ id: UInt16, _ name: String, _ keywords: [String] = [], bits keyLengths: [UInt16] = []) {
        self.type = type
        self.id = id
        self.name = name
        self.keywords = keywords
        self.keyLengths = keyLengths
    }

    static func find(_ type: TransformType, _ id: UInt16) -> TransformEntry? {
        let type = type.isAdditionalKeyExchange ? .keyExchange : type
        return all.first { $0.type == type && $0.id == id }
    }

    static let all = encryption + prf + integrity + keyExchange + sequenceNumbers

    private static let aesBits: [UInt16] = [128, 192, 256]

    private static let encryption: [TransformEntry] = [
        TransformEntry(.encryption, 1, "DES_IV64"),
        TransformEntry(.encryption, 2, "DES_CBC", ["des"]),
        TransformEntry(.encryption, 3, "3DES_CBC", ["3des"]),
        TransformEntry(.encryption, 4, "RC5_CBC"),
        TransformEntry(.encryption, 5, "IDEA_CBC"),
        TransformEntry(.encryption, 6, "CAST_CBC", ["cast#"], bits: [128]),
        TransformEntry(.encryption, 7, "BLOWFISH_CBC", ["blowfish#"], bits: aesBits),
        TransformEntry(.encryption, 8, "3IDEA"),
        TransformEntry(.encryption, 9, "DES_IV32"),
        TransformEntry(.encryption, 11, "NULL", ["null"]),
        TransformEntry(.encryption, 12, "AES_CBC", ["aes#"], bits: aesBits),
        TransformEntry(.encryption, 13, "AES_CTR", ["aes#ctr"], bits: aesBits),
        TransformEntry(.encryption, 14, "AES_CCM_8", ["aes#ccm8", "aes#ccm64"], bits: aesBits),
        TransformEntry(.encryption, 15, "AES_CCM_12", ["aes#ccm12", "aes#ccm96"], bits: aesBits),
        TransformEntry(.encryption, 16, "AES_CCM_16", ["aes#ccm16", "aes#ccm128", "aes#ccm"], bits: aesBits),
        TransformEntry(.encryption, 18, "AES_GCM_8", ["aes#gcm8", "aes#gcm64"], bits: aesBits),
        TransformEntry(.encryption, 19, "AES_GCM_12", ["aes#gcm12", "aes#gcm96"], bits: aesBits),
        TransformEntry(.encryption, 20, "AES_GCM_16", ["aes#gcm16", "aes#gcm128", "aes#gcm"], bits: aesBits),
        TransformEntry(.encryption, 21, "NULL_AES_GMAC", ["aes#gmac"], bits: aesBits),
        TransformEntry(.encryption, 23, "CAMELLIA_CBC", ["camellia#"], bits: aesBits),
        TransformEntry(.encryption, 24, "CAMELLIA_CTR", ["camellia#ctr"], bits: aesBits),
        TransformEntry(.encryption, 25, "CAMELLIA_CCM_8", ["camellia#ccm8", "camellia#ccm64"], bits: aesBits),
        TransformEntry(.encryption, 26, "CAMELLIA_CCM_12", ["camellia#ccm12", "camellia#ccm96"], bits: aesBits),
        TransformEntry(.encryption, 27, "CAMELLIA_CCM_16", ["camellia#ccm16", "camellia#ccm128"], bits: aesBits),
        TransformEntry(.encryption, 28, "CHACHA20_POLY1305", ["chacha20poly1305"]),
        TransformEntry(.encryption, 29, "AES_CCM_8_IIV"),
        TransformEntry(.encryption, 30, "AES_GCM_16_IIV"),
        TransformEntry(.encryption, 31, "CHACHA20_POLY1305_IIV"),
        TransformEntry(.encryption, 32, "KUZNYECHIK_MGM_KTREE"),
        TransformEntry(.encryption, 33, "MAGMA_MGM_KTREE"),
        TransformEntry(.encryption, 34, "KUZNYECHIK_MGM_MAC_KTREE"),
        TransformEntry(.encryption, 35, "MAGMA_MGM_MAC_KTREE"),
    ]

    private static let prf: [TransformEntry] = [
        TransformEntry(.prf, 1, "PRF_HMAC_MD5", ["prfmd5"]),
        TransformEntry(.prf, 2, "PRF_HMAC_SHA1", ["prfsha1"]),
        TransformEntry(.prf, 3, "PRF_HMAC_TIGER"),
        TransformEntry(.prf, 4, "PRF_AES128_XCBC", ["prfaesxcbc"]),
        TransformEntry(.prf, 5, "PRF_HMAC_SHA2_256", ["prfsha256"]),
        TransformEntry(.prf, 6, "PRF_HMAC_SHA2_384", ["prfsha384"]),
        TransformEntry(.prf, 7, "PRF_HMAC_SHA2_512", ["prfsha512"]),
        TransformEntry(.prf, 8, "PRF_AES128_CMAC", ["prfaescmac"]),
        TransformEntry(.prf, 9, "PRF_HMAC_STREEBOG_512"),
    ]

    private static let integrity: [TransformEntry] = [
        TransformEntry(.integrity, 0, "NONE"),
        TransformEntry(.integrity, 1, "HMAC_MD5_96", ["md5"]),
        TransformEntry(.integrity, 2, "HMAC_SHA1_96", ["sha1", "sha"]),
        TransformEntry(.integrity, 3, "DES_MAC"),
        TransformEntry(.integrity, 4, "KPDK_MD5"),
        TransformEntry(.integrity, 5, "AES_XCBC_96", ["aesxcbc"]),
        TransformEntry(.integrity, 6, "HMAC_MD5_128", ["md5_128"]),
        TransformEntry(.integrity, 7, "HMAC_SHA1_160", ["sha1_160"]),
        TransformEntry(.integrity, 8, "AES_CMAC_96", ["aescmac"]),
        TransformEntry(.integrity, 9, "AES_128_GMAC"),
        TransformEntry(.integrity, 10, "AES_192_GMAC"),
        TransformEntry(.integrity, 11, "AES_256_GMAC"),
        TransformEntry(.integrity, 12, "HMAC_SHA2_256_128", ["sha256", "sha2_256"]),
        TransformEntry(.integrity, 13, "HMAC_SHA2_384_192", ["sha384", "sha2_384"]),
        TransformEntry(.integrity, 14, "HMAC_SHA2_512_256", ["sha512", "sha2_512"]),
    ]

    private static let keyExchange: [TransformEntry] = [
        TransformEntry(.keyExchange, 0, "MODP_NONE", ["none", "modpnone"]),
        TransformEntry(.keyExchange, 1, "MODP_768", ["modp768"]),
        TransformEntry(.keyExchange, 2, "MODP_1024", ["modp1024"]),
        TransformEntry(.keyExchange, 5, "MODP_1536", ["modp1536"]),
        TransformEntry(.keyExchange, 14, "MODP_2048", ["modp2048"]),
        TransformEntry(.keyExchange, 15, "MODP_3072", ["modp3072"]),
        TransformEntry(.keyExchange, 16, "MODP_4096", ["modp4096"]),
        TransformEntry(.keyExchange, 17, "MODP_6144", ["modp6144"]),
        TransformEntry(.keyExchange, 18, "MODP_8192", ["modp8192"]),
        TransformEntry(.keyExchange, 19, "ECP_256", ["ecp256"]),
        TransformEntry(.keyExchange, 20, "ECP_384", ["ecp384"]),
        TransformEntry(.keyExchange, 21, "ECP_521", ["ecp521"]),
        TransformEntry(.keyExchange, 22, "MODP_1024_160", ["modp1024s160"]),
        TransformEntry(.keyExchange, 23, "MODP_2048_224", ["modp2048s224"]),
        TransformEntry(.keyExchange, 24, "MODP_2048_256", ["modp2048s256"]),
        TransformEntry(.keyExchange, 25, "ECP_192", ["ecp192"]),
        TransformEntry(.keyExchange, 26, "ECP_224", ["ecp224"]),
        TransformEntry(.keyExchange, 27, "ECP_224_BP", ["ecp224bp"]),
        TransformEntry(.keyExchange, 28, "ECP_256_BP", ["ecp256bp"]),
        TransformEntry(.keyExchange, 29, "ECP_384_BP", ["ecp384bp"]),
        TransformEntry(.keyExchange, 30, "ECP_512_BP", ["ecp512bp"]),
        TransformEntry(.keyExchange, 31, "CURVE_25519", ["x25519", "curve25519"]),
        TransformEntry(.keyExchange, 32, "CURVE_448", ["x448", "curve448"]),
        TransformEntry(.keyExchange, 33, "GOST3410_256", ["gost256"]),
        TransformEntry(.keyExchange, 34, "GOST3410_512", ["gost512"]),
        TransformEntry(.keyExchange, 35, "ML_KEM_512", ["mlkem512"]),
        TransformEntry(.keyExchange, 36, "ML_KEM_768", ["mlkem768"]),
        TransformEntry(.keyExchange, 37, "ML_KEM_1024", ["mlkem1024"]),
    ]

    private static let sequenceNumbers: [TransformEntry] = [
        TransformEntry(.extendedSequenceNumbers, 0, "NO_EXT_SEQ", ["noesn"]),
        TransformEntry(.extendedSequenceNumbers, 1, "EXT_SEQ", ["esn"]),
    ]
}
