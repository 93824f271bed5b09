// Exchange and payload types. A value that this code does not know is preserved.
// RFC 7296 sections 3.1 and 3.2; IANA "IKEv2 Parameters".

package struct ExchangeType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let ikeSAInit = ExchangeType(rawValue: 34)
    package static let ikeAuth = ExchangeType(rawValue: 35)
    package static let createChildSA = ExchangeType(rawValue: 36)
    package static let informational = ExchangeType(rawValue: 37)
}

package struct PayloadType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let none = PayloadType(rawValue: 0)
    package static let securityAssociation = PayloadType(rawValue: 33)
    package static let keyExchange = PayloadType(rawValue: 34)
    package static let identificationInitiator = PayloadType(rawValue: 35)
    package static let identificationResponder = PayloadType(rawValue: 36)
    package static let certificate = PayloadType(rawValue: 37)
    package static let certificateRequest = PayloadType(rawValue: 38)
    package static let authentication = PayloadType(rawValue: 39)
    package static let nonce = PayloadType(rawValue: 40)
    package static let notify = PayloadType(rawValue: 41)
    package static let delete = PayloadType(rawValue: 42)
    package static let vendorID = PayloadType(rawValue: 43)
    package static let trafficSelectorInitiator = PayloadType(rawValue: 44)
    package static let trafficSelectorResponder = PayloadType(rawValue: 45)
    package static let encrypted = PayloadType(rawValue: 46)
    package static let configuration = PayloadType(rawValue: 47)
    package static let eap = PayloadType(rawValue: 48)
    package static let encryptedFragment = PayloadType(rawValue: 53)

    /// Whether the codec has a value for it: what is not known and critical is refused. RFC 7296 section 2.5.
    package var isKnown: Bool { (33...48).contains(rawValue) || rawValue == 53 }
}

package struct ProtocolID: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let none = ProtocolID(rawValue: 0)
    package static let ike = ProtocolID(rawValue: 1)
    package static let ah = ProtocolID(rawValue: 2)
    package static let esp = ProtocolID(rawValue: 3)
}
