// What an established SA refuses, and what it takes, at the edges: rules of RFC 7296 whose tests would not otherwise fail without the code.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct RulesOfRefusals {
    /// RFC 7296 section 2.8.2: an SA that has been replaced makes nothing new.
    @Test func aReplacedSAMakesNothingNew() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.rekey(.connection("site"), request: nil))
        let asked = try #require(target.sent.last).bytes
        var proposal = Fixtures.ikeProposal()
        proposal.spi = [1, 2, 3, 4, 5, 6, 7, 8]
        let answer: [Payload] = [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue))]
        target.receive(try peer.seal(.createChildSA, answer, id: try Header.parse(asked.span).messageID, response: true))
        #expect(target.endpoint.status().count == 2)
        let jobs = target.jobs
        #expect(try peer.ask(target, .createChildSA, answer)?.notifications == [.temporaryFailure])
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [.temporaryFailure])
        #expect(target.jobs == jobs && target.endpoint.status().count == 2 && target.installed.count == 1)
    }

    /// RFC 7296 section 2: 1280 octets are taken and sent, and 3000 as well.
    @Test(arguments: [1280, 3000, 60_000]) func longMessagesAreTaken(_ size: Int) throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let request = try peer.seal(.informational, [.vendorID(Array(repeating: 7, count: size))])
        #expect(request.count > size)
        #expect(target.receive(request).count == 1)
    }

    /// RFC 7296 sections 2.21.4 and 3.10.1: an error that a request tells of, known or not, is a hint: the SAs stay as they are.
    @Test(arguments: [
        Notify(.invalidSPI, data: [1, 2, 3, 4]), Notify(.invalidSelectors, protocolID: .esp, spi: [1, 2, 3, 4]), Notify(.invalidIKESPI), Notify(.noProposalChosen),
        Notify(NotifyType(rawValue: 8000)), Notify(NotifyType(rawValue: 40_001)),
    ]) func noWordOfAnErrorChangesAnSA(_ word: Notify) throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let before = try #require(target.endpoint.status().first)
        #expect(before.children.map(\.outboundSPI) == [0x0102_0304])
        #expect(try peer.ask(target, .informational, [.notify(word)]) == [])
        let after = target.endpoint.status()
        #expect(after.map(\.id) == [before.id] && after.map(\.state) == [.established])
        #expect(after.first?.children.map(\.outboundSPI) == [0x0102_0304] && after.first?.children.map(\.inboundSPI) == before.children.map(\.inboundSPI))
        #expect(target.stopped.isEmpty && target.closed == 0)
    }

    /// RFC 7296 section 2.1: octet for octet, as often as it is sent.
    @Test func whatIsSentAgainIsWhatWasSent() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        let before = target.sent.count
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        target.pass(.seconds(20))
        let sent = target.sent[before...].map(\.bytes)
        #expect(sent.count > 2 && Set(sent).count == 1)
    }

    /// RFC 7296 section 1.3: the group of the KE payload is one that a proposal has.
    @Test func theGroupOfTheKEIsInAProposal() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3, pfs: [.ecp256, .curve25519])) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let payloads = try peer.open(try #require(target.sent.last).bytes)
        var offered: [UInt16] = [], sent: [UInt16] = []
        for payload in payloads {
            if case .securityAssociation(let value) = payload { offered += value.proposals.keyExchangeMethods.map(\.id) }
            if case .keyExchange(let value) = payload { sent.append(value.method) }
        }
        #expect(offered == [19, 31] && sent == [19])
    }

    /// RFC 7296 section 1.3: a KE payload of another group than the one that was chosen is refused, and the answer names that one.
    @Test func theGroupThatIsWantedIsNamed() throws {
        let target = Target { $0.children[0].proposals = [Fixtures.espProposal([.curve25519])] }
        let peer = try HostilePeer()
        try peer.connect(target)
        var proposal = Fixtures.espProposal([.ecp256, .curve25519])
        proposal.spi = [0x0a, 0x0b, 0x0c, 0x0d]
        var request = peer.createChildPayloads()
        request[0] = .securityAssociation(SecurityAssociation(proposals: [proposal]))
        request.append(.keyExchange(KeyExchange(method: 19, data: [UInt8](repeating: 1, count: 64))))
        #expect(try peer.ask(target, .createChildSA, request) == [.notify(Notify(.invalidKEPayload, data: [0, 31]))])
    }
}
