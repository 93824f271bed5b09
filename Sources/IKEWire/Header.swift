// The IKE header: 28 bytes before every message.
// RFC 7296 section 3.1.

/// An IKE SPI: eight bytes, chosen by one end. Zero stands for "not chosen yet".
package struct IKESPI: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static let none = IKESPI(rawValue: 0)
    /// Sixteen hexadecimal digits.
    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// The flags octet of the header. RFC 7296 section 3.1.
package struct HeaderFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let initiator = HeaderFlags(rawValue: 0x08)
    package static let version = HeaderFlags(rawValue: 0x10)
    package static let response = HeaderFlags(rawValue: 0x20)
    /// Every flag that has a meaning; the others are reserved.
    static let known: HeaderFlags = [.initiator, .version, .response]
}

/// The fixed header of an IKE message.
package struct Header: Hashable, Sendable {
    package static let byteCount = 28

    package var initiatorSPI: IKESPI
    package var responderSPI: IKESPI
    /// The type of the first payload.
    package var nextPayload: PayloadType
    package var majorVersion: UInt8
    package var minorVersion: UInt8
    package var exchangeType: ExchangeType
    package var flags: HeaderFlags
    package var messageID: UInt32
    /// The length of the whole message, header included, in bytes. Filled in when a message is written.
    package var length: UInt32

    package init(
        initiatorSPI: IKESPI, responderSPI: IKESPI, nextPayload: PayloadType = .none, majorVersion: UInt8 = 2, minorVersion: UInt8 = 0,
        exchangeType: ExchangeType, flags: HeaderFlags, messageID: UInt32, length: UInt32 = 0
    ) {
        self.initiatorSPI = initiatorSPI
        self.responderSPI = responderSPI
        self.nextPayload = nextPayload
        self.majorVersion = majorVersion
        self.minorVersion = minorVersion
        self.exchangeType = exchangeType
        self.flags = flags
        self.messageID = messageID
        self.length = length
    }

    package var isResponse: Bool { flags.contains(.response) }
    package var isFromInitiator: Bool { flags.contains(.initiator) }
}
