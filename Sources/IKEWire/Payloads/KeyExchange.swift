// The Key Exchange payload: method, reserved, data.
// RFC 7296 section 3.4.

package struct KeyExchange: Hashable, Sendable {
    /// The key exchange method, a transform identifier of type 4.
    package var method: UInt16
    /// The public value. Its length depends on the method and is checked by the key exchange itself.
    package var data: [UInt8]
    package init(method: UInt16, data: [UInt8]) {
        self.method = method
        self.data = data
    }

    init(from reader: inout WireReader) throws(WireError) {
        method = try reader.u16()
        try reader.skip(2)
        data = try reader.rest()
    }

    func write(to writer: inout WireWriter) {
        writer.u16(method)
        writer.zeros(2)
        writer.copy(data)
    }
}
