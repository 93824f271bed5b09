// Bytes to messages and back: the entry points of the codec.
// RFC 7296 section 3.

/// Why bytes are not a message; the evidence is in the case.
package enum WireError: Error, Hashable, Sendable {
    /// A field needs `need` bytes and `have` are left.
    case truncated(need: Int, have: Int)
    /// Bytes left over after the last field.
    case trailing(Int)
    /// A length field that cannot be right.
    case badLength(Int)
    /// A major version above 2. RFC 7296 section 2.5.
    case majorVersion(UInt8)
    /// More of something than the codec takes.
    case tooMany(Int)
    /// A field's value that the section forbids.
    case forbidden(PayloadType)
}

extension Header {
    /// Reads the header at the start of a datagram; `length` is not compared with the datagram here.
    package static func parse(_ bytes: Span<UInt8>) throws(WireError) -> Header { throw .truncated(need: 28, have: bytes.count) }
}

extension Message {
    /// Reads a whole message; `bytes` holds exactly one. An Encrypted payload ends the chain and is kept closed.
    package static func parse(_ bytes: Span<UInt8>) throws(WireError) -> Message { throw .truncated(need: 28, have: bytes.count) }

    /// The message as bytes, lengths and the chain of types filled in.
    package func serialized() -> [UInt8] { [] }
}

extension Payload {
    /// Reads a chain of payloads that starts with one of type `first`, to the end of `bytes`.
    package static func parseChain(first: PayloadType, _ bytes: Span<UInt8>) throws(WireError) -> [Payload] { [] }

    /// A chain of payloads as bytes, with the type of the first.
    package static func serializeChain(_ payloads: [Payload]) -> (first: PayloadType, bytes: [UInt8]) { (.none, []) }

    package var type: PayloadType { .none }

    /// The body of an Identification payload (type, three reserved bytes, data): what the AUTH calculation signs.
    /// RFC 7296 section 2.15.
}

extension Identification {
    package var body: [UInt8] { [kind.rawValue, 0, 0, 0] + data }
}
