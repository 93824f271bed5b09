// MOBIKE as the end that decides: which addresses it goes on with, and what it asks of the peer.
// RFC 4555 sections 3.2 to 3.10.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct MobikeInitiator {
    private let local = Mobike.local, peerAddress = Mobike.peer
    private let second = SocketAddress(address: Mobike.second, port: 4500)
    private let further = IPAddress(v4: 0x0808_0808)

    private func detection(_ peer: HostilePeer, sees us: SocketAddress, from: SocketAddress = Mobike.peer) -> [Payload] {
        NATDetection.notifications(initiatorSPI: peer.targetSPI, responderSPI: peer.spi, local: from, remote: us, hidden: false)
    }

    private func roam(_ target: Target) {
        target.route = { _ in Mobike.second }
        target.handle(.localAddressesChanged([Mobike.second]))
    }

    /// RFC 4555 sections 3.2, 3.3 and 3.4.
    @Test func saysSoInIKEAuthAndGoesToPort4500() throws {
        for isConfigured in [true, false] {
            let (target, peer) = try Mobike.initiator(addresses: [Fixtures.westAddress, Mobike.second]) { $0.mobike = isConfigured }
            let auth = try #require(target.sent.last)
            let payloads = try peer.open(auth.bytes)
            #expect(payloads.firstNotify(.mobikeSupported) == (isConfigured ? Notify(.mobikeSupported) : nil))
            #expect(payloads.additionalAddresses == (isConfigured ? [Mobike.second] : nil))
            #expect(auth.marked == isConfigured && auth.remote.port == (isConfigured ? 4500 : 500) && auth.local.port == (isConfigured ? 4500 : 500))
            #expect(!payloads.hasNotify(.noNATsAllowed))
        }
    }

    /// A list of addresses does not name those that only the tunnel leads to, nor those that `local_addrs` leaves out.
    @Test func namesNoAddressBehindTheTunnel() throws {
        let inner = IPAddress(v4: 0x0a01_0001)
        let (target, peer) = try Mobike.initiator(addresses: [inner, Fixtures.westAddress, Mobike.second])
        #expect(try peer.open(try #require(target.sent.last).bytes).additionalAddresses == [Mobike.second])
        let (other, its) = try Mobike.initiator(addresses: [Fixtures.westAddress, Mobike.second]) { $0.localAddresses = [.range(Fixtures.westAddress, Fixtures.westAddress)] }
        #expect(try its.open(try #require(other.sent.last).bytes).additionalAddresses == nil)
    }

    /// RFC 4555 section 3.9.
    @Test func withoutNATTraversalNoNATIsAllowed() throws {
        let (target, peer) = try Mobike.initiator(natTraversal: false)
        let auth = try #require(target.sent.last)
        #expect(!auth.marked && auth.remote.port == 500)
        #expect(try peer.open(auth.bytes).firstNotify(.noNATsAllowed) == IKESA.noNATsAllowed(from: auth.local, to: auth.remote))
        roam(target)
        let update = try peer.lastRequest(of: target)
        #expect(update.payloads.firstNotify(.noNATsAllowed)?.data == Mobike.second.bytes + Fixtures.eastAddress.bytes + [0x01, 0xf4, 0x01, 0xf4])
        #expect(!update.payloads.detectsNAT)
    }

    /// RFC 4555 section 1: without MOBIKE another address means another IKE SA.
    @Test func withoutMOBIKEALostAddressIsLeftByAuthenticatingAnew() throws {
        for isOurs in [true, false] {
            let (target, _) = try Mobike.initiator(auth: isOurs ? [Mobike.supported] : []) { $0.mobike = !isOurs }
            let before = target.sent.count
            // No route yet, and then one.
            target.route = { _ in nil }
            target.handle(.localAddressesChanged([]))
            #expect(target.sent.count == before)
            roam(target)
            let begun = try #require(target.sent.dropFirst(before).first { (try? Header.parse($0.bytes.span))?.exchangeType == .ikeSAInit })
            #expect(begun.local.address == Mobike.second && begun.remote.address == HostilePeer.address.address)
            #expect(target.endpoint.status().map(\.state).count == 2)
            // It goes as well while the new one is not answered: then from where this host is next.
            let third = IPAddress(v4: 0xc633_6406)
            target.route = { _ in third }
            target.handle(.localAddressesChanged([third]))
            #expect(target.sent.last?.local.address == third && target.endpoint.status().count == 2)
        }
        // One whose address stays does nothing of the kind.
        let (other, _) = try Mobike.initiator(auth: [])
        let sent = other.sent.count
        other.handle(.localAddressesChanged([Fixtures.westAddress, Mobike.second]))
        #expect(other.sent.count == sent)
    }

    @Test func unexpectedNATInIKEAuthIsTriedAgain() throws {
        let target = Target(east: true)
        var began = 0
        for _ in 0..<4 {
            let peer = try HostilePeer(isInitiator: false)
            target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
            target.receive(try peer.initResponse(to: try #require(target.sent.last).bytes))
            let before = target.again.count
            target.receive(try peer.seal(.ikeAuth, [.notify(Notify(.unexpectedNATDetected))], id: 1, response: true))
            began += target.again.count - before
        }
        // Three tries in all, then it has failed; the fourth round here is a new one.
        #expect(began == 3)
        #expect(target.failures.contains { $0.summary.contains("UNEXPECTED_NAT_DETECTED") })
    }

    /// RFC 7296 sections 2.25 and 3.10.1: "not now" is asked again, and any other error, known or not, means that nothing was done.
    @Test func anErrorInTheAnswerToAnUpdateMovesNothing() throws {
        let (target, peer) = try Mobike.initiator()
        roam(target)
        let first = try peer.lastRequest(of: target)
        try peer.answerLast(target, detection(peer, sees: second) + [.notify(Notify(.temporaryFailure))])
        #expect(target.sent.last?.bytes == first.datagram.bytes)
        target.pass(.seconds(4))
        let again = try peer.lastRequest(of: target)
        #expect(again.id == first.id + 1 && again.payloads.hasNotify(.updateSAAddresses))
        // One that nobody knows: these addresses are not taken for good ones.
        try peer.answerLast(target, detection(peer, sees: second) + [.notify(Notify(NotifyType(rawValue: 8192)))])
        #expect(target.reports.contains { if case .note(_, let text, _, _) = $0 { text.contains("does not accept the addresses") && text.contains("8192") } else { false } })
    }

    /// RFC 4555 section 3.5: the peer stays where it is, so ESP goes from the new address at once.
    @Test func aNewAddressIsToldToThePeer() throws {
        let (target, peer) = try Mobike.initiator()
        roam(target)
        #expect(target.moves.count == 1 && target.moves.last?.local == second && target.moves.last?.remote == peerAddress)
        let update = try peer.lastRequest(of: target)
        #expect(update.datagram.local == second && update.datagram.remote == peerAddress && update.datagram.marked)
        #expect(update.payloads.notifications == [.updateSAAddresses, .natDetectionSourceIP, .natDetectionDestinationIP, .cookie2])
        #expect((8...64).contains(try #require(update.payloads.firstNotify(.cookie2)).data.count))
        try peer.answerLast(target, detection(peer, sees: second))
        #expect(target.moves.count == 1 && target.status?.local == second)
        #expect(target.reports.contains { if case .ikeSAMoved(_, second, peerAddress) = $0 { true } else { false } })
        // Every cookie is another one. The same address once more has the way checked.
        roam(target)
        try peer.answerLast(target, detection(peer, sees: second))
        target.route = { _ in Fixtures.westAddress }
        target.handle(.localAddressesChanged([Fixtures.westAddress]))
        let later = try #require(try peer.lastRequest(of: target).payloads.firstNotify(.cookie2))
        #expect(later != update.payloads.firstNotify(.cookie2))
    }

    @Test func aNATThatTheNewAddressIsBehindIsSeen() throws {
        let (target, peer) = try Mobike.initiator()
        roam(target)
        let before = target.keepalives
        try peer.answerLast(target, detection(peer, sees: SocketAddress(address: Fixtures.natAddress, port: 34567)))
        #expect(target.status?.localBehindNAT == true && target.moves.last?.encapsulated == true && target.moves.last?.local == second)
        target.pass(.seconds(50))
        #expect(target.keepalives == before + 2)
        // Back in the open: bare again, and no keepalives.
        target.route = { _ in Fixtures.westAddress }
        target.handle(.localAddressesChanged([Fixtures.westAddress]))
        try peer.answerLast(target, detection(peer, sees: local))
        #expect(target.status?.localBehindNAT == false && target.moves.last?.encapsulated == false)
        target.pass(.seconds(50))
        #expect(target.keepalives == before + 2)
    }

    @Test func withoutAWrongCookieClosesTheSA() throws {
        for payloads in [[], [Mobike.cookie()]] as [[Payload]] {
            let (target, peer) = try Mobike.initiator()
            roam(target)
            try peer.answerLast(target, payloads, cookie: false)
            #expect(try peer.lastRequest(of: target).payloads == [.delete(Delete(protocolID: .ike))])
            #expect(target.failures.contains { $0.code == .peerMisbehaved })
        }
    }

    /// RFC 4555 section 3.5: only the end that began the SA decides.
    @Test func anUpdateByTheOtherEndChangesNothing() throws {
        let (target, peer) = try Mobike.initiator()
        let answer = try peer.ask(target, .informational, [Mobike.update, Mobike.cookie()], from: Mobike.elsewhere, to: local)
        #expect(answer?.notifications == [.cookie2])
        #expect(target.status?.remote == peerAddress && target.moves.isEmpty)
    }

    /// RFC 4555 section 3.5, its last steps: the answer to an update that another change has overtaken says nothing.
    @Test func aChangeWhileAnUpdateIsUnderWayNeedsANewerOne() throws {
        let (target, peer) = try Mobike.initiator()
        roam(target)
        let first = try peer.lastRequest(of: target)
        let third = IPAddress(v4: 0xc633_6463)
        target.route = { _ in third }
        let before = target.sent.count
        target.handle(.localAddressesChanged([third]))
        // The one under way goes on from the new address, as it is.
        #expect(target.sent.count == before + 1 && target.sent.last?.bytes == first.datagram.bytes && target.sent.last?.local.address == third)
        // Its answer finds a NAT that only the older message has.
        try peer.answerLast(target, detection(peer, sees: SocketAddress(address: Fixtures.natAddress, port: 4)) + [.notify(Notify(.unacceptableAddresses))])
        #expect(target.status?.localBehindNAT == false)
        let next = try peer.lastRequest(of: target)
        #expect(next.id == first.id + 1 && next.datagram.local.address == third && next.payloads.hasNotify(.updateSAAddresses))
        try peer.answerLast(target, detection(peer, sees: next.datagram.local))
        #expect(target.status?.local.address == third && target.moves.last?.local.address == third)
    }

    /// RFC 4555 sections 3.5 and 3.6: the peer has lost the address in use.
    @Test func thePeersListMovesTheSA() throws {
        let (target, peer) = try Mobike.initiator(auth: [Mobike.supported, Mobike.address(further)])
        let from = SocketAddress(address: further, port: 4500)
        // A list with the address in use changes nothing.
        _ = try peer.ask(target, .informational, [Mobike.address(Fixtures.eastAddress)], from: from, to: local)
        #expect(target.status?.remote == peerAddress)
        _ = try peer.ask(target, .informational, [.notify(Notify(.noAdditionalAddresses))], from: from, to: local)
        #expect(target.status?.remote == from)
        // Its new address has to be seen to work before ESP goes there.
        #expect(target.moves.isEmpty)
        let update = try peer.lastRequest(of: target)
        #expect(update.datagram.remote == from && update.payloads.hasNotify(.updateSAAddresses))
        try peer.answerLast(target, detection(peer, sees: local, from: from))
        #expect(target.moves.last?.remote == from)
    }

    /// RFC 4555 section 3.10.
    @Test func aRequestThatIsNotAnsweredIsTriedOverOtherPaths() throws {
        let (target, peer) = try Mobike.initiator(addresses: [Fixtures.westAddress, Mobike.second], auth: [Mobike.supported, Mobike.address(further)]) { $0.dpdDelay = .seconds(10) }
        let before = target.sent.count
        target.pass(.seconds(20))
        let request = try #require(target.sent[before...].first)
        #expect(target.sent[before...].allSatisfy { $0.bytes == request.bytes })
        let paths = Set(target.sent[before...].map { [$0.local.address, $0.remote.address] })
        #expect(paths == [[local.address, peerAddress.address], [local.address, further], [Mobike.second, peerAddress.address], [Mobike.second, further]])
        // Nothing has moved yet: nobody has answered.
        #expect(target.status?.local == local && target.moves.isEmpty)
        // The answer says which of them works, and the peer is told by an update.
        let id = try Header.parse(request.bytes.span).messageID
        target.receive(try peer.seal(.informational, [], id: id, response: true), from: peerAddress, to: second)
        #expect(target.status?.local == second && target.moves.last?.local == second)
        let update = try peer.lastRequest(of: target)
        #expect(update.id == id + 1 && update.payloads.hasNotify(.updateSAAddresses) && update.datagram.local == second)
        try peer.answerLast(target, detection(peer, sees: second))
        target.pass(.seconds(5))
        #expect(target.status?.local == second)
    }

    @Test func anAnswerOverAPathThatWasNotTriedMovesNothing() throws {
        let (target, peer) = try Mobike.initiator(addresses: [Fixtures.westAddress]) { $0.dpdDelay = .seconds(10) }
        target.pass(.seconds(12))
        let request = try peer.lastRequest(of: target)
        target.receive(try peer.seal(.informational, [], id: request.id, response: true), from: Mobike.elsewhere, to: local)
        #expect(target.status?.remote == peerAddress && target.moves.isEmpty)
    }

    /// RFC 4555 section 3.6: an update that was tried from several addresses is sent anew when one of them works.
    @Test func anUpdateThatWasTriedOverSeveralPathsIsSentAnew() throws {
        let third = IPAddress(v4: 0xc633_6463)
        let (target, peer) = try Mobike.initiator(addresses: [Fixtures.westAddress, Mobike.second])
        target.route = { _ in Mobike.second }
        target.handle(.localAddressesChanged([Mobike.second, third]))
        let first = try peer.lastRequest(of: target)
        target.pass(.seconds(10))
        let tried = target.sent.filter { $0.local.address == third }
        #expect(!tried.isEmpty && tried.allSatisfy { $0.bytes == first.datagram.bytes })
        try peer.answerLast(target, detection(peer, sees: SocketAddress(address: Fixtures.natAddress, port: 9)), to: SocketAddress(address: third, port: 4500))
        let next = try peer.lastRequest(of: target)
        #expect(next.id == first.id + 1 && next.datagram.local.address == third && next.payloads.hasNotify(.updateSAAddresses))
        #expect(target.status?.localBehindNAT == false, "the answer to the older request was taken for the new path")
    }

    @Test func addressesThatThePeerRefusesAreLeft() throws {
        let (target, peer) = try Mobike.initiator(addresses: [Fixtures.westAddress, Mobike.second])
        target.route = { _ in Mobike.second }
        target.handle(.localAddressesChanged([Fixtures.westAddress, Mobike.second]))
        #expect(target.status?.local == second)
        try peer.answerLast(target, [.notify(Notify(.unacceptableAddresses))])
        #expect(target.status?.local == local && target.moves.last?.local == local)
        try peer.answerLast(target, [.notify(Notify(.unacceptableAddresses))])
        // Both are refused: it stays, and does not go round in circles.
        let before = target.sent.count
        target.pass(.seconds(1))
        #expect(target.sent.count == before)
    }

    /// RFC 4555 section 3.9.
    @Test func unexpectedNATIsTriedSeveralTimes() throws {
        let (target, peer) = try Mobike.initiator(natTraversal: false)
        roam(target)
        var ids: [UInt32] = []
        for _ in 0..<6 {
            let request = try peer.lastRequest(of: target)
            guard !ids.contains(request.id) else { break }
            ids.append(request.id)
            try peer.answerLast(target, [.notify(Notify(.unexpectedNATDetected))])
        }
        #expect(ids == [2, 3, 4])
        #expect(target.failures.contains { $0.summary.contains("UNEXPECTED_NAT_DETECTED") })
        #expect(target.status != nil)
    }

    /// What keeps the peer busy may be a request that goes to where the NAT had us before.
    @Test func aPeerThatPutsUsOffIsAskedWhereItSeesUs() throws {
        let (target, peer) = try Mobike.initiator(hidden: true)
        target.handle(.rekey(.connection("site"), request: RequestID(rawValue: 7)))
        let rekey = try peer.lastRequest(of: target)
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.temporaryFailure))], id: rekey.id, response: true), from: rekey.datagram.remote, to: rekey.datagram.local)
        #expect(try peer.lastRequest(of: target).payloads.notifications == [.natDetectionSourceIP, .natDetectionDestinationIP])
        try peer.answerLast(target, detection(peer, sees: SocketAddress(address: Fixtures.natAddress, port: 2222)))
        #expect(try peer.lastRequest(of: target).payloads.hasNotify(.updateSAAddresses))
    }

    /// RFC 4555 section 3.8.
    @Test func behindANATALivenessCheckAsksForTheMapping() throws {
        let (target, peer) = try Mobike.initiator(hidden: true) { $0.dpdDelay = .seconds(10) }
        let mapping = SocketAddress(address: Fixtures.natAddress, port: 1111), other = SocketAddress(address: Fixtures.natAddress, port: 2222)
        target.pass(.seconds(11))
        #expect(try peer.lastRequest(of: target).payloads.notifications == [.natDetectionSourceIP, .natDetectionDestinationIP])
        // Nothing is known of the mapping of this port yet: the peer is told once.
        try peer.answerLast(target, detection(peer, sees: mapping))
        #expect(try peer.lastRequest(of: target).payloads.hasNotify(.updateSAAddresses))
        try peer.answerLast(target, detection(peer, sees: mapping))
        for (seen, updates) in [(mapping, false), (other, true), (other, false)] {
            target.pass(.seconds(11))
            #expect(try !peer.lastRequest(of: target).payloads.hasNotify(.updateSAAddresses))
            try peer.answerLast(target, detection(peer, sees: seen))
            #expect(try peer.lastRequest(of: target).payloads.hasNotify(.updateSAAddresses) == updates)
            if updates { try peer.answerLast(target, detection(peer, sees: seen)) }
        }
    }

    /// RFC 4555 section 3.5: ICMP messages are a hint.
    @Test func whatTheNetworkSaysLeadsToALivenessCheck() throws {
        let (target, peer) = try Mobike.initiator()
        let before = target.sent.count
        for _ in 0..<50 { target.handle(.unreachable(remote: peerAddress, UnreachableReport(reason: .host, reporter: nil))) }
        #expect(target.sent.count == before + 1 && target.status != nil)
        try peer.answerLast(target, [])
        target.handle(.unreachable(remote: peerAddress, UnreachableReport(reason: .host, reporter: nil)))
        #expect(target.sent.count == before + 1, "so many messages, so many checks")
        target.pass(.seconds(6))
        target.handle(.unreachable(remote: peerAddress, UnreachableReport(reason: .host, reporter: nil)))
        #expect(target.sent.count == before + 2 && target.moves.isEmpty)
    }

    /// RFC 4555 section 5.3.
    @Test func authenticESPFromElsewhereLeadsToALivenessCheck() throws {
        let (target, _) = try Mobike.initiator()
        let child = try #require(target.installed.first).id, before = target.sent.count
        for _ in 0..<5 { target.handle(.peerMoved(child, remote: Mobike.elsewhere)) }
        #expect(target.sent.count == before + 1 && target.status?.remote == peerAddress && target.moves.isEmpty)
    }

    /// RFC 7296 section 2.4: what is sent where no address leads to the peer says nothing of the peer. The SA waits for a network, as long as it may live, and goes on
    /// at once when there is one.
    @Test(arguments: [true, false]) func aHostWithoutANetworkDoesNotTakeThePeerForDead(mobike: Bool) throws {
        let (target, peer) = try Mobike.initiator(auth: mobike ? [Mobike.supported] : []) { connection in
            connection.dpdDelay = .seconds(4)
            connection.lifetime.lifeTime = .seconds(1000)
        }
        target.route = { _ in nil }
        target.handle(.localAddressesChanged([]))
        target.pass(.seconds(500))
        let asked = try peer.lastRequest(of: target).datagram.bytes
        #expect(target.status?.state == .established && target.status?.children.first?.state == .installed)
        // The network is back: the same request at once, and then as after any change.
        target.route = { _ in Fixtures.westAddress }
        let before = target.sent.count
        target.handle(.localAddressesChanged([Fixtures.westAddress]))
        #expect(target.sent[before...].map(\.bytes) == [asked])
        try peer.answerLast(target, [])
        if mobike { #expect(try peer.lastRequest(of: target).payloads.hasNotify(.updateSAAddresses)) }
        // Gone again, until the SA is to end: then the peer counts as dead as it otherwise does.
        target.route = { _ in nil }
        target.handle(.localAddressesChanged([]))
        target.pass(.seconds(700))
        #expect(target.endpoint.status().isEmpty && target.remnants == [])
    }

    @Test func withoutAnAddressItWaitsForOne() throws {
        let (target, peer) = try Mobike.initiator()
        let before = target.sent.count
        target.route = { _ in nil }
        target.handle(.localAddressesChanged([]))
        target.handle(.localAddressesChanged([]))
        #expect(target.sent.count == before && target.moves.isEmpty && target.status?.local == local)
        // The same address again: the network may be another, so the peer is told.
        target.route = { _ in Fixtures.westAddress }
        target.handle(.localAddressesChanged([Fixtures.westAddress]))
        #expect(try peer.lastRequest(of: target).payloads.hasNotify(.updateSAAddresses))
        try peer.answerLast(target, detection(peer, sees: local))
        // The same once more: a liveness check tells whether the path is the same as well. Not more often than every few seconds.
        let quiet = target.sent.count
        for _ in 0..<5 { target.handle(.localAddressesChanged([Fixtures.westAddress])) }
        #expect(target.sent.count == quiet + 1)
        #expect(try peer.lastRequest(of: target).payloads.notifications == [.natDetectionSourceIP, .natDetectionDestinationIP])
        try peer.answerLast(target, detection(peer, sees: local))
        #expect(target.sent.count == quiet + 1 && target.moves.isEmpty)
    }

    /// A NAT that comes in front of an address that stays the same.
    @Test func aNATThatAppearsIsSeenByALivenessCheck() throws {
        let (target, peer) = try Mobike.initiator { $0.dpdDelay = .seconds(10) }
        let mapping = SocketAddress(address: Fixtures.natAddress, port: 1111)
        target.pass(.seconds(11))
        try peer.answerLast(target, detection(peer, sees: mapping))
        #expect(try peer.lastRequest(of: target).payloads.hasNotify(.updateSAAddresses))
        try peer.answerLast(target, detection(peer, sees: mapping))
        #expect(target.status?.localBehindNAT == true && target.moves.last?.encapsulated == true)
        // And one that goes.
        target.pass(.seconds(11))
        try peer.answerLast(target, detection(peer, sees: local))
        try peer.answerLast(target, detection(peer, sees: local))
        #expect(target.status?.localBehindNAT == false && target.moves.last?.encapsulated == false)
    }

    /// `local_addrs` says which addresses may be used.
    @Test func anAddressThatIsNotAllowedIsNotUsed() throws {
        let (target, _) = try Mobike.initiator { $0.localAddresses = [.range(Fixtures.westAddress, Fixtures.westAddress)] }
        let before = target.sent.count
        roam(target)
        #expect(target.sent.count == before && target.moves.isEmpty && target.status?.local == local)
    }

    @Test func anSAWithoutMOBIKEStaysAndSaysWhy() throws {
        let (target, _) = try Mobike.responder(auth: [])
        let before = target.sent.count
        roam(target)
        #expect(target.sent.count == before && target.moves.isEmpty)
        #expect(target.reports.contains { if case .note(.warning, let text, _, _) = $0 { text.contains("MOBIKE is not in use") } else { false } })
    }

    /// A family of its own: the longest datagram changes with it.
    @Test func fromIPv4ToIPv6() throws {
        let six = IPAddress(family: .v6, value: 0x2001_0db8_0000_0000_0000_0000_0000_0001), theirs = IPAddress(family: .v6, value: 0x2001_0db8_0000_0000_0000_0000_0000_0002)
        let (target, peer) = try Mobike.initiator(auth: [Mobike.supported, Mobike.address(theirs)])
        target.route = { $0.family == .v6 ? six : nil }
        target.handle(.localAddressesChanged([six]))
        let update = try peer.lastRequest(of: target)
        #expect(update.datagram.local == SocketAddress(address: six, port: 4500) && update.datagram.remote == SocketAddress(address: theirs, port: 4500))
        // The peer's address is new: it is seen to answer first.
        #expect(target.moves.isEmpty)
        try peer.answerLast(target, detection(peer, sees: update.datagram.local, from: update.datagram.remote))
        #expect(target.moves.last?.local.address == six && target.moves.last?.remote.address == theirs)
    }
}
