// New IKE SAs beside the old ones, because identities have to be proven anew.
// RFC 7296 sections 2.4 and 2.8.3, RFC 4478.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct Reauthentication {
    private func up(_ seed: UInt64, nat: Bool = false, _ change: (inout Connection, Bool) -> Void = { _, _ in }) throws -> (World, Node, Node) {
        let (world, east, west) = Fixtures.pair(seed: seed, nat: nat) { connection, east in
            connection.lifetime = Lifetime(rekeyTime: .zero, lifeTime: .zero, randTime: .zero)
            connection.overTime = .seconds(30)
            change(&connection, east)
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { east.children.count == 1 && west.children.count == 1 }
        try #require(east.children.count == 1 && west.children.count == 1)
        world.run(.milliseconds(100))
        return (world, east, west)
    }

    /// Runs on, and counts the moments at which a packet of either side found no way.
    private func gaps(_ world: World, _ east: Node, _ west: Node, children: Int, _ duration: Duration) -> Int {
        var gaps = 0
        for _ in 0..<Int(duration / .milliseconds(10)) {
            world.run(.milliseconds(10))
            if world.sendTraffic(east) != children || world.sendTraffic(west) != children { gaps += 1 }
        }
        return gaps
    }

    private func spis(_ node: Node) -> Set<IKESPI> { Set(node.established.map(\.initiatorSPI)) }

    @Test func theInitiatorMakesBeforeItBreaks() throws {
        let (world, east, west) = try up(301) { connection, east in
            connection.children.append(Fixtures.child("second", local: east ? 3 : 4, remote: east ? 4 : 3, pfs: [.ecp256]))
            if east { connection.reauthTime = .seconds(60) }
        }
        Fixtures.initiate(world, east, west, child: "second", request: 2)
        world.run(.seconds(1))
        let before = spis(east)
        #expect(gaps(world, east, west, children: 2, .seconds(70)) == 0)
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: before))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
        // And again, on the new SA's own clock.
        let second = spis(east)
        #expect(gaps(world, east, west, children: 2, .seconds(62)) == 0)
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: second))
    }

    /// The peer's rekey of the old pair crosses our Delete of the old IKE SA: its Delete of that pair does not bring our packets back to a pair that the
    /// peer removes with the SA (seeds 3771 and 3816 of Lossless).
    @Test func whatHasLeftTheOldSADoesNotComeBack() throws {
        var crossed = 0
        for early in stride(from: 0, through: 120, by: 10) as StrideThrough<Int64> {
            let (world, east, west) = try up(303)
            world.faults.delay = 20...20
            let old = try #require(west.established.first?.id)
            world.send(.reauthenticate(.connection("site"), request: nil), to: east)
            world.run(.seconds(5)) { east.children.count == 2 && west.children.count == 2 }
            let child = try #require(west.established.first { $0.id == old }?.children.first)
            world.run(Established.reauthGrace - .milliseconds(early))
            world.send(.childSAExpired(child.id, hard: false), to: west)
            var isCrossed = false
            for _ in 0..<50 {
                world.run(.milliseconds(5))
                if east.endpoint.status().contains(where: { $0.state == .deleting && $0.children.contains { $0.id != child.id && $0.state == .installed } }) { isCrossed = true }
                #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1, "\(early) ms, at \(world.milliseconds)")
            }
            crossed += isCrossed ? 1 : 0
            world.run(.seconds(10))
            #expect(Agreement.differences(east, west) == [] && east.established.count == 1)
        }
        #expect(crossed > 0)
    }

    /// Rekeys have replaced the old IKE SA twice when the new one stands, and those between are gone: the one that stands is found, and goes (seed 3747 of
    /// Lossless).
    @Test func theOldSAGoesHoweverOftenItWasRekeyed() throws {
        let (world, east, west) = try up(304)
        world.filter = { datagram in (try? Header.parse(datagram.bytes.span)).map { $0.exchangeType != .ikeSAInit } ?? true }
        world.send(.reauthenticate(.connection("site"), request: RequestID(rawValue: 2)), to: east)
        for _ in 0..<2 {
            world.send(.rekey(.connection("site"), request: nil), to: east)
            world.run(.milliseconds(300))
        }
        #expect(east.endpoint.ikeSACount == 2 && east.established.count == 1)
        let old = spis(east)
        world.filter = { _ in true }
        world.run(.seconds(20))
        #expect(east.answers[RequestID(rawValue: 2)]?.count == 1)
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: old) && east.children.count == 1)
        #expect(Agreement.differences(east, west) == [])
    }

    @Test func bothHaveManyMinutesAndNoRemnants() throws {
        for seed in 310..<330 as Range<UInt64> {
            let (world, east, _) = try up(seed) { connection, _ in
                connection.reauthTime = .seconds(40)
                connection.lifetime = Lifetime(rekeyTime: .seconds(35), lifeTime: .seconds(60), randTime: .seconds(20))
                connection.children[0].lifetime = Lifetime(rekeyTime: .seconds(15), lifeTime: .seconds(25), randTime: .seconds(10))
            }
            world.faults = Faults(loss: 0.1, duplication: 0.1, delay: 5...80)
            world.run(.seconds(300))
            world.faults = .none
            world.run(.seconds(20))
            // One may be on its way just now: it ends.
            for _ in 0..<100 where east.children.count != 1 { world.run(.milliseconds(100)) }
            #expect(east.children.count == 1, "seed \(seed) \(world.log.suffix(20))")
        }
    }

    @Test func theResponderSaysHowLongItBelieves() throws {
        let target = Target {
            $0.reauthTime = .seconds(100)
            $0.overTime = .seconds(20)
        }
        let peer = try HostilePeer()
        try peer.begin(target)
        let answer = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads()))
        #expect(answer.contains(.notify(Notify(.authLifetime, data: [0, 0, 0, 100]))))
        let before = target.sent.count
        target.pass(.seconds(119))
        // A peer that does not come again is told to go, and not before it has had time.
        #expect(target.sent.count == before && target.endpoint.status().map(\.state) == [.established])
        target.pass(.seconds(1))
        let last = try #require(target.sent.last)
        #expect(target.sent.count == before + 1)
        #expect(try peer.open(last.bytes) == [.delete(Delete(protocolID: .ike))])
    }

    @Test func noLifetimeIsSaidWithoutOne() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        #expect(try peer.ask(target, .ikeAuth, try peer.authPayloads())?.notifications == [])
    }

    @Test func theInitiatorComesAgainWithinTheTimeItWasTold() throws {
        let (world, east, west) = try up(302) { connection, east in
            if !east { connection.reauthTime = .seconds(100) }
            connection.overTime = .zero
        }
        let before = spis(east)
        #expect(gaps(world, east, west, children: 1, .seconds(80)) == 0)
        #expect(spis(east) == before)
        #expect(gaps(world, east, west, children: 1, .seconds(25)) == 0)
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: before))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
    }

    /// An INFORMATIONAL request may say it as well; four octets, and only to the initiator.
    @Test func aLifetimeMayComeLaterAndMustBeWellFormed() throws {
        let target = Target(east: true), peer = try established(target)
        func tell(_ data: [UInt8]) throws { _ = try peer.ask(target, .informational, [.notify(Notify(.authLifetime, data: data))]) }
        peer.nextID = 0
        for data in [[], [1], [0, 0, 0, 1, 0]] as [[UInt8]] { try tell(data) }
        #expect(target.endpoint.status().first?.reauthAt == nil)
        try tell([0, 0, 1, 0])
        let at = try #require(target.endpoint.status().first?.reauthAt)
        #expect(at > target.now + .seconds(200) && at < target.now + .seconds(256))
        // A longer time does not lengthen it.
        try tell([0, 1, 0, 0])
        #expect(target.endpoint.status().first?.reauthAt == at)
        // A hurried one does not make us run in circles.
        try tell([0, 0, 0, 0])
        #expect(target.endpoint.status().first?.reauthAt == target.now + .seconds(5))
        let responder = Target(), initiator = try HostilePeer()
        try initiator.connect(responder)
        _ = try initiator.ask(responder, .informational, [.notify(Notify(.authLifetime, data: [0, 0, 0, 9]))])
        #expect(responder.endpoint.status().first?.reauthAt == nil)
    }

    /// `target` as the initiator, and who answered it.
    private func established(_ target: Target, _ change: (HostilePeer) -> Void = { _ in }) throws -> HostilePeer {
        target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
        return try answer(target)
    }

    /// Answers the IKE_SA_INIT that `target` has just sent, and IKE_AUTH.
    private func answer(_ target: Target, _ look: ([Payload]) -> Void = { _ in }, child: [Payload]? = nil) throws -> HostilePeer {
        let peer = try HostilePeer(isInitiator: false, seed: UInt64(target.sent.count) + 7)
        let request = try #require(target.sent.last).bytes
        target.receive(try peer.initResponse(to: request))
        look(try peer.open(try #require(target.sent.last).bytes))
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + (child ?? peer.child(spi: UInt32(target.sent.count) << 8 | 0x0100_0000)), id: 1, response: true))
        return peer
    }

    /// RFC 7296 section 2.4: INITIAL_CONTACT would end the old SA at the other end.
    @Test func noInitialContactThen() throws {
        let target = Target(east: true)
        target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
        var first: [NotifyType] = [], second: [NotifyType] = []
        _ = try answer(target) { first = $0.notifications }
        #expect(first.contains(.initialContact))
        target.handle(.reauthenticate(.connection("site"), request: RequestID(rawValue: 9)))
        let new = try answer(target) { second = $0.notifications }
        #expect(!second.contains(.initialContact))
        #expect(target.endpoint.status().count == 2 && target.installed.count == 2)
        #expect(target.answers[RequestID(rawValue: 9)]?.count == 1)
        // Then the old one is deleted, and the new one is left.
        target.pass(.seconds(3))
        let last = try #require(target.sent.last)
        #expect(throws: (any Error).self) { try new.open(last.bytes) }
        #expect(target.endpoint.status().map(\.state) == [.deleting, .established])
    }

    @Test func aFailureLeavesTheOldSAWhereItIsUntilItsTimeIsOver() throws {
        let (world, east, west) = try up(303) { connection, east in if east { connection.reauthTime = .seconds(60) } }
        let before = spis(east)
        west.secret = Array("another".utf8)
        world.run(.seconds(80))
        #expect(spis(east) == before && east.failures.contains { $0.code == .authenticationFailed || $0.code == .peerRefused })
        #expect(east.children.count == 1)
        // The secret is mended before it is too late.
        west.secret = east.secret
        world.run(.seconds(12))
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: before), "\(world.log)")
        west.secret = Array("another".utf8)
        world.run(.seconds(200))
        #expect(east.established.isEmpty && west.established.isEmpty)
    }

    @Test func newKeysDoNotProlongIt() throws {
        let (world, east, west) = try up(304) { connection, east in if !east { connection.reauthTime = .seconds(100) } }
        west.endpoint.context.connections[0].reauthTime = .seconds(100)
        let at = try #require(east.established.first?.reauthAt), end = try #require(west.established.first?.expiresAt)
        world.send(.rekey(.connection("site"), request: nil), to: west)
        world.run(.seconds(5))
        #expect(east.established.first?.reauthAt == at && west.established.first?.expiresAt == end)
        // Who rekeyed does not matter: who began authenticates anew.
        let before = spis(east)
        world.run(.seconds(100))
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: before))
        #expect(east.established.first?.isInitiator == true && Agreement.differences(east, west) == [])
    }

    @Test func theResponderAsksForIt() throws {
        let (world, east, west) = try up(305)
        let before = spis(east)
        world.send(.reauthenticate(.connection("site"), request: RequestID(rawValue: 5)), to: west)
        #expect(gaps(world, east, west, children: 1, .seconds(40)) == 0)
        #expect(west.answers[RequestID(rawValue: 5)]?.count == 1)
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: before))
    }

    @Test func throughANATAsWell() throws {
        let (world, east, west) = try up(306, nat: true) { connection, east in if east { connection.reauthTime = .seconds(60) } }
        let before = spis(east)
        #expect(gaps(world, east, west, children: 1, .seconds(70)) == 0)
        #expect(spis(east).count == 1 && spis(east).isDisjoint(with: before))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
    }

    @Test func aRekeyOfEitherMeanwhileLosesNothing() throws {
        for seed in 340..<360 as Range<UInt64> {
            let (world, east, west) = try up(seed)
            let before = spis(east)
            world.send(.reauthenticate(.connection("site"), request: nil), to: east)
            for node in [east, west] {
                world.schedule(.rekey(.connection("site"), request: nil), for: node, after: world.number(0...60))
                world.schedule(.rekey(.child("net", connection: nil), request: nil), for: node, after: world.number(0...60))
            }
            world.run(.seconds(40))
            #expect(east.children.count == 1 && spis(east).isDisjoint(with: before), "seed \(seed)")
            #expect(Agreement.differences(east, west) == [], "seed \(seed): \(world.log)")
        }
    }

    /// Both rekey the IKE SA, and the answer to ours never comes: the children live on in what the peer's made. RFC 7296 section 2.8.2.
    @Test func childrenOutliveARekeyThatIsNeverAnswered() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.rekey(.connection("site"), request: RequestID(rawValue: 1)))
        var proposal = Fixtures.ikeProposal()
        proposal.spi = [1, 2, 3, 4, 5, 6, 7, 8]
        let rekey: [Payload] = [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue))]
        #expect(try peer.ask(target, .createChildSA, rekey)?.contains { $0.type == .securityAssociation } == true)
        let child = try #require(target.installed.first).id
        target.pass(.seconds(90))
        let left = target.endpoint.status().filter { $0.state == .established }
        #expect(left.count == 1 && left.first?.children.map(\.id) == [child] && left.first?.responderSPI != peer.targetSPI)
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1 && !target.stopped.contains(child))
    }

    // MARK: `unique`

    private func status(_ id: UInt64, _ unique: UniquePolicy, remote: SocketAddress = HostilePeer.address, replaces: UInt64? = nil) throws -> IKESAStatus {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        var status = try #require(target.endpoint.status().first)
        status.id = IKESAID(rawValue: id)
        status.unique = unique
        status.remote = remote
        status.replaces = replaces.map { IKESAID(rawValue: $0) }
        return status
    }

    @Test func uniqueLetsOneReplaceTheOther() throws {
        let elsewhere = SocketAddress(address: Fixtures.natAddress, port: 500)
        func verdict(_ unique: UniquePolicy, remote: SocketAddress = HostilePeer.address, replaces: UInt64? = nil) throws -> [IdentityIndex.Verdict] {
            let index = IdentityIndex()
            #expect(index.established(try status(1, unique, remote: HostilePeer.address), shard: 0) == [])
            return index.established(try status(2, unique, remote: remote, replaces: replaces), shard: 1)
        }
        let old = IdentityIndex.Member(sa: IKESAID(rawValue: 1), shard: 0), new = IdentityIndex.Member(sa: IKESAID(rawValue: 2), shard: 1)
        // Ours: the old one goes when all is moved.
        for unique in [UniquePolicy.no, .never, .keep, .replace] { #expect(try verdict(unique, replaces: 1) == []) }
        // The peer's, from where it is.
        for unique in [UniquePolicy.replace, .keep] {
            guard case .terminateSoon(let succession)? = try verdict(unique).first else { return #expect(Bool(false), "nothing ends soon") }
            #expect(succession.member == old)
        }
        // From elsewhere it is another host.
        #expect(try verdict(.replace, remote: elsewhere) == [.terminate(old)] && verdict(.keep, remote: elsewhere) == [.terminate(new)])
    }

    @Test func anOlderSAEndsSoonOnlyIfTheNewerOneStands() throws {
        func begin() throws -> (IdentityIndex, IdentityIndex.Succession) {
            let index = IdentityIndex()
            _ = index.established(try status(1, .replace), shard: 0)
            guard case .terminateSoon(let succession)? = index.established(try status(2, .replace), shard: 1).first else { throw HostilePeer.Broken(what: "nothing ends soon") }
            return (index, succession)
        }
        // Both are there, whatever they are called by now.
        let (index, succession) = try begin()
        #expect(index.due(succession) == IdentityIndex.Member(sa: IKESAID(rawValue: 1), shard: 0))
        index.rekeyed(IKESAID(rawValue: 1), try status(3, .replace), shard: 0)
        index.rekeyed(IKESAID(rawValue: 2), try status(4, .replace), shard: 1)
        #expect(index.due(succession) == IdentityIndex.Member(sa: IKESAID(rawValue: 3), shard: 0))
        // The newer one has come to nothing: then the older one is all there is.
        index.closed(IKESAID(rawValue: 4))
        #expect(index.due(succession) == nil)
        // The older one has gone by itself.
        let (other, second) = try begin()
        other.closed(IKESAID(rawValue: 1))
        #expect(other.due(second) == nil)
    }
}
