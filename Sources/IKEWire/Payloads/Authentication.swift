// The Authentication payload: method, three reserved bytes, data.
// RFC 7296 section 3.8.

package struct Authentication: Hashable, Sendable {
    package struct Method: RawRepresentable, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let rsaSignature = Method(rawValue: 1)
        package static let sharedKey = Method(rawValue: 2)
        /// RFC 4754: with P-256 and SHA-256, P-384 and SHA-384, P-521 and SHA-512.
        package static let ecdsa256 = Method(rawValue: 9), ecdsa384 = Method(rawValue: 10), ecdsa521 = Method(rawValue: 11)
        package static let null = Method(rawValue: 13)
        package static let digitalSignature = Method(rawValue: 14)
    }
    package var method: Method
    package var data: [UInt8]
    package init(method: Method, data: [UInt8]) {
        self.method = method
        self.data = data
    }

    init(from reader: inout WireReader) throws(WireError) {
        method = Method(rawValue: try reader.u8())
        try reader.skip(3)
        data = try reader.rest()
    }

    func write(to writer: inout WireWriter) {
        writer.u8(method.rawValue)
        writer.zeros(3)
        writer.copy(data)
    }
}
