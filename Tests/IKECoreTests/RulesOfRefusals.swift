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
}
