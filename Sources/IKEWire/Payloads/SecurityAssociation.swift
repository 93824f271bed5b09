// The Security Association payload: proposals of transforms.
// RFC 7296 section 3.3.

package struct SecurityAssociation: Hashable, Sendable {
    package var proposals: [Proposal]
    package init(proposals: [Proposal]) { self.proposals = proposals }
}

/// One proposal. `number` counts from 1; `spi` is empty, 4 (AH, ESP) or 8 bytes (IKE).
package struct Proposal: Hashable, Sendable {
    package var number: UInt8
    package var protocolID: ProtocolID
    package var spi: [UInt8]
    package var transforms: [Transform]
    package init(number: UInt8, protocolID: ProtocolID, spi: [UInt8] = [], transforms: [Transform]) {
        self.number = number
        self.protocolID = protocolID
        self.spi = spi
        self.transforms = transforms
    }
}

/// The "last or more" octet that begins each proposal and each transform. RFC 7296 sections 3.3.1 and 3.3.2.
private enum Marker {
    static let last: UInt8 = 0
    static let moreProposals: UInt8 = 2
    static let moreTransforms: UInt8 = 3
}

extension SecurityAssociation {
    init(from reader: inout WireReader) throws(WireError) {
        proposals = []
        var budget = WireLimits.transforms
        var isLast = false
        while !isLast {
            if proposals.count == WireLimits.proposals { throw .tooMany(proposals.count + 1) }
            let marker = try reader.u8()
            if marker != Marker.last && marker != Marker.moreProposals { throw .forbidden(.securityAssociation) }
            isLast = marker == Marker.last
            try reader.skip(1)
            let length = Int(try reader.u16())
            if length < Proposal.headerByteCount { throw .badLength(length) }
            var body = try reader.sub(length - 4)
            let proposal = try Proposal(from: &body, budget: &budget)
            // Numbers grow, so that an answer names one proposal. A second proposal of the same number is IKEv1's "and".
            if proposal.number <= (proposals.last?.number ?? 0) { throw .forbidden(.securityAssociation) }
            proposals.append(proposal)
        }
    }

    func write(to writer: inout WireWriter) {
        for (index, proposal) in proposals.enumerated() {
            writer.structure(lengthAt: 2) { writer in
                writer.u8(index + 1 < proposals.count ? Marker.moreProposals : Marker.last)
                // The reserved octet, and the length, which is filled in.
                writer.zeros(1 + 2)
                proposal.write(to: &writer)
            }
        }
    }
}

extension Proposal {
    /// Marker, reserved, length (2), number, protocol, SPI size, number of transforms.
    fileprivate static let headerByteCount = 8

    /// Reads what follows the proposal's length.
    fileprivate init(from reader: inout WireReader, budget: inout Int) throws(WireError) {
        number = try reader.u8()
        protocolID = ProtocolID(rawValue: try reader.u8())
        let spiSize = Int(try reader.u8())
        let count = Int(try reader.u8())
        if !Self.allows(spiSize: spiSize, for: protocolID) { throw .badLength(spiSize) }
        spi = try reader.copy(spiSize)
        budget -= count
        if budget < 0 { throw .tooMany(WireLimits.transforms - budget) }
        transforms = []
        transforms.reserveCapacity(min(count, reader.remaining / Transform.headerByteCount))
        for index in 0..<count {
            let marker = try reader.u8()
            if marker != (index + 1 < count ? Marker.moreTransforms : Marker.last) { throw .forbidden(.securityAssociation) }
            try reader.skip(1)
            let length = Int(try reader.u16())
            if length < Transform.headerByteCount { throw .badLength(length) }
            var body = try reader.sub(length - 4)
            transforms.append(try Transform(from: &body))
        }
        try reader.end()
    }

    fileprivate func write(to writer: inout WireWriter) {
        writer.u8(number)
        writer.u8(protocolID.rawValue)
        writer.u8(UInt8(clamping: spi.count))
        writer.u8(UInt8(clamping: transforms.count))
        writer.copy(spi)
        for (index, transform) in transforms.enumerated() {
            writer.structure(lengthAt: 2) { writer in
                writer.u8(index + 1 < transforms.count ? Marker.moreTransforms : Marker.last)
                writer.zeros(3)
                transform.write(to: &writer)
            }
        }
    }

    //= RFC 7296 §3.3.1: zero in an initial IKE SA negotiation, then 8 for IKE, 4 for ESP and AH
    private static func allows(spiSize: Int, for protocolID: ProtocolID) -> Bool {
        switch protocolID {
        case .ike: spiSize == 0 || spiSize == 8
        case .ah, .esp: spiSize == 4
        default: true
        }
    }
}

extension Transform {
    /// Marker, reserved, length (2), type, reserved, identifier (2).
    fileprivate static let headerByteCount = 8
    /// Attribute type 14 in the format of a type and a value: bit 15 is set. RFC 7296 section 3.3.5.
    private static let keyLengthAttribute: UInt16 = 0x8000 | 14

    /// Reads what follows the transform's length.
    fileprivate init(from reader: inout WireReader) throws(WireError) {
        let type = TransformType(rawValue: try reader.u8())
        try reader.skip(1)
        self.init(type: type, id: try reader.u16())
        var count = 0
        while !reader.isAtEnd {
            count += 1
            if count > WireLimits.transformAttributes { throw .tooMany(count) }
            let attribute = try reader.u16()
            let valueOrLength = try reader.u16()
            if attribute & 0x8000 == 0 { try reader.skip(Int(valueOrLength)) }
            if attribute == Self.keyLengthAttribute && keyLength == nil {
                keyLength = valueOrLength
            } else {
                //= RFC 7296 §3.3.6: a transform with an attribute that is not understood is rejected
                hasUnknownAttribute = true
            }
        }
    }

    fileprivate func write(to writer: inout WireWriter) {
        writer.u8(type.rawValue)
        writer.u8(0)
        writer.u16(id)
        if let keyLength {
            writer.u16(Self.keyLengthAttribute)
            writer.u16(keyLength)
        }
    }
}
