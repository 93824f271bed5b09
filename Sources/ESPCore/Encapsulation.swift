// What a tunnel adds to a packet, and what is left for the inner one.
// RFC 4303 section 2, RFC 3948, RFC 4301 section 8.

import IKEWire

/// Bare ESP (protocol 50) or ESP in UDP.
package enum Encapsulation: Hashable, Sendable {
    case bare
    case udp

    /// Bytes of outer headers in front of the SPI.
    package func outerLength(_ family: IPAddress.Family) -> Int {
        (family == .v4 ? 20 : 40) + (self == .udp ? 8 : 0)
    }
}

extension PacketLayout {
    /// The most that a tunnel adds to any inner packet, outer headers and padding included.
    package func overhead(_ encapsulation: Encapsulation, _ family: IPAddress.Family) -> Int {
        encapsulation.outerLength(family) + headroom + maximumTailroom
    }

    /// The largest inner packet that fits an outer one of `pathMTU` bytes; 0 where not even an empty one fits.
    package func innerMTU(pathMTU: Int, _ encapsulation: Encapsulation, _ family: IPAddress.Family) -> Int {
        let text = pathMTU - encapsulation.outerLength(family) - headroom - icvLength
        guard text >= alignment else { return 0 }
        return text - text % alignment - 2
    }
}
