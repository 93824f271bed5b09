// The Identification payloads: type, three reserved bytes, data.
// RFC 7296 section 3.5.

package struct Identification: Hashable, Sendable {
    package struct Kind: RawRepresentable, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let ipv4 = Kind(rawValue: 1)
        package static let fqdn = Kind(rawValue: 2)
        package static let rfc822 = Kind(rawValue: 3)
        package static let ipv6 = Kind(rawValue: 5)
        package static let derDN = Kind(rawValue: 9)
        package static let derGN = Kind(rawValue: 10)
        package static let keyID = Kind(rawValue: 11)
    }
    package var kind: Kind
    /// The three reserved bytes as received: they say nothing, but AUTH covers them. Zero in what we send.
    private var reserved: (UInt8, UInt8, UInt8) = (0, 0, 0)
    package var data: [UInt8]
    package init(kind: Kind, data: [UInt8]) {
        self.kind = kind
        self.data = data
    }

    package static func == (a: Identification, b: Identification) -> Bool { a.kind == b.kind && a.data == b.data }
    package func hash(into hasher: inout Hasher) {
        hasher.combine(kind)
        hasher.combine(data)
    }

    init(from reader: inout WireReader) throws(WireError) {
        kind = Kind(rawValue: try reader.u8())
        reserved = (try reader.u8(), try reader.u8(), try reader.u8())
        data = try reader.rest()
    }

    func write(to writer: inout WireWriter) {
        writer.u8(kind.rawValue)
        writer.zeros(3)
        writer.copy(data)
    }

    /// The body of an Identification payload (type, three reserved bytes, data), as it was received or will be sent: what the AUTH
    /// calculation signs.
    /// RFC 7296 section 2.15.
    package var body: [UInt8] { [kind.rawValue, reserved.0, reserved.1, reserved.2] + data }
}
