// Addresses, selectors and identities as text.

import Foundation
import Testing

@testable import IKEWire

@Suite struct AddressText {
    @Test func addressesAreReadAndWritten() throws {
        for line in try Vector.lines("addresses.txt") {
            let parts = line.components(separatedBy: " -> ")
            let address = IPAddress(parts[0])
            #expect(address?.description == (parts[1] == "refused" ? nil : parts[1]), "\(line)")
            guard let address else { continue }
            #expect(IPAddress(address.description) == address, "\(line)")
            #expect(IPAddress(bytes: address.bytes) == address, "\(line)")
        }
        #expect(IPAddress("") == nil)
        #expect(IPAddress("192.0.2.1 ") == nil)
        #expect(IPAddress("192.0.2.1\0") == nil)
        #expect(IPAddress(String(repeating: "0:", count: 10_000)) == nil)
    }

    @Test func everyGeneratedAddressSurvivesTheRoundTrip() {
        let seed: UInt64 = 0x4950_7636
        var random = SplitMix64(seed: seed)
        for round in 0..<2000 {
            // Masks of whole groups make runs of zeros of every length and place.
            let mask = (0..<8).reduce(UInt128(0)) { mask, _ in mask << 16 | (Bool.random(using: &random) ? 0xffff : 0) }
            let address = IPAddress(family: .v6, value: random.address(.v6).value & mask)
            #expect(IPAddress(address.description) == address, "seed \(seed), round \(round): \(address)")
        }
    }

    @Test func bytesAreInNetworkOrder() throws {
        #expect(IPAddress("192.0.2.1")?.bytes == [192, 0, 2, 1])
        #expect(IPAddress("2001:db8::1")?.bytes == [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        for count in [0, 3, 5, 15, 17] { #expect(IPAddress(bytes: [UInt8](repeating: 1, count: count)) == nil) }
    }

    @Test func endpointsShowTheirPortInBrackets() throws {
        #expect(SocketAddress(address: try #require(IPAddress("192.0.2.1")), port: 500).description == "192.0.2.1[500]")
        #expect(SocketAddress(address: try #require(IPAddress("2001:db8::1")), port: 4500).description == "2001:db8::1[4500]")
    }

    private func range(_ start: String, _ end: String) throws -> TrafficSelector {
        TrafficSelector(start: try #require(IPAddress(start)), end: try #require(IPAddress(end)))
    }

    @Test func prefixesClearTheirHostBits() throws {
        for (address, length, text) in [
            ("10.1.2.3", 16, "10.1.0.0/16"), ("10.1.2.3", 0, "0.0.0.0/0"), ("10.1.2.3", 32, "10.1.2.3/32"),
            ("2001:db8::ffff", 64, "2001:db8::/64"), ("::1", 0, "::/0"), ("::1", 128, "::1/128"),
            ("10.1.2.3", 33, "10.1.2.3/32"), ("10.1.2.3", -1, "0.0.0.0/0"),
        ] {
            let selector = TrafficSelector(prefix: try #require(IPAddress(address)), length: length)
            #expect(selector.description == text)
            #expect(selector.prefixes().map { "\($0.0)/\($0.1)" } == [text])
        }
    }

    @Test func rangesAreCoveredByTheFewestPrefixes() throws {
        for (start, end, prefixes) in [
            ("10.0.0.1", "10.0.0.9", "10.0.0.1/32 10.0.0.2/31 10.0.0.4/30 10.0.0.8/31"),
            ("10.0.0.0", "10.0.0.255", "10.0.0.0/24"),
            ("0.0.0.0", "255.255.255.254", (0..<32).map { "\(IPAddress(v4: ~(.max >> UInt32($0))))/\($0 + 1)" }.joined(separator: " ")),
            ("255.255.255.254", "255.255.255.255", "255.255.255.254/31"),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
            ("2001:db8::1", "2001:db8::2", "2001:db8::1/128 2001:db8::2/128"),
            ("10.0.0.9", "10.0.0.1", ""), ("10.0.0.1", "::1", ""),
        ] {
            #expect(try range(start, end).prefixes().map { "\($0.0)/\($0.1)" }.joined(separator: " ") == prefixes)
        }
        let widest = TrafficSelector(start: IPAddress(family: .v6, value: 1), end: IPAddress(family: .v6, value: .max - 1))
        #expect(widest.prefixes().count == 254)
        #expect(try range("10.0.0.9", "10.0.0.1").asPrefix == nil)
        #expect(try range("10.0.0.0", "10.0.0.2").asPrefix == nil)
    }

    @Test func selectorsReadAsAdministratorsKnowThem() throws {
        let any = try range("10.1.0.0", "10.1.255.255")
        #expect(any.description == "10.1.0.0/16")
        #expect(try range("10.0.0.1", "10.0.0.9").description == "10.0.0.1..10.0.0.9")
        for (ipProtocol, start, end, text) in [
            (6, 80, 80, "[tcp/80]"), (6, 0, 65535, "[tcp]"), (17, 1000, 2000, "[udp/1000-2000]"), (0, 80, 80, "[0/80]"),
            (253, 0, 65535, "[253]"), (1, 0x0800, 0x0800, "[icmp/8(0)]"), (58, 0x0104, 0x0104, "[ipv6-icmp/1(4)]"),
            (1, 0x0300, 0x03ff, "[icmp/3]"), (58, 0x8000, 0x81ff, "[ipv6-icmp/128-129]"), (1, 0x0301, 0x0304, "[icmp/3(1)-3(4)]"), (6, 65535, 0, "[tcp/OPAQUE]"), (6, 0, 0, "[tcp/0]"),
        ] as [(UInt8, UInt16, UInt16, String)] {
            let selector = TrafficSelector(ipProtocol: ipProtocol, startPort: start, endPort: end, start: any.start, end: any.end)
            #expect(selector.description == "10.1.0.0/16" + text)
        }
    }

    @Test func identitiesNeverSteerATerminal() {
        for (kind, data, text) in [
            (2, Array("moon.example".utf8), "moon.example"), (3, Array("carol@example.org".utf8), "carol@example.org"),
            (1, [192, 0, 2, 1], "192.0.2.1"), (1, [192, 0, 2], "IPV4_ADDR(c00002)"),
            (5, Array(repeating: 0, count: 15) + [1], "::1"), (11, Array("moon".utf8), "@#6d6f6f6e"), (0, [], "%any"),
            (0, [1], "ID(0)(01)"), (2, [], "FQDN()"), (9, [0x30, 0], "DER_ASN1_DN(3000)"),
            (2, Array("a\u{1b}[2Jb\nc\\".utf8), #"a\u{1b}[2Jb\u{a}c\"#), (2, Array(#"CORP\user\u{1b}"#.utf8), #"CORP\user\u{5c}u{1b}"#),
            (2, Array("m\u{f6}\u{f6}n\u{202e}".utf8), "m\u{f6}\u{f6}n\\u{202e}"),
            (3, [0x61, 0xff, 0x0a, 0x62], #"a\xff\x0ab"#), (2, Array("\u{85}\u{2028}".utf8), #"\u{85}\u{2028}"#),
        ] as [(UInt8, [UInt8], String)] {
            #expect(Identification(kind: .init(rawValue: kind), data: data).description == text)
        }
        let long = Identification(kind: .fqdn, data: Array(repeating: 0x61, count: 60_000))
        #expect(long.description == String(repeating: "a", count: 256) + "...")
    }
}
