// The Delete payload: protocol, SPI size, number of SPIs, SPIs.
// RFC 7296 section 3.11.

/// `spis` is empty for IKE, 4-byte values for AH and ESP.
package struct Delete: Hashable, Sendable {
    package var protocolID: ProtocolID
    package var spis: [UInt32]
    package init(protocolID: ProtocolID, spis: [UInt32] = []) {
        self.protocolID = protocolID
        self.spis = spis
    }

    init(from reader: inout WireReader) throws(WireError) {
        protocolID = ProtocolID(rawValue: try reader.u8())
        let spiSize = Int(try reader.u8())
        let count = Int(try reader.u16())
        spis = []
        //= RFC 7296 §3.11: zero for IKE, four for AH and ESP
        if spiSize != (protocolID == .ike ? 0 : 4) { throw .badLength(spiSize) }
        // An IKE SA is named by the message's header: the count says nothing.
        if protocolID == .ike { return }
        if count > WireLimits.deletedSPIs { throw .tooMany(count) }
        spis.reserveCapacity(min(count, reader.remaining / 4))
        for _ in 0..<count { spis.append(try reader.u32()) }
    }

    func write(to writer: inout WireWriter) {
        writer.u8(protocolID.rawValue)
        writer.u8(protocolID == .ike ? 0 : 4)
        if protocolID == .ike {
            writer.u16(0)
        } else {
            writer.u16(UInt16(clamping: spis.count))
            for spi in spis { writer.u32(spi) }
        }
    }
}
