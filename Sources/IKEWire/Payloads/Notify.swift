// The Notify payload: protocol, SPI size, type, SPI, data.
// RFC 7296 section 3.10.

package struct Notify: Hashable, Sendable {
    package var protocolID: ProtocolID
    package var spi: [UInt8]
    package var type: NotifyType
    package var data: [UInt8]
    package init(_ type: NotifyType, protocolID: ProtocolID = .none, spi: [UInt8] = [], data: [UInt8] = []) {
        self.type = type
        self.protocolID = protocolID
        self.spi = spi
        self.data = data
    }

    init(from reader: inout WireReader) throws(WireError) {
        protocolID = ProtocolID(rawValue: try reader.u8())
        let spiSize = Int(try reader.u8())
        type = NotifyType(rawValue: try reader.u16())
        spi = try reader.copy(spiSize)
        data = try reader.rest()
    }

    func write(to writer: inout WireWriter) {
        writer.u8(protocolID.rawValue)
        writer.u8(UInt8(clamping: spi.count))
        writer.u16(type.rawValue)
        writer.copy(spi)
        writer.copy(data)
    }
}
