// IKE SAs that come up without a child.
// RFC 6023.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct ChildlessSAs {
    private func up(_ seed: UInt64, east: Childless, west: Childless, children: Bool = true) -> (World, Node, Node) {
        let (world, eastNode, westNode) = Fixtures.pair(seed: seed) { connection, isEast in
            connection.childless = isEast ? east : west
            if !children, isEast { connection.children = [] }
        }
        Fixtures.initiate(world, eastNode, westNode, child: children ? "net" : nil)
        world.run(.seconds(10))
        return (world, eastNode, westNode)
    }

    private func succeeded(_ node: Node) -> Bool? {
        node.answers[RequestID(rawValue: 1)]?.first.map { if case .success = $0 { true } else { false } }
    }

    @Test func thePolicyDecides() {
        for (index, (east, west, messages))
            in ([
                (.allow, .allow, 4), (.prefer, .allow, 6), (.force, .allow, 6), (.prefer, .prefer, 6), (.never, .allow, 4), (.allow, .never, 4), (.prefer, .never, 4), (.force, .force, 6),
                (.prefer, .force, 6),
            ] as [(Childless, Childless, Int)]).enumerated()
        {
            let (world, eastNode, westNode) = up(400 + UInt64(index), east: east, west: west)
            #expect(succeeded(eastNode) == true && eastNode.children.count == 1, "\(east) \(west) \(world.log)")
            #expect(world.wire.count == messages, "\(east) \(west)")
            #expect(Agreement.differences(eastNode, westNode) == [])
            #expect(world.sendTraffic(eastNode) == 1 && world.sendTraffic(westNode) == 1)
        }
    }

    /// Who the peer is shows after the announcement (seed 15 of Chaos): where one of the connections that it may mean takes no IKE SA without a child,
    /// none is announced.
    @Test func oneThatDoesNotServeItKeepsItFromBeingAnnounced() throws {
        for (childless, isAnnounced) in [(Childless.allow, true), (.never, false)] {
            let target = Target(), peer = try HostilePeer()
            var other = Fixtures.connection(east: false)
            other.name = "other"
            other.childless = childless
            target.handle(.configurationReplaced([Fixtures.connection(east: false), other]))
            let answer = try #require(target.receive(peer.initRequest()).first)
            #expect(try Message.parse(answer.span).payloads.notifications.contains(.childlessSupported) == isAnnounced)
        }
    }

    @Test func whereOneForcesAndTheOtherDoesNotServeItNothingComesUp() throws {
        let (world, east, west) = up(420, east: .force, west: .never)
        #expect(succeeded(east) == false && world.wire.count == 2)
        #expect(east.failures.contains { $0.code == .peerRefused && $0.summary.contains("without a child") })
        world.run(.seconds(60))
        #expect(east.endpoint.ikeSACount == 0 && west.endpoint.ikeSACount == 0)
        // The other way round the IKE SA stands, without the child.
        let (_, initiator, responder) = up(421, east: .never, west: .force)
        #expect(succeeded(initiator) == false && responder.children.isEmpty)
    }

    @Test func aConnectionWithoutChildrenComesUp() {
        let (world, east, west) = up(422, east: .allow, west: .allow, children: false)
        #expect(succeeded(east) == true && world.wire.count == 4)
        #expect(east.established.count == 1 && west.established.count == 1 && east.children.isEmpty)
        let (_, other, _) = up(423, east: .never, west: .allow, children: false)
        #expect(succeeded(other) == false && other.established.isEmpty)
    }

    private func withoutChild(_ peer: HostilePeer) throws -> [Payload] { [peer.identity, try peer.authentication()] }

    @Test func theNotificationHasItsForm() throws {
        for (policy, isSaid) in [(Childless.allow, true), (.prefer, true), (.force, true), (.never, false)] {
            let target = Target { $0.childless = policy }
            let peer = try HostilePeer()
            let answer = try #require(target.receive(peer.initRequest()).first)
            let said = try Message.parse(answer.span).payloads.filter { [$0].notifications == [.childlessSupported] }
            #expect(said == (isSaid ? [.notify(Notify(NotifyType(rawValue: 16418), protocolID: .ike))] : []))
        }
    }

    @Test func aRequestInKindIsAnsweredInKind() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        let answer = try #require(try peer.ask(target, .ikeAuth, try withoutChild(peer)))
        #expect(answer.map(\.type) == [.identificationResponder, .authentication])
        #expect(target.endpoint.status().map(\.state) == [.established] && target.installed.isEmpty)
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.contains { $0.type == .securityAssociation } == true)
        #expect(target.installed.count == 1)
        // And one with a child has one in the answer.
        let other = Target(), second = try HostilePeer()
        try second.begin(other)
        #expect(try second.ask(other, .ikeAuth, try second.authPayloads())?.contains { $0.type == .securityAssociation } == true)
    }

    @Test func whoDoesNotServeItRefusesTheWholeRequest() throws {
        let target = Target { $0.childless = .never }
        let peer = try HostilePeer()
        try peer.begin(target)
        #expect(try peer.ask(target, .ikeAuth, try withoutChild(peer)) == [.notify(Notify(.invalidSyntax))])
        #expect(!target.endpoint.status().contains { $0.state == .established })
        #expect(target.remnants == [])
        // Half a child is malformed everywhere.
        for missing in 2..<5 {
            let target = Target(), peer = try HostilePeer()
            try peer.begin(target)
            var payloads = try peer.authPayloads()
            payloads.remove(at: missing)
            #expect(try peer.ask(target, .ikeAuth, payloads) == [.notify(Notify(.invalidSyntax))])
            #expect(target.remnants == [])
        }
    }

    @Test func nobodyIsSurprisedByARequestWithoutAChild() throws {
        // A responder that has not said so gets a child, or nothing.
        for policy in [Childless.allow, .prefer, .never, .force] {
            let target = Target(east: true) { $0.childless = policy }
            let peer = try HostilePeer(isInitiator: false)
            target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
            let before = target.sent.count
            let request = try #require(target.sent.last).bytes
            target.receive(try peer.initResponse(to: request))
            let sent = target.sent[before...].map(\.bytes)
            #expect(sent.count == (policy == .force ? 0 : 1))
            if let bytes = sent.first { #expect(try peer.open(bytes).contains { $0.type == .securityAssociation }) }
        }
    }
}
