// The names that vici clients know for IANA's transform identifiers, and the suite of a chosen proposal.
// Source of the numbers: IANA "IKEv2 Parameters"; of the spelling: what `list-sas` of strongSwan 5.9 answers.
import IKEWire

package enum AlgorithmNames {
    private static let encryption: [UInt16: String] = [
        3: "3DES_CBC", 11: "NULL", 12: "AES_CBC", 13: "AES_CTR", 14: "AES_CCM_8", 15: "AES_CCM_12", 16: "AES_CCM_16",
        18: "AES_GCM_8", 19: "AES_GCM_12", 20: "AES_GCM_16", 21: "NULL_AES_GMAC", 23: "CAMELLIA_CBC", 28: "CHACHA20_POLY1305",
    ]
    private static let prf: [UInt16: String] = [
        1: "PRF_HMAC_MD5", 2: "PRF_HMAC_SHA1", 4: "PRF_AES128_XCBC", 5: "PRF_HMAC_SHA2_256", 6: "PRF_HMAC_SHA2_384",
        7: "PRF_HMAC_SHA2_512", 8: "PRF_AES128_CMAC",
    ]
    private static let integrity: [UInt16: String] = [
        0: "NONE", 1: "HMAC_MD5_96", 2: "HMAC_SHA1_96", 5: "AES_XCBC_96", 8: "AES_CMAC_96", 12: "HMAC_SHA2_256_128",
        13: "HMAC_SHA2_384_192", 14: "HMAC_SHA2_512_256",
    ]
    private static let keyExchange: [UInt16: String] = [
        0: "NONE", 1: "MODP_768", 2: "MODP_1024", 5: "MODP_1536", 14: "MODP_2048", 15: "MODP_3072", 16: "MODP_4096",
        17: "MODP_6144", 18: "MODP_8192", 19: "ECP_256", 20: "ECP_384", 21: "ECP_521", 25: "ECP_192", 26: "ECP_224",
        27: "ECP_224_BP", 28: "ECP_256_BP", 29: "ECP_384_BP", 30: "ECP_512_BP", 31: "CURVE_25519", 32: "CURVE_448",
        35: "ML_KEM_512", 36: "ML_KEM_768", 37: "ML_KEM_1024",
    ]

    /// The name without the key length; a number in brackets where there is none.
    package static func name(_ transform: Transform) -> String {
        let names: [UInt16: String] =
            switch transform.type {
            case .encryption: encryption
            case .prf: prf
            case .integrity: integrity
            case .keyExchange: keyExchange
            default: [:]
            }
        return names[transform.id] ?? "(\(transform.id))"
    }
}

extension SuiteSnapshot {
    /// The suite of a proposal in which one transform of each type was chosen; of several the first counts.
    package init(chosen proposal: Proposal) {
        self.init()
        func first(_ type: TransformType) -> Transform? { proposal.transforms.first { $0.type == type } }
        if let transform = first(.encryption) {
            encryption = AlgorithmNames.name(transform)
            encryptionBits = transform.keyLength
        }
        if let transform = first(.integrity), transform.id != 0 {
            integrity = AlgorithmNames.name(transform)
            integrityBits = transform.keyLength
        }
        prf = first(.prf).map(AlgorithmNames.name)
        if let transform = first(.keyExchange), transform.id != 0 { keyExchange = AlgorithmNames.name(transform) }
        hasExtendedSequenceNumbers = first(.extendedSequenceNumbers)?.id == 1
    }
}
