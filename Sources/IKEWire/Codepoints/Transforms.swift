// Transform types and identifiers.
// RFC 7296 section 3.3.2, RFC 8247, RFC 8221; IANA "IKEv2 Parameters".

package struct TransformType: RawRepresentable, Hashable, Sendable, Comparable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let encryption = TransformType(rawValue: 1)
    package static let prf = TransformType(rawValue: 2)
    package static let integrity = TransformType(rawValue: 3)
    package static let keyExchange = TransformType(rawValue: 4)
    package static let extendedSequenceNumbers = TransformType(rawValue: 5)
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// One transform: a type, an identifier within the type, and the Key Length attribute where there is one.
package struct Transform: Hashable, Sendable {
    package var type: TransformType
    package var id: UInt16
    /// The Key Length attribute, in bits. RFC 7296 section 3.3.5.
    package var keyLength: UInt16?
    /// Whether the transform carried an attribute this code does not know; such a transform is never chosen.
    package var hasUnknownAttribute: Bool

    package init(type: TransformType, id: UInt16, keyLength: UInt16? = nil, hasUnknownAttribute: Bool = false) {
        self.type = type
        self.id = id
        self.keyLength = keyLength
        self.hasUnknownAttribute = hasUnknownAttribute
    }

    package static func aesCBC(_ bits: UInt16) -> Transform { Transform(type: .encryption, id: 12, keyLength: bits) }
    package static func aesGCM16(_ bits: UInt16) -> Transform { Transform(type: .encryption, id: 20, keyLength: bits) }
    package static let chaCha20Poly1305 = Transform(type: .encryption, id: 28)

    package static let prfHMACSHA1 = Transform(type: .prf, id: 2)
    package static let prfHMACSHA256 = Transform(type: .prf, id: 5)
    package static let prfHMACSHA384 = Transform(type: .prf, id: 6)
    package static let prfHMACSHA512 = Transform(type: .prf, id: 7)

    package static let integrityNone = Transform(type: .integrity, id: 0)
    package static let hmacSHA1_96 = Transform(type: .integrity, id: 2)
    package static let hmacSHA256_128 = Transform(type: .integrity, id: 12)
    package static let hmacSHA384_192 = Transform(type: .integrity, id: 13)
    package static let hmacSHA512_256 = Transform(type: .integrity, id: 14)

    package static let keyExchangeNone = Transform(type: .keyExchange, id: 0)
    /// A key exchange that takes about a tenth of a millisecond, where others take up to ten.
    package var isQuickKeyExchange: Bool { self == .curve25519 || self == .ecp256 }
    package static let modp1024 = Transform(type: .keyExchange, id: 2)
    package static let modp2048 = Transform(type: .keyExchange, id: 14)
    package static let modp3072 = Transform(type: .keyExchange, id: 15)
    package static let modp4096 = Transform(type: .keyExchange, id: 16)
    package static let ecp256 = Transform(type: .keyExchange, id: 19)
    package static let ecp384 = Transform(type: .keyExchange, id: 20)
    package static let ecp521 = Transform(type: .keyExchange, id: 21)
    package static let curve25519 = Transform(type: .keyExchange, id: 31)
    package static let curve448 = Transform(type: .keyExchange, id: 32)

    package static let noExtendedSequenceNumbers = Transform(type: .extendedSequenceNumbers, id: 0)
    package static let extendedSequenceNumbers = Transform(type: .extendedSequenceNumbers, id: 1)
}
