// Between the wire's addresses and those of CLinux and of the plane's contract.

import CLinux
import Glibc
import IKEWire
import PluginABI

extension IPAddress.Family {
    var socketFamily: UInt16 { UInt16(self == .v4 ? AF_INET : AF_INET6) }
}

/// Writes the address to the front of a C array of sixteen bytes.
private func store(_ address: IPAddress, in bytes: UnsafeMutableRawBufferPointer) {
    for (index, byte) in address.bytes.enumerated() where index < bytes.count { bytes[index] = byte }
}

private func load(_ family: IPAddress.Family, _ bytes: UnsafeRawBufferPointer) -> IPAddress {
    var value: UInt128 = 0
    for byte in bytes.prefix(family == .v4 ? 4 : 16) { value = value << 8 | UInt128(byte) }
    return IPAddress(family: family, value: value)
}

extension martlet_endpoint {
    init(_ address: SocketAddress) {
        self.init()
        family = address.address.family.socketFamily
        port = address.port
        withUnsafeMutableBytes(of: &bytes) { store(address.address, in: $0) }
    }

    /// Nil for a family that is neither.
    var socketAddress: SocketAddress? {
        let kind: IPAddress.Family
        switch Int32(family) {
        case AF_INET: kind = .v4
        case AF_INET6: kind = .v6
        default: return nil
        }
        return SocketAddress(address: withUnsafeBytes(of: bytes) { load(kind, $0) }, port: port)
    }
}

extension martlet_address {
    init(_ address: SocketAddress) {
        self.init()
        family = address.address.family.rawValue
        port = address.port
        withUnsafeMutableBytes(of: &bytes) { store(address.address, in: $0) }
    }

    /// Family 0 for none.
    init(optional address: IPAddress?) { self = address.map { martlet_address(SocketAddress(address: $0, port: 0)) } ?? martlet_address() }

    var socketAddress: SocketAddress? {
        guard let kind = IPAddress.Family(rawValue: family) else { return nil }
        return SocketAddress(address: withUnsafeBytes(of: bytes) { load(kind, $0) }, port: port)
    }
}

extension TrafficSelector {
    /// Nil for a family that is neither 4 nor 6.
    init?(_ selector: martlet_selector) {
        func address(_ bytes: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8)) -> IPAddress? {
            guard selector.family == 4 || selector.family == 6 else { return nil }
            return IPAddress(bytes: withUnsafeBytes(of: bytes) { Array($0.prefix(selector.family == 4 ? 4 : 16)) })
        }
        guard let start = address(selector.start), let end = address(selector.end) else { return nil }
        self.init(ipProtocol: selector.protocol, startPort: selector.start_port, endPort: selector.end_port, start: start, end: end)
    }
}

extension martlet_selector {
    init(_ selector: TrafficSelector) {
        self.init()
        family = selector.start.family.rawValue
        `protocol` = selector.ipProtocol
        start_port = selector.startPort
        end_port = selector.endPort
        withUnsafeMutableBytes(of: &start) { store(selector.start, in: $0) }
        withUnsafeMutableBytes(of: &end) { store(selector.end, in: $0) }
    }
}
