// Bytes to messages and back: the entry points of the codec, its errors and its limits.
// RFC 7296 section 3.

/// Why bytes are not a message; the evidence is in the case.
package enum WireError: Error, Hashable, Sendable {
    /// A field needs `need` bytes and `have` are left.
    case truncated(need: Int, have: Int)
    /// Bytes left over after the last field.
    case trailing(Int)
    /// A length field that cannot be right.
    case badLength(Int)
    /// A major version other than 2. Above 2 it is answered with INVALID_MAJOR_VERSION. RFC 7296 section 2.5.
    case majorVersion(UInt8)
    /// More of something than the codec takes.
    case tooMany(Int)
    /// A field's value that the section forbids.
    case forbidden(PayloadType)

    /// Whether there is nothing wrong with the bytes but that they are too many.
    package var isOfSize: Bool { if case .tooMany = self { true } else { false } }

    /// For a log.
    package var words: String {
        switch self {
        case .truncated(let need, let have): "a field needs \(need) octets and has \(have)"
        case .trailing(let count): "\(count) octets are left behind the last field"
        case .badLength(let length): "a length of \(length) cannot be right"
        case .majorVersion(let version): "its major version is \(version)"
        case .tooMany(let count): "it has \(count) of what a message has less of"
        case .forbidden(let type): "a payload of the type \(type) has a value that it may not have"
        }
    }
}

/// How many of each thing one message may hold. Far above what any peer sends; low enough that no message is expensive.
package enum WireLimits {
    /// Payloads in one chain. Some clients send about 50 CERTREQ payloads.
    package static let payloads = 256
    package static let proposals = 128
    /// Transforms in all proposals of one SA payload together.
    package static let transforms = 2048
    package static let transformAttributes = 16
    package static let deletedSPIs = 4096
    package static let configurationAttributes = 512
}

extension Header {
    /// Reads the header at the start of a datagram, of any version; `length` is not compared with the datagram here.
    package static func parse(_ bytes: Span<UInt8>) throws(WireError) -> Header {
        var reader = WireReader(bytes)
        return try Header(from: &reader)
    }

    init(from reader: inout WireReader) throws(WireError) {
        if reader.remaining < Self.byteCount { throw .truncated(need: Self.byteCount, have: reader.remaining) }
        let initiatorSPI = IKESPI(rawValue: try reader.u64())
        let responderSPI = IKESPI(rawValue: try reader.u64())
        let nextPayload = PayloadType(rawValue: try reader.u8())
        let version = try reader.u8()
        let exchangeType = ExchangeType(rawValue: try reader.u8())
        //= RFC 7296 §3.1: reserved flags are cleared when sending and ignored on receipt
        let flags = HeaderFlags(rawValue: try reader.u8() & HeaderFlags.known.rawValue)
        self.init(
            initiatorSPI: initiatorSPI, responderSPI: responderSPI, nextPayload: nextPayload, majorVersion: version >> 4,
            minorVersion: version & 0x0f, exchangeType: exchangeType, flags: flags, messageID: try reader.u32(), length: try reader.u32())
    }

    func write(to writer: inout WireWriter) {
        writer.u64(initiatorSPI.rawValue)
        writer.u64(responderSPI.rawValue)
        writer.u8(nextPayload.rawValue)
        writer.u8(majorVersion << 4 | minorVersion & 0x0f)
        writer.u8(exchangeType.rawValue)
        writer.u8(flags.intersection(.known).rawValue)
        writer.u32(messageID)
        writer.u32(length)
    }
}

extension Message {
    /// Reads a whole message; `bytes` holds exactly one. An Encrypted payload ends the chain and is kept closed.
    package static func parse(_ bytes: Span<UInt8>) throws(WireError) -> Message {
        var reader = WireReader(bytes)
        let header = try Header(from: &reader)
        if header.majorVersion != 2 { throw .majorVersion(header.majorVersion) }
        let length = Int(header.length)
        if length < Header.byteCount { throw .badLength(length) }
        if length > bytes.count { throw .truncated(need: length, have: bytes.count) }
        if length < bytes.count { throw .trailing(bytes.count - length) }
        return Message(header: header, payloads: try Payload.readChain(first: header.nextPayload, &reader))
    }

    /// The message as bytes, lengths and the chain of types filled in.
    package func serialized() -> [UInt8] {
        var writer = WireWriter()
        var header = header
        header.nextPayload = payloads.first?.type ?? .none
        header.write(to: &writer)
        Payload.writeChain(payloads, to: &writer)
        writer.overwrite(at: Header.byteCount - 4, u32: UInt32(clamping: writer.bytes.count))
        return writer.bytes
    }
}

extension Payload {
    /// Reads a chain of payloads that starts with one of type `first`, to the end of `bytes`. An Encrypted payload ends it
    /// and is kept closed; in a chain that was itself encrypted it has no meaning, and is the caller's to refuse.
    package static func parseChain(first: PayloadType, _ bytes: Span<UInt8>) throws(WireError) -> [Payload] {
        var reader = WireReader(bytes)
        return try readChain(first: first, &reader)
    }

    /// A chain of payloads as bytes, with the type of the first.
    package static func serializeChain(_ payloads: [Payload]) -> (first: PayloadType, bytes: [UInt8]) {
        var writer = WireWriter()
        writeChain(payloads, to: &writer)
        return (payloads.first?.type ?? .none, writer.bytes)
    }
}
