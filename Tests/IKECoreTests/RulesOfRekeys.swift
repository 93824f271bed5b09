// What RFC 7296 asks of rekeys and of what stands beside them, rule by rule, against a scripted peer: what is asked on which IKE SA,
// what a rekey offers and takes, and who follows a peer that has moved.
// Sections 1.3.2, 2.5, 2.8, 2.18, 2.23 and 3.3.6.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct RulesOfRekeys {
    private static let first = RequestID(rawValue: 1)
    private static let second = RequestID(rawValue: 2)

    private func connected(_ change: (inout Connection) -> Void = { _ in }) throws -> (Target, HostilePeer) {
        let target = Target { connection in
            connection.children.append(Fixtures.child("second", local: 4, remote: 3))
            change(&connection)
        }
        let peer = try HostilePeer()
        try peer.connect(target)
        return (target, peer)
    }

    private func initiateSecond(_ target: Target, _ request: RequestID) {
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: request))
    }

    private func rekeyPayloads(_ peer: HostilePeer, _ transforms: [Transform]? = nil, value: Payload? = nil, spi: UInt8 = 1) -> [Payload] {
        var proposal = Fixtures.ikeProposal()
        if let transforms { proposal.transforms = transforms }
        proposal.spi = [spi, 2, 3, 4, 5, 6, 7, 8]
        return [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce)] + (value.map { [$0] } ?? [])
    }

    private func value(_ peer: HostilePeer) -> Payload { .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue)) }

    /// The datagrams among the last `count` that belong to the IKE SA that `peer` has keys of.
    private func onTheOldSA(_ target: Target, _ peer: HostilePeer, since before: Int) throws -> [(Header, [UInt8])] {
        try target.sent[before...].map { (try Header.parse($0.bytes.span), $0.bytes) }.filter { $0.0.initiatorSPI == peer.spi }
    }

    // MARK: Another PRF, section 2.18

    /// The configuration is reloaded with another PRF, twice, and each end rekeys once: SKEYSEED is made with the PRF of the old IKE SA, and the keys of the new one,
    /// of its children and of what comes after it with its own. The peer computes all of them a second time.
    @Test(arguments: [true, false]) func eachPRFMakesItsOwnKeys(oursFirst: Bool) throws {
        var (target, peer) = try connected()
        for (prf, isOurs) in [(Transform.prfHMACSHA384, oursFirst), (.prfHMACSHA512, !oursFirst), (.prfHMACSHA256, oursFirst)] {
            var connection = try #require(target.endpoint.context.connections.first)
            let transforms = [.aesGCM16(256), prf, .curve25519]
            connection.proposals = [Proposal(number: 1, protocolID: .ike, transforms: transforms)]
            target.handle(.configurationReplaced([connection]))
            let own = IKESPI(rawValue: UInt64(prf.id) + 0x0100), new: HostilePeer
            var proposal = Proposal(number: 1, protocolID: .ike, transforms: transforms)
            proposal.spi = own.bytes
            let payloads: [Payload] = [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), value(peer)]
            func parts(_ payloads: [Payload]) throws -> (spi: IKESPI, nonce: [UInt8], value: [UInt8]) {
                let association = payloads.compactMap { if case .securityAssociation(let value) = $0 { value } else { nil } }.first
                let exchange = payloads.compactMap { if case .keyExchange(let value) = $0 { value } else { nil } }.first
                let theirs = try #require(association?.proposals.first)
                #expect(theirs.transforms == transforms)
                let spi = try #require(IKESPI(bytes: theirs.spi)), nonce = try #require(payloads.nonce), value = try #require(exchange)
                return (spi, nonce, value.data)
            }
            if isOurs {
                target.handle(.rekey(.connection("site"), request: nil))
                let request = try #require(target.sent.last).bytes, header = try Header.parse(request.span)
                let asked = try parts(try peer.open(request))
                new = try peer.successor(false, prf: prf, ownSPI: own, otherSPI: asked.spi, otherNonce: asked.nonce, otherValue: asked.value)
                target.receive(try peer.seal(.createChildSA, payloads, id: header.messageID, response: true))
                let goodbye = try #require(target.sent.last)
                #expect(try peer.open(goodbye.bytes) == [.delete(Delete(protocolID: .ike))])
                target.receive(try peer.seal(.informational, [], id: header.messageID + 1, response: true))
            } else {
                let answer = try #require(try peer.ask(target, .createChildSA, payloads))
                let answered = try parts(answer)
                new = try peer.successor(true, prf: prf, ownSPI: own, otherSPI: answered.spi, otherNonce: answered.nonce, otherValue: answered.value)
                #expect(try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))]) == [])
            }
            // Both directions, and a child: what the peer computes with the new PRF is what the data plane is told.
            #expect(try new.ask(target, .informational, []) == [])
            let made = try #require(try new.ask(target, .createChildSA, new.createChildPayloads()))
            let nonces = new.nonce + (try #require(made.nonce))
            let child = try #require(target.installed.last), length = new.suite.encryption.keyLength
            let material = try HostilePeer.prfPlus(new.suite.prf, key: new.d, seed: nonces, count: 2 * length)
            #expect(child.inboundKey.withSecret { $0.array } == Array(material.prefix(length)) && child.outboundKey.withSecret { $0.array } == Array(material.suffix(length)))
            #expect(target.endpoint.status().filter { $0.state == .established }.map(\.transforms) == [transforms])
            peer = new
        }
    }

    // MARK: The old IKE SA, sections 1.3.2 and 2.8

    /// What waits while the IKE SA is rekeyed is asked on the new one; on the old one the Delete is the last request, whatever happens meanwhile.
    @Test func theDeleteOfARekeyedSAIsItsLastRequest() throws {
        let (target, peer) = try connected { $0.dpdDelay = .seconds(10) }
        target.handle(.rekey(.connection("site"), request: Self.first))
        // None of these may go out beside the rekey, nor on the old SA after it.
        initiateSecond(target, Self.second)
        let child = try #require(target.endpoint.status().first?.children.first)
        target.handle(.rekey(.childSA(child.id), request: RequestID(rawValue: 3)))
        var before = target.sent.count
        target.pass(.milliseconds(1))
        #expect(target.sent.count == before)
        target.receive(try peer.seal(.createChildSA, rekeyPayloads(peer, value: value(peer)), id: 0, response: true))
        #expect(target.answers[Self.first]?.count == 1)
        let requests = try target.sent[before...].map { try Header.parse($0.bytes.span) }
        let old = requests.filter { $0.initiatorSPI == peer.spi }
        #expect(old.map(\.exchangeType) == [.informational] && old.map(\.messageID) == [1])
        #expect(try peer.open(try #require(try onTheOldSA(target, peer, since: before).first?.1)) == [.delete(Delete(protocolID: .ike))])
        // The first of what waited is on the new SA.
        #expect(requests.count == 2 && requests.contains { $0.initiatorSPI != peer.spi && $0.exchangeType == .createChildSA && $0.messageID == 0 })
        // Operators, time and the network want things: the old SA sends the same Delete again, and nothing else.
        let delete = try #require(try onTheOldSA(target, peer, since: before).first?.1)
        before = target.sent.count
        target.handle(.rekey(.connection("site"), request: nil))
        target.handle(.localAddressesChanged([Fixtures.westAddress, IPAddress(v4: 0xcb00_7109)]))
        target.handle(.peerMoved(child.id, remote: SocketAddress(address: IPAddress(v4: 0xcb00_7105), port: 4500)))
        target.pass(.seconds(12))
        let again = try onTheOldSA(target, peer, since: before)
        #expect(!again.isEmpty && again.allSatisfy { $0.1 == delete })
        before = target.sent.count
        target.receive(try peer.seal(.informational, [], id: 1, response: true))
        target.pass(.seconds(20))
        #expect(try onTheOldSA(target, peer, since: before).isEmpty)
    }

    /// The peer's rekey is taken: no CREATE_CHILD_SA begins on the old SA while the keys of the new one are calculated, nor after.
    @Test func noNewExchangeOnAnSAThatIsBeingRekeyed() throws {
        let (target, peer) = try connected()
        target.worksAtOnce = false
        #expect(target.receive(try peer.seal(.createChildSA, rekeyPayloads(peer, value: value(peer)))) == [])
        let before = target.sent.count
        initiateSecond(target, Self.second)
        #expect(target.sent.count == before)
        target.workOnce()
        let sent = try target.sent[before...].map { try Header.parse($0.bytes.span) }
        #expect(sent.filter { $0.initiatorSPI == peer.spi }.map(\.isResponse) == [true])
        #expect(sent.contains { $0.exchangeType == .createChildSA && !$0.isResponse && $0.initiatorSPI != peer.spi })
        // The peer may not begin one there either.
        peer.nextID += 1
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [.temporaryFailure])
        #expect(try peer.ask(target, .createChildSA, rekeyPayloads(peer, value: value(peer), spi: 9))?.notifications == [.temporaryFailure])
        #expect(target.endpoint.ikeSACount == 2)
    }

    /// Ours is on its way: the peer is put off.
    @Test func thePeerIsPutOffWhileOurRekeyIsOnItsWay() throws {
        let (target, peer) = try connected()
        target.handle(.rekey(.connection("site"), request: nil))
        let before = target.sent.count
        initiateSecond(target, Self.second)
        #expect(target.sent.count == before)
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [.temporaryFailure])
    }

    /// Section 2.25.2: the peer's rekey crosses our Delete of the IKE SA.
    @Test func aRekeyOfAnSAThatIsBeingClosedIsPutOff() throws {
        let (target, peer) = try connected()
        target.handle(.terminate(.connection("site"), request: nil))
        #expect(try peer.ask(target, .createChildSA, rekeyPayloads(peer, value: value(peer)))?.notifications == [.temporaryFailure])
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [.temporaryFailure])
        #expect(target.endpoint.ikeSACount == 1 && target.installed.count == 1)
    }

    // MARK: What a rekey offers and takes

    /// Section 2.18: an IKE SA is not rekeyed without a key exchange, whatever else is said.
    @Test func aRekeyWithoutAKeyExchangeIsNotTaken() throws {
        let bare = Fixtures.ikeProposal().transforms.filter { $0.type != .keyExchange }
        let offers: [(String, [Transform], Bool)] = [
            ("no group and no value", bare, false), ("no group and a value", bare, true), ("NONE and no value", bare + [.keyExchangeNone], false),
            ("NONE and a value", bare + [.keyExchangeNone], true),
            ("a group and no value", Fixtures.ikeProposal().transforms, false),
        ]
        for (name, transforms, hasValue) in offers {
            let (target, peer) = try connected()
            let answer = try #require(try peer.ask(target, .createChildSA, rekeyPayloads(peer, transforms, value: hasValue ? value(peer) : nil)), "\(name)")
            #expect(answer.notifications == [hasValue ? .noProposalChosen : .invalidSyntax], "\(name)")
            #expect(!answer.contains { $0.type == .securityAssociation }, "\(name)")
            #expect(target.endpoint.ikeSACount == 1 && target.reports.allSatisfy { if case .ikeSARekeyed = $0 { false } else { true } }, "\(name)")
        }
    }

    /// The same where the gateway's own configuration would let it: what the core is told is not believed.
    @Test func aRekeyWithoutAKeyExchangeIsNotTakenThoughConfigured() throws {
        let (target, peer) = try connected { connection in
            connection.proposals[0].transforms.append(.keyExchangeNone)
        }
        let bare = Fixtures.ikeProposal().transforms.filter { $0.type != .keyExchange }
        for transforms in [bare, bare + [.keyExchangeNone]] {
            #expect(try peer.ask(target, .createChildSA, rekeyPayloads(peer, transforms, value: value(peer)))?.notifications == [.noProposalChosen])
        }
        #expect(target.endpoint.ikeSACount == 1)
    }

    /// Section 2.8: between peers whose configuration has not changed, a rekeyed child has the old one's selectors and algorithms.
    @Test func aRekeyedChildIsAsTheOldOne() throws {
        let (target, peer) = try connected()
        let old = try #require(target.endpoint.status().first?.children.first)
        target.handle(.rekey(.childSA(old.id), request: Self.first))
        let request = try peer.open(try #require(target.sent.last).bytes)
        #expect(request.notifications == [.rekeySA])
        for payload in request {
            switch payload {
            case .trafficSelectorInitiator(let selectors): #expect(selectors == old.localTS)
            case .trafficSelectorResponder(let selectors): #expect(selectors == old.remoteTS)
            case .securityAssociation(let association):
                #expect(association.proposals.count == 1 && association.proposals[0].transforms.filter { $0.type == .encryption } == old.transforms.filter { $0.type == .encryption })
            default: break
            }
        }
        target.receive(try peer.seal(.createChildSA, peer.createChildPayloads().map(swapped), id: 0, response: true))
        let new = try #require(target.endpoint.status().first?.children.first { $0.state == .installed && $0.id != old.id })
        #expect(new.localTS == old.localTS && new.remoteTS == old.remoteTS && new.transforms == old.transforms && new.reqid == old.reqid)
    }

    /// Section 1.3: the peer has shown which group it takes; the next rekey begins with that one.
    @Test func aRekeyBeginsWithTheGroupOfTheLastOne() throws {
        let (world, east, west) = Fixtures.pair(seed: 31) { connection, isEast in
            connection.children = [Fixtures.child(local: isEast ? 1 : 2, remote: isEast ? 2 : 1, pfs: isEast ? [.ecp256, .curve25519] : [.curve25519])]
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        /// How many messages a rekey by east takes, before the Delete.
        func messages() -> Int {
            let before = world.wire.count
            world.send(.rekey(.child("net", connection: nil), request: nil), to: east)
            world.run(.seconds(5))
            return world.wire[before...].count { $0.bytes[18] == ExchangeType.createChildSA.rawValue }
        }
        #expect(messages() == 4)
        #expect(messages() == 2 && messages() == 2)
        // Where the configuration no longer has it, it is offered no more.
        var connections = east.connections
        connections[0].children[0].proposals = [Fixtures.espProposal([.ecp256])]
        east.connections = connections
        world.send(.configurationReplaced(connections), to: east)
        #expect(messages() == 2)
        #expect(east.children.count == 1 && Agreement.differences(east, west) == [])
    }

    /// In an answer to a request of the target's its own selectors are TSi.
    private func swapped(_ payload: Payload) -> Payload {
        switch payload {
        case .trafficSelectorInitiator(let selectors): .trafficSelectorResponder(selectors)
        case .trafficSelectorResponder(let selectors): .trafficSelectorInitiator(selectors)
        default: payload
        }
    }

    /// Section 3.3.6: whoever asks for another group is offered all of them again.
    @Test func anotherGroupIsOfferedBesideAllOthers() throws {
        let (target, peer) = try connected { $0.proposals = [Fixtures.ikeProposal([.curve25519, .ecp256, .ecp384])] }
        func offered(_ bytes: [UInt8]) throws -> (groups: [Transform], value: UInt16?) {
            var groups: [Transform] = [], method: UInt16?
            for payload in try peer.open(bytes) {
                if case .securityAssociation(let association) = payload { groups = association.proposals.flatMap(\.transforms).filter { $0.type == .keyExchange } }
                if case .keyExchange(let exchange) = payload { method = exchange.method }
            }
            return (groups, method)
        }
        target.handle(.rekey(.connection("site"), request: nil))
        let all: [Transform] = [.curve25519, .ecp256, .ecp384]
        #expect(try offered(try #require(target.sent.last).bytes) == (all, 31))
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.invalidKEPayload, data: [0, 19]))], id: 0, response: true))
        #expect(try offered(try #require(target.sent.last).bytes) == (all, 19))
    }

    // MARK: Order, section 2.5

    /// The payloads of requests and answers stand in the order of the figures of appendix C.
    @Test func payloadsStandInTheOrderOfTheFigures() throws {
        func types(_ payloads: [Payload]) -> [PayloadType] { payloads.map(\.type).filter { $0 != .notify } }
        let (target, peer) = try connected { $0.children[0].proposals = [Fixtures.espProposal([.curve25519])] }
        #expect(types(try Message.parse(peer.response.span).payloads) == [.securityAssociation, .keyExchange, .nonce])
        target.handle(.rekey(.child("net", connection: nil), request: nil))
        let child = try peer.open(try #require(target.sent.last).bytes)
        #expect(types(child) == [.securityAssociation, .nonce, .keyExchange, .trafficSelectorInitiator, .trafficSelectorResponder])
        // REKEY_SA and what else concerns the SA stand before it.
        #expect(child.first?.type == .notify)
        let other = try connected().0
        other.handle(.rekey(.connection("site"), request: nil))
        let initiator = Target(east: true), responder = try HostilePeer(isInitiator: false)
        initiator.handle(.initiate(connection: "site", child: nil, packet: nil, local: initiator.node.local, remote: HostilePeer.address, request: nil))
        let first = try #require(initiator.sent.last).bytes
        #expect(types(try Message.parse(first.span).payloads) == [.securityAssociation, .keyExchange, .nonce])
        initiator.receive(try responder.initResponse(to: first))
        let auth = types(try responder.open(try #require(initiator.sent.last).bytes))
        let figure: [PayloadType] = [
            .identificationInitiator, .identificationResponder, .authentication, .configuration, .securityAssociation, .trafficSelectorInitiator, .trafficSelectorResponder,
        ]
        #expect(auth == figure.filter { auth.contains($0) } && auth.count >= 5)
    }

    // MARK: Addresses, section 2.23

    /// Who is behind a NAT itself does not follow a peer whose address has changed: the NAT in front of it would not let that through.
    @Test(arguments: [true, false]) func whoIsBehindANATDoesNotFollow(targetBehindNAT: Bool) throws {
        let target = Target(), peer = try HostilePeer()
        let elsewhere = SocketAddress(address: Fixtures.natAddress, port: 1), moved = SocketAddress(address: IPAddress(v4: 0xcb00_7105), port: 4511)
        // Both ends, or the peer alone, see another address than the other one's.
        let nat = NATDetection.notifications(
            initiatorSPI: peer.spi, responderSPI: .none, local: elsewhere, remote: targetBehindNAT ? elsewhere : target.node.local, hidden: false)
        try peer.take(initResponse: try #require(target.receive(peer.initRequest(peer.initPayloads + nat)).first))
        let local = SocketAddress(address: Fixtures.westAddress, port: 4500), remote = SocketAddress(address: Fixtures.eastAddress, port: 4500)
        func give(_ bytes: [UInt8], from: SocketAddress) { target.handle(.datagramReceived(Datagram(local: local, remote: from, marked: true, bytes: bytes))) }
        give(try peer.seal(.ikeAuth, try peer.authPayloads()), from: remote)
        peer.nextID += 1
        let status = try #require(target.endpoint.status().first), child = try #require(status.children.first)
        #expect(status.localBehindNAT == targetBehindNAT && status.remoteBehindNAT)
        // Of ESP the data plane tells, of IKE the message itself.
        target.handle(.peerMoved(child.id, remote: moved))
        #expect(target.endpoint.status().first?.remote == (targetBehindNAT ? remote : moved))
        let further = SocketAddress(address: moved.address, port: 4599)
        give(try peer.seal(.informational, []), from: further)
        #expect(target.endpoint.status().first?.remote == (targetBehindNAT ? remote : further))
        // The answer goes where the request came from all the same.
        #expect(target.sent.last?.remote == further)
    }

    /// A peer that finds a NAT, or whose gateway asks for UDP, and stays on port 500 all the same: ESP goes bare.
    @Test(arguments: [true, false]) func noESPInUDPOnPort500(encap: Bool) throws {
        for floats in [true, false] {
            let target = Target { $0.encap = encap }, peer = try HostilePeer()
            let elsewhere = SocketAddress(address: Fixtures.natAddress, port: 1)
            let nat = encap ? [] : NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: elsewhere, remote: target.node.local, hidden: false)
            try peer.take(initResponse: try #require(target.receive(peer.initRequest(peer.initPayloads + nat)).first))
            let port: UInt16 = floats ? 4500 : 500
            target.handle(
                .datagramReceived(
                    Datagram(
                        local: SocketAddress(address: Fixtures.westAddress, port: port), remote: SocketAddress(address: Fixtures.eastAddress, port: port), marked: floats,
                        bytes: try peer.seal(.ikeAuth, try peer.authPayloads()))))
            let child = try #require(target.installed.first)
            #expect(child.encapsulated == floats && child.local.port == port && child.remote.port == port)
        }
    }
}
