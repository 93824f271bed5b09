// A transport endpoint: an address and a UDP port.

/// An address with a UDP port.
package struct SocketAddress: Hashable, Sendable {
    package var address: IPAddress
    package var port: UInt16
    package init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }
}

extension SocketAddress: CustomStringConvertible {
    /// `192.0.2.1[500]`, for both families.
    package var description: String { "\(address)[\(port)]" }
}
