// The Certificate payload: an encoding and the data in it.
// RFC 7296 section 3.6.

package struct Certificate: Hashable, Sendable {
    package var encoding: UInt8
    package var data: [UInt8]
    package init(encoding: UInt8, data: [UInt8]) {
        self.encoding = encoding
        self.data = data
    }

    init(from reader: inout WireReader) throws(WireError) {
        encoding = try reader.u8()
        data = try reader.rest()
    }

    func write(to writer: inout WireWriter) {
        writer.u8(encoding)
        writer.copy(data)
    }
}
