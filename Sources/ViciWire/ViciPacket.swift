// Packets: what a vici client and server say to each other.
// Source: strongSwan's src/libcharon/plugins/vici/README.md, "Packet layer".

package enum ViciPacketType: UInt8, Sendable {
    case commandRequest = 0
    case commandResponse = 1
    case commandUnknown = 2
    case eventRegister = 3
    case eventUnregister = 4
    case eventConfirm = 5
    case eventUnknown = 6
    case event = 7
}

package enum ViciPacket: Hashable, Sendable {
    /// Client to server.
    case commandRequest(name: String, ViciMessage)
    /// Server to client: the answer to the one command that may be open on a connection.
    case commandResponse(ViciMessage)
    /// Server to client: there is no such command.
    case commandUnknown
    /// Client to server.
    case eventRegister(name: String)
    case eventUnregister(name: String)
    /// Server to client: the registration, or its end, took effect.
    case eventConfirm
    /// Server to client: there is no such event, or it was not registered.
    case eventUnknown
    /// Server to client, at any time while registered.
    case event(name: String, ViciMessage)

    package var type: ViciPacketType {
        switch self {
        case .commandRequest: .commandRequest
        case .commandResponse: .commandResponse
        case .commandUnknown: .commandUnknown
        case .eventRegister: .eventRegister
        case .eventUnregister: .eventUnregister
        case .eventConfirm: .eventConfirm
        case .eventUnknown: .eventUnknown
        case .event: .event
        }
    }

    /// Reads what a frame holds: the type, its name where it has one, and the message that fills the rest.
    package init(decoding frame: ArraySlice<UInt8>) throws(ViciError) { self = try Self.decode(frame, withholding: []).packet }

    /// The same, but the values of the name `secret` outside a message's sections are left empty, and where they stand in `frame` comes back.
    package static func decode(_ frame: ArraySlice<UInt8>, withholding secret: Set<String>) throws(ViciError) -> (packet: ViciPacket, secrets: [Range<Int>]) {
        guard !frame.isEmpty else { throw .emptyPacket }
        var reader = ViciReader(frame)
        let code = try reader.byte()
        guard let type = ViciPacketType(rawValue: code) else { throw .unknownPacketType(code) }
        let packet: ViciPacket
        switch type {
        case .commandRequest:
            let name = try reader.name()
            let (message, secrets) = try ViciMessage.decode(reader.rest, withholding: secret)
            return (.commandRequest(name: name, message), secrets)
        case .commandResponse:
            let (message, secrets) = try ViciMessage.decode(reader.rest, withholding: secret)
            return (.commandResponse(message), secrets)
        case .event:
            let name = try reader.name()
            let (message, secrets) = try ViciMessage.decode(reader.rest, withholding: secret)
            return (.event(name: name, message), secrets)
        case .commandUnknown: packet = .commandUnknown
        case .eventRegister: packet = .eventRegister(name: try reader.name())
        case .eventUnregister: packet = .eventUnregister(name: try reader.name())
        case .eventConfirm: packet = .eventConfirm
        case .eventUnknown: packet = .eventUnknown
        }
        guard reader.isAtEnd else { throw .trailing(reader.rest.count) }
        return (packet, [])
    }

    /// The packet as it goes on the stream: 32-bit length in network order, then the packet. Throws what a message throws, and
    /// `oversizePacket`.
    package func framed() throws(ViciError) -> [UInt8] {
        var out: [UInt8] = [0, 0, 0, 0, type.rawValue]
        switch self {
        case .commandRequest(let name, let message), .event(let name, let message):
            try out.appendViciName(name)
            try message.encode(into: &out, depth: 0)
        case .commandResponse(let message):
            try message.encode(into: &out, depth: 0)
        case .eventRegister(let name), .eventUnregister(let name):
            try out.appendViciName(name)
        case .commandUnknown, .eventConfirm, .eventUnknown:
            break
        }
        let length = out.count - 4
        guard length <= ViciLimits.packetBytes else { throw .oversizePacket(length) }
        for index in 0..<4 { out[index] = UInt8(truncatingIfNeeded: length >> (8 * (3 - index))) }
        return out
    }
}
