// Which peers behind one NAT get into each other's way in transport mode.
// RFC 3948 section 5.2.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import Gateway
@testable import IKECore

@Suite struct SharedAddressTests {
    private static let nat = Fixtures.natAddress

    /// One pair from our host to the NAT.
    private func pair(_ id: UInt64, _ peer: String, port: ClosedRange<UInt16> = 0...65535, at address: IPAddress = nat, _ change: (inout ChildSAParameters) -> Void = { _ in }) -> ChildSAParameters {
        let own = TrafficSelector(ipProtocol: 17, startPort: port.lowerBound, endPort: port.upperBound, start: Fixtures.westAddress, end: Fixtures.westAddress)
        func key() -> SecretBox { SecretBox(SecretBytes(count: 0)) }
        var parameters = ChildSAParameters(
            id: ChildSAID(rawValue: id), ikeSA: IKESAID(rawValue: id), reqid: 1, name: "host", inboundSPI: 1000, outboundSPI: 2000, encryption: .aesGCM16(128), integrity: nil,
            extendedSequenceNumbers: false, isTransport: true, localTS: [own], remoteTS: [TrafficSelector(host: address)], originalLocal: nil, originalRemote: nil,
            local: SocketAddress(address: Fixtures.westAddress, port: 4500), remote: SocketAddress(address: address, port: UInt16(id) + 1024), encapsulated: true, replayWindow: 32,
            carriage: Carriage(), softBytes: 0, hardBytes: 0, softPackets: 0, hardPackets: 0, provider: nil, peer: Fixtures.identity(peer), activates: true, inboundKey: key(),
            inboundIntegrityKey: key(), outboundKey: key(), outboundIntegrityKey: key())
        change(&parameters)
        return parameters
    }

    @Test func aSecondPeerWithTheSamePacketsIsNotAllowed() {
        var shared = SharedAddresses()
        shared.add(pair(1, "alice.example", port: 1701...1701))
        #expect(shared.rival(of: pair(2, "bob.example", port: 1701...1701)) == Fixtures.identity("alice.example"))
        #expect(shared.rival(of: pair(2, "bob.example")) == Fixtures.identity("alice.example"))
        // Other ports, another NAT.
        #expect(shared.rival(of: pair(2, "bob.example", port: 1702...1800)) == nil)
        #expect(shared.rival(of: pair(2, "bob.example", at: Fixtures.eastAddress)) == nil)
        shared.remove(ChildSAID(rawValue: 1), at: Self.nat)
        #expect(shared.rival(of: pair(2, "bob.example")) == nil && shared.count == 0)
    }

    /// New keys, a new IKE SA beside the old one, and a client that comes back with another port of the NAT's.
    @Test func thePeerItselfMayComeAgain() {
        var shared = SharedAddresses()
        shared.add(pair(1, "alice.example"))
        #expect(shared.rival(of: pair(2, "alice.example")) == nil)
        shared.add(pair(2, "alice.example"))
        shared.remove(ChildSAID(rawValue: 1), at: Self.nat)
        #expect(shared.rival(of: pair(3, "bob.example")) == Fixtures.identity("alice.example"))
    }

    @Test func whatIsToldApartOtherwiseIsNoConflict() {
        var shared = SharedAddresses()
        shared.add(pair(1, "alice.example"))
        #expect(shared.rival(of: pair(2, "bob.example") { $0.isTransport = false }) == nil)
        // Without a NAT both names are one host's.
        #expect(shared.rival(of: pair(2, "bob.example") { $0.encapsulated = false }) == nil)
        #expect(shared.rival(of: pair(2, "bob.example") { $0.carriage.outbound.interfaceID = .fixed(7) }) == nil)
        #expect(shared.rival(of: pair(2, "bob.example") { $0.carriage.outbound.mark = .init(number: .unique, mask: .max) }) == nil)
    }
}
