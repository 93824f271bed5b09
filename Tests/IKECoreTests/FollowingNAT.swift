// A peer behind a NAT, without MOBIKE, that writes from elsewhere: what goes there before it has answered from there.
// RFC 7296 section 2.23.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct FollowingNAT {
    private let local = Mobike.local
    private let mapped = SocketAddress(address: Fixtures.natAddress, port: 30001)
    /// What an attacker on the path may write on a packet that he holds back.
    private let elsewhere = SocketAddress(address: IPAddress(v4: 0xcb00_7109), port: 30002)
    private let further = SocketAddress(address: IPAddress(v4: 0xcb00_710a), port: 30003)

    /// Established with a peer behind a NAT at `mapped`, which speaks no MOBIKE and has sent a message after IKE_AUTH.
    private func connected(_ limits: Limits = Limits(), _ change: (inout Connection) -> Void = { _ in }) throws -> (Target, HostilePeer, ChildSAID) {
        let target = Target(limits: limits, change), peer = try HostilePeer()
        let nat = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: SocketAddress(address: Fixtures.natAddress, port: 1), remote: target.node.local, hidden: false)
        try peer.take(initResponse: try #require(target.receive(peer.initRequest(peer.initPayloads + nat), from: SocketAddress(address: mapped.address, port: 500)).first))
        _ = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads(), from: mapped, to: local))
        _ = try #require(try peer.ask(target, .informational, [], from: mapped, to: local))
        let status = try #require(target.status)
        try #require(status.remoteBehindNAT && !status.localBehindNAT && status.remote == mapped)
        return (target, peer, try #require(target.installed.first).id)
    }

    private func octets(_ target: Target, to place: SocketAddress) -> Int { target.sent.filter { $0.remote.address == place.address }.reduce(0) { $0 + $1.bytes.count } }

    /// Where ESP goes.
    private func path(_ target: Target) -> SocketAddress? { target.moves.last?.remote ?? target.installed.last?.remote }

    @Test func espGoesThereWhenTheAnswerHasComeFromThere() throws {
        let (target, peer, child) = try connected()
        let before = target.sent.count
        target.handle(.peerMoved(child, remote: elsewhere))
        #expect(target.status?.remote == elsewhere && path(target) == mapped)
        let check = try peer.lastRequest(of: target)
        #expect(target.sent.count == before + 1 && check.datagram.remote == elsewhere && check.payloads.isEmpty)
        #expect(try Header.parse(check.datagram.bytes.span).exchangeType == .informational)
        // With the answer ESP goes there.
        try peer.answerLast(target, [])
        #expect(path(target) == elsewhere && target.moves.count == 1)
        // From now on it is an address like any other.
        for _ in 0..<50 { target.handle(.peerMoved(child, remote: elsewhere)) }
        #expect(target.sent.count == before + 1)
    }

    @Test func aMessageFromElsewhereIsAnsweredThereAndMovesNoESPYet() throws {
        let (target, peer, _) = try connected()
        let request = try peer.seal(.informational, [])
        target.receive(request, from: elsewhere, to: local)
        peer.nextID += 1
        #expect(target.status?.remote == elsewhere && path(target) == mapped)
        #expect(octets(target, to: elsewhere) <= 3 * request.count)
        // Nor does another message of the same origin show that anything gets there.
        _ = try peer.ask(target, .informational, [], from: elsewhere, to: local)
        #expect(path(target) == mapped)
        try peer.answerLast(target, [])
        #expect(path(target) == elsewhere)
    }

    /// Whatever is wanted of the SA, and however long it takes: three times what came from there, and no ESP.
    @Test func anAddressThatNeverAnswersGetsThreeTimesWhatCame() throws {
        let (target, _, child) = try connected { $0.dpdDelay = .seconds(10) }
        var came = 0
        for _ in 0..<3 {
            target.handle(.peerMoved(child, remote: elsewhere))
            came += AddressProof.leastESP
            target.handle(.rekey(.connection("site"), request: nil))
            target.handle(.rekey(.childSA(child), request: nil))
            target.pass(.seconds(5))
            #expect(octets(target, to: elsewhere) <= 3 * came && octets(target, to: elsewhere) > 0)
        }
        target.pass(.seconds(600))
        #expect(octets(target, to: elsewhere) <= 3 * came && target.moves.isEmpty)
        #expect(target.endpoint.counters.answersHeldBack > 0)
    }

    /// The honest peer has not moved: what goes unanswered is sent to it as well, and its answer leads back.
    @Test func aPeerThatHasNotMovedLeadsBack() throws {
        let (target, peer, child) = try connected()
        target.handle(.peerMoved(child, remote: elsewhere))
        let check = try peer.lastRequest(of: target), asked = target.sent.count
        target.pass(.seconds(2))
        // It had time to be answered on a slow path.
        #expect(!target.sent[asked...].map(\.remote).contains(mapped))
        target.pass(.seconds(4))
        #expect(target.sent[asked...].map(\.remote).contains(mapped))
        try peer.answerLast(target, [], from: mapped)
        #expect(target.status?.remote == mapped && target.moves.isEmpty)
        // All is as it was, and nothing more is asked.
        let before = target.sent.count
        target.pass(.seconds(3))
        #expect(target.sent.count == before)
        #expect(try peer.lastRequest(of: target).id == check.id)
        _ = try peer.ask(target, .createChildSA, peer.createChildPayloads(), from: mapped, to: local)
        #expect(target.installed.last?.remote == mapped)
    }

    /// A check that went to the old address as well may have been answered from there, whatever the answer says of where it comes from.
    @Test func anAnswerToWhatWentElsewhereProvesNothing() throws {
        let (target, peer, child) = try connected()
        target.handle(.peerMoved(child, remote: elsewhere))
        target.pass(.seconds(6))
        let first = try peer.lastRequest(of: target)
        target.handle(.peerMoved(child, remote: elsewhere))
        target.receive(try peer.seal(.informational, [], id: first.id, response: true), from: elsewhere, to: local)
        #expect(path(target) == mapped)
        let second = try peer.lastRequest(of: target)
        #expect(second.id == first.id + 1 && second.datagram.remote == elsewhere)
        try peer.answerLast(target, [])
        #expect(path(target) == elsewhere)
        // It moves on while it is asked: the answer from the third place is to what went to the second.
        target.handle(.peerMoved(child, remote: mapped))
        let third = try peer.lastRequest(of: target)
        target.receive(try peer.seal(.informational, [], id: third.id, response: true), from: further, to: local)
        #expect(path(target) == elsewhere && target.status?.remote == further)
        try peer.answerLast(target, [])
        #expect(path(target) == further)
    }

    /// Another port of the same host: ESP follows at once.
    @Test func anotherPortIsFollowedAtOnce() throws {
        let (target, peer, child) = try connected()
        let before = target.sent.count
        let again = SocketAddress(address: mapped.address, port: 30009)
        target.handle(.peerMoved(child, remote: again))
        #expect(path(target) == again && target.status?.remote == again && target.sent.count == before)
        // While another host is asked, its ports may change as well.
        target.handle(.peerMoved(child, remote: elsewhere))
        let port = SocketAddress(address: elsewhere.address, port: 9)
        target.handle(.peerMoved(child, remote: port))
        #expect(path(target) == again && target.sent.last?.remote == port)
        try peer.answerLast(target, [])
        #expect(path(target) == port)
    }

    /// What waits for its answer is sent to the new address, within what may go there; the check follows.
    @Test func aRequestUnderWayFollows() throws {
        let (target, peer, child) = try connected()
        target.handle(.terminate(.childSA(child), request: nil))
        let deleting = try peer.lastRequest(of: target)
        target.receive(try peer.seal(.informational, []), from: elsewhere, to: local)
        peer.nextID += 1
        #expect(target.sent.suffix(2).map(\.remote) == [elsewhere, elsewhere] && target.sent.last?.bytes == deleting.datagram.bytes)
        try peer.answerLast(target, [], from: elsewhere)
        #expect(try peer.lastRequest(of: target).payloads.isEmpty && target.sent.last?.remote == elsewhere)
    }

    /// The IKE SA that takes over asks on.
    @Test func aRekeyMeanwhileChangesNothing() throws {
        let (target, peer, child) = try connected()
        target.handle(.rekey(.connection("site"), request: nil))
        let rekey = try peer.lastRequest(of: target)
        target.handle(.peerMoved(child, remote: elsewhere))
        var proposal = Fixtures.ikeProposal()
        proposal.spi = [7, 2, 3, 4, 5, 6, 7, 8]
        let offer: [Payload] = [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue))]
        let before = target.sent.count
        target.receive(try peer.seal(.createChildSA, offer, id: rekey.id, response: true), from: elsewhere, to: local)
        let requests = try target.sent[before...].map { try Header.parse($0.bytes.span) }
        try #require(target.endpoint.status().contains { $0.state == .established && $0.children.count == 1 })
        #expect(requests.contains { $0.initiatorSPI != peer.spi && $0.exchangeType == .informational && $0.messageID == 0 })
        #expect(path(target) == mapped)
    }

    @Test func theCheckCanBeMadeAfterwardsOrNotAtAll() throws {
        for policy in [ReturnRoutability.after, .no] {
            var limits = Limits()
            limits.returnRoutability = policy
            let (target, _, child) = try connected(limits)
            let before = target.sent.count
            target.handle(.peerMoved(child, remote: elsewhere))
            #expect(path(target) == elsewhere && target.sent.count == before + (policy == .after ? 1 : 0))
        }
    }

    // MARK: With MOBIKE: RFC 4555 section 3.8

    private func connectedWithMobike() throws -> (Target, HostilePeer, ChildSAID) {
        let (target, peer) = try Mobike.responder()
        let nat = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: peer.targetSPI, local: Mobike.peer, remote: local, hidden: false)
        _ = try peer.ask(target, .informational, [Mobike.update] + nat, from: mapped, to: local)
        try peer.answerLast(target, [])
        try #require(target.status?.remoteBehindNAT == true && target.status?.remote == mapped && path(target) == mapped)
        return (target, peer, try #require(target.installed.first).id)
    }

    @Test func withMobikeESPFollowsWhenTheAnswerHasCome() throws {
        let (target, peer, child) = try connectedWithMobike()
        for _ in 0..<3 { target.handle(.peerMoved(child, remote: elsewhere)) }
        let check = try peer.lastRequest(of: target)
        #expect(check.datagram.remote == elsewhere && check.payloads.notifications == [.cookie2] && octets(target, to: elsewhere) == check.datagram.bytes.count)
        #expect(path(target) == mapped && target.status?.remote == mapped)
        try peer.answerLast(target, [])
        #expect(path(target) == elsewhere && target.status?.remote == mapped)
        // And back, where IKE is.
        target.handle(.peerMoved(child, remote: mapped))
        #expect(path(target) == mapped)
    }

    @Test func withMobikeAnAddressThatNeverAnswersGetsThreeTimesWhatCame() throws {
        let (target, peer, child) = try connectedWithMobike()
        target.handle(.peerMoved(child, remote: elsewhere))
        let check = try peer.lastRequest(of: target)
        target.pass(.seconds(20))
        #expect(octets(target, to: elsewhere) <= 3 * AddressProof.leastESP && path(target) == mapped)
        // The peer is where it was: its answer is to what went there, and nothing moves.
        target.receive(try peer.seal(.informational, check.payloads, id: check.id, response: true), from: mapped, to: local)
        #expect(path(target) == mapped && target.status?.state == .established)
        #expect(try peer.lastRequest(of: target).id == check.id)
        // Nor with such an answer that claims to come from there: it is asked once more.
        target.handle(.peerMoved(child, remote: elsewhere))
        let second = try peer.lastRequest(of: target)
        target.pass(.seconds(2))
        target.handle(.peerMoved(child, remote: elsewhere))
        target.receive(try peer.seal(.informational, second.payloads, id: second.id, response: true), from: elsewhere, to: local)
        #expect(path(target) == mapped)
        #expect(try peer.lastRequest(of: target).id == second.id + 1)
    }
}
