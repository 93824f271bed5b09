// The Configuration payload, right and wrong, in both roles, and in exchanges beside IKE_AUTH.
// RFC 7296 sections 2.19, 2.20, 3.15; RFC 8598.

@testable import IKECore
import IKECrypto
import IKEWire
import Synchronization
import Testing
@testable import TestSupport

private typealias Attribute = Configuration.Attribute

@Suite struct ConfigurationRequests {
    private static let everywhere = TrafficSelector(everyAddressOf: .v4)
    private static let others = [
        Attribute(type: Configuration.internalIP4DNS, value: [10, 2, 0, 53]), Attribute(type: Configuration.internalIP4NBNS, value: [10, 2, 0, 54]),
        Attribute(type: Configuration.internalIP4Netmask, value: [255, 255, 255, 0]), Attribute(type: Configuration.internalIP4Netmask, value: [255, 255, 0, 0]),
        Attribute(type: Configuration.internalIP4Server, value: [10, 2, 0, 55]), Attribute(type: Configuration.internalIP6DNS, value: [UInt8](repeating: 7, count: 16)),
        Attribute(type: Configuration.internalIP4Subnet, value: [10, 2, 0, 0, 255, 255, 0, 0]), Attribute(type: Configuration.internalDNSDomain, value: Array("corp.example".utf8)),
        Attribute(type: 28675, value: Array("corp.example".utf8)),
    ]

    private func gateway(_ pools: CountingPools = CountingPools(4, others: others), _ change: (inout Connection) -> Void = { _ in }) -> Target {
        Target(pools: pools) { connection in
            connection.pools = ["rw"]
            connection.children[0].remoteTS = [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)]
            change(&connection)
        }
    }
    private func request(_ types: UInt16...) -> Payload { .configuration(Configuration(kind: Configuration.request, attributes: types.map { Attribute(type: $0, value: []) })) }

    /// IKE_AUTH of a client that asks for this, everything for its selectors.
    private func connect(_ peer: HostilePeer, _ target: Target, _ configuration: [Payload]) throws -> [Payload] {
        if peer.targetSPI == .none { try peer.begin(target) }
        return try #require(try peer.ask(target, .ikeAuth, try authPayloads(peer, configuration)))
    }
    private func authPayloads(_ peer: HostilePeer, _ configuration: [Payload]) throws -> [Payload] {
        [peer.identity, try peer.authentication()] + configuration + child(peer.child())
    }
    private func child(_ payloads: [Payload]) -> [Payload] {
        payloads.map { if case .trafficSelectorInitiator = $0 { .trafficSelectorInitiator([Self.everywhere]) } else { $0 } }
    }
    private func reply(_ payloads: [Payload]?) throws -> [Attribute] {
        let replies = (payloads ?? []).compactMap { payload -> Configuration? in if case .configuration(let value) = payload { value } else { nil } }
        #expect(replies.count == 1 && replies.first?.kind == Configuration.reply, "\(payloads ?? [])")
        return try #require(replies.first).attributes
    }

    /// Address, name servers, WINS, and Microsoft's own, of both families; a gateway of IPv4 answers with what it has.
    @Test func whatWindowsAsks() throws {
        let pools = CountingPools(4, others: Self.others), target = gateway(pools), peer = try HostilePeer()
        let answer = try connect(peer, target, [request(1, 3, 4, 23456, 8, 10, 23457)])
        let attributes = try reply(answer)
        #expect(attributes.filter { $0.type == Configuration.internalIP4Address }.map(\.value) == [[10, 9, 0, 1]])
        #expect(attributes.map(\.type) == [1, 3, 4, 2, 23456, 13, 28675])
        // The payload stands before the SA payload.
        let places = answer.map(\.type)
        let place = try #require(places.firstIndex(of: .configuration)), association = try #require(places.firstIndex(of: .securityAssociation))
        #expect(place < association)
        #expect(target.installed.first?.remoteTS == [TrafficSelector(host: IPAddress(v4: 0x0a09_0001))])
        #expect(pools.lent.count == 1)
    }

    @Test func oneNetmaskBesideAnAddressAlone() throws {
        let target = gateway(), peer = try HostilePeer()
        #expect(try reply(try connect(peer, target, [request(1, 2)])).filter { $0.type == Configuration.internalIP4Netmask }.map(\.value) == [[255, 255, 255, 0]])
        #expect(try reply(try peer.ask(target, .informational, [request(2, 3)])).map(\.type) == [3])
    }

    /// RFC 8598 section 3: to those that ask, and with a server.
    @Test func domainsForThoseThatAsk() throws {
        let target = gateway(), peer = try HostilePeer()
        #expect(!(try reply(try connect(peer, target, [request(1, 3)])).contains { $0.type == Configuration.internalDNSDomain }))
        let asking = try HostilePeer()
        let told = try reply(try connect(asking, gateway(), [request(1, 3, 25)]))
        #expect(told.contains { $0.domain == "corp.example" } && told.contains { $0.nameServer != nil })
        let serverless = CountingPools(4, others: Self.others.filter { $0.type != Configuration.internalIP4DNS }), third = try HostilePeer()
        #expect(!(try reply(try connect(third, gateway(serverless), [request(1, 3, 25)])).contains { $0.type == Configuration.internalDNSDomain }))
    }

    @Test func ourVersionIsNotTold() throws {
        let target = gateway(), peer = try HostilePeer()
        _ = try connect(peer, target, [request(1)])
        #expect(try reply(try peer.ask(target, .informational, [request(Configuration.applicationVersion)])) == [Attribute(type: Configuration.applicationVersion, value: [])])
    }

    @Test func whatIsSupportedIsTold() throws {
        let target = gateway(), peer = try HostilePeer()
        _ = try connect(peer, target, [request(1)])
        let attributes = try reply(try peer.ask(target, .informational, [request(Configuration.supportedAttributes)]))
        let value = try #require(attributes.first { $0.type == Configuration.supportedAttributes }?.value)
        let types = stride(from: 0, to: value.count - 1, by: 2).map { UInt16(value[$0]) << 8 | UInt16(value[$0 + 1]) }
        #expect(attributes.count == 1 && value.count % 2 == 0 && Set([1, 3, 8, 10, 13, 15]).isSubset(of: types))
    }

    /// What nobody knows is not in the answer, whatever it holds.
    @Test func unknownAttributesAreIgnored() throws {
        let target = gateway(), peer = try HostilePeer()
        let strange = Configuration(
            kind: Configuration.request,
            attributes: [
                Attribute(type: 99, value: [1, 2]), Attribute(type: 5, value: [0, 0, 0, 9]), Attribute(type: 1, value: []), Attribute(type: 0x7fff, value: [UInt8](repeating: 1, count: 3000)),
            ])
        let attributes = try reply(try connect(peer, target, [.configuration(strange)]))
        #expect(attributes.first?.value == [10, 9, 0, 1] && !attributes.contains { $0.type == 99 || $0.type == 5 || $0.type == 0x7fff })
    }

    @Test func whatIsPushedIsNotTaken() throws {
        let target = gateway(), peer = try HostilePeer()
        let push = Payload.configuration(Configuration(kind: Configuration.set, attributes: [Attribute(type: 3, value: [6, 6, 6, 6]), Attribute(type: 1, value: [10, 9, 0, 9])]))
        let answer = try connect(peer, target, [request(1), push])
        #expect(answer.contains { $0 == .configuration(Configuration(kind: Configuration.acknowledgement, attributes: [])) })
        #expect(try peer.ask(target, .informational, [push]) == [.configuration(Configuration(kind: Configuration.acknowledgement, attributes: []))])
        // What answers nothing is not answered.
        for kind: UInt8 in [0, Configuration.reply, Configuration.acknowledgement, 5, 255] {
            #expect(try peer.ask(target, .informational, [.configuration(Configuration(kind: kind, attributes: [Attribute(type: 1, value: [10, 9, 0, 9])]))]) == [], "\(kind)")
        }
        #expect(target.endpoint.status().first?.remoteVirtual == [IPAddress(v4: 0x0a09_0001)])
    }

    @Test func whoAsksAgainIsToldTheSame() throws {
        let pools = CountingPools(4, others: Self.others), target = gateway(pools), peer = try HostilePeer()
        _ = try connect(peer, target, [request(1)])
        for _ in 0..<5 { #expect(try reply(try peer.ask(target, .informational, [request(1, 3)])).first?.value == [10, 9, 0, 1]) }
        #expect(pools.lent.count == 1)
        _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))])
        #expect(pools.lent.isEmpty && target.remnants == [])
    }

    /// FAILED_CP_REQUIRED is mended by asking later. RFC 7296 section 2.19.
    @Test func whoHadNotAskedMayAskLater() throws {
        let pools = CountingPools(4, others: Self.others), target = gateway(pools), peer = try HostilePeer()
        #expect(try connect(peer, target, []).notifications == [.failedCPRequired])
        #expect(try peer.ask(target, .createChildSA, child(peer.createChildPayloads()))?.notifications == [.failedCPRequired])
        #expect(try reply(try peer.ask(target, .informational, [request(1)])).first?.value == [10, 9, 0, 1])
        #expect(try peer.ask(target, .createChildSA, child(peer.createChildPayloads()))?.contains { $0.type == .securityAssociation } == true)
        #expect(target.installed.map(\.remoteTS) == [[TrafficSelector(host: IPAddress(v4: 0x0a09_0001))]] && pools.lent.count == 1)
        // Or with the child itself.
        let second = try HostilePeer(), other = gateway()
        #expect(try connect(second, other, [request(7)]).notifications == [.failedCPRequired])
        let answer = try second.ask(other, .createChildSA, [request(1)] + child(second.createChildPayloads()))
        #expect(try reply(answer).first?.value == [10, 9, 0, 1])
        #expect(answer?.first?.type == .configuration && other.installed.count == 1)
    }

    @Test func withoutAQuestionThereIsNoReply() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        let answer = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads()))
        #expect(answer.contains { $0.type == .securityAssociation } && !answer.contains { $0.type == .configuration })
    }

    /// A gateway that lends nothing says so: an answer without an address, and the child as its selectors have it.
    @Test func aGatewayWithoutPoolsAnswersToo() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        var payloads = try peer.authPayloads()
        payloads.insert(request(1, 3, 8), at: 2)
        let answer = try #require(try peer.ask(target, .ikeAuth, payloads))
        #expect(try reply(answer) == [])
        #expect(answer.contains { $0.type == .securityAssociation } && target.installed.count == 1)
    }

    @Test func notMoreAddressesThanAskedForNorThanTheLimit() throws {
        let pools = CountingPools(9, others: []), target = gateway(pools), peer = try HostilePeer()
        #expect(try reply(try connect(peer, target, [request(1, 1, 1, 1, 1, 1)])).map(\.value) == (1...4).map { [10, 9, 0, $0] })
        // Later it asks for fewer.
        #expect(try reply(try peer.ask(target, .informational, [request(1, 1)])).count == 2)
        #expect(pools.lent.count == 4)
        let two = CountingPools(2, others: []), short = gateway(two), other = try HostilePeer()
        //= what there is, where there are not enough. RFC 7296 section 3.15.4
        #expect(try reply(try connect(other, short, [request(1, 1, 1)])).count == 2)
    }

    @Test func anEmptyPoolIsExplained() throws {
        let target = gateway(CountingPools(0)), peer = try HostilePeer()
        #expect(try connect(peer, target, [request(1)]).notifications == [.internalAddressFailure])
        let failure = try #require(target.failures.first)
        #expect(failure.code == .address && failure.evidence.contains { $0.hasPrefix("the pool rw (10.9.0.1 to 10.9.0.0) has lent 0 of its 0") }, "\(failure)")
        // The IKE SA stands, and a later question is refused in the same way.
        #expect(try peer.ask(target, .informational, [request(1)])?.notifications == [.internalAddressFailure])
        #expect(target.endpoint.status().map(\.state) == [.established])
    }

    @Test func aFamilyThatIsNotServedIsLeftOut() throws {
        let target = gateway(), peer = try HostilePeer()
        let answer = try connect(peer, target, [request(8)])
        #expect(answer.notifications == [.internalAddressFailure] && target.failures.first?.summary.contains("IPv6") == true)
    }

    @Test func aWishIsPassedOn() throws {
        let wishes: [(UInt16, [UInt8], IPAddress?)] = [
            (1, [10, 9, 0, 7], IPAddress(v4: 0x0a09_0007)), (1, [], nil), (1, [0, 0, 0, 0], nil), (1, [10, 9, 0], nil), (1, [UInt8](repeating: 9, count: 17), nil),
        ]
        for (type, value, expected) in wishes {
            let pools = CountingPools(4), target = gateway(pools), peer = try HostilePeer()
            _ = try connect(peer, target, [.configuration(Configuration(kind: Configuration.request, attributes: [Attribute(type: type, value: value)]))])
            #expect(pools.asked.withLock { $0 } == [expected], "\(value)")
        }
    }

    // MARK: Hostile

    /// Whatever stands in the three octets behind the kind, and in the reserved bit of an attribute.
    @Test func reservedBitsAreIgnored() throws {
        let pools = CountingPools(4), target = gateway(pools), peer = try HostilePeer()
        let body: [UInt8] = [Configuration.request, 0xff, 0xff, 0xff, 0x80, 0x01, 0, 0]
        #expect(try reply(try connect(peer, target, [.unknown(.configuration, critical: false, body: body)])).first?.value == [10, 9, 0, 1])
    }

    @Test func tooManyAttributesAreInvalid() throws {
        let target = gateway(), peer = try HostilePeer()
        let many = Configuration(kind: Configuration.request, attributes: (0..<513).map { _ in Attribute(type: 1, value: []) })
        #expect(try connect(peer, target, [.configuration(many)]).notifications == [.invalidSyntax])
        #expect(target.remnants == [])
    }

    /// Lengths that lie: the message is refused and nothing is lent.
    @Test func aLengthThatLies() throws {
        for body in [[1, 0, 0], [1, 0, 0, 0, 0, 1, 0, 5, 1], [1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1, 0xff, 0xff]] as [[UInt8]] {
            let pools = CountingPools(4), target = gateway(pools), peer = try HostilePeer()
            #expect(try connect(peer, target, [.unknown(.configuration, critical: false, body: body)]).notifications == [.invalidSyntax], "\(body)")
            #expect(pools.lent.isEmpty && target.remnants == [])
        }
    }

    /// Anything in a well-formed payload, in IKE_AUTH and after it: an answer within bounds, and everything lent comes back.
    @Test(arguments: 1...60) func randomRequests(_ seed: UInt64) throws {
        let random = NullRandom(seed: seed), pools = CountingPools(6, others: Self.others), target = gateway(pools), peer = try HostilePeer(seed: seed)
        func configuration() -> Payload {
            let attributes = (0..<Int(random.next() % 40)).map { _ in
                Attribute(
                    type: random.next() % 3 == 0 ? UInt16(random.next() % 0x8000) : UInt16(random.next() % 30),
                    value: (0..<Int(random.next() % 20)).map { _ in UInt8(truncatingIfNeeded: random.next()) })
            }
            return .configuration(Configuration(kind: UInt8(random.next() % 5), attributes: attributes))
        }
        _ = try connect(peer, target, [configuration()] + (random.next() % 2 == 0 ? [configuration()] : []))
        for _ in 0..<10 {
            guard let answer = try peer.ask(target, .informational, [configuration()]) else { break }
            for case .configuration(let reply) in answer {
                #expect(reply.kind == Configuration.reply || reply.kind == Configuration.acknowledgement, "seed \(seed)")
                #expect(reply.attributes.count <= 20, "seed \(seed)")
            }
        }
        #expect(pools.lent.count <= 4, "seed \(seed)")
        _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))])
        #expect(target.remnants == [] && pools.lent.isEmpty, "seed \(seed)")
    }
}

@Suite struct ConfigurationReplies {
    private static let gateway = HostilePeer.address.address

    private func start(vips: [IPAddress] = [IPAddress(v4: 0)], target: Target? = nil) throws -> (Target, HostilePeer, [Payload]) {
        let target =
            target
            ?? Target(east: true) { connection in
                connection.vips = vips
                connection.children[0].localTS = [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)]
            }
        let peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let sent = try #require(target.sent.last)
        let auth = try #require(target.receive(try peer.initResponse(to: sent.bytes)).first)
        return (target, peer, try peer.open(auth))
    }
    /// The gateway's answer, with the child narrowed to what it lends.
    private func answer(_ target: Target, _ peer: HostilePeer, _ attributes: [Attribute], for address: IPAddress) throws {
        var payloads: [Payload] = [peer.identity, try peer.authentication(), .configuration(Configuration(kind: Configuration.reply, attributes: attributes))]
        payloads += peer.child().map { if case .trafficSelectorInitiator = $0 { .trafficSelectorInitiator([TrafficSelector(host: address)]) } else { $0 } }
        target.receive(try peer.seal(.ikeAuth, payloads, id: 1, response: true))
    }
    private func four(_ last: UInt8) -> Attribute { Attribute(type: 1, value: [10, 9, 0, last]) }
    private func asked(_ payloads: [Payload]) -> [Attribute] {
        payloads.flatMap { payload -> [Attribute] in if case .configuration(let value) = payload, value.kind == Configuration.request { value.attributes } else { [] } }
    }

    @Test func whatAClientAsks() throws {
        let (_, _, request) = try start(vips: [IPAddress(v4: 0), IPAddress(family: .v6, value: 0), IPAddress(v4: 0x0a09_0005)])
        #expect(asked(request).map(\.type) == [1, 8, 1, 3, 10, 25])
        #expect(asked(request).map(\.value) == [[], [], [10, 9, 0, 5], [], [], []])
        let places = request.map(\.type)
        let place = try #require(places.firstIndex(of: .configuration)), association = try #require(places.firstIndex(of: .securityAssociation))
        #expect(place < association)
    }

    @Test func theAddressOfBeforeIsAskedForAgain() throws {
        let (target, peer, request) = try start()
        #expect(asked(request).first?.value == [])
        try answer(target, peer, [four(7)], for: IPAddress(v4: 0x0a09_0007))
        #expect(target.addresses == [IPAddress(v4: 0x0a09_0007)])
        let id = try #require(target.endpoint.status().first?.id)
        target.handle(.forget(id))
        #expect(target.addresses.isEmpty)
        let (_, _, again) = try start(target: target)
        #expect(asked(again).first?.value == [10, 9, 0, 7])
        // A connection that is gone is forgotten.
        let connection = try #require(target.node.connections.first)
        target.handle(.connectionChanged(name: "site", nil))
        target.handle(.connectionChanged(name: "site", connection))
        let (_, _, anew) = try start(target: target)
        #expect(asked(anew).first?.value == [])
    }

    @Test func noMoreThanWasAskedForAndNothingImpossible() throws {
        let (target, peer, _) = try start(vips: [IPAddress(v4: 0), IPAddress(v4: 0), IPAddress(family: .v6, value: 0)])
        let six = [UInt8](repeating: 0xfd, count: 16)
        let attributes = [
            Attribute(type: 1, value: [127, 0, 0, 1]), Attribute(type: 1, value: [0, 0, 0, 0]), Attribute(type: 1, value: [0, 1, 2, 3]), Attribute(type: 1, value: [224, 0, 0, 1]),
            Attribute(type: 1, value: [255, 255, 255, 255]), Attribute(type: 1, value: Self.gateway.bytes), Attribute(type: 1, value: [10, 9, 0]), Attribute(type: 1, value: [10, 9, 0, 1, 2]),
            Attribute(type: 8, value: six + [129]), Attribute(type: 8, value: [UInt8](repeating: 0, count: 17)), Attribute(type: 8, value: [0xff] + [UInt8](repeating: 0, count: 16)), four(1), four(1),
            four(2),
            four(3), Attribute(type: 8, value: six + [128]),
        ]
        try answer(target, peer, attributes, for: IPAddress(v4: 0x0a09_0001))
        let sixth = try #require(IPAddress(bytes: six))
        #expect(target.addresses == [IPAddress(v4: 0x0a09_0001), IPAddress(v4: 0x0a09_0002), sixth])
    }

    @Test func nameServersAndDomainsAreChecked() throws {
        let (target, peer, _) = try start()
        func domain(_ text: String) -> Attribute { Attribute(type: 25, value: Array(text.utf8)) }
        let long = String(repeating: "a", count: 64) + ".example"
        var attributes = [four(1)]
        attributes += [
            domain("Corp.Example."), domain("-x.example"), domain("a;rm -rf /"), domain("$(id).example"), domain("a b.example"), domain(".."), domain("."), domain(""), domain(long), domain("a\0b"),
            domain("corp.example"), domain("bücher.example"), domain("~."), domain("_ldap.lab.example"), domain(String(repeating: "ab.", count: 100) + "example"), domain("x-.example"),
        ]
        attributes += [
            Attribute(type: 3, value: [10, 2, 0, 53]), Attribute(type: 3, value: [10, 2, 0, 53]), Attribute(type: 3, value: [127, 0, 0, 1]), Attribute(type: 3, value: [1, 2]),
            Attribute(type: 10, value: [UInt8](repeating: 0, count: 16)),
        ]
        try answer(target, peer, attributes, for: IPAddress(v4: 0x0a09_0001))
        let taken = try #require(target.nameServers.first)
        #expect(taken.domains == ["corp.example", "_ldap.lab.example"] && taken.servers == [IPAddress(v4: 0x0a02_0035)] && taken.addresses == [IPAddress(v4: 0x0a09_0001)])
        let id = try #require(target.endpoint.status().first?.id)
        target.handle(.forget(id))
        #expect(target.nameServers.isEmpty)
    }

    @Test func manyServersAndDomainsHaveALimit() throws {
        let (target, peer, _) = try start()
        let attributes = [four(1)] + (1...200).flatMap { [Attribute(type: 3, value: [10, 2, 1, $0]), Attribute(type: 25, value: Array("d\($0).example".utf8))] }
        try answer(target, peer, attributes, for: IPAddress(v4: 0x0a09_0001))
        #expect(target.nameServers.first?.servers.count == 8 && target.nameServers.first?.domains.count == 32)
    }

    @Test func aReplyThatNobodyAskedForIsIgnored() throws {
        let target = Target(east: true), peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let sent = try #require(target.sent.last)
        target.receive(try peer.initResponse(to: sent.bytes))
        let payloads: [Payload] = [
            peer.identity, try peer.authentication(), .configuration(Configuration(kind: Configuration.reply, attributes: [four(1), Attribute(type: 3, value: [6, 6, 6, 6])])),
        ]
        target.receive(try peer.seal(.ikeAuth, payloads + peer.child(), id: 1, response: true))
        #expect(target.installed.count == 1 && target.addresses.isEmpty && target.nameServers.isEmpty)
    }

    @Test(arguments: 1...40) func randomReplies(_ seed: UInt64) throws {
        let random = NullRandom(seed: seed)
        let (target, peer, _) = try start(vips: [IPAddress(v4: 0), IPAddress(family: .v6, value: 0)])
        let attributes = (0..<Int(random.next() % 60)).map { _ in
            Attribute(type: UInt16(random.next() % 30), value: (0..<Int([0, 4, 8, 16, 17, Int(random.next() % 40)][Int(random.next() % 6)])).map { _ in UInt8(truncatingIfNeeded: random.next()) })
        }
        try answer(target, peer, attributes, for: IPAddress(v4: 0x0a09_0001))
        #expect(target.addresses.count <= 2 && target.addresses.allSatisfy(\.isUnicast), "seed \(seed)")
        target.pass(.seconds(10))
        if let sa = target.endpoint.status().first { target.handle(.forget(sa.id)) }
        #expect(target.addresses.isEmpty && target.nameServers.isEmpty && target.remnants == [], "seed \(seed)")
    }
}
