// MOBIKE as the end that follows: what the peer may change by UPDATE_SA_ADDRESSES, and when.
// RFC 4555 sections 3.2 to 3.9.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct MobikeResponder {
    private let local = Mobike.local, peerAddress = Mobike.peer, elsewhere = Mobike.elsewhere

    private func detection(_ peer: HostilePeer, from remote: SocketAddress, to local: SocketAddress) -> [Payload] {
        NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: peer.targetSPI, local: remote, remote: local, hidden: false)
    }

    /// RFC 4555 sections 3.2, 3.4 and 4.2.1.
    @Test func isUsedWhereBothSaySo() throws {
        for (configured, offered) in [(true, true), (true, false), (false, true)] {
            let target = Target { $0.mobike = configured }
            let peer = try HostilePeer()
            target.handle(.localAddressesChanged([Fixtures.westAddress, Mobike.second]))
            try peer.begin(target)
            // What the notification carries is ignored.
            let extra: [Payload] = offered ? [.notify(Notify(.mobikeSupported, data: [1, 2, 3]))] : []
            let answer = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads() + extra))
            let both = configured && offered
            #expect(answer.firstNotify(.mobikeSupported) == (both ? Notify(.mobikeSupported) : nil))
            #expect(answer.additionalAddresses == (both ? [Mobike.second] : nil))
            // Without it an update changes nothing, and COOKIE2 is a notification like any other.
            let reply = try #require(try peer.ask(target, .informational, [Mobike.update, Mobike.cookie()], from: elsewhere, to: local))
            #expect(reply.hasNotify(.cookie2) == both)
            #expect(target.status?.remote == (both ? elsewhere : HostilePeer.address))
        }
    }

    @Test func refusedByTheDataPlaneItIsStillInUse() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        target.worksAtOnce = false
        target.receive(try peer.seal(.ikeAuth, try peer.authPayloads() + [Mobike.supported]))
        while target.installed.isEmpty { target.workOnce() }
        let before = target.sent.count
        target.handle(.childSAInstalled(try #require(target.installed.first).id, failure: "no room"))
        let answer = try peer.open(try #require(target.sent[before...].first).bytes)
        #expect(answer.hasNotify(.mobikeSupported) && answer.hasNotify(.noProposalChosen))
    }

    /// RFC 4555 sections 3.5 and 3.7: answered there, checked, and only then ESP follows.
    @Test func anUpdateMovesIKEAtOnceAndESPAfterTheCheck() throws {
        let (target, peer) = try Mobike.responder()
        let child = try #require(target.installed.first)
        let answer = try #require(try peer.ask(target, .informational, [Mobike.update, Mobike.cookie()] + detection(peer, from: elsewhere, to: local), from: elsewhere, to: local))
        #expect(answer.firstNotify(.cookie2)?.data == [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(answer.detectsNAT)
        #expect(target.status?.remote == elsewhere && target.moves.isEmpty)
        let check = try peer.lastRequest(of: target)
        #expect(check.datagram.remote == elsewhere && check.datagram.local == local && check.datagram.marked)
        #expect(try #require(check.payloads.firstNotify(.cookie2)).data.count == 16)
        try peer.answerLast(target, [])
        #expect(target.moves.count == 1)
        let move = try #require(target.moves.last)
        #expect(move.child == child.id && move.remote == elsewhere && move.local == local && !move.encapsulated)
        // The children are made there from now on.
        _ = try #require(try peer.ask(target, .createChildSA, peer.createChildPayloads(), from: elsewhere, to: local))
        #expect(target.installed.last?.remote == elsewhere)
    }

    @Test func whileTheCheckRunsANewChildStaysOnTheOldPath() throws {
        let (target, peer) = try Mobike.responder()
        _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
        _ = try #require(try peer.ask(target, .createChildSA, peer.createChildPayloads(), from: elsewhere, to: local))
        #expect(target.installed.last?.remote == peerAddress)
        try peer.answerLast(target, [])
        #expect(target.moves.count == 2 && target.moves.allSatisfy { $0.remote == elsewhere })
    }

    @Test func theCheckCanBeMadeAfterwardsOrNotAtAll() throws {
        for policy in [ReturnRoutability.after, .no] {
            var limits = Limits()
            limits.returnRoutability = policy
            let (target, peer) = try Mobike.responder(limits: limits)
            let before = target.sent.count
            _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
            #expect(target.moves.last?.remote == elsewhere)
            #expect(target.sent.count == before + (policy == .after ? 2 : 1))
        }
    }

    /// RFC 4555 section 3.7.
    /// Its network was away and is back: from then on a peer that does not answer is dead, as before.
    @Test func aGatewayWhoseNetworkIsBackGoesOnAsBefore() throws {
        let (target, _) = try Mobike.responder { $0.dpdDelay = .seconds(4) }
        target.route = { _ in nil }
        target.handle(.localAddressesChanged([]))
        target.pass(.seconds(300))
        #expect(target.status?.state == .established)
        target.route = { _ in Fixtures.westAddress }
        target.handle(.localAddressesChanged([Fixtures.westAddress]))
        target.pass(.seconds(300))
        #expect(target.endpoint.status().isEmpty && target.remnants == [])
    }

    /// Libreswan returns it in the answer to an update alone.
    @Test func aCheckThatIsAnsweredWithoutACookieIsAnswered() throws {
        let (target, peer) = try Mobike.responder()
        _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
        #expect(target.moves.isEmpty)
        try peer.answerLast(target, [], cookie: false)
        #expect(target.moves.last?.remote == elsewhere && target.failures.isEmpty && target.status?.remote == elsewhere)
    }

    @Test func anotherCookieClosesTheSA() throws {
        let wrong: [[Payload]] = [[Mobike.cookie()], [.notify(Notify(.cookie2, data: []))]]
        for payloads in wrong {
            let (target, peer) = try Mobike.responder()
            _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
            try peer.answerLast(target, payloads, cookie: false)
            #expect(target.moves.isEmpty)
            #expect(target.failures.contains { $0.code == .peerMisbehaved })
            #expect(try peer.lastRequest(of: target).payloads == [.delete(Delete(protocolID: .ike))])
            try peer.answerLast(target, [])
            #expect(target.remnants == [])
        }
    }

    @Test func aPeerThatDoesNotAnswerFromThereLosesTheSA() throws {
        let (target, peer) = try Mobike.responder()
        _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
        target.pass(.seconds(120))
        #expect(target.moves.isEmpty && target.endpoint.status().isEmpty)
        #expect(target.remnants == [])
    }

    /// Nothing before the ICV has verified.
    @Test func aForgedUpdateChangesNothing() throws {
        let (target, peer) = try Mobike.responder()
        var bytes = try peer.seal(.informational, [Mobike.update, Mobike.cookie()])
        bytes[bytes.count - 1] ^= 1
        #expect(target.receive(bytes, from: elsewhere, to: local) == [])
        #expect(target.status?.remote == peerAddress && target.moves.isEmpty)
    }

    /// RFC 4555 section 3.8: without UPDATE_SA_ADDRESSES a message changes nothing, so that paths can be tried.
    @Test func aProbeIsAnsweredWhereItCameFromAndMovesNothing() throws {
        let (target, peer) = try Mobike.responder()
        let request = try peer.seal(.informational, [Mobike.cookie()] + detection(peer, from: peerAddress, to: local))
        for from in [elsewhere, peerAddress, elsewhere] {
            let before = target.sent.count
            target.receive(request, from: from, to: local)
            #expect(target.sent.count == before + 1 && target.sent.last?.remote == from)
        }
        #expect(target.status?.remote == peerAddress && target.moves.isEmpty)
    }

    @Test func behindANATThePeerIsNotFollowedByIKEButByESP() throws {
        let (target, peer) = try Mobike.responder()
        let child = try #require(target.installed.first).id
        let mapped = SocketAddress(address: Fixtures.natAddress, port: 30001), again = SocketAddress(address: Fixtures.natAddress, port: 30002)
        _ = try peer.ask(target, .informational, [Mobike.update] + detection(peer, from: peerAddress, to: local), from: mapped, to: local)
        try peer.answerLast(target, [])
        #expect(target.status?.remoteBehindNAT == true && target.moves.last?.encapsulated == true)
        _ = try peer.ask(target, .informational, [], from: again, to: local)
        #expect(target.status?.remote == mapped)
        target.handle(.peerMoved(child, remote: again))
        #expect(target.status?.remote == mapped && target.moves.last?.remote == again)
        // What goes unanswered is sent both ways, and an answer over the new one moves nothing either.
        let before = target.sent.count
        target.handle(.terminate(.child("net", connection: nil), request: nil))
        let deleting = try #require(target.sent.last)
        target.pass(.seconds(2))
        #expect(target.sent[before...].map(\.remote) == [mapped, mapped, again] && target.sent[before...].allSatisfy { $0.bytes == deleting.bytes })
        try peer.answerLast(target, [])
        #expect(target.status?.remote == mapped)
    }

    /// RFC 4555 section 3.5: a NAT appears, and vanishes.
    @Test func theEncapsulationFollowsTheNAT() throws {
        let (target, peer) = try Mobike.responder()
        #expect(target.installed.first?.encapsulated == false)
        let mapped = SocketAddress(address: Fixtures.natAddress, port: 30001)
        // The NAT has changed the peer's address.
        _ = try peer.ask(target, .informational, [Mobike.update] + detection(peer, from: peerAddress, to: local), from: mapped, to: local)
        #expect(target.status?.remoteBehindNAT == true && target.moves.isEmpty)
        try peer.answerLast(target, [])
        #expect(target.moves.last?.encapsulated == true && target.status?.children.first?.encapsulated == true)
        // It is in the open again.
        _ = try peer.ask(target, .informational, [Mobike.update] + detection(peer, from: elsewhere, to: local), from: elsewhere, to: local)
        try peer.answerLast(target, [])
        #expect(target.status?.remoteBehindNAT == false)
        #expect(target.moves.last?.encapsulated == false && target.moves.last?.remote == elsewhere)
        // Our own side goes behind one: keepalives begin, and ESP is encapsulated without a change of the peer's address.
        let wrong = SocketAddress(address: IPAddress(v4: 0x0a09_0909), port: 4500)
        _ = try peer.ask(target, .informational, [Mobike.update] + detection(peer, from: elsewhere, to: wrong), from: elsewhere, to: local)
        #expect(target.status?.localBehindNAT == true && target.moves.last?.encapsulated == true)
        let quiet = target.keepalives
        target.pass(.seconds(50))
        #expect(target.keepalives == quiet + 2)
        _ = try peer.ask(target, .informational, [Mobike.update] + detection(peer, from: elsewhere, to: local), from: elsewhere, to: local)
        target.pass(.seconds(50))
        #expect(target.keepalives == quiet + 2 && target.moves.last?.encapsulated == false)
    }

    /// RFC 4555 section 3.9.
    @Test func aNATThatIsNotAllowedIsTold() throws {
        let (target, peer) = try Mobike.responder(natTraversal: false)
        let honest = Payload.notify(IKESA.noNATsAllowed(from: elsewhere, to: local)), other = Payload.notify(IKESA.noNATsAllowed(from: peerAddress, to: local))
        let answer = try #require(try peer.ask(target, .informational, [Mobike.update, other, Mobike.cookie()], from: elsewhere, to: local))
        #expect(answer.notifications == [.unexpectedNATDetected, .cookie2])
        #expect(target.status?.remote == peerAddress)
        // The same for a list of addresses.
        let list = try #require(try peer.ask(target, .informational, [Mobike.address(Mobike.second), other], from: elsewhere, to: local))
        #expect(list.notifications == [.unexpectedNATDetected])
        for broken: [UInt8] in [[], [1], [UInt8](repeating: 0, count: 36)] {
            let answer = try #require(try peer.ask(target, .informational, [Mobike.update, .notify(Notify(.noNATsAllowed, data: broken))], from: elsewhere, to: local))
            #expect(answer.notifications == [.unexpectedNATDetected])
        }
        _ = try peer.ask(target, .informational, [Mobike.update, honest], from: elsewhere, to: local)
        #expect(target.status?.remote == elsewhere)
    }

    @Test func aNATThatIsNotAllowedIsToldInIKEAuth() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        let other = Payload.notify(IKESA.noNATsAllowed(from: elsewhere, to: target.node.local))
        let answer = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads() + [Mobike.supported, other]))
        #expect(answer.notifications == [.unexpectedNATDetected])
        #expect(target.remnants == [])
    }

    /// RFC 4555 section 3.5: the pair has to fit our own policy.
    @Test func anAddressThatIsNotOursToUseIsRefused() throws {
        let (target, peer) = try Mobike.responder { $0.localAddresses = [.range(Fixtures.westAddress, Fixtures.westAddress)] }
        let other = SocketAddress(address: Mobike.second, port: 4500)
        let answer = try #require(try peer.ask(target, .informational, [Mobike.update, Mobike.cookie()], from: elsewhere, to: other))
        #expect(answer.notifications == [.unacceptableAddresses, .cookie2])
        #expect(target.status?.remote == peerAddress && target.status?.local == local)
        // To an address that is allowed it goes.
        _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
        #expect(target.status?.remote == elsewhere)
    }

    @Test func anotherOfOurAddressesIsFollowedWithoutACheck() throws {
        let (target, peer) = try Mobike.responder()
        let other = SocketAddress(address: Mobike.second, port: 4500)
        let before = target.sent.count
        _ = try peer.ask(target, .informational, [Mobike.update], from: peerAddress, to: other)
        #expect(target.sent.count == before + 1 && target.moves.last?.local == other && target.status?.local == other)
    }

    @Test func thousandAddressesAreNotHeld() throws {
        let many = (0..<1000).map { Mobike.address(IPAddress(v4: 0x0808_0000 + UInt32($0))) }
        // No message has so many payloads: it is refused as a whole.
        let (refuses, its) = try Mobike.responder()
        #expect(try its.ask(refuses, .informational, many)?.notifications == [.invalidSyntax])
        let (target, peer) = try Mobike.responder()
        _ = try #require(try peer.ask(target, .informational, Array(many.prefix(250))))
        let sa = try #require(target.endpoint.all.first)
        #expect(sa.mobility?.peerAddresses.count == 16)
        // The whole list each time, and what is no address of a host is left out.
        let odd: [Payload] = [
            .notify(Notify(.additionalIP4Address, data: [UInt8](repeating: 1, count: 16))), .notify(Notify(.additionalIP6Address, data: [1, 2, 3, 4])),
            .notify(Notify(.additionalIP4Address, data: [])), Mobike.address(IPAddress(v4: 0x7f00_0001)), Mobike.address(IPAddress(v4: 0)), Mobike.address(IPAddress(v4: 0xffff_ffff)),
            Mobike.address(IPAddress(v4: 0xa9fe_0101)), Mobike.address(IPAddress(family: .v6, value: 1)), Mobike.address(Mobike.second),
        ]
        _ = try #require(try peer.ask(target, .informational, odd))
        #expect(sa.mobility?.peerAddresses == [Mobike.second])
        _ = try #require(try peer.ask(target, .informational, [.notify(Notify(.noAdditionalAddresses))]))
        #expect(sa.mobility?.peerAddresses == [])
        // A list alone moves nothing.
        #expect(target.status?.remote == peerAddress)
    }

    @Test func aCookieOfAnotherLengthIsNotReturned() throws {
        let (target, peer) = try Mobike.responder()
        for count in [0, 7, 65, 30_000] { #expect(try peer.ask(target, .informational, [Mobike.cookie([UInt8](repeating: 7, count: count))])?.notifications == []) }
        for count in [8, 64] { #expect(try peer.ask(target, .informational, [Mobike.cookie([UInt8](repeating: 7, count: count))])?.notifications == [.cookie2]) }
    }

    /// Its sender holds the keys, and may have written any address on the update: until what only that address gets has come back, no more than three times what
    /// came from there goes out, whatever is under way, and however often it is sent again.
    @Test(arguments: [ReturnRoutability.before, .after], [false, true])
    func anAddressThatHasNotAnsweredGetsThreeTimesWhatCameFromThere(policy: ReturnRoutability, isRekeying: Bool) throws {
        var limits = Limits()
        limits.returnRoutability = policy
        limits.retransmitTries = 20
        let (target, peer) = try Mobike.responder(limits: limits)
        if isRekeying { target.handle(.rekey(.connection("site"), request: nil)) }
        var before = target.sent.count, received = 0
        func octets() -> Int { target.sent[before...].filter { $0.remote.address == elsewhere.address }.map(\.bytes).byteCount }
        for count in 0..<3 {
            let request = try peer.seal(.informational, count == 0 ? [Mobike.update] : [])
            received += request.count
            target.receive(request, from: elsewhere, to: local)
            peer.nextID += 1
            // The answer goes first.
            let answer = try #require(target.sent[before...].first { $0.remote == elsewhere })
            let header = try Header.parse(answer.bytes.span)
            #expect(header.isResponse && octets() <= 3 * received)
            target.pass(.seconds(20))
            #expect(octets() <= 3 * received)
        }
        #expect(target.endpoint.counters.answersHeldBack > 0 && target.status?.remote == elsewhere)
        guard !isRekeying else { return }
        // Another answer from there than that to the check shows nothing; that one does.
        try peer.answerLast(target, [])
        before = target.sent.count
        target.handle(.rekey(.connection("site"), request: nil))
        target.pass(.seconds(120))
        #expect(octets() > 3 * received)
    }

    /// Where the check itself is held back, whatever else comes from there makes room for it.
    @Test func whatComesFromThereMakesRoomForTheCheck() throws {
        var limits = Limits()
        limits.amplification = 2
        let (target, peer) = try Mobike.responder(limits: limits)
        let update = try peer.seal(.informational, [Mobike.update])
        target.receive(update, from: elsewhere, to: local)
        let answer = try #require(target.sent.last)
        let header = try Header.parse(answer.bytes.span)
        #expect(target.status?.remote == elsewhere && answer.remote == elsewhere && header.isResponse)
        for _ in 0..<3 { target.receive(update, from: elsewhere, to: local) }
        peer.nextID += 1
        _ = try #require(try peer.ask(target, .informational, [Mobike.cookie()], from: elsewhere, to: local))
        target.pass(.seconds(5))
        try peer.answerLast(target, [])
        #expect(target.moves.last?.remote == elsewhere)
    }

    /// An answer from the address that the check did not go to, and the check's own.
    @Test func anotherAnswerDoesNotShowWhereThePeerIs() throws {
        let (target, peer) = try Mobike.responder()
        target.handle(.rekey(.childSA(try #require(target.installed.first).id), request: nil))
        let rekey = try peer.lastRequest(of: target)
        _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
        let sa = try #require(target.endpoint.all.first)
        #expect(!sa.proof.isProven)
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.temporaryFailure))], id: rekey.id, response: true), from: elsewhere, to: local)
        #expect(!sa.proof.isProven)
        try peer.answerLast(target, [])
        #expect(sa.proof.isProven && target.moves.last?.remote == elsewhere)
    }

    /// An answer to an address that is not the peer's is bounded as well, and repetitions from there make room for a long one.
    @Test func aProbeIsAnsweredWithThreeTimesItsLengthAtMost() throws {
        var limits = Limits()
        limits.amplification = 1
        let (target, peer) = try Mobike.responder(limits: limits)
        let request = try peer.seal(.informational, detection(peer, from: elsewhere, to: local))
        var sent = 0
        for count in 1...4 {
            sent += target.receive(request, from: elsewhere, to: local).byteCount
            #expect(sent <= count * request.count)
        }
        #expect(sent > 0 && target.status?.remote == peerAddress)
    }

    /// Two moves in a row: the answer to the first check proves nothing of the second address.
    @Test func aSecondMoveNeedsACheckOfItsOwn() throws {
        let (target, peer) = try Mobike.responder()
        let third = SocketAddress(address: IPAddress(v4: 0xcb00_7177), port: 4500)
        _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
        let first = try peer.lastRequest(of: target)
        _ = try peer.ask(target, .informational, [Mobike.update], from: third, to: local)
        let echo = first.payloads.filter { $0.type == .notify }
        target.receive(try peer.seal(.informational, echo, id: first.id, response: true), from: third, to: local)
        #expect(target.moves.isEmpty)
        #expect(try peer.lastRequest(of: target).id == first.id + 1)
        try peer.answerLast(target, [])
        #expect(target.moves.last?.remote == third)
    }

    /// The SA that takes over is where the old one was, and the end that decides stays the same whoever rekeys.
    @Test func aRekeyKeepsThePath() throws {
        let (target, peer) = try Mobike.responder(auth: [Mobike.supported, Mobike.address(Mobike.second)])
        _ = try peer.ask(target, .informational, [Mobike.update], from: elsewhere, to: local)
        let key = try #require(peer.registry.keyExchange(.curve25519)).generate()
        var proposal = Fixtures.ikeProposal()
        let spi = IKESPI(rawValue: 0x0102_0304_0506_0708)
        proposal.spi = spi.bytes
        _ = try #require(
            try peer.ask(
                target, .createChildSA,
                [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: key.publicValue))], from: elsewhere, to: local))
        let heir = try #require(target.endpoint.all.first { $0.remoteSPI == spi })
        #expect(heir.remote == elsewhere && heir.local == local && heir.marked)
        #expect(heir.mobility?.decides == false && heir.mobility?.peerAddresses == [Mobike.second])
        // The check goes on in the new SA: until then ESP stays.
        #expect(heir.espPath.ends.remote == peerAddress && target.moves.isEmpty)
        let check = try #require(target.sent.last)
        #expect(try Header.parse(check.bytes.span).responderSPI == heir.localSPI && check.remote == elsewhere)
    }

    /// RFC 4555 section 3.5, its exception: our own address is gone, so ESP leaves from another; the peer is told and moves.
    @Test func withItsAddressGoneTheResponderGoesOnFromAnother() throws {
        let (target, peer) = try Mobike.responder(addresses: [Fixtures.westAddress, Mobike.second])
        target.route = { _ in Mobike.second }
        let before = target.sent.count
        target.handle(.localAddressesChanged([Mobike.second]))
        let other = SocketAddress(address: Mobike.second, port: 4500)
        #expect(target.sent.count == before + 1)
        let told = try peer.lastRequest(of: target)
        #expect(told.datagram.local == other && told.datagram.remote == peerAddress)
        #expect(told.payloads.hasNotify(.noAdditionalAddresses) && !told.payloads.hasNotify(.updateSAAddresses))
        #expect(target.moves.last?.local == other && target.moves.last?.remote == peerAddress)
    }

    /// RFC 4555 section 3.6.
    @Test func otherAddressesAreTold() throws {
        let (target, peer) = try Mobike.responder(addresses: [Fixtures.westAddress, Mobike.second])
        target.handle(.localAddressesChanged([Fixtures.westAddress]))
        target.pass(.seconds(3))
        let told = try peer.lastRequest(of: target)
        #expect(told.payloads.notifications == [.noAdditionalAddresses, .natDetectionSourceIP, .natDetectionDestinationIP, .cookie2])
        try peer.answerLast(target, [])
        #expect(target.status?.local == local && target.moves.isEmpty)
        // The same again is no news.
        let before = target.sent.count
        target.handle(.localAddressesChanged([Fixtures.westAddress]))
        target.pass(.seconds(10))
        #expect(target.sent.count == before)
    }

    /// RFC 4555 section 3.6: the list is the one thing that the end that does not decide tries over further addresses.
    @Test func theResponderTriesThePeersFurtherAddressesForItsList() throws {
        let further = IPAddress(v4: 0x0808_0808), other = SocketAddress(address: Mobike.second, port: 4500)
        let (target, peer) = try Mobike.responder(addresses: [Fixtures.westAddress, Mobike.second], auth: [Mobike.supported, Mobike.address(further)])
        target.route = { _ in Mobike.second }
        target.handle(.localAddressesChanged([Mobike.second]))
        let first = try peer.lastRequest(of: target)
        target.pass(.seconds(10))
        let tried = target.sent.filter { $0.remote.address == further }
        #expect(!tried.isEmpty && tried.allSatisfy { $0.bytes == first.datagram.bytes && $0.local == other })
        // Its answer comes over the other path: the list is sent anew there, and ESP waits for the peer's update.
        let reached = SocketAddress(address: further, port: 4500)
        target.receive(
            try peer.seal(.informational, first.payloads.filter { if case .notify(let notify) = $0 { notify.type == .cookie2 } else { false } }, id: first.id, response: true), from: reached, to: other
        )
        let again = try peer.lastRequest(of: target)
        #expect(again.id == first.id + 1 && again.datagram.remote == reached && again.payloads.hasNotify(.noAdditionalAddresses))
        #expect(target.moves.last?.remote == peerAddress)
    }
}
