// Bytes for comparison in tests, which cannot hold a span or a secret in an expectation.

import IKECrypto

extension Span where Element == UInt8 {
    package var array: [UInt8] { indices.map { self[$0] } }
}

extension SecretBytes {
    package var array: [UInt8] {
        borrowing get {
            let bytes = span
            return bytes.indices.map { bytes[$0] }
        }
    }
}

extension String {
    /// The bytes that hexadecimal digits stand for; nil where they are not pairs of such digits.
    package var hexBytes: [UInt8]? {
        var bytes: [UInt8] = []
        var high: UInt8?
        for character in utf8 {
            guard let digit = Character(UnicodeScalar(character)).hexDigitValue.map(UInt8.init) else { return nil }
            if let first = high {
                bytes.append(first << 4 | digit)
                high = nil
            } else {
                high = digit
            }
        }
        return high == nil ? bytes : nil
    }
}
