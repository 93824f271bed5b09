// The inner packet parser, the selectors and the table, against a linear reading of the same policy.

import ESPCore
import IKEWire
import Testing

func ipv4Packet(
    from source: UInt32, to destination: UInt32, protocol upper: UInt8 = 17, sourcePort: UInt16 = 1000, destinationPort: UInt16 = 2000,
    fragment: UInt16 = 0, payload: Int = 8
) -> [UInt8] {
    func be(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }
    func be(_ value: UInt32) -> [UInt8] { be(UInt16(value >> 16)) + be(UInt16(truncatingIfNeeded: value)) }
    return [0x45, 0] + be(UInt16(20 + 4 + payload)) + [0, 1] + be(fragment) + [64, upper, 0, 0] + be(source) + be(destination)
        + be(sourcePort) + be(destinationPort) + [UInt8](repeating: 0, count: payload)
}

func ipv6Packet(from source: UInt128, to destination: UInt128, next: UInt8, _ payload: [UInt8]) -> [UInt8] {
    func be(_ value: UInt128) -> [UInt8] { (0..<16).map { UInt8(truncatingIfNeeded: value >> (120 - 8 * $0)) } }
    return [0x60, 0, 0, 0, UInt8(payload.count >> 8), UInt8(payload.count & 255), next, 64] + be(source) + be(destination) + payload
}

func v4(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) -> UInt32 { a << 24 | b << 16 | c << 8 | d }

func range(_ start: UInt32, _ end: UInt32, protocol upper: UInt8 = 0, _ ports: ClosedRange<UInt16> = 0...65535) -> TrafficSelector {
    TrafficSelector(
        ipProtocol: upper, startPort: ports.lowerBound, endPort: ports.upperBound, start: IPAddress(v4: start), end: IPAddress(v4: end))
}

@Suite struct InnerPacketTests {
    @Test func readsIPv4() throws {
        let packet = try InnerPacket(ipv4Packet(from: 0x0a00_0001, to: 0x0a00_0002, protocol: 6, sourcePort: 5, destinationPort: 80, fragment: 0x4000).span)
        #expect(!packet.isIPv6 && packet.source == 0x0a00_0001 && packet.destination == 0x0a00_0002)
        #expect(packet.ipProtocol == 6 && packet.sourcePort == 5 && packet.destinationPort == 80)
        #expect(packet.dontFragment && !packet.isFragment && packet.length == 32 && packet.transportOffset == 20)
        let first = try InnerPacket(ipv4Packet(from: 1, to: 2, fragment: 0x2000).span)
        #expect(first.isFragment && !first.isLaterFragment && first.sourcePort == 1000)
        let later = try InnerPacket(ipv4Packet(from: 1, to: 2, fragment: 0x0010).span)
        #expect(later.isLaterFragment && later.sourcePort == nil)
        let ping = try InnerPacket(ipv4Packet(from: 1, to: 2, protocol: 1, sourcePort: 0x0800).span)
        #expect(ping.sourcePort == 0x0800 && ping.destinationPort == 0x0800)
    }

    @Test func readsIPv6Chains() throws {
        // Hop-by-hop, destination options, then UDP.
        let chain: [UInt8] = [60, 0, 1, 4, 0, 0, 0, 0] + [17, 1] + [UInt8](repeating: 0, count: 14) + [0, 7, 0, 9, 0, 8, 0, 0]
        let packet = try InnerPacket(ipv6Packet(from: 1, to: 2, next: 0, chain).span)
        #expect(packet.isIPv6 && packet.ipProtocol == 17 && packet.sourcePort == 7 && packet.destinationPort == 9)
        #expect(packet.transportOffset == 40 + 8 + 16)
        let first = try InnerPacket(ipv6Packet(from: 1, to: 2, next: 44, [17, 0, 0, 1, 0, 0, 0, 1, 0, 7, 0, 9, 0, 8, 0, 0]).span)
        #expect(first.isFragment && !first.isLaterFragment && first.destinationPort == 9)
        let later = try InnerPacket(ipv6Packet(from: 1, to: 2, next: 44, [17, 0, 0, 9, 0, 0, 0, 1, 0, 7, 0, 9, 0, 8, 0, 0]).span)
        #expect(later.isLaterFragment && later.ipProtocol == 17 && later.destinationPort == nil)
        let hidden = try InnerPacket(ipv6Packet(from: 1, to: 2, next: 44, [60, 0, 0, 9, 0, 0, 0, 1, 0, 7, 0, 9, 0, 8, 0, 0]).span)
        #expect(hidden.isLaterFragment && hidden.ipProtocol == nil)
    }

    @Test func boundsTheChain() {
        let chain = [UInt8]((0..<20).flatMap { _ in [60, 0, 1, 4, 0, 0, 0, 0] as [UInt8] })
        #expect(throws: InnerPacketError.headerChain) { try InnerPacket(ipv6Packet(from: 1, to: 2, next: 60, chain).span) }
    }

    @Test func refusesWhatCannotBe() throws {
        let good = ipv4Packet(from: 1, to: 2)
        for length in 0..<good.count { #expect(throws: InnerPacketError.self) { try InnerPacket(Array(good.prefix(length)).span) } }
        let six = ipv6Packet(from: 1, to: 2, next: 0, [17, 0, 1, 4, 0, 0, 0, 0, 0, 7, 0, 9, 0, 8, 0, 0])
        for length in 0..<six.count { #expect(throws: InnerPacketError.self) { try InnerPacket(Array(six.prefix(length)).span) } }
        var wrong = good
        wrong[0] = 0x44
        #expect(throws: InnerPacketError.malformed) { try InnerPacket(wrong.span) }
        wrong[0] = 0x55
        #expect(throws: InnerPacketError.malformed) { try InnerPacket(wrong.span) }
        // An extension header that reaches past the end.
        #expect(throws: InnerPacketError.malformed) { try InnerPacket(ipv6Packet(from: 1, to: 2, next: 0, [17, 200, 0, 0, 0, 0, 0, 0]).span) }
    }

    /// Whatever the bytes, reading ends in a value or an error.
    @Test func survivesAnything() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<20_000 {
            var bytes = generator.bytes(Int(generator.next() % 120))
            if !bytes.isEmpty { bytes[0] = generator.next() & 1 == 0 ? 0x45 : 0x60 }
            if bytes.count > 44, bytes[0] == 0x60 {
                bytes[4] = 0
                bytes[5] = UInt8(bytes.count - 40)
                bytes[6] = [0, 43, 44, 60, 51, 17, 6, 58][Int(generator.next() % 8)]
            } else if bytes.count > 20, bytes[0] == 0x45 {
                bytes[2] = 0
                bytes[3] = UInt8(bytes.count)
            }
            if let packet = try? InnerPacket(bytes.span) {
                #expect(packet.length <= bytes.count && packet.transportOffset <= packet.length)
                var span = bytes.mutableSpan
                SegmentSize.clamp(&span, packet, mtu: 1400)
            }
        }
    }
}

@Suite struct SelectorTableTests {
    @Test func portsProtocolsAndFragments() throws {
        let selectors = Selectors(local: [range(1, 10)], remote: [range(100, 200, protocol: 6, 80...90), range(300, 300)])
        func verdict(_ to: UInt32, _ upper: UInt8, _ port: UInt16, _ fragment: UInt16 = 0, from: UInt32 = 5) throws -> SelectorVerdict {
            selectors.outbound(try InnerPacket(ipv4Packet(from: from, to: to, protocol: upper, destinationPort: port, fragment: fragment).span))
        }
        #expect(try verdict(150, 6, 80) == .inside)
        #expect(try verdict(150, 6, 91) == .outside)
        #expect(try verdict(150, 17, 80) == .outside)
        #expect(try verdict(201, 6, 80) == .outside)
        #expect(try verdict(150, 6, 80, from: 11) == .outside)
        #expect(try verdict(150, 6, 80, 0x0010) == .fragment)
        #expect(try verdict(150, 17, 80, 0x0010) == .outside)
        #expect(try verdict(300, 6, 80, 0x0010) == .inside)
        // Inbound is the mirror image.
        #expect(selectors.inbound(try InnerPacket(ipv4Packet(from: 150, to: 5, protocol: 6, sourcePort: 85).span)) == .inside)
        #expect(selectors.inbound(try InnerPacket(ipv4Packet(from: 5, to: 150, protocol: 6, sourcePort: 85).span)) == .outside)
        #expect(selectors.inbound(try InnerPacket(ipv4Packet(from: 150, to: 5, protocol: 6, sourcePort: 85, fragment: 1).span)) == .fragment)
    }

    @Test func opaqueTakesWhatHasNoPorts() throws {
        let opaque = TrafficSelector(ipProtocol: 0, startPort: 65535, endPort: 0, start: IPAddress(v4: 0), end: IPAddress(v4: .max))
        let selectors = Selectors(local: [range(0, .max)], remote: [opaque])
        #expect(selectors.outbound(try InnerPacket(ipv4Packet(from: 1, to: 2, protocol: 47).span)) == .inside)
        #expect(selectors.outbound(try InnerPacket(ipv4Packet(from: 1, to: 2, protocol: 6).span)) == .outside)
        #expect(selectors.outbound(try InnerPacket(ipv4Packet(from: 1, to: 2, protocol: 6, fragment: 8).span)) == .inside)
    }

    @Test func icmpTypesAreSelectors() throws {
        let echo = Selectors(local: [range(0, .max)], remote: [range(0, .max, protocol: 1, 0x0800...0x08ff)])
        #expect(echo.outbound(try InnerPacket(ipv4Packet(from: 1, to: 2, protocol: 1, sourcePort: 0x0800).span)) == .inside)
        #expect(echo.outbound(try InnerPacket(ipv4Packet(from: 1, to: 2, protocol: 1, sourcePort: 0x0301).span)) == .outside)
    }

    @Test func theMostSpecificWinsAndThenTheNewest() throws {
        let any = [range(0, .max)]
        let table = SelectorTable([
            Selectors(local: any, remote: [range(0, .max)]),
            Selectors(local: any, remote: [range(v4(10, 0, 0, 0), v4(10, 255, 255, 255))]),
            Selectors(local: any, remote: [range(v4(10, 1, 0, 0), v4(10, 1, 255, 255), protocol: 6)]),
            Selectors(local: any, remote: [range(v4(10, 1, 0, 0), v4(10, 1, 255, 255))]),
            Selectors(local: any, remote: [range(v4(10, 1, 0, 0), v4(10, 1, 255, 255))]),
            Selectors(local: [range(7, 7)], remote: [range(v4(10, 1, 0, 0), v4(10, 1, 255, 255))]),
        ])
        func match(_ to: UInt32, _ upper: UInt8 = 17, from: UInt32 = 1) throws -> SelectorTable.Match {
            table.match(try InnerPacket(ipv4Packet(from: from, to: to, protocol: upper).span))
        }
        #expect(try match(v4(192, 0, 2, 1)) == .policy(0))
        #expect(try match(v4(10, 9, 0, 1)) == .policy(1))
        #expect(try match(v4(10, 1, 0, 1), 6) == .policy(2))
        #expect(try match(v4(10, 1, 0, 1)) == .policy(4))
        #expect(try match(v4(10, 1, 0, 1), from: 7) == .policy(5))
        #expect(try SelectorTable([]).match(InnerPacket(ipv4Packet(from: 1, to: 2).span)) == .none)
        #expect(try table.match(InnerPacket(ipv6Packet(from: 1, to: 2, next: 17, [0, 1, 0, 2]).span)) == .none)
    }

    @Test func nestingDoesNotEatMemory() throws {
        let table = SelectorTable((0..<1500).map { Selectors(local: [range(0, .max)], remote: [range(UInt32($0), .max - UInt32($0))]) })
        #expect(try table.match(InnerPacket(ipv4Packet(from: 1, to: 0x8000_0000).span)) == .policy(1499))
        #expect(try table.match(InnerPacket(ipv4Packet(from: 1, to: 700).span)) == .policy(700))
    }

    /// A thousand random policies, against a reading of all of them in order of width.
    @Test(arguments: [1, 3, 40, 1000]) func agreesWithALinearReading(count: Int) throws {
        for seed in UInt64(1)...3 {
            var generator = SeededGenerator(seed: seed)
            func number(_ below: UInt64) -> UInt64 { generator.next() % below }
            func selector() -> TrafficSelector {
                let base = UInt32(number(1 << 16))
                let end = base + UInt32(number(4) == 0 ? number(1 << 14) : number(16))
                let upper: UInt8 = [0, 0, 6, 17][Int(number(4))]
                let port = UInt16(number(4))
                return number(3) == 0 ? range(base, end, protocol: upper, port...(port + 2)) : range(base, end, protocol: upper)
            }
            let policies = (0..<count).map { _ in
                Selectors(local: (0...number(2)).map { _ in number(2) == 0 ? range(0, .max) : selector() }, remote: (0...number(2)).map { _ in selector() })
            }
            let table = SelectorTable(policies)
            for _ in 0..<2000 {
                let packet = try InnerPacket(
                    ipv4Packet(
                        from: UInt32(number(1 << 16)), to: UInt32(number(1 << 16)), protocol: [6, 17, 47][Int(number(3))], sourcePort: UInt16(number(8)),
                        destinationPort: UInt16(number(8)), fragment: number(5) == 0 ? 0x20 : 0
                    ).span)
                let inside = policies.indices.filter { policies[$0].outbound(packet) == .inside }
                let fragment = policies.contains { $0.outbound(packet) == .fragment }
                switch table.match(packet) {
                case .policy(let index): #expect(inside.contains(index), "seed \(seed)")
                case .fragment: #expect(inside.isEmpty && fragment, "seed \(seed)")
                case .none: #expect(inside.isEmpty && !fragment, "seed \(seed)")
                }
            }
        }
    }
}
