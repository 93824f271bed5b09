// The Certificate Request payload: an encoding and the authorities accepted in it.
// RFC 7296 section 3.7.

package struct CertificateRequest: Hashable, Sendable {
    package var encoding: UInt8
    /// For X.509 signature certificates: SHA-1 hashes of authorities' keys, 20 bytes each, one after the other.
    package var authorities: [UInt8]
    package init(encoding: UInt8, authorities: [UInt8]) {
        self.encoding = encoding
        self.authorities = authorities
    }

    init(from reader: inout WireReader) throws(WireError) {
        encoding = try reader.u8()
        authorities = try reader.rest()
    }

    func write(to writer: inout WireWriter) {
        writer.u8(encoding)
        writer.copy(authorities)
    }
}
