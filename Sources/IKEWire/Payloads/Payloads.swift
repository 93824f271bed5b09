// The smaller payload bodies as values: KE, ID, CERT, CERTREQ, AUTH, N, D, TS, CP.
// RFC 7296 sections 3.4 to 3.15. (Split: one section a file.)

/// RFC 7296 section 3.4.
package struct KeyExchange: Hashable, Sendable {
    /// The key exchange method, a transform identifier of type 4.
    package var method: UInt16
    package var data: [UInt8]
    package init(method: UInt16, data: [UInt8]) {
        self.method = method
        self.data = data
    }
}

/// RFC 7296 section 3.5.
package struct Identification: Hashable, Sendable {
    package struct Kind: RawRepresentable, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let ipv4 = Kind(rawValue: 1)
        package static let fqdn = Kind(rawValue: 2)
        package static let rfc822 = Kind(rawValue: 3)
        package static let ipv6 = Kind(rawValue: 5)
        package static let derDN = Kind(rawValue: 9)
        package static let derGN = Kind(rawValue: 10)
        package static let keyID = Kind(rawValue: 11)
    }
    package var kind: Kind
    package var data: [UInt8]
    package init(kind: Kind, data: [UInt8]) {
        self.kind = kind
        self.data = data
    }
}

/// RFC 7296 section 3.6.
package struct Certificate: Hashable, Sendable {
    package var encoding: UInt8
    package var data: [UInt8]
    package init(encoding: UInt8, data: [UInt8]) {
        self.encoding = encoding
        self.data = data
    }
}

/// RFC 7296 section 3.7.
package struct CertificateRequest: Hashable, Sendable {
    package var encoding: UInt8
    package var authorities: [UInt8]
    package init(encoding: UInt8, authorities: [UInt8]) {
        self.encoding = encoding
        self.authorities = authorities
    }
}

/// RFC 7296 section 3.8.
package struct Authentication: Hashable, Sendable {
    package struct Method: RawRepresentable, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let rsaSignature = Method(rawValue: 1)
        package static let sharedKey = Method(rawValue: 2)
        package static let null = Method(rawValue: 13)
        package static let digitalSignature = Method(rawValue: 14)
    }
    package var method: Method
    package var data: [UInt8]
    package init(method: Method, data: [UInt8]) {
        self.method = method
        self.data = data
    }
}

/// RFC 7296 section 3.10.
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
}

/// RFC 7296 section 3.11. `spis` is empty for IKE, 4-byte values for AH and ESP.
package struct Delete: Hashable, Sendable {
    package var protocolID: ProtocolID
    package var spis: [UInt32]
    package init(protocolID: ProtocolID, spis: [UInt32] = []) {
        self.protocolID = protocolID
        self.spis = spis
    }
}

/// RFC 7296 section 3.13.1. An address range, a protocol (0 for any) and a port range, all ends included.
/// Ports 65535 to 0 stand for OPAQUE.
package struct TrafficSelector: Hashable, Sendable {
    package var ipProtocol: UInt8
    package var startPort: UInt16
    package var endPort: UInt16
    package var start: IPAddress
    package var end: IPAddress
    package init(ipProtocol: UInt8 = 0, startPort: UInt16 = 0, endPort: UInt16 = 65535, start: IPAddress, end: IPAddress) {
        self.ipProtocol = ipProtocol
        self.startPort = startPort
        self.endPort = endPort
        self.start = start
        self.end = end
    }
}

/// RFC 7296 section 3.15.
package struct Configuration: Hashable, Sendable {
    package var kind: UInt8
    package var attributes: [Attribute]
    package struct Attribute: Hashable, Sendable {
        package var type: UInt16
        package var value: [UInt8]
        package init(type: UInt16, value: [UInt8]) {
            self.type = type
            self.value = value
        }
    }
    package init(kind: UInt8, attributes: [Attribute]) {
        self.kind = kind
        self.attributes = attributes
    }
}
