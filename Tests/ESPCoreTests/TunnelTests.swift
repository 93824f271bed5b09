// MTU arithmetic, MSS clamping, Packet Too Big, ECN.

import ESPCore
import IKEWire
import Testing

/// The checksum done the slow way; 0 over a run that holds its own checksum.
private func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum = 0
    for (index, byte) in bytes.enumerated() { sum += index % 2 == 0 ? Int(byte) << 8 : Int(byte) }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    return ~UInt16(sum)
}

private func tcpChecksum(_ packet: [UInt8], _ inner: InnerPacket) -> UInt16 {
    let segment = Array(packet[inner.transportOffset...])
    let addresses = inner.isIPv6 ? Array(packet[8..<40]) : Array(packet[12..<20])
    return checksum(addresses + [0, 6, UInt8(segment.count >> 8), UInt8(segment.count & 255)] + segment)
}

@Suite struct TunnelTests {
    private let layouts = [
        PacketLayout(ivLength: 8, icvLength: 16, blockLength: 4), PacketLayout(ivLength: 16, icvLength: 16, blockLength: 16),
        PacketLayout(ivLength: 16, icvLength: 32, blockLength: 16),
    ]

    /// The largest inner packet fits and one byte more does not.
    @Test func innerMTUIsTight() {
        for layout in layouts {
            for encapsulation in [Encapsulation.bare, .udp] {
                for family in [IPAddress.Family.v4, .v6] {
                    for path in 576...1600 {
                        let mtu = layout.innerMTU(pathMTU: path, encapsulation, family)
                        let outer = encapsulation.outerLength(family)
                        #expect(outer + layout.packetLength(payload: mtu) <= path)
                        #expect(outer + layout.packetLength(payload: mtu + 1) > path)
                        #expect(mtu + layout.overhead(encapsulation, family) >= path - layout.alignment)
                    }
                }
            }
        }
        // AES-GCM in UDP over IPv4, as everybody knows it.
        #expect(layouts[0].innerMTU(pathMTU: 1500, .udp, .v4) == 1438)
        #expect(layouts[0].innerMTU(pathMTU: 20, .udp, .v4) == 0)
    }

    private func syn(options: [UInt8], ipv6: Bool) -> [UInt8] {
        let padded = options + [UInt8](repeating: 0, count: (4 - options.count % 4) % 4)
        var segment: [UInt8] = [0, 80, 0, 90, 1, 2, 3, 4, 0, 0, 0, 0, UInt8(5 + padded.count / 4) << 4, 2, 16, 0, 0, 0, 0, 0] + padded
        let make = { (segment: [UInt8]) -> [UInt8] in
            if ipv6 { return ipv6Packet(from: 0x2001 << 112 | 1, to: 0x2001 << 112 | 2, next: 6, segment) }
            return Array(ipv4Packet(from: 0x0a00_0001, to: 0x0a00_0002, protocol: 6, payload: segment.count - 4).prefix(20)) + segment
        }
        let packet = make(segment)
        let sum = tcpChecksum(packet, try! InnerPacket(packet.span))
        segment[16] = UInt8(sum >> 8)
        segment[17] = UInt8(sum & 255)
        return make(segment)
    }

    @Test(arguments: [false, true]) func clampsTheSegmentSize(ipv6: Bool) throws {
        let header = ipv6 ? 40 : 20
        // In front, behind an odd run of padding options, and behind other options.
        for options in [[2, 4, 5, 180], [1, 2, 4, 5, 180, 1, 1, 1], [4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, 5, 180]] as [[UInt8]] {
            var packet = syn(options: options, ipv6: ipv6)
            let inner = try InnerPacket(packet.span)
            #expect(tcpChecksum(packet, inner) == 0)
            var span = packet.mutableSpan
            let clamped = SegmentSize.clamp(&span, inner, mtu: 1400)
            let again = SegmentSize.clamp(&span, inner, mtu: 1400)
            let unchanged = SegmentSize.clamp(&span, inner, mtu: 1500)
            #expect(clamped && !again && !unchanged)
            #expect(tcpChecksum(packet, inner) == 0, "\(options)")
            let at = try #require(options.indices.first { options[$0] == 2 && options[$0 + 1] == 4 && options[$0 + 2] == 5 }) + inner.transportOffset + 20
            #expect(Int(packet[at + 2]) << 8 | Int(packet[at + 3]) == 1400 - header - 20)
        }
    }

    @Test func leavesOthersAlone() throws {
        for options in [[2, 4, 2, 0], [2, 3, 5, 180], [2, 0, 5, 180], [0, 2, 4, 5, 180], [8, 40, 2, 4, 5, 180], [2]] as [[UInt8]] {
            var packet = syn(options: options, ipv6: false)
            let before = packet
            var span = packet.mutableSpan
            let clamped = SegmentSize.clamp(&span, try InnerPacket(before.span), mtu: 1400)
            #expect(!clamped)
            #expect(packet == before)
        }
        // Not a SYN.
        var data = syn(options: [2, 4, 5, 180], ipv6: false)
        data[33] = 0x10
        let before = data
        var span = data.mutableSpan
        let clamped = SegmentSize.clamp(&span, try InnerPacket(before.span), mtu: 1400)
        #expect(!clamped)
        #expect(data == before)
    }

    @Test func tellsIPv4SendersTheSize() throws {
        let packet = ipv4Packet(from: v4(10, 0, 0, 1), to: v4(10, 0, 1, 1), fragment: 0x4000, payload: 1476)
        var target = [UInt8](repeating: 0xff, count: 1280)
        var span = target.mutableSpan
        let length = try #require(PacketTooBig.build(for: packet.span, try InnerPacket(packet.span), mtu: 1400, into: &span))
        let answer = Array(target[..<length])
        let inner = try InnerPacket(answer.span)
        #expect(length == 576 && inner.length == length && inner.source == UInt128(v4(10, 0, 1, 1)) && inner.destination == UInt128(v4(10, 0, 0, 1)))
        #expect(inner.ipProtocol == 1 && inner.sourcePort == 0x0304)
        #expect(checksum(Array(answer[..<20])) == 0 && checksum(Array(answer[20...])) == 0)
        #expect(Int(answer[26]) << 8 | Int(answer[27]) == 1400)
        #expect(Array(answer[28...]) == Array(packet[..<548]))
    }

    @Test func tellsIPv6SendersTheSize() throws {
        let packet = ipv6Packet(from: 0x2001 << 112 | 1, to: 0x2001 << 112 | 2, next: 17, [UInt8](repeating: 3, count: 1460))
        var target = [UInt8](repeating: 0xff, count: 1280)
        var span = target.mutableSpan
        let length = try #require(PacketTooBig.build(for: packet.span, try InnerPacket(packet.span), mtu: 1400, into: &span))
        let answer = Array(target[..<length])
        let inner = try InnerPacket(answer.span)
        #expect(length == 1280 && inner.ipProtocol == 58 && inner.sourcePort == 0x0200 && inner.destination == 0x2001 << 112 | 1)
        #expect(checksum(Array(answer[8..<40]) + [UInt8((length - 40) >> 8), UInt8((length - 40) & 255), 0, 58] + Array(answer[40...])) == 0)
        #expect(Array(answer[44..<48]) == [0, 0, 5, 120])
    }

    @Test func doesNotAnswerErrorsOrGroups() throws {
        var target = [UInt8](repeating: 0, count: 1280)
        for packet in [
            ipv4Packet(from: v4(10, 0, 0, 1), to: v4(224, 0, 0, 5)), ipv4Packet(from: 0, to: v4(10, 0, 0, 5)),
            ipv4Packet(from: v4(10, 0, 0, 1), to: v4(10, 0, 0, 5), protocol: 1, sourcePort: 0x0304),
            ipv4Packet(from: v4(10, 0, 0, 1), to: v4(10, 0, 0, 5), fragment: 0x0010),
            ipv6Packet(from: 1, to: 0xff02 << 112 | 1, next: 17, [0, 1, 0, 2]), ipv6Packet(from: 1, to: 2, next: 58, [1, 0, 0, 0]),
        ] {
            var span = target.mutableSpan
            #expect(PacketTooBig.build(for: packet.span, try InnerPacket(packet.span), mtu: 1400, into: &span) == nil)
        }
    }

    /// RFC 6040 figure 4, rows inner, columns outer: Not-ECT, ECT(0), ECT(1), CE.
    @Test func congestionMarksCrossTheTunnel() {
        typealias Decision = CongestionNotification.Decision
        let expected: [UInt8: [Decision]] = [
            0: [.keep, .keep, .keep, .drop], 2: [.keep, .keep, .mark(1), .mark(3)], 1: [.keep, .keep, .keep, .mark(3)],
            3: [.keep, .keep, .keep, .keep],
        ]
        for (inner, row) in expected {
            for (outer, decision) in zip([0, 2, 1, 3] as [UInt8], row) {
                #expect(CongestionNotification.decapsulate(inner: inner | 0xb8, outer: outer) == decision, "\(inner) \(outer)")
            }
        }
        #expect(CongestionNotification.outer(0xba, copyDSCP: false, carryECN: true) == 2)
        #expect(CongestionNotification.outer(0xba, copyDSCP: true, carryECN: true) == 0xba)
        #expect(CongestionNotification.outer(0xba, copyDSCP: true, carryECN: false) == 0xb8)
    }

    @Test func marksKeepTheChecksum() throws {
        var packet = ipv4Packet(from: v4(10, 0, 0, 1), to: v4(10, 0, 1, 1))
        packet[1] = 0xb9
        let sum = checksum(Array(packet[..<20]))
        packet[10] = UInt8(sum >> 8)
        packet[11] = UInt8(sum & 255)
        var span = packet.mutableSpan
        CongestionNotification.set(3, in: &span)
        #expect(packet[1] == 0xbb)
        #expect(checksum(Array(packet[..<20])) == 0)
        var six = ipv6Packet(from: 1, to: 2, next: 17, [0, 1, 0, 2])
        six[0] = 0x6b
        six[1] = 0x95
        var sixSpan = six.mutableSpan
        CongestionNotification.set(3, in: &sixSpan)
        #expect(six[0] == 0x6b && six[1] == 0xb5)
        #expect(try InnerPacket(six.span).trafficClass == 0xbb)
    }
}

@Suite struct PrefixTests {
    private func text(_ prefixes: [Prefix]?) -> [String] {
        (prefixes ?? []).map { "\($0.value >> 24).\($0.value >> 16 & 255).\($0.value >> 8 & 255).\($0.value & 255)/\($0.length)" }
    }

    @Test func namesRangesAsPrefixes() {
        func cover(_ a: UInt32, _ b: UInt32) -> [String] { text(Prefix.covering(from: IPAddress(v4: a), to: IPAddress(v4: b), limit: 64)) }
        #expect(cover(0, .max) == ["0.0.0.0/0"])
        #expect(cover(v4(10, 0, 0, 0), v4(10, 255, 255, 255)) == ["10.0.0.0/8"])
        #expect(cover(v4(10, 0, 0, 5), v4(10, 0, 0, 5)) == ["10.0.0.5/32"])
        #expect(cover(v4(10, 0, 0, 1), v4(10, 0, 0, 6)) == ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"])
        #expect(cover(.max, .max) == ["255.255.255.255/32"])
        #expect(cover(5, 4).isEmpty)
        // The worst range there is.
        #expect(cover(1, .max - 1).count == 62)
        #expect(Prefix.covering(from: IPAddress(v4: 1), to: IPAddress(v4: .max - 1), limit: 61) == nil)
        let all = Prefix.covering(from: IPAddress(family: .v6, value: 0), to: IPAddress(family: .v6, value: .max), limit: 1)
        #expect(all == [Prefix(family: .v6, value: 0, length: 0)])
        #expect(Prefix.covering(from: IPAddress(family: .v6, value: 1), to: IPAddress(family: .v6, value: .max - 1), limit: 256)?.count == 254)
        #expect(Prefix.covering(from: IPAddress(v4: 0), to: IPAddress(family: .v6, value: 1), limit: 9)?.isEmpty == true)
    }

    @Test func coversExactly() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<500 {
            let start = UInt32(truncatingIfNeeded: generator.next() % 5000)
            let end = start + UInt32(generator.next() % 5000)
            var next = UInt128(start)
            for prefix in Prefix.covering(from: IPAddress(v4: start), to: IPAddress(v4: end), limit: 64) ?? [] {
                #expect(prefix.value == next && prefix.value % (1 << UInt128(32 - prefix.length)) == 0)
                next += 1 << UInt128(32 - prefix.length)
            }
            #expect(next == UInt128(end) + 1)
        }
    }
}
