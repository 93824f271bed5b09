// Transport mode in both roles, with and without NATs.
// RFC 7296 sections 1.3.1 and 2.23.1.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct TransportModeTests {
    private static let clientInside = IPAddress(v4: 0xac10_0001)
    private static let east = TrafficSelector(host: Fixtures.eastAddress), west = TrafficSelector(host: Fixtures.westAddress), nat = TrafficSelector(host: Fixtures.natAddress)

    private static func host(_ child: inout ChildPolicy, _ mode: ChildMode = .transport) {
        child.mode = mode
        child.localTS = [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)]
        child.remoteTS = child.localTS
    }

    private static func pair(seed: UInt64, nat: Bool = false, eastMode: ChildMode = .transport, westMode: ChildMode = .transport, pfs: Bool = false) -> (World, Node, Node) {
        Fixtures.pair(seed: seed, nat: nat) { connection, east in
            if pfs { connection.children[0].proposals = [Fixtures.espProposal([.curve25519])] }
            host(&connection.children[0], east ? eastMode : westMode)
        }
    }

    @Test(arguments: [false, true]) func bothEndsTakeIt(pfs: Bool) {
        let (world, east, west) = Self.pair(seed: 1, pfs: pfs)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        #expect(east.children.map(\.mode) == [.transport] && west.children.map(\.mode) == [.transport])
        #expect(east.children.map(\.localTS) == [[Self.east]] && east.children.map(\.remoteTS) == [[Self.west]])
        #expect(west.children.map(\.localTS) == [[Self.west]] && west.children.map(\.remoteTS) == [[Self.east]])
        #expect(east.plane.parameters.allSatisfy { $0.isTransport && $0.originalLocal == nil && $0.originalRemote == nil })
        #expect(west.plane.parameters.map(\.peer) == [Fixtures.identity("east.example")])
        // New keys, and the mode is the same, whoever makes them.
        for node in [east, west] {
            world.send(.rekey(.child("net", connection: nil), request: nil), to: node)
            world.run(.seconds(30))
            #expect(east.children.map(\.mode) == [.transport] && west.children.map(\.mode) == [.transport])
            #expect(Agreement.differences(east, west) == [])
        }
        #expect(west.plane.parameters.count == 1 && west.plane.parameters.allSatisfy(\.isTransport))
    }

    /// The initiator is behind the NAT: each end sees the other where the IKE SA has it, and keeps what the other called itself.
    @Test func aNATBeforeTheInitiator() {
        let (world, east, west) = Self.pair(seed: 2, nat: true)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        let inside = TrafficSelector(host: Self.clientInside)
        func check() {
            #expect(east.children.map(\.localTS) == [[inside]] && east.children.map(\.remoteTS) == [[Self.west]])
            #expect(west.children.map(\.localTS) == [[Self.west]] && west.children.map(\.remoteTS) == [[Self.nat]])
            #expect(Agreement.differences(east, west) == [])
            #expect(east.children.map(\.mode) == [.transport] && west.children.map(\.mode) == [.transport])
        }
        check()
        #expect(west.plane.parameters.map(\.originalRemote) == [Self.clientInside] && west.plane.parameters.map(\.originalLocal) == [Fixtures.westAddress])
        // The responder answers with the selectors as it has put them: the client learns what it looks like from there.
        #expect(east.plane.parameters.map(\.originalLocal) == [Fixtures.natAddress] && east.plane.parameters.map(\.originalRemote) == [Fixtures.westAddress])
        for node in [east, west] {
            world.send(.rekey(.child("net", connection: nil), request: nil), to: node)
            world.run(.seconds(30))
            check()
        }
        // The last rekey was the responder's of the IKE SA: what it called the client is the NAT's address.
        #expect(east.plane.parameters.map(\.originalLocal) == [Fixtures.natAddress])
    }

    /// Rekeys of both ends that cross, over a network that loses: the mode and the selectors are what they were.
    @Test func itSurvivesWhatCrosses() {
        for seed in 1...40 as ClosedRange<UInt64> {
            let (world, east, west) = Self.pair(seed: seed, nat: seed % 2 == 0, pfs: seed % 3 == 0)
            Fixtures.initiate(world, east, west)
            world.run(.seconds(60)) { !east.children.isEmpty && !west.children.isEmpty }
            world.faults = Faults(loss: 0.1, duplication: 0.1, delay: 1...60)
            for _ in 0..<4 {
                for node in [east, west] { world.schedule(.rekey(world.chance(0.7) ? .child("net", connection: nil) : .connection("site"), request: nil), for: node, after: world.number(0...30)) }
                world.run(.milliseconds(world.number(50...600)))
            }
            world.faults = .none
            world.run(.seconds(400))
            #expect(Agreement.differences(east, west) == [], "seed \(seed)")
            #expect(east.children.map(\.mode) == [.transport] && west.children.map(\.mode) == [.transport], "seed \(seed)")
            #expect(east.children.first?.localTS == [TrafficSelector(host: east.local.address)] && east.children.first?.remoteTS == [Self.west], "seed \(seed)")
            #expect(west.children.first?.localTS == [Self.west] && west.children.first?.remoteTS == [TrafficSelector(host: east.publicAddress.address)], "seed \(seed)")
        }
    }

    // MARK: A scripted initiator

    private func hostChild(_ theirs: [TrafficSelector], _ ours: [TrafficSelector], _ peer: HostilePeer) -> [Payload] {
        var payloads = peer.child()
        payloads[1] = .trafficSelectorInitiator(theirs)
        payloads[2] = .trafficSelectorResponder(ours)
        return payloads
    }

    /// Answers IKE_AUTH of a peer that asks for transport mode with these selectors.
    private func answer(_ target: Target, _ peer: HostilePeer, theirs: [TrafficSelector], ours: [TrafficSelector], asks: Bool = true, detection: [Payload] = []) throws -> [Payload] {
        try peer.take(initResponse: try #require(target.receive(peer.initRequest(peer.initPayloads + detection)).first))
        let wish: [Payload] = asks ? [.notify(Notify(.useTransportMode))] : []
        let request = try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + wish + hostChild(theirs, ours, peer))
        // Whoever finds a NAT moves to port 4500.
        let moves = !detection.isEmpty, before = target.sent.count
        let local = SocketAddress(address: target.node.local.address, port: moves ? 4500 : 500), remote = SocketAddress(address: HostilePeer.address.address, port: moves ? 4500 : 500)
        target.handle(.datagramReceived(Datagram(local: local, remote: remote, marked: moves, bytes: request)))
        peer.nextID += 1
        return try peer.open(try #require(target.sent[before...].first).bytes)
    }

    /// Both ends are behind NATs. Inside, the client is 10.9.9.9; from there the server is 203.0.113.1.
    @Test func natsAtBothEnds() throws {
        let target = Target { Self.host(&$0.children[0]) }
        let peer = try HostilePeer()
        let inside = IPAddress(v4: 0x0a09_0909)
        let detection = NATDetection.notifications(
            initiatorSPI: peer.spi, responderSPI: .none, local: SocketAddress(address: inside, port: 500), remote: SocketAddress(address: Fixtures.natAddress, port: 500), hidden: false)
        let answer = try answer(target, peer, theirs: [TrafficSelector(host: inside)], ours: [Self.nat], detection: detection)
        #expect(answer.notifications == [.useTransportMode])
        #expect(answer.contains(.trafficSelectorInitiator([Self.east])) && answer.contains(.trafficSelectorResponder([Self.west])))
        let installed = try #require(target.installed.first)
        #expect(installed.isTransport && installed.encapsulated && installed.localTS == [Self.west] && installed.remoteTS == [Self.east])
        #expect(installed.originalRemote == inside && installed.originalLocal == Fixtures.natAddress)
    }

    /// Exactly one address at each end, and those of the IKE SA.
    @Test func otherSelectorsAreNoneOfTransportMode() throws {
        let elsewhere = TrafficSelector(host: IPAddress(v4: 0xc000_0263))
        let range = TrafficSelector(start: Fixtures.eastAddress, end: Fixtures.westAddress)
        let hidden = NATDetection.notifications(
            initiatorSPI: .none, responderSPI: .none, local: SocketAddress(address: Self.clientInside, port: 500), remote: SocketAddress(address: Fixtures.westAddress, port: 500), hidden: false)
        for (theirs, ours) in [([elsewhere], [Self.west]), ([Self.east], [elsewhere]), ([range], [Self.west]), ([Self.east, elsewhere], [Self.west]), ([Self.east], [Self.west, elsewhere])] {
            for detection in [[], hidden] {
                // Behind a NAT one address at each end is enough: it is taken for the one that the IKE SA has.
                if !detection.isEmpty, theirs.onlyAddress != nil, ours.onlyAddress != nil { continue }
                let target = Target { Self.host(&$0.children[0]) }
                let peer = try HostilePeer()
                #expect(try answer(target, peer, theirs: theirs, ours: ours, detection: detection).notifications == [.tsUnacceptable], "\(theirs) \(ours)")
                #expect(target.installed.isEmpty && target.held.inboundSPIs == 0 && target.endpoint.status().count == 1)
            }
        }
    }

    /// Where no policy has transport mode, a tunnel comes of the request, and the answer says so by its silence.
    @Test func aTunnelIsMadeWhereThatIsThePolicy() throws {
        let target = Target(), peer = try HostilePeer()
        let answer = try answer(target, peer, theirs: [Fixtures.network(1)], ours: [Fixtures.network(2)])
        #expect(answer.notifications == [] && answer.contains { $0.type == .securityAssociation })
        #expect(target.installed.map(\.isTransport) == [false])
        // The rekey asks again, and gets the same.
        let rekeying: [Payload] = [.notify(Notify(.rekeySA, protocolID: .esp, spi: [1, 2, 3, 4])), .notify(Notify(.useTransportMode))] + peer.createChildPayloads()
        #expect(try peer.ask(target, .createChildSA, rekeying)?.notifications == [])
        #expect(target.installed.map(\.isTransport) == [false, false])
    }

    @Test func aPolicyOfEachModeServesEach() throws {
        for asks in [true, false] {
            let target = Target {
                Self.host(&$0.children[0], .tunnel)
                $0.children.append(Fixtures.child("host", local: 2, remote: 1))
                Self.host(&$0.children[1])
            }
            let peer = try HostilePeer()
            #expect(try answer(target, peer, theirs: [Self.east], ours: [Self.west], asks: asks).notifications == (asks ? [.useTransportMode] : []))
            #expect(target.installed.map(\.isTransport) == [asks])
            #expect(target.endpoint.status().first?.children.map(\.name) == [asks ? "host" : "net"])
        }
    }

    @Test func aTunnelIsRefusedWhereTransportModeIsThePolicy() throws {
        let target = Target { Self.host(&$0.children[0]) }
        let peer = try HostilePeer()
        #expect(try answer(target, peer, theirs: [Self.east], ours: [Self.west], asks: false).notifications == [.noProposalChosen])
        #expect(target.failures.last?.summary.contains("transport mode") == true)
        // Nor does a rekey change the mode.
        let other = Target { Self.host(&$0.children[0]) }, second = try HostilePeer()
        #expect(try answer(other, second, theirs: [Self.east], ours: [Self.west]).notifications == [.useTransportMode])
        let rekeying: [Payload] = [.notify(Notify(.rekeySA, protocolID: .esp, spi: [1, 2, 3, 4]))] + hostChild([Self.east], [Self.west], second) + [.nonce(second.nonce)]
        #expect(try second.ask(other, .createChildSA, rekeying)?.notifications == [.noProposalChosen])
        #expect(other.installed.count == 1)
    }

    // MARK: A scripted responder

    private func initiated(_ change: (inout Connection) -> Void) throws -> (Target, HostilePeer) {
        let target = Target(east: true, change), peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        target.receive(try peer.initResponse(to: try #require(target.sent.last).bytes))
        return (target, peer)
    }

    @Test func aPeerThatDeclinesItIsTold() throws {
        let (target, peer) = try initiated {
            Self.host(&$0.children[0])
            $0.children.append(Fixtures.child("second", local: 3, remote: 4))
        }
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
        let asked = try peer.open(try #require(target.sent.last).bytes)
        #expect(asked.notifications.contains(.useTransportMode))
        // The target calls itself west's address.
        #expect(asked.contains(.trafficSelectorInitiator([Self.west])) && asked.contains(.trafficSelectorResponder([Self.east])))
        guard case .securityAssociation(let association)? = asked.first(where: { $0.type == .securityAssociation }), let spi = UInt32(bytes: association.proposals[0].spi) else {
            throw HostilePeer.Broken(what: "no SA")
        }
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + hostChild([Self.west], [Self.east], peer), id: 1, response: true))
        #expect(target.installed.isEmpty && target.failures.last?.summary.contains("a tunnel") == true)
        #expect(try peer.open(try #require(target.sent.last).bytes) == [.delete(Delete(protocolID: .esp, spis: [spi]))])
    }

    @Test func whatWasNotAskedForDoesNotCount() throws {
        let (target, peer) = try initiated { _ in }
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication(), .notify(Notify(.useTransportMode))] + peer.child(), id: 1, response: true))
        #expect(target.installed.isEmpty && target.failures.last?.code == .peerMisbehaved)
    }

    @Test func selectorsOfOthersInTheAnswerDoNotCount() throws {
        let (target, peer) = try initiated { Self.host(&$0.children[0]) }
        let answer = [.notify(Notify(.useTransportMode))] + hostChild([Self.west], [Self.nat], peer)
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + answer, id: 1, response: true))
        #expect(target.installed.isEmpty && target.failures.last?.code == .peerMisbehaved)
    }

    @Test func ofANetworkThePeersAddressAloneIsAskedFor() throws {
        let (target, peer) = try initiated {
            Self.host(&$0.children[0])
            $0.children[0].remoteTS = [.fixed(TrafficSelector(prefix: Fixtures.eastAddress, length: 24))]
        }
        let asked = try peer.open(try #require(target.sent.last).bytes)
        #expect(asked.contains(.trafficSelectorInitiator([Self.west])) && asked.contains(.trafficSelectorResponder([Self.east])))
    }

    @Test func networksAreNothingForTransportMode() throws {
        let (target, _) = try initiated { $0.children[0].mode = .transport }
        #expect(target.failures.last?.code == .trafficSelectorsUnacceptable && target.failures.last?.summary.contains("192.0.2.2") == true)
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1 && target.remnants == [])
    }

    /// SHOULD: protocol and ports of the packet that asks come first.
    @Test func thePacketsPortsComeFirst() throws {
        let target = Target(east: true) { Self.host(&$0.children[0]) }, peer = try HostilePeer(isInitiator: false)
        func one(_ address: IPAddress, _ port: UInt16) -> TrafficSelector { TrafficSelector(ipProtocol: 17, startPort: port, endPort: port, start: address, end: address) }
        let packet = TriggeringPacket(source: one(Fixtures.westAddress, 1701), destination: one(Fixtures.eastAddress, 1701))
        target.handle(.initiate(connection: "site", child: "net", packet: packet, local: target.node.local, remote: HostilePeer.address, request: nil))
        target.receive(try peer.initResponse(to: try #require(target.sent.last).bytes))
        let asked = try peer.open(try #require(target.sent.last).bytes)
        #expect(asked.contains(.trafficSelectorInitiator([packet.source, Self.west])) && asked.contains(.trafficSelectorResponder([packet.destination, Self.east])))
    }
}
