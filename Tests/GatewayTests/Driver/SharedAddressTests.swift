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
        shared.remove(ChildSAID(rawValue: 1))
        #expect(shared.rival(of: pair(2, "bob.example")) == nil && shared.count == 0)
    }

    /// New keys, a new IKE SA beside the old one, and a client that comes back with another port of the NAT's.
    @Test func thePeerItselfMayComeAgain() {
        var shared = SharedAddresses()
        shared.add(pair(1, "alice.example"))
        #expect(shared.rival(of: pair(2, "alice.example")) == nil)
        shared.add(pair(2, "alice.example"))
        shared.remove(ChildSAID(rawValue: 1))
        #expect(shared.rival(of: pair(3, "bob.example")) == Fixtures.identity("alice.example"))
    }

    /// Two customers behind one carrier's NAT call themselves 192.168.1.10, and have the key that everybody has: the port tells them apart.
    @Test func aNameThatASharedKeyHasProvenIsNotOnePeer() {
        func customer(_ id: UInt64, port: UInt16, _ change: (inout ChildSAParameters) -> Void = { _ in }) -> ChildSAParameters {
            pair(id, "customer.example") {
                $0.sharesKey = true
                $0.remote.port = port
                change(&$0)
            }
        }
        var shared = SharedAddresses()
        shared.add(customer(1, port: 4001))
        #expect(shared.rival(of: customer(2, port: 4002)) == Fixtures.identity("customer.example"))
        #expect(shared.rival(of: customer(2, port: 4002) { $0.sharesKey = false }) == Fixtures.identity("customer.example"))
        // The first one itself: another child, and new keys after the NAT has given it another port.
        #expect(shared.rival(of: customer(2, port: 4001)) == nil)
        shared.move(ChildSAID(rawValue: 1), to: SocketAddress(address: Self.nat, port: 4003))
        #expect(shared.rival(of: customer(2, port: 4003)) == nil && shared.rival(of: customer(2, port: 4001)) != nil)
        #expect(shared.rival(of: customer(2, port: 4004) { $0.activates = false }) == nil)
        // It moves to another NAT, and later goes.
        shared.move(ChildSAID(rawValue: 1), to: SocketAddress(address: Fixtures.eastAddress, port: 4003))
        #expect(shared.rival(of: customer(2, port: 4002)) == nil)
        shared.remove(ChildSAID(rawValue: 1))
        #expect(shared.count == 0)
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
