// What RFC 7296 asks about children of an established SA, rule by rule, against a scripted peer.
// Sections 1.3.3, 1.4.1, 2.9, 2.9.2, 2.25, 3.10.1, 3.11 and 4.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct ChildRules {
    private static let request = RequestID(rawValue: 1)
    private static let gone: [Payload] = [.delete(Delete(protocolID: .ike))]

    /// A target that a peer has connected to, with its one child.
    private func connected(_ change: (inout Connection) -> Void = { _ in }) throws -> (Target, HostilePeer, ChildSAStatus) {
        let target = Target(change), peer = try HostilePeer()
        try peer.connect(target)
        return (target, peer, try #require(target.endpoint.status().first?.children.first))
    }

    private func children(_ target: Target) -> [ChildSAStatus] { (target.endpoint.status().first?.children ?? []).filter { $0.state == .installed || $0.state == .rekeying } }

    private func rekey(_ child: ChildSAStatus, _ peer: HostilePeer, theirs: [TrafficSelector], ours: [TrafficSelector], spi: UInt32 = 0x0a0b_0c0d) -> [Payload] {
        var payloads = peer.createChildPayloads(spi: spi)
        payloads[1] = .trafficSelectorInitiator(theirs)
        payloads[2] = .trafficSelectorResponder(ours)
        return [.notify(Notify(.rekeySA, protocolID: .esp, spi: child.outboundSPI.bytes))] + payloads
    }

    private func half(_ network: TrafficSelector, upper: Bool) -> TrafficSelector {
        let middle = network.start.value + (network.end.value - network.start.value) / 2
        return TrafficSelector(start: upper ? IPAddress(family: .v4, value: middle + 1) : network.start, end: upper ? network.end : IPAddress(family: .v4, value: middle))
    }

    /// The last message that the target sent, opened.
    private func last(_ target: Target, _ peer: HostilePeer) throws -> [Payload] { try peer.open(try #require(target.sent.last).bytes) }

    // MARK: Rekeys, section 2.9.2

    @Test func thePeersRekeyIsNotNarrower() throws {
        let (target, peer, child) = try connected()
        let narrow = half(Fixtures.network(1), upper: false)
        #expect(try peer.ask(target, .createChildSA, rekey(child, peer, theirs: [narrow], ours: [Fixtures.network(2)]))?.notifications == [.tsUnacceptable])
        #expect(try peer.ask(target, .createChildSA, rekey(child, peer, theirs: [Fixtures.network(1)], ours: [half(Fixtures.network(2), upper: true)]))?.notifications == [.tsUnacceptable])
        #expect(children(target).map(\.id) == [child.id] && target.held.inboundSPIs == 1)
        #expect(target.failures.last?.summary.contains("less traffic") == true)
        // Cut otherwise, it carries the same.
        let halves = [narrow, half(Fixtures.network(1), upper: true)]
        #expect(try peer.ask(target, .createChildSA, rekey(child, peer, theirs: halves, ours: [Fixtures.network(2)]))?.notifications == [])
        #expect(target.installed.count == 2)
    }

    @Test(arguments: [true, false]) func ourRekeyIsNotAnsweredNarrower(isWhole: Bool) throws {
        let (target, peer, child) = try connected()
        target.handle(.rekey(.childSA(child.id), request: Self.request))
        let offered = try last(target, peer)
        #expect(offered.notifications == [.rekeySA])
        var answer = peer.createChildPayloads()
        answer[1] = .trafficSelectorInitiator(isWhole ? [half(Fixtures.network(2), upper: true), half(Fixtures.network(2), upper: false)] : [half(Fixtures.network(2), upper: true)])
        answer[2] = .trafficSelectorResponder([Fixtures.network(1)])
        target.receive(try peer.seal(.createChildSA, answer, id: 0, response: true))
        if isWhole {
            #expect(target.installed.count == 2)
        } else {
            // The pair that the peer has made is deleted, and the old one goes on.
            guard case .securityAssociation(let association)? = offered.first(where: { $0.type == .securityAssociation }), let spi = UInt32(bytes: association.proposals[0].spi) else {
                throw HostilePeer.Broken(what: "no SA")
            }
            #expect(try last(target, peer) == [.delete(Delete(protocolID: .esp, spis: [spi]))])
            target.receive(try peer.seal(.informational, [], id: 1, response: true))
            #expect(children(target).map(\.id) == [child.id] && target.installed.count == 1 && target.stopped.isEmpty)
            #expect(target.failures.last?.code == .trafficSelectorsUnacceptable)
        }
    }

    /// Section 2.9.2: no packet's selectors, and all that the old pair carries.
    @Test func aRekeyOffersWhatTheOldPairCarries() throws {
        let target = Target(east: true), peer = try HostilePeer(isInitiator: false)
        let port = TrafficSelector(ipProtocol: 17, startPort: 53, endPort: 53, start: IPAddress(v4: 0x0a01_0001), end: IPAddress(v4: 0x0a01_0001))
        let packet = TriggeringPacket(source: port, destination: TrafficSelector(ipProtocol: 17, startPort: 53, endPort: 53, start: IPAddress(v4: 0x0a02_0001), end: IPAddress(v4: 0x0a02_0001)))
        target.handle(.initiate(connection: "site", child: "net", packet: packet, local: target.node.local, remote: HostilePeer.address, request: Self.request))
        target.receive(try peer.initResponse(to: try #require(target.sent.last).bytes))
        #expect(try last(target, peer).contains(.trafficSelectorInitiator([port, Fixtures.network(1)])))
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + peer.child(), id: 1, response: true))
        let child = try #require(children(target).first)
        target.handle(.rekey(.childSA(child.id), request: nil))
        let offered = try last(target, peer)
        #expect(offered.contains(.trafficSelectorInitiator([Fixtures.network(1)])) && offered.contains(.trafficSelectorResponder([Fixtures.network(2)])))
    }

    // MARK: REKEY_SA, sections 1.3.3 and 2.25

    @Test func anSPIThatCannotBeIsInvalidSyntax() throws {
        for spi in [[], [1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8]] as [[UInt8]] {
            for protocolID in [ProtocolID.esp, .ah, .ike] {
                let (target, peer, _) = try connected()
                #expect(try peer.ask(target, .createChildSA, [.notify(Notify(.rekeySA, protocolID: protocolID, spi: spi))] + peer.createChildPayloads())?.notifications == [.invalidSyntax])
                #expect(target.endpoint.status().isEmpty && target.remnants == [], "\(protocolID) \(spi)")
            }
        }
        // Two say nothing of what is replaced.
        let (target, peer, child) = try connected()
        let named = Payload.notify(Notify(.rekeySA, protocolID: .esp, spi: child.outboundSPI.bytes))
        #expect(try peer.ask(target, .createChildSA, [named, named] + peer.createChildPayloads())?.notifications == [.invalidSyntax])
        #expect(target.remnants == [])
    }

    @Test func aRekeyOfWhatIsNotThereIsToldSo() throws {
        let (target, peer, child) = try connected()
        let inbound = child.inboundSPI.bytes, outbound = child.outboundSPI.bytes
        // Its own SPI names no SA that the peer receives on, and AH has none at all.
        for (protocolID, spi) in [(ProtocolID.esp, [9, 9, 9, 9]), (.esp, inbound), (.ah, outbound)] {
            let answer = try #require(try peer.ask(target, .createChildSA, [.notify(Notify(.rekeySA, protocolID: protocolID, spi: spi))] + peer.createChildPayloads()))
            #expect(answer == [.notify(Notify(.childSANotFound, protocolID: protocolID, spi: spi))])
        }
        #expect(children(target).map(\.id) == [child.id] && target.held.inboundSPIs == 1)
    }

    @Test func aChildThatThePeerDoesNotKnowIsMadeAnew() throws {
        let (target, peer, child) = try connected()
        target.handle(.rekey(.childSA(child.id), request: Self.request))
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.childSANotFound, protocolID: .esp, spi: child.inboundSPI.bytes))], id: 0, response: true))
        #expect(target.stopped == [child.id])
        let again = try last(target, peer)
        #expect(again.contains { $0.type == .securityAssociation } && again.notifications == [])
    }

    // MARK: Delete, sections 1.4.1 and 3.11

    @Test func everyDeletePayloadCounts() throws {
        let (target, peer, child) = try connected { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        var payloads = peer.createChildPayloads()
        payloads[1] = .trafficSelectorInitiator([Fixtures.network(3)])
        payloads[2] = .trafficSelectorResponder([Fixtures.network(4)])
        #expect(try peer.ask(target, .createChildSA, payloads)?.notifications == [])
        let second = try #require(children(target).last)
        func deleting(_ spis: UInt32...) -> Payload { .delete(Delete(protocolID: .esp, spis: spis)) }
        // What is not there is not in the answer, nor what is of another protocol.
        #expect(try peer.ask(target, .informational, [deleting(7777), .delete(Delete(protocolID: .ah, spis: [child.outboundSPI]))]) == [])
        #expect(children(target).count == 2)
        // Two payloads, one SPI twice.
        let answer = try peer.ask(target, .informational, [deleting(child.outboundSPI, child.outboundSPI), deleting(second.outboundSPI)])
        #expect(answer == [deleting(child.inboundSPI, second.inboundSPI)])
        #expect(children(target).isEmpty && target.stopped == [child.id, second.id])
    }

    @Test func aDeleteWhoseNumbersLieIsInvalidSyntax() throws {
        // Protocol, SPI size, number of SPIs, SPIs.
        let bodies: [[UInt8]] = [
            [3, 4, 0, 2, 1, 2, 3, 4], [3, 4, 0, 0, 1, 2, 3, 4], [3, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8], [3, 0, 0, 1], [3, 4, 0xff, 0xff, 1, 2, 3, 4], [1, 4, 0, 1, 1, 2, 3, 4], [1, 0, 0, 0, 1],
        ]
        for body in bodies {
            let (target, peer, _) = try connected()
            let answer = try peer.ask(target, .informational, [.unknown(.delete, critical: false, body: body)])
            #expect(answer?.notifications == [.invalidSyntax], "\(body)")
            #expect(target.endpoint.status().isEmpty && target.remnants == [], "\(body)")
        }
    }

    /// Section 1.4.1: both ends delete the same pair at once.
    @Test func theAnswerToADeleteThatCrossesNamesNothing() throws {
        let (target, peer, child) = try connected()
        target.handle(.terminate(.childSA(child.id), request: Self.request))
        #expect(try last(target, peer) == [.delete(Delete(protocolID: .esp, spis: [child.inboundSPI]))])
        #expect(try peer.ask(target, .informational, [.delete(Delete(protocolID: .esp, spis: [child.outboundSPI]))]) == [])
        #expect(target.stopped == [child.id])
        target.receive(try peer.seal(.informational, [], id: 0, response: true))
        #expect(target.answers[Self.request]?.count == 1)
        target.pass(.seconds(6))
        #expect(target.held.inboundSPIs == 0 && target.endpoint.status().count == 1)
    }

    // MARK: What the peer says of our packets, section 3.10.1

    @Test func anUnknownSPIIsAskedAboutAndEndsNothing() throws {
        let (target, peer, child) = try connected()
        let complaint = Payload.notify(Notify(.invalidSPI, data: child.outboundSPI.bytes))
        // SPIs that are none of ours, and what cannot be one.
        for data in [[9, 9, 9, 9], [], [1], child.inboundSPI.bytes] as [[UInt8]] { #expect(try peer.ask(target, .informational, [.notify(Notify(.invalidSPI, data: data))]) == []) }
        let before = target.sent.count
        #expect(try peer.ask(target, .informational, [complaint, complaint]) == [])
        #expect(target.sent.count == before + 2)
        #expect(try last(target, peer).notifications == [.rekeySA])
        #expect(target.stopped.isEmpty)
        // It says so again: once a minute is enough.
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.noProposalChosen))], id: 0, response: true))
        #expect(try peer.ask(target, .informational, [complaint]) == [])
        #expect(target.sent.count == before + 3 && children(target).map(\.id) == [child.id])
        target.pass(.seconds(61))
        #expect(try peer.ask(target, .informational, [complaint]) == [])
        #expect(target.sent.count == before + 5)
        // And it does not know it indeed: a new one is made.
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.childSANotFound, protocolID: .esp, spi: child.inboundSPI.bytes))], id: 1, response: true))
        #expect(target.stopped == [child.id])
        #expect(try last(target, peer).contains { $0.type == .securityAssociation })
    }

    @Test func droppedPacketsAreTold() throws {
        let (target, peer, child) = try connected()
        let before = target.sent.count
        for _ in 0..<3 { #expect(try peer.ask(target, .informational, [.notify(Notify(.invalidSelectors, protocolID: .esp, spi: child.outboundSPI.bytes, data: [0x45, 0]))]) == []) }
        #expect(target.sent.count == before + 3 && children(target).map(\.id) == [child.id])
        let notes = target.reports.filter { if case .note(_, let text, _, _) = $0 { text.contains("INVALID_SELECTORS") } else { false } }
        #expect(notes.count == 1)
    }

    // MARK: NO_ADDITIONAL_SAS and TEMPORARY_FAILURE, sections 4 and 2.25

    @Test(arguments: [true, false]) func wherePeersRenewNothingANewSATakesOver(isOfTheIKESA: Bool) throws {
        let (target, peer, child) = try connected { $0.remoteAddresses = [.range(HostilePeer.address.address, HostilePeer.address.address)] }
        target.handle(.rekey(isOfTheIKESA ? .connection("site") : .childSA(child.id), request: Self.request))
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.noAdditionalSAs))], id: 0, response: true))
        #expect(try last(target, peer) == Self.gone)
        // What was asked for has not happened.
        guard case .failure? = target.answers[Self.request]?.first else { return #expect(Bool(false), "it is said to be done") }
        #expect(target.again == [.zero] && target.answers[Self.request]?.count == 1)
        target.receive(try peer.seal(.informational, [], id: 1, response: true))
        #expect(target.remnants == [])
    }

    /// What an answer lacks is said, and not that it chose something.
    @Test func whatAnAnswerLacksIsNamed() throws {
        for (kept, word) in [(0, "chose no ESP"), (1, "no traffic selectors"), (4, "SPI")] {
            let (target, peer, child) = try connected()
            let payloads = Array(peer.createChildPayloads(spi: word == "SPI" ? 255 : 256).prefix(kept))
            target.handle(.rekey(.childSA(child.id), request: Self.request))
            target.receive(try peer.seal(.createChildSA, payloads, id: 0, response: true))
            guard case .failure(let failure)? = target.answers[Self.request]?.first else { return #expect(Bool(false), "\(word): no failure") }
            #expect(failure.summary.contains(word) && failure.code == .peerMisbehaved, "\(failure.summary)")
        }
    }

    /// Where nobody knows how to reach the peer, what is there lives out its time.
    @Test func wherePeersRenewNothingAndHaveNoAddressTheOldPairStays() throws {
        let (target, peer, child) = try connected()
        target.handle(.rekey(.childSA(child.id), request: Self.request))
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.noAdditionalSAs))], id: 0, response: true))
        #expect(children(target).map(\.id) == [child.id] && target.again.isEmpty && target.held.inboundSPIs == 1)
    }

    /// Section 2.8: the pair lives out its time, and then all goes; it begins anew where the peer can be reached, and where it should always be up (seed
    /// 14585 of Chaos).
    @Test(arguments: [(true, false), (false, false), (false, true)]) func whatCannotBeRekeyedTakesTheIKESAWithIt(isReachable: Bool, isToBeUp: Bool) throws {
        let (target, peer, child) = try connected {
            if isToBeUp { $0.children[0].startAction = .start }
            if isReachable { $0.remoteAddresses = [.range(HostilePeer.address.address, HostilePeer.address.address)] }
            $0.children[0].lifetime = Lifetime(rekeyTime: .seconds(100), lifeTime: .seconds(200), randTime: .zero)
        }
        var id: UInt32 = 0
        // Half way to the end, again and again, and at the end no more.
        while target.now.since(child.installed) < .seconds(199), id < 50 {
            let sent = target.sent.count
            target.pass(.seconds(1))
            guard target.sent.count > sent else { continue }
            #expect(children(target).map(\.id) == [child.id])
            target.receive(try peer.seal(.createChildSA, [.notify(Notify(.noProposalChosen))], id: id, response: true))
            id += 1
        }
        #expect(id > 1 && children(target).map(\.id) == [child.id] && target.again.isEmpty)
        target.pass(.seconds(2))
        #expect(try last(target, peer) == Self.gone)
        #expect(target.again == (isReachable ? [.zero] : isToBeUp ? [target.node.limits.retryDelay] : []))
        target.receive(try peer.seal(.informational, [], id: id, response: true))
        #expect(target.remnants == [])
    }

    /// Section 2.8: what was put off until the end of the lifetime has failed as well.
    @Test func aRekeyThatIsPutOffToTheEndHasFailed() throws {
        let (target, peer, child) = try connected {
            $0.remoteAddresses = [.range(HostilePeer.address.address, HostilePeer.address.address)]
            $0.children[0].lifetime = Lifetime(rekeyTime: .seconds(100), lifeTime: .seconds(110), randTime: .zero)
        }
        var id: UInt32 = 0
        while target.now.since(child.installed) < .seconds(120) {
            let sent = target.sent.count
            target.pass(.milliseconds(500))
            guard target.sent.count > sent else { continue }
            if try last(target, peer) == Self.gone { break }
            target.receive(try peer.seal(.createChildSA, [.notify(Notify(.temporaryFailure))], id: id, response: true))
            id += 1
        }
        #expect(id > 1 && target.now.since(child.installed) >= .seconds(110))
        #expect(try last(target, peer) == Self.gone && target.again == [.zero])
    }

    /// Section 2.25: not at once, and not for ever.
    @Test func notNowForMinutesClosesTheSA() throws {
        let (target, peer, child) = try connected()
        let begun = target.now
        target.handle(.rekey(.childSA(child.id), request: Self.request))
        var id: UInt32 = 0
        while target.answers.isEmpty, id < 200 {
            let sent = target.sent.count
            target.receive(try peer.seal(.createChildSA, [.notify(Notify(.temporaryFailure))], id: id, response: true))
            guard target.answers.isEmpty else { break }
            #expect(target.sent.count == sent)
            target.pass(.milliseconds(900))
            #expect(target.sent.count == sent)
            target.pass(.milliseconds(2100))
            #expect(target.sent.count > sent)
            id += 1
        }
        #expect(target.now.since(begun) >= .seconds(180) && target.now.since(begun) < .seconds(200))
        #expect(try last(target, peer) == Self.gone)
        target.receive(try peer.seal(.informational, [], id: id + 1, response: true))
        #expect(target.remnants == [])
    }

    // MARK: Selectors, section 2.9

    /// Wherever it stands in the configuration: its algorithms, marks and lifetimes are the ones that are meant.
    @Test(arguments: [true, false]) func theChildForJustThisTrafficIsMeant(isLast: Bool) throws {
        let narrow = half(Fixtures.network(2), upper: true)
        let (target, peer, _) = try connected { connection in
            var exact = connection.children[0]
            exact.name = "exact"
            exact.localTS = [.fixed(narrow)]
            connection.children.insert(exact, at: isLast ? 1 : 0)
        }
        var payloads = peer.createChildPayloads(spi: 0x0a0b_0c0d)
        payloads[1] = .trafficSelectorInitiator([Fixtures.network(1)])
        payloads[2] = .trafficSelectorResponder([narrow])
        #expect(try peer.ask(target, .createChildSA, payloads)?.notifications == [])
        #expect(target.installed.last?.name == "exact")
        // Of what is narrower still the first one takes all.
        payloads[2] = .trafficSelectorResponder([half(narrow, upper: true)])
        #expect(try peer.ask(target, .createChildSA, payloads)?.notifications == [])
        #expect((target.installed.last?.name == "exact") == !isLast)
    }

    @Test func furtherSelectorsAreNamedAsPossible() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.begin(target)
        var auth = try peer.authPayloads()
        auth[3] = .trafficSelectorInitiator([Fixtures.network(3), Fixtures.network(1)])
        auth[4] = .trafficSelectorResponder([Fixtures.network(4), Fixtures.network(2)])
        let answer = try #require(try peer.ask(target, .ikeAuth, auth))
        // The first selectors decide.
        #expect(answer.contains(.trafficSelectorInitiator([Fixtures.network(3)])) && answer.notifications == [.additionalTSPossible])
        // Nothing is left out here.
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [])
    }

    @Test func aResponderThatLeavesMoreIsToldOf() throws {
        let (target, peer, _) = try connected { $0.children[0].localTS.append(.fixed(Fixtures.network(4))) }
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
        _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .esp, spis: [0x0102_0304]))])
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: Self.request))
        var answer = peer.createChildPayloads() + [.notify(Notify(.additionalTSPossible))]
        answer[1] = .trafficSelectorInitiator([Fixtures.network(4)])
        answer[2] = .trafficSelectorResponder([Fixtures.network(1)])
        target.receive(try peer.seal(.createChildSA, answer, id: 0, response: true))
        #expect(children(target).map(\.localTS) == [[Fixtures.network(4)]])
        #expect(target.reports.contains { if case .note(_, let text, _, _) = $0 { text.contains("ADDITIONAL_TS_POSSIBLE") } else { false } })
    }

    private static let packet = TriggeringPacket(
        source: TrafficSelector(ipProtocol: 6, startPort: 1025, endPort: 1025, start: IPAddress(v4: 0x0a02_0007), end: IPAddress(v4: 0x0a02_0007)),
        destination: TrafficSelector(ipProtocol: 6, startPort: 80, endPort: 80, start: IPAddress(v4: 0x0a01_0009), end: IPAddress(v4: 0x0a01_0009)))

    @Test func aSinglePairIsAskedForWhereNoMoreIsTaken() throws {
        let (target, peer, _) = try connected { $0.children[0].remoteTS.append(.fixed(Fixtures.network(3))) }
        let child = try #require(children(target).first)
        _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .esp, spis: [child.outboundSPI]))])
        target.handle(.initiate(connection: "site", child: "net", packet: Self.packet, local: target.node.local, remote: HostilePeer.address, request: Self.request))
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.singlePairRequired))], id: 0, response: true))
        let again = try last(target, peer)
        let (ours, theirs) = (TrafficSelector(host: IPAddress(v4: 0x0a02_0007)), TrafficSelector(host: IPAddress(v4: 0x0a01_0009)))
        #expect(again.contains(.trafficSelectorInitiator([ours])) && again.contains(.trafficSelectorResponder([theirs])))
        var answer = peer.createChildPayloads()
        answer[1] = .trafficSelectorInitiator([ours])
        answer[2] = .trafficSelectorResponder([theirs])
        target.receive(try peer.seal(.createChildSA, answer, id: 1, response: true))
        #expect(children(target).map(\.localTS) == [[ours]])
        // Its rekey begins with the networks, and comes to the same pair.
        target.handle(.rekey(.childSA(try #require(children(target).first).id), request: nil))
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.singlePairRequired))], id: 2, response: true))
        #expect(try last(target, peer).contains(.trafficSelectorInitiator([ours])))
        // A peer that refuses that as well is not asked again and again.
        let sent = target.sent.count
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.singlePairRequired))], id: 3, response: true))
        #expect(target.sent.count == sent && children(target).count == 1)
    }

    @Test func withoutAPacketASinglePairIsNotKnown() throws {
        let (target, peer, child) = try connected()
        _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .esp, spis: [child.outboundSPI]))])
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: Self.request))
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.singlePairRequired))], id: 0, response: true))
        #expect(target.failures.last?.code == .trafficSelectorsUnacceptable && target.answers[Self.request]?.count == 1)
        #expect(children(target).isEmpty && target.endpoint.status().count == 1)
    }

    // MARK: Notifications, sections 3.10 and 3.10.1

    /// Without an SPI the protocol means nothing: zero from us, ignored from others.
    @Test func theProtocolCountsWithAnSPIAlone() throws {
        let target = Target(east: true), peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: Self.request))
        let request = try #require(target.sent.last).bytes
        let first = try Message.parse(request.span).payloads
        target.receive(try peer.initResponse(to: request))
        for case .notify(let notify) in first + (try last(target, peer)) where notify.spi.isEmpty { #expect(notify.protocolID == .none, "\(notify.type)") }
        for protocolID in [ProtocolID.ike, .esp, ProtocolID(rawValue: 77)] {
            let (other, second, _) = try connected()
            other.handle(.initiate(connection: "site", child: "net", packet: nil, local: other.node.local, remote: HostilePeer.address, request: nil))
            #expect(try second.ask(other, .informational, [.notify(Notify(.initialContact, protocolID: protocolID)), .notify(Notify(.additionalTSPossible, protocolID: protocolID))]) == [])
            #expect(try second.ask(other, .createChildSA, [.notify(Notify(.espTFCPaddingNotSupported, protocolID: protocolID))] + second.createChildPayloads())?.notifications == [])
            #expect(try second.ask(other, .informational, [.notify(Notify(.invalidSyntax, protocolID: protocolID))]) == [])
            #expect(other.endpoint.status().isEmpty)
        }
    }

    /// What has no error notification of its own is INVALID_SYNTAX.
    @Test func whatHasNoNameIsInvalidSyntax() throws {
        let bare = try HostilePeer()
        for missing in 0..<3 {
            let target = Target()
            var payloads = bare.initPayloads
            payloads.remove(at: missing)
            #expect(target.receive(bare.initRequest(payloads)) == [] && target.remnants == [], "\(missing): nothing is said of it without protection")
        }
        for missing in 0..<2 {
            let (target, peer, _) = try connected()
            var payloads = peer.createChildPayloads()
            payloads.remove(at: missing == 0 ? 0 : 3)
            #expect(try peer.ask(target, .createChildSA, payloads)?.notifications == [.invalidSyntax] && target.remnants == [])
        }
    }

    // MARK: Notifications without effect, section 3.10.1

    @Test func whatIsOnlyOfferedChangesNothing() throws {
        let offers: [Payload] = [
            .notify(Notify(.ipcompSupported, data: [0x12, 0x34, 2])), .notify(Notify(.espTFCPaddingNotSupported)), .notify(Notify(.nonFirstFragmentsAlso)),
            .notify(Notify(.httpCertLookupSupported)), .notify(Notify(NotifyType(rawValue: 40_000), data: [1, 2, 3])),
        ]
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        #expect(try peer.ask(target, .ikeAuth, offers + (try peer.authPayloads()) + offers)?.notifications == [])
        #expect(try peer.ask(target, .createChildSA, offers + peer.createChildPayloads())?.notifications == [])
        #expect(try peer.ask(target, .informational, offers) == [])
        #expect(target.installed.count == 2 && children(target).count == 2)
    }

    /// Section 2.21.2, and what each of them is: the IKE SA is there in spite of it.
    @Test(arguments: [NotifyType.tsUnacceptable, .noProposalChosen, .singlePairRequired, .noAdditionalSAs, .internalAddressFailure, .failedCPRequired])
    func aRefusedFirstChildLeavesTheIKESA(error: NotifyType) throws {
        let target = Target(east: true) { $0.children.append(Fixtures.child("second", local: 3, remote: 4)) }
        let peer = try HostilePeer(isInitiator: false)
        for (number, child) in ["net", "second"].enumerated() {
            target.handle(.initiate(connection: "site", child: child, packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: UInt64(number))))
        }
        target.receive(try peer.initResponse(to: try #require(target.sent.last).bytes))
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication(), .notify(Notify(error))], id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established])
        #expect(target.answers[RequestID(rawValue: 0)]?.count == 1 && target.answers[RequestID(rawValue: 1)] == nil)
        // The other child is asked for on it.
        #expect(try last(target, peer).contains(.trafficSelectorInitiator([Fixtures.network(3)])))
    }

    /// Section 1.3.1: nor does the last one that is refused take it down; the next try is an exchange on it.
    @Test func aRefusedOnlyChildLeavesTheIKESA() throws {
        let target = Target(east: true), peer = try HostilePeer(isInitiator: false)
        func initiate(_ request: UInt64) {
            target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: request)))
        }
        initiate(1)
        target.receive(try peer.initResponse(to: try #require(target.sent.last).bytes))
        let before = target.sent.count
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication(), .notify(Notify(.tsUnacceptable))], id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established] && target.sent.count == before && target.held.inboundSPIs == 0)
        initiate(2)
        var answer = peer.createChildPayloads()
        target.receive(try peer.seal(.createChildSA, answer, id: 2, response: true))
        #expect(children(target).count == 1 && target.answers[RequestID(rawValue: 2)]?.count == 1)
        // One that was made and cannot be used is deleted alone.
        let other = Target(east: true), second = try HostilePeer(isInitiator: false)
        other.handle(.initiate(connection: "site", child: "net", packet: nil, local: other.node.local, remote: HostilePeer.address, request: nil))
        other.receive(try second.initResponse(to: try #require(other.sent.last).bytes))
        answer = second.child()
        answer[1] = .trafficSelectorInitiator([Fixtures.network(7)])
        other.receive(try second.seal(.ikeAuth, [second.identity, try second.authentication()] + answer, id: 1, response: true))
        let deleted = try second.open(try #require(other.sent.last).bytes)
        #expect(deleted.map(\.type) == [.delete] && deleted != Self.gone && other.endpoint.status().map(\.state) == [.established])
    }
}
