// The Nonce payload: nothing but the nonce.
// RFC 7296 section 3.9.

package enum Nonce {
    //= RFC 7296 §3.9: between 16 and 256 octets, inclusive
    package static let byteCounts = 16...256

    static func read(_ reader: inout WireReader) throws(WireError) -> [UInt8] {
        if !byteCounts.contains(reader.remaining) { throw .badLength(reader.remaining) }
        return try reader.rest()
    }
}
