// Addresses and selectors between the contract, the kernel and the wire's types.

import CLinux
import ESPCore
import Glibc
import IKEWire
import PluginABI

/// An address as the C structs hold it: network order, zeros after an IPv4 address.
package typealias AddressBytes = (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8)

extension IPAddress {
    /// Nil for a family that is neither 4 nor 6.
    package init?(family: UInt8, bytes: AddressBytes) {
        guard let family = Family(rawValue: family) else { return nil }
        var value: UInt128 = 0
        withUnsafeBytes(of: bytes) { raw in
            for index in 0..<(family == .v4 ? 4 : 16) { value = value << 8 | UInt128(raw[index]) }
        }
        self.init(family: family, value: value)
    }

    package var addressBytes: AddressBytes {
        var result: AddressBytes = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        let count = bitCount / 8
        withUnsafeMutableBytes(of: &result) { raw in
            for index in 0..<count { raw[index] = UInt8(truncatingIfNeeded: value >> (8 * (count - 1 - index))) }
        }
        return result
    }
}

extension SocketAddress {
    package init?(_ address: martlet_address) {
        guard let ip = IPAddress(family: address.family, bytes: address.bytes) else { return nil }
        self.init(address: ip, port: address.port)
    }

    package init?(_ outer: martlet_outer_address) {
        let family: UInt8 = outer.family == UInt16(AF_INET) ? 4 : 6
        guard let ip = IPAddress(family: family, bytes: outer.bytes) else { return nil }
        self.init(address: ip, port: outer.port)
    }

    package var contract: martlet_address {
        var result = martlet_address()
        result.family = address.family.rawValue
        result.port = port
        result.bytes = address.addressBytes
        return result
    }

    /// `withPort` false for bare ESP, whose sockets take no port.
    package func outer(withPort: Bool) -> martlet_outer_address {
        var result = martlet_outer_address()
        result.family = UInt16(address.family == .v4 ? AF_INET : AF_INET6)
        result.port = withPort ? port : 0
        result.bytes = address.addressBytes
        return result
    }
}

extension TrafficSelector {
    package init?(_ selector: martlet_selector) {
        guard let start = IPAddress(family: selector.family, bytes: selector.start), let end = IPAddress(family: selector.family, bytes: selector.end)
        else { return nil }
        self.init(ipProtocol: selector.protocol, startPort: selector.start_port, endPort: selector.end_port, start: start, end: end)
    }
}

extension Prefix {
    package var contract: martlet_prefix {
        var result = martlet_prefix()
        result.family = family.rawValue
        result.length = UInt8(length)
        result.bytes = IPAddress(family: family, value: value).addressBytes
        return result
    }
}
