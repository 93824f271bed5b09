// Messages made from a seed: every payload kind, every field at random.

@testable import IKEWire

/// Sebastiano Vigna's SplitMix64 (public domain, prng.di.unimi.it/splitmix64.c): the same numbers for the same seed.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

extension SplitMix64 {
    mutating func u8() -> UInt8 { UInt8.random(in: .min ... .max, using: &self) }
    mutating func u16() -> UInt16 { UInt16.random(in: .min ... .max, using: &self) }
    mutating func u32() -> UInt32 { UInt32.random(in: .min ... .max, using: &self) }
    mutating func bytes(_ counts: ClosedRange<Int>) -> [UInt8] { (0..<Int.random(in: counts, using: &self)).map { _ in u8() } }
    mutating func list<T>(_ counts: ClosedRange<Int>, _ make: (inout SplitMix64) -> T) -> [T] {
        (0..<Int.random(in: counts, using: &self)).map { _ in make(&self) }
    }

    mutating func message() -> Message {
        var payloads = list(0...8) { $0.payload() }
        switch Int.random(in: 0..<4, using: &self) {
        case 0: payloads.append(.encrypted(first: PayloadType(rawValue: u8()), body: bytes(0...80)))
        case 1:
            let number = UInt16.random(in: 1...100, using: &self)
            payloads.append(
                .encryptedFragment(
                    first: PayloadType(rawValue: u8()), number: number, total: number + UInt16.random(in: 0...9, using: &self),
                    body: bytes(0...80)))
        default: break
        }
        return Message(
            header: Header(
                initiatorSPI: IKESPI(rawValue: next()), responderSPI: IKESPI(rawValue: next()), nextPayload: payloads.first?.type ?? .none,
                minorVersion: u8() & 0x0f, exchangeType: ExchangeType(rawValue: u8()), flags: HeaderFlags(rawValue: u8() & 0x38),
                messageID: u32()),
            payloads: payloads)
    }

    mutating func payload() -> Payload {
        switch Int.random(in: 0..<16, using: &self) {
        case 0:
            var number: UInt8 = 0
            return .securityAssociation(
                SecurityAssociation(
                    proposals: list(1...4) {
                        number += UInt8.random(in: 1...3, using: &$0)
                        return $0.proposal(number)
                    }))
        case 1: return .keyExchange(KeyExchange(method: u16(), data: bytes(0...70)))
        case 2: return .identificationInitiator(identification())
        case 3: return .identificationResponder(identification())
        case 4: return .certificate(Certificate(encoding: u8(), data: bytes(0...90)))
        case 5: return .certificateRequest(CertificateRequest(encoding: u8(), authorities: bytes(0...60)))
        case 6: return .authentication(Authentication(method: .init(rawValue: u8()), data: bytes(0...64)))
        case 7: return .nonce(bytes(16...256))
        case 8:
            return .notify(
                Notify(NotifyType(rawValue: u16()), protocolID: ProtocolID(rawValue: u8()), spi: bytes(0...8), data: bytes(0...30)))
        case 9: return .delete(Delete(protocolID: .ike))
        case 10: return .delete(Delete(protocolID: .esp, spis: list(0...5) { $0.u32() }))
        case 11: return .vendorID(bytes(0...24))
        case 12: return .trafficSelectorInitiator(list(0...5) { $0.selector() })
        case 13: return .trafficSelectorResponder(list(0...5) { $0.selector() })
        case 14:
            return .configuration(
                Configuration(kind: u8(), attributes: list(0...5) { .init(type: $0.u16() & 0x7fff, value: $0.bytes(0...17)) }))
        default:
            if Bool.random(using: &self) { return .eap(bytes(0...40)) }
            // Above every payload type with a meaning here.
            return .unknown(PayloadType(rawValue: UInt8.random(in: 54...255, using: &self)), critical: Bool.random(using: &self), body: bytes(0...40))
        }
    }

    mutating func identification() -> Identification { Identification(kind: .init(rawValue: u8()), data: bytes(0...30)) }

    mutating func proposal(_ number: UInt8) -> Proposal {
        let protocolID = [ProtocolID.ike, .esp, .ah][Int.random(in: 0..<3, using: &self)]
        let spi = protocolID == .ike ? (Bool.random(using: &self) ? bytes(8...8) : []) : bytes(4...4)
        return Proposal(
            number: number, protocolID: protocolID, spi: spi,
            transforms: list(0...9) {
                Transform(type: TransformType(rawValue: $0.u8()), id: $0.u16(), keyLength: Bool.random(using: &$0) ? $0.u16() : nil)
            })
    }

    mutating func address(_ family: IPAddress.Family) -> IPAddress {
        IPAddress(family: family, value: UInt128(next()) << 64 | UInt128(next()))
    }

    mutating func selector() -> TrafficSelector {
        let family: IPAddress.Family = Bool.random(using: &self) ? .v4 : .v6
        let addresses = [address(family), address(family)].sorted { $0.value < $1.value }
        let ports = Int.random(in: 0..<8, using: &self) == 0 ? [65535, 0] : [u16(), u16()].sorted()
        return TrafficSelector(ipProtocol: u8(), startPort: ports[0], endPort: ports[1], start: addresses[0], end: addresses[1])
    }
}
