// How much key material ESP's transforms take, for a data plane that has algorithms of its own, which no provider here serves.
// RFC 3686 section 5.1, RFC 4106 section 8.1, RFC 4309 section 7.1, RFC 4543 section 5.3, RFC 7634 section 2, RFC 2410, RFC 5529, RFC 4868 section 2.6.

import IKEWire

package enum ESPKeyLengths {
    /// Bytes of the key and of the salt or nonce that follows it. Nil for what is not known, or has no such Key Length.
    package static func encryption(_ transform: Transform) -> Int? {
        let bits = transform.keyLength ?? 0
        func aes(_ behind: Int) -> Int? { bits == 128 || bits == 192 || bits == 256 ? Int(bits) / 8 + behind : nil }
        return switch (transform.type, transform.id) {
        case (.encryption, 11) where bits == 0: 0
        case (.encryption, 12), (.encryption, 23): aes(0)
        case (.encryption, 13), (.encryption, 18...21): aes(4)
        case (.encryption, 14...16): aes(3)
        case (.encryption, 28) where bits == 0 || bits == 256: 36
        default: nil
        }
    }

    package static func integrity(_ transform: Transform) -> Int? {
        guard transform.type == .integrity else { return nil }
        return switch transform.id {
        case 2: 20
        case 5, 8: 16
        case 12: 32
        case 13: 48
        case 14: 64
        default: nil
        }
    }

    /// Every transform that is known here, with each Key Length that it has.
    package static let all: [Transform] =
        (1...31 as ClosedRange<UInt16>).flatMap { id in [nil, 128, 192, 256].map { Transform(type: .encryption, id: id, keyLength: $0) } }.filter { encryption($0) != nil }
        + (1...15 as ClosedRange<UInt16>).map { Transform(type: .integrity, id: $0) }.filter { integrity($0) != nil }

    /// Whether the transform brings its own integrity.
    package static func isCombined(_ transform: Transform) -> Bool { transform.type == .encryption && ((14...16).contains(transform.id) || (18...21).contains(transform.id) || transform.id == 28) }
}
