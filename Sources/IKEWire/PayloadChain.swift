// The chain of payloads: generic payload headers, and which value a body becomes.
// RFC 7296 sections 3.2 and 3.14; RFC 7383 section 2.5.

extension Payload {
    /// The payload's type as the generic header before it names it.
    package var type: PayloadType {
        switch self {
        case .securityAssociation: .securityAssociation
        case .keyExchange: .keyExchange
        case .identificationInitiator: .identificationInitiator
        case .identificationResponder: .identificationResponder
        case .certificate: .certificate
        case .certificateRequest: .certificateRequest
        case .authentication: .authentication
        case .nonce: .nonce
        case .notify: .notify
        case .delete: .delete
        case .vendorID: .vendorID
        case .trafficSelectorInitiator: .trafficSelectorInitiator
        case .trafficSelectorResponder: .trafficSelectorResponder
        case .encrypted: .encrypted
        case .encryptedFragment: .encryptedFragment
        case .configuration: .configuration
        case .eap: .eap
        case .unknown(let type, _, _): type
        }
    }

    static func readChain(first: PayloadType, _ reader: inout WireReader) throws(WireError) -> [Payload] {
        var payloads: [Payload] = []
        // Most messages have fewer: one allocation instead of one at each doubling.
        payloads.reserveCapacity(first == .encrypted ? 1 : 8)
        var type = first
        while type != .none {
            if payloads.count == WireLimits.payloads { throw .tooMany(payloads.count + 1) }
            let next = PayloadType(rawValue: try reader.u8())
            let critical = try reader.u8() & 0x80 != 0
            let length = Int(try reader.u16())
            if length < genericHeaderByteCount { throw .badLength(length) }
            var body = try reader.sub(length - genericHeaderByteCount)
            switch type {
            case .encrypted:
                //= RFC 7296 §3.14: the Encrypted payload is the last of its message
                try reader.end()
                payloads.append(.encrypted(first: next, body: try body.rest()))
                return payloads
            case .encryptedFragment:
                //= RFC 7383 §2.5: so is the Encrypted Fragment payload
                try reader.end()
                payloads.append(try readFragment(first: next, &body))
                return payloads
            default:
                payloads.append(try Payload(type, critical: critical, &body))
                try body.end()
                type = next
            }
        }
        try reader.end()
        return payloads
    }

    static func writeChain(_ payloads: [Payload], to writer: inout WireWriter) {
        for (index, payload) in payloads.enumerated() {
            writer.structure(lengthAt: 2) { writer in
                writer.u8(payload.innerType?.rawValue ?? (index + 1 < payloads.count ? payloads[index + 1].type.rawValue : 0))
                //= RFC 7296 §3.2: the critical bit is zero for the payload types that the document defines
                if case .unknown(_, critical: true, _) = payload { writer.u8(0x80) } else { writer.u8(0) }
                writer.u16(0)
                payload.writeBody(to: &writer)
            }
        }
    }

    /// The generic payload header: next payload, critical bit, length.
    private static let genericHeaderByteCount = 4

    /// What an Encrypted payload's next-payload field names: the first payload inside it.
    private var innerType: PayloadType? {
        switch self {
        case .encrypted(let first, _), .encryptedFragment(let first, _, _, _): first
        default: nil
        }
    }

    private static func readFragment(first: PayloadType, _ body: inout WireReader) throws(WireError) -> Payload {
        let number = try body.u16()
        let total = try body.u16()
        //= RFC 7383 §2.5: the number is not zero and at most the total
        if number == 0 || total < number { throw .forbidden(.encryptedFragment) }
        return .encryptedFragment(first: first, number: number, total: total, body: try body.rest())
    }

    /// The critical bit says something only about a payload that is not understood. RFC 7296 section 3.2.
    private init(_ type: PayloadType, critical: Bool, _ body: inout WireReader) throws(WireError) {
        switch type {
        case .securityAssociation: self = .securityAssociation(try SecurityAssociation(from: &body))
        case .keyExchange: self = .keyExchange(try KeyExchange(from: &body))
        case .identificationInitiator: self = .identificationInitiator(try Identification(from: &body))
        case .identificationResponder: self = .identificationResponder(try Identification(from: &body))
        case .certificate: self = .certificate(try Certificate(from: &body))
        case .certificateRequest: self = .certificateRequest(try CertificateRequest(from: &body))
        case .authentication: self = .authentication(try Authentication(from: &body))
        case .nonce: self = .nonce(try Nonce.read(&body))
        case .notify: self = .notify(try Notify(from: &body))
        case .delete: self = .delete(try Delete(from: &body))
        case .vendorID: self = .vendorID(try body.rest())
        case .trafficSelectorInitiator: self = .trafficSelectorInitiator(try TrafficSelector.readList(&body, in: type))
        case .trafficSelectorResponder: self = .trafficSelectorResponder(try TrafficSelector.readList(&body, in: type))
        case .configuration: self = .configuration(try Configuration(from: &body))
        case .eap: self = .eap(try body.rest())
        default: self = .unknown(type, critical: critical, body: try body.rest())
        }
    }

    private func writeBody(to writer: inout WireWriter) {
        switch self {
        case .securityAssociation(let value): value.write(to: &writer)
        case .keyExchange(let value): value.write(to: &writer)
        case .identificationInitiator(let value), .identificationResponder(let value): value.write(to: &writer)
        case .certificate(let value): value.write(to: &writer)
        case .certificateRequest(let value): value.write(to: &writer)
        case .authentication(let value): value.write(to: &writer)
        case .notify(let value): value.write(to: &writer)
        case .delete(let value): value.write(to: &writer)
        case .trafficSelectorInitiator(let value), .trafficSelectorResponder(let value): TrafficSelector.writeList(value, to: &writer)
        case .configuration(let value): value.write(to: &writer)
        case .nonce(let bytes), .vendorID(let bytes), .eap(let bytes), .encrypted(_, let bytes), .unknown(_, _, let bytes):
            writer.copy(bytes)
        case .encryptedFragment(_, let number, let total, let bytes):
            writer.u16(number)
            writer.u16(total)
            writer.copy(bytes)
        }
    }
}
