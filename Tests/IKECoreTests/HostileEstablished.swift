// A peer that has proven itself and then breaks the rules, or leaves an exchange half done.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
import TestSupport

@Suite struct HostileEstablished {
    private static let gone: [Payload] = [.delete(Delete(protocolID: .ike))]

    @Test func aPairThatThePeerReplacedAndKeptIsRemoved() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let old = try #require(target.endpoint.status().first?.children.first)
        let payloads: [Payload] = [.notify(Notify(.rekeySA, protocolID: .esp, spi: old.outboundSPI.bytes))] + peer.createChildPayloads()
        _ = try #require(try peer.ask(target, .createChildSA, payloads))
        let new = try #require(target.endpoint.status().first?.children.last)
        #expect(target.endpoint.status().first?.children.count == 2)
        #expect(target.activated == [])
        target.pass(.seconds(61))
        // It asks us to delete the old pair; our packets have moved before it.
        #expect(target.activated == [new.id])
        let answer = try peer.seal(.informational, [], id: 0, response: true)
        target.receive(answer)
        target.pass(.seconds(10))
        #expect(target.endpoint.status().first?.children.map(\.id) == [new.id])
    }

    @Test func rekeysWithoutDeletesHaveALimit() throws {
        var limits = Limits()
        limits.childSAs = 4
        let target = Target(limits: limits), peer = try HostilePeer()
        try peer.connect(target)
        var refused = 0
        for number in 1...20 as ClosedRange<UInt32> {
            let current = try #require(target.endpoint.status().first?.children.last { $0.state == .installed })
            let payloads: [Payload] = [.notify(Notify(.rekeySA, protocolID: .esp, spi: current.outboundSPI.bytes))] + peer.createChildPayloads(spi: 0x1000 + number)
            if try peer.ask(target, .createChildSA, payloads)?.notifications == [.noAdditionalSAs] { refused += 1 }
        }
        #expect(refused == 13)
        #expect(target.endpoint.status().first?.children.count == 8)
        _ = try peer.ask(target, .informational, Self.gone)
        #expect(target.remnants == [])
    }

    @Test func aDeleteWhileAJobRunsLeaksNothing() throws {
        let target = Target { $0.children = [Fixtures.child(local: 2, remote: 1, pfs: [.curve25519])] }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.worksAtOnce = false
        var payloads = peer.createChildPayloads()
        var proposal = Fixtures.espProposal([.curve25519])
        proposal.spi = [9, 9, 9, 9]
        payloads[0] = .securityAssociation(SecurityAssociation(proposals: [proposal]))
        payloads.append(.keyExchange(KeyExchange(method: 31, data: peer.key.publicValue)))
        #expect(target.receive(try peer.seal(.createChildSA, payloads)) == [])
        #expect(target.held.jobs == 1 && target.held.inboundSPIs == 2)
        target.handle(.forget(try #require(target.endpoint.status().first?.id)))
        #expect(target.held == (0, 0, 0, 0), "\(target.held)")
        target.work()
        #expect(target.remnants == [])
    }

    @Test func aJobThatHangsDoesNotHoldTheExchangeForEver() throws {
        let target = Target { $0.children = [Fixtures.child(local: 2, remote: 1, pfs: [.curve25519])] }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.worksAtOnce = false
        var payloads = peer.createChildPayloads()
        var proposal = Fixtures.espProposal([.curve25519])
        proposal.spi = [9, 9, 9, 9]
        payloads[0] = .securityAssociation(SecurityAssociation(proposals: [proposal]))
        payloads.append(.keyExchange(KeyExchange(method: 31, data: peer.key.publicValue)))
        #expect(target.receive(try peer.seal(.createChildSA, payloads)) == [])
        let before = target.sent.count
        target.pass(.seconds(30))
        let answer = try #require(target.sent[before...].first)
        #expect(try peer.open(answer.bytes).notifications == [.temporaryFailure])
        peer.nextID += 1
        target.worksAtOnce = true
        #expect(try peer.ask(target, .informational, Self.gone) == [])
        #expect(target.remnants == [])
    }

    @Test func aDataPlaneThatHangsDoesNotHoldTheExchangeForEver() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        target.worksAtOnce = false
        #expect(target.receive(try peer.seal(.createChildSA, peer.createChildPayloads())) == [])
        let before = target.sent.count
        target.pass(.seconds(30))
        #expect(try peer.open(try #require(target.sent[before...].first).bytes).notifications == [.noProposalChosen])
        peer.nextID += 1
        #expect(try peer.ask(target, .informational, Self.gone) == [])
        #expect(target.remnants == [])
    }

    @Test func aRekeyWaitsForTheAnswerAboutAChild() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        target.worksAtOnce = false
        #expect(target.receive(try peer.seal(.createChildSA, peer.createChildPayloads())) == [])
        let jobs = target.jobs
        target.handle(.rekey(.connection("site"), request: nil))
        #expect(target.jobs == jobs)
        target.handle(.childSAInstalled(try #require(target.installed.last).id, failure: nil))
        #expect(target.jobs == jobs + 1)
        let answer = try #require(target.sent.last)
        #expect(try peer.open(answer.bytes).contains { $0.type == .securityAssociation })
    }

    @Test func closeActionStartDoesNotSpin() throws {
        let target = Target { $0.children[0].closeAction = .start }
        let peer = try HostilePeer()
        try peer.connect(target)
        let child = try #require(target.endpoint.status().first?.children.first)
        _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .esp, spis: [child.outboundSPI]))])
        #expect(target.again.count == 1 && target.again.allSatisfy { $0 >= .seconds(1) })
    }

    @Test func notNowForEverBecomesNo() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        for id in 0..<100 as Range<UInt32> where target.answers.isEmpty {
            target.receive(try peer.seal(.createChildSA, [.notify(Notify(.temporaryFailure))], id: id, response: true))
            target.pass(.seconds(4))
        }
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1)
        #expect(target.held.inboundSPIs == 1)
    }

    @Test func shuttingDownAnswersWhatIsUnderWay() throws {
        let target = Target { $0.children = [Fixtures.child(local: 2, remote: 1, pfs: [.curve25519]), Fixtures.child("second", local: 4, remote: 3, pfs: [.curve25519])] }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.worksAtOnce = false
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        #expect(target.held.inboundSPIs == 2)
        let before = target.sent.count
        target.handle(.shutDown)
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1)
        #expect(target.held.inboundSPIs == 1)
        #expect(try peer.open(try #require(target.sent[before...].first).bytes) == Self.gone)
        #expect(target.remnants == [])
    }

    @Test func noKeepalivesAreSentWhenTheyAreSwitchedOff() throws {
        var limits = Limits()
        limits.keepalive = .zero
        let target = Target(limits: limits), peer = try HostilePeer()
        let nat = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: HostilePeer.address, remote: SocketAddress(address: Fixtures.natAddress, port: 1), hidden: false)
        try peer.take(initResponse: try #require(target.receive(peer.initRequest(peer.initPayloads + nat)).first))
        _ = try peer.ask(target, .ikeAuth, try peer.authPayloads())
        #expect(target.endpoint.status().first?.localBehindNAT == true)
        target.pass(.seconds(100))
        #expect(target.keepalives == 0)
    }

    @Test func anInitiationThatIsEndedStaysEnded() {
        let target = Target(east: true) { $0.keyingTries = 0 }
        target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        target.handle(.terminate(.connection("site"), request: RequestID(rawValue: 2)))
        #expect(target.again.isEmpty)
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1 && target.answers[RequestID(rawValue: 2)]?.count == 1)
        #expect(target.remnants == [])
    }

    /// A host name says who may begin, as an address does. What is not known yet is waited for; strangers make nobody look up without end.
    @Test func aHostNameIsWhatItLeadsTo() throws {
        let target = Target { $0.remoteAddresses = [.name("peer.example")] }, peer = try HostilePeer()
        let request = peer.initRequest(peer.initPayloads)
        #expect(target.receive(request).isEmpty && target.lookedUp == ["peer.example"])
        #expect(target.receive(request).isEmpty && target.lookedUp == ["peer.example"])
        // Another's address.
        target.handle(.nameFound("peer.example", [IPAddress(v4: 0xc000_02c8)]))
        target.pass(.seconds(1))
        #expect(try target.receive(request).map { try Message.parse($0.span).payloads.notifications } == [[.noProposalChosen]])
        #expect(target.failures.last?.code == .noConnection && target.lookedUp.count == 1)
        // After a while it is looked up again, and the answer decides; one that fails changes nothing.
        target.pass(.seconds(12))
        #expect(target.receive(request).isEmpty && target.lookedUp.count == 2)
        target.handle(.nameFound("peer.example", [HostilePeer.address.address]))
        try peer.connect(target)
        target.handle(.nameFound("peer.example", nil))
        target.pass(.seconds(70))
        let other = try HostilePeer(seed: 4712)
        try other.connect(target)
        #expect(target.lookedUp.count == 3)
    }

    /// A name of which nobody knows where it leads keeps nobody out whose address stands in another connection, and those of a connection for all for a moment only.
    @Test func aNameThatNobodyAnswersForDelaysNoOther() throws {
        var far = Fixtures.connection(east: false)
        far.name = "far"
        far.remoteAddresses = [.name("far.example")]
        for (addresses, isDelayed) in [([.range(HostilePeer.address.address, HostilePeer.address.address)], false), ([.any], true)] as [([AddressPattern], Bool)] {
            let target = Target { $0.remoteAddresses = addresses }, peer = try HostilePeer()
            target.handle(.connectionChanged(name: "far", far))
            #expect(target.receive(peer.initRequest(peer.initPayloads)).isEmpty == isDelayed && target.lookedUp == ["far.example"])
            guard isDelayed else { continue }
            target.pass(.seconds(6))
            try peer.connect(target)
            #expect(target.lookedUp.count == 1)
        }
    }

    /// Strangers make us look few names up at once, the others in their turn.
    @Test func fewNamesAreLookedUpAtOnce() throws {
        let target = Target { $0.remoteAddresses = (0..<40).map { .name("peer\($0).example") } }, peer = try HostilePeer()
        _ = target.receive(peer.initRequest(peer.initPayloads))
        #expect(target.lookedUp.count == 40)
        for name in target.lookedUp { target.handle(.nameFound(name, [])) }
        target.pass(.seconds(11))
        for count in [56, 72, 80] {
            _ = target.receive(peer.initRequest(peer.initPayloads))
            #expect(target.lookedUp.count == count)
        }
        #expect(Set(target.lookedUp.suffix(40)).count == 40)
    }

    /// Whatever waits for a peer that does not answer: an SA, its Delete, a child or the Delete of one.
    @Test(arguments: [true, false], [true, false]) func whatIsEndedByForceIsGoneAtOnce(isWhole: Bool, isLeaving: Bool) throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let selection = isWhole ? SASelection.connection("site") : .child("net", connection: "site")
        if isLeaving { target.handle(.terminate(selection, request: RequestID(rawValue: 1))) }
        let before = target.sent.count
        target.handle(.terminateAtOnce(selection, request: RequestID(rawValue: 2)))
        guard case .success? = target.answers[RequestID(rawValue: 2)]?.first else { return #expect(Bool(false), "\(target.answers)") }
        #expect(target.endpoint.status().flatMap(\.children).isEmpty && target.endpoint.status().isEmpty == isWhole)
        #expect(target.held.children == 0 && target.held.inboundSPIs == 0)
        // The peer is told once.
        #expect(target.sent.count - before == (isLeaving ? 0 : 1))
        if !isLeaving { #expect(try peer.open(try #require(target.sent.last).bytes).contains { if case .delete = $0 { true } else { false } }) }
        if isLeaving { #expect(target.answers[RequestID(rawValue: 1)]?.count == (isWhole ? 1 : nil)) }
    }

    @Test func aTunnelThatTheOperatorClosesDoesNotComeBackWhenThePeerIsDead() throws {
        let target = Target {
            $0.children[0].dpdAction = .start; $0.dpdDelay = .seconds(10)
        }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.pass(.seconds(15))
        target.handle(.terminate(.connection("site"), request: RequestID(rawValue: 1)))
        #expect(target.remnants == [])
        #expect(target.again.isEmpty)
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1)
    }
}
