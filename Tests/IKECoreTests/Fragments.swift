// Messages in fragments: how they are cut, collected, repeated and bounded.
// RFC 7383.

import IKEWire
import TestSupport
import Testing

@testable import IKECore
@testable import IKECrypto

@Suite struct Fragments {
    private let header = Header(
        initiatorSPI: IKESPI(rawValue: 1), responderSPI: IKESPI(rawValue: 2), exchangeType: .ikeAuth, flags: [.initiator], messageID: 1)
    private let start = Instant(nanoseconds: 0)

    /// Both ends of a channel with null algorithms.
    private func channels(_ transform: Transform = .aesGCM16(256)) throws -> (SecureChannel, SecureChannel) {
        let registry = NullCrypto.registry(seed: 1)
        let integrity = registry.aead(transform) == nil ? registry.mac(.hmacSHA256_128) : nil
        let encryption: IKESuite.Encryption = try registry.aead(transform).map { .aead($0) } ?? .cipher(#require(registry.cipher(transform)))
        let suite = IKESuite(encryption: encryption, integrity: integrity, prf: try #require(registry.prf(.prfHMACSHA256)), keyExchange: try #require(registry.keyExchange(.ecp256)))
        func one(_ isInitiator: Bool) throws -> SecureChannel {
            let keys = try KeySchedule.initial(
                suite: suite, sharedSecret: SecretBytes(copying: [UInt8](repeating: 7, count: 32).span), initiatorNonce: [1], responderNonce: [2], initiatorSPI: IKESPI(rawValue: 1),
                responderSPI: IKESPI(rawValue: 2))
            let channel = try SecureChannel(suite: suite, keys: keys, isInitiator: isInitiator, random: registry.random)
            channel.fragmentLimit = 200
            return channel
        }
        return (try one(true), try one(false))
    }

    private func payloads(_ size: Int) -> [Payload] { [.vendorID((0..<size).map { UInt8(truncatingIfNeeded: $0) }), .nonce([UInt8](repeating: 3, count: 32))] }

    private func isIncomplete(_ opened: SecureChannel.Opened) -> Bool { if case .incomplete = opened { true } else { false } }
    private func isForged(_ opened: SecureChannel.Opened) -> Bool { if case .forged = opened { true } else { false } }

    /// RFC 7383 section 2.3: no protocol, no SPI, 16430.
    @Test func theNotificationHasItsForm() throws {
        let initiator = Target(east: true), responder = Target(), peer = try HostilePeer()
        initiator.handle(.initiate(connection: "site", child: nil, packet: nil, local: initiator.node.local, remote: HostilePeer.address, request: nil))
        peer.announced = [.notify(Notify(.fragmentationSupported))]
        for bytes in [initiator.sent[0].bytes, try #require(responder.receive(peer.initRequest()).first)] {
            let said = try Message.parse(bytes.span).payloads.filter { [$0].notifications == [.fragmentationSupported] }
            #expect(said == [.notify(Notify(NotifyType(rawValue: 16430)))])
        }
    }

    @Test(arguments: [Transform.aesGCM16(256), .aesCBC(256)]) func everySizeArrivesInEveryOrder(_ transform: Transform) throws {
        let random = NullRandom(seed: 5)
        for size in stride(from: 0, through: 2000, by: 37) {
            let (east, west) = try channels(transform)
            var datagrams = try east.seal(header, payloads(size))
            #expect(datagrams.allSatisfy { $0.count <= 200 })
            #expect((datagrams.count > 1) == (size > 120) || (60...140).contains(size))
            let firstDatagram = datagrams[0]
            for index in datagrams.indices { datagrams.swapAt(index, Int(random.next() % UInt64(datagrams.count))) }
            for (index, datagram) in datagrams.enumerated() {
                let opened = west.open(header, datagram, now: start)
                if index < datagrams.count - 1 {
                    #expect(isIncomplete(opened))
                    // What is there already adds nothing.
                    #expect(isIncomplete(west.open(header, datagram, now: start)))
                } else {
                    guard case .payloads(let all) = opened else {
                        Issue.record("size \(size): \(opened)")
                        return
                    }
                    #expect(all == payloads(size))
                    #expect(west.takeOpenedDatagram() == firstDatagram)
                }
            }
        }
    }

    /// RFC 7383 section 2.5.1: with IP, UDP and the non-ESP marker a fragment has 1280 octets at most, unless somebody says otherwise.
    @Test func fragmentsFitWhereIPv6Fits() {
        let target = Target()
        for (remote, header) in [(IPAddress(v4: 1), 20), (IPAddress(family: .v6, value: 1), 40)] {
            let sa = IKESA(
                context: target.endpoint.context, connection: Fixtures.connection(east: true), isInitiator: true, localSPI: IKESPI(rawValue: 1), remoteSPI: .none, local: target.node.local,
                remote: SocketAddress(address: remote, port: 4500), marked: true)
            #expect(sa.fragmentLimit == nil)
            sa.takesFragments = true
            #expect(sa.fragmentLimit.map { $0 + header + 8 + 4 } == 1280)
        }
    }

    @Test func theHeadersSayWhatIsInside() throws {
        let (east, _) = try channels()
        let datagrams = try east.seal(header, payloads(500))
        for (index, datagram) in datagrams.enumerated() {
            #expect(datagram[16] == 53 && Array(datagram[17..<24]) == [0x20, 35, 8, 0, 0, 0, 1])
            #expect(Int(datagram[26]) << 8 | Int(datagram[27]) == datagram.count)
            // The first payload inside, then none; number and total.
            #expect(datagram[28] == (index == 0 ? PayloadType.vendorID.rawValue : 0))
            #expect(Array(datagram[32..<36]) == [0, UInt8(index + 1), 0, UInt8(datagrams.count)])
        }
    }

    @Test func nothingStandsBehindTheFragment() throws {
        let (east, west) = try channels()
        var datagram = try east.seal(header, payloads(500))[0] + [0, 0, 0, 4]
        datagram[27] += 4
        #expect(isForged(west.open(header, datagram, now: start)))
        #expect(throws: WireError.self) { try Message.parse(datagram.span) }
    }

    @Test func noBitOfAFragmentCanBeChanged() throws {
        let (east, west) = try channels()
        let datagram = try east.seal(header, payloads(500))[0]
        for bit in 0..<datagram.count * 8 {
            var damaged = datagram
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(isForged(west.open(header, damaged, now: start)), "bit \(bit)")
        }
    }

    @Test func smallerPiecesBeginAnewAndLargerOnesAreLate() throws {
        let (east, west) = try channels()
        let large = try east.seal(header, payloads(500))
        #expect(isIncomplete(west.open(header, large[0], now: start)))
        east.fragmentLimit = 120
        let small = try east.seal(header, payloads(500))
        #expect(small.count > large.count)
        #expect(isIncomplete(west.open(header, small[0], now: start)))
        for datagram in large { #expect(isIncomplete(west.open(header, datagram, now: start))) }
        var last = SecureChannel.Opened.forged
        for datagram in small.dropFirst() { last = west.open(header, datagram, now: start) }
        guard case .payloads(let all) = last else {
            Issue.record("\(last)")
            return
        }
        #expect(all == payloads(500))
    }

    /// RFC 7383 section 2.4: nothing is cut that need not be.
    @Test func whatFitsIsWhole() throws {
        let (east, west) = try channels()
        let whole = try east.seal(header, payloads(10))
        let bytes = try #require(whole.first), first = try Header.parse(bytes.span)
        #expect(whole.count == 1 && first.nextPayload == .encrypted)
        guard case .payloads(let all) = west.open(header, bytes, now: start) else { return #expect(Bool(false), "it is not read") }
        #expect(all == payloads(10))
    }

    @Test func whatIsHeldIsBounded() throws {
        let (east, west) = try channels()
        var held = 0
        east.fragmentLimit = 1200
        for datagram in try east.seal(header, payloads(40_000)) {
            guard isIncomplete(west.open(header, datagram, now: start)) else { break }
            held += datagram.count
        }
        #expect(held <= 24_576 + 1200)
        // Too many fragments are refused with the first.
        east.fragmentLimit = 120
        guard case .malformed = west.open(header, try east.seal(header, payloads(20_000))[0], now: start) else {
            Issue.record("too many fragments are collected")
            return
        }
    }

    @Test func whoWasNotToldSendsNoFragments() throws {
        let (east, west) = try channels()
        west.fragmentLimit = nil
        #expect(isForged(west.open(header, try east.seal(header, payloads(500))[0], now: start)))
    }

    /// A request in fragments that was answered: the first fragment repeats the answer, the others do not. RFC 7383 section 2.6.1.
    @Test func onlyTheFirstFragmentRepeatsTheAnswer() throws {
        var limits = Limits()
        limits.fragmentSize = 190
        let (world, east, west) = Fixtures.pair(seed: 9, limits: limits)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        #expect(east.children.count == 1 && west.children.count == 1)
        let fragments = world.wire.filter { $0.local.address == Fixtures.eastAddress && $0.bytes[16] == 53 && $0.bytes[23] == 1 }
        #expect(fragments.count > 1)
        for (index, fragment) in fragments.enumerated() {
            let answers = west.endpoint.handle(.datagramReceived(Datagram(local: fragment.remote, remote: fragment.local, marked: fragment.marked, bytes: fragment.bytes)), now: world.now)
            let datagrams = answers.filter { if case .transmit = $0 { true } else { false } }
            #expect(index == 0 ? datagrams.count > 1 : datagrams.isEmpty)
        }
    }

    /// RFC 7383 section 2.6.1: cut into other fragments than the first time, it is still the request that was answered. Where it closed the SA the keys that would show
    /// it are gone (RFC 7296 section 2.12), and only the same octets are answered again.
    @Test(arguments: [false, true]) func aRequestCutAnewRepeatsTheAnswer(_ closes: Bool) throws {
        let (world, east, west) = Fixtures.pair(seed: 11)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        let sa = try #require(east.endpoint.sas.values.first), channel = try #require(sa.established?.channel)
        let header = sa.header(.informational, messageID: 2, response: false)
        let payloads: [Payload] = [.vendorID([UInt8](repeating: 7, count: 900))] + (closes ? [.delete(Delete(protocolID: .ike))] : [])
        func give(_ bytes: [UInt8]) -> [[UInt8]] {
            west.endpoint.handle(.datagramReceived(Datagram(local: west.local, remote: east.local, marked: false, bytes: bytes)), now: world.now).compactMap {
                if case .transmit(let datagram) = $0 { datagram.bytes } else { nil }
            }
        }
        channel.fragmentLimit = 500
        let large = try channel.seal(header, payloads)
        let answer = large.map(give)
        #expect(large.count > 1 && answer.last?.count == 1)
        channel.fragmentLimit = 200
        let small = try channel.seal(header, payloads)
        #expect(small.count > large.count)
        for (index, fragment) in small.enumerated() { #expect(give(fragment) == (index == 0 && !closes ? answer.last : [])) }
        #expect(give(large[0]) == answer.last)
        var forged = small[0]
        forged[40] ^= 1
        #expect(give(forged) == [])
    }

    /// RFC 7383 sections 2.6 and 5: what never becomes whole goes, and what all hold together has a limit.
    @Test func piecesGoInTimeAndHaveALimitInAll() throws {
        let (east, west) = try channels()
        let room = FragmentRoom(300)
        west.fragmentRoom = room
        let datagrams = try east.seal(header, payloads(2000))
        for datagram in datagrams { #expect(isIncomplete(west.open(header, datagram, now: start))) }
        #expect(room.held > 0 && room.held <= 300 && room.refused > 0)
        #expect(west.piecesDeadline == start + .seconds(180))
        west.discardPieces(now: start + .seconds(180))
        #expect(room.held == 0 && west.piecesDeadline == nil)
        _ = west.open(header, datagrams[0], now: start)
        #expect(room.held > 0)
        west.fragmentRoom = nil
        #expect(room.held == 0)
    }

    @Test func anSAForgetsPiecesThatNeverBecomeWhole() throws {
        let (world, east, west) = Fixtures.pair(seed: 12)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        let sa = try #require(east.endpoint.sas.values.first), channel = try #require(sa.established?.channel)
        channel.fragmentLimit = 300
        let first = try channel.seal(sa.header(.informational, messageID: 2, response: false), payloads(900))[0]
        world.inject(Datagram(local: west.local, remote: east.local, marked: false, bytes: first))
        #expect(west.endpoint.context.provenFragments.held > 0)
        world.run(.seconds(181))
        #expect(west.endpoint.context.provenFragments.held == 0)
    }

    @Test func oneSideThatTakesNoneGetsNone() {
        for (ours, theirs) in [(Fragmentation.no, Fragmentation.yes), (.yes, .no), (.accept, .accept)] {
            var limits = Limits()
            limits.fragmentSize = 190
            let (world, east, west) = Fixtures.pair(seed: 10, limits: limits) { connection, east in connection.fragmentation = east ? ours : theirs }
            Fixtures.initiate(world, east, west)
            world.run(.seconds(5))
            #expect(!world.wire.contains { $0.bytes[16] == 53 } && east.children.count == 1)
        }
    }
}
