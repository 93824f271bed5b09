// Sealing and opening: published examples, round trips, and everything a peer can get wrong.

import ESPCore
import Foundation
import IKECrypto
import Testing

@Suite struct PacketTests {
    private struct VectorFile: Decodable {
        struct Vector: Decodable {
            var name: String, kind: String, key: String, iv: String, result: String, plaintext_with_trailer: String
            var salt: String?, spi: String?, seq: String?
        }
        var vectors: [Vector]
    }

    private static func vectors() throws -> [VectorFile.Vector] {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Vectors/esp.json")
        return try JSONDecoder().decode(VectorFile.self, from: Data(contentsOf: url)).vectors
    }

    /// RFC 7634 Appendix A: the packet on the wire is SPI, sequence number, IV, ciphertext and ICV. Its IV is not ours to choose (ours is
    /// the counter), so the example is opened, not sealed.
    @Test func opensTheExampleOfRFC7634() throws {
        let vector = try #require(try Self.vectors().first { $0.kind == "esp-chacha" })
        let packet = fromHex(try #require(vector.spi)) + fromHex(try #require(vector.seq)) + fromHex(vector.iv)
        let result = fromHex(vector.result)
        // Some printings give the whole packet, some the ciphertext and tag alone.
        let wire = Array(result.prefix(4)) == Array(packet.prefix(4)) ? result : packet + result
        let opener = try Opener(
            window: ReplayWindow(extended: false), aead: ReferenceAEAD.chaCha, keyMaterial: (fromHex(vector.key) + fromHex(try #require(vector.salt))).span)
        let (payload, nextHeader, sequence) = try opened(opener, wire)
        let text = fromHex(vector.plaintext_with_trailer)
        #expect(nextHeader == NextHeader.ipv4)
        #expect(sequence == 5)
        #expect(payload == Array(text.dropLast(2 + Int(text[text.count - 2]))))
        #expect(throws: ESPError.replayed(sequence: 5)) { try opened(opener, wire) }
    }

    /// RFC 3602 case 5 gives the ciphertext of an ESP payload; the ICV here is computed by the reference over the same packet.
    @Test func opensTheExampleOfRFC3602() throws {
        let vector = try #require(try Self.vectors().first { $0.kind == "aes-cbc" })
        let integrityKey = [UInt8](repeating: 7, count: 32)
        var wire = fromHex("0000432100000001") + fromHex(vector.iv) + fromHex(vector.result)
        var tag = [UInt8](repeating: 0, count: 16)
        let empty: [UInt8] = []
        do {
            var span = tag.mutableSpan
            try ReferenceHMAC.sha256.makeContext(key: integrityKey.span).compute(wire.span, empty.span, into: &span)
        }
        wire += tag
        let opener = try Opener(
            window: ReplayWindow(extended: false), cipher: ReferenceCBC.aes128, key: fromHex(vector.key).span, mac: ReferenceHMAC.sha256,
            integrityKey: integrityKey.span)
        let (payload, nextHeader, sequence) = try opened(opener, wire)
        let text = fromHex(vector.plaintext_with_trailer)
        #expect(payload == Array(text.dropLast(2 + Int(text[text.count - 2]))))
        #expect(nextHeader == 1)
        #expect(sequence == 1)
    }

    @Test(arguments: ReferenceSuite.allCases, [false, true]) func roundTrip(_ suite: ReferenceSuite, _ extended: Bool) throws {
        var generator = SeededGenerator(seed: 1)
        let (sealer, opener) = try suite.pair(key: generator.bytes(96), extended: extended)
        var sequence: UInt64 = 0
        for length in Array(0...80) + [576, 1280, 1400, 1472] {
            sequence += 1
            let payload = generator.bytes(length)
            let packet = try sealed(sealer, payload, nextHeader: NextHeader.ipv6, sequence: sequence)
            #expect(packet.count == sealer.layout.packetLength(payload: length))
            #expect((packet.count - sealer.layout.headroom - sealer.layout.icvLength) % sealer.layout.alignment == 0)
            #expect(Array(packet[4..<8]) == withUnsafeBytes(of: UInt32(sequence).bigEndian, Array.init))
            let (plain, nextHeader, got) = try opened(opener, packet)
            #expect(plain == payload)
            #expect(nextHeader == NextHeader.ipv6)
            #expect(got == sequence)
        }
    }

    /// Every prefix of a packet, and every packet with one bit changed, is refused, and moves nothing.
    @Test(arguments: ReferenceSuite.allCases, [false, true]) func refusesTruncationsAndBitFlips(_ suite: ReferenceSuite, _ extended: Bool) throws {
        var generator = SeededGenerator(seed: 2)
        let (sealer, opener) = try suite.pair(key: generator.bytes(96), extended: extended)
        let packet = try sealed(sealer, generator.bytes(61), sequence: 9)
        for length in 0..<packet.count {
            #expect(throws: ESPError.self, "prefix of \(length)") { try opened(opener, Array(packet.prefix(length))) }
        }
        // The SPI is in the AAD or under the MAC, so its bits count as well.
        for bit in 0..<(packet.count * 8) {
            var changed = packet
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: ESPError.self, "bit \(bit)") { try opened(opener, changed) }
        }
        #expect(opener.window.highest == 0)
        #expect(throws: Never.self) { try opened(opener, packet) }
        #expect(opener.window.highest == 9)
    }

    @Test(arguments: ReferenceSuite.allCases) func extendedSequencesCrossTheHalf(_ suite: ReferenceSuite) throws {
        var generator = SeededGenerator(seed: 3)
        let start: UInt64 = 0x1_ffff_fff0
        let (sealer, opener) = try suite.pair(key: generator.bytes(96), extended: true, highest: start)
        var late: [UInt8] = []
        for sequence in (start + 1)...(start + 40) {
            let packet = try sealed(sealer, [1, 2, 3], sequence: sequence)
            if sequence == start + 10 {
                late = packet
                continue
            }
            #expect(try opened(opener, packet).sequence == sequence)
        }
        // A packet from before the wrap that comes after it still belongs to the old half.
        #expect(try opened(opener, late).sequence == start + 10)
        #expect(throws: ESPError.replayed(sequence: UInt32(truncatingIfNeeded: start + 10))) { try opened(opener, late) }
        // The same low half in the wrong subspace is not authentic.
        let wrong = try sealed(sealer, [1, 2, 3], sequence: start + 41 + 1 << 32)
        #expect(throws: ESPError.rejected) { try opened(opener, wrong) }
    }

    @Test func sequenceNumbersEnd() throws {
        let key = [UInt8](repeating: 1, count: 96)
        let (short, _) = try ReferenceSuite.gcm256.pair(key: key, extended: false)
        #expect(throws: Never.self) { try sealed(short, [1], sequence: 0xffff_ffff) }
        #expect(throws: ESPError.sequenceExhausted) { try sealed(short, [1], sequence: 0x1_0000_0000) }
        #expect(throws: ESPError.sequenceExhausted) { try sealed(short, [1], sequence: 0) }
        let (long, _) = try ReferenceSuite.gcm256.pair(key: key, extended: true)
        #expect(throws: Never.self) { try sealed(long, [1], sequence: 0x1_0000_0000) }
    }

    /// RFC 4303 section 2.2: new keys are asked for while there are numbers left, whatever the configuration says.
    @Test func newKeysAreAskedForBeforeTheNumbersEnd() {
        let unset = PacketLimits.outbound(soft: 0, hard: 0, extended: false)
        #expect(unset.soft > 0 && unset.soft <= UInt64(UInt32.max) - 1 << 28 && unset.hard == UInt64(UInt32.max))
        #expect(PacketLimits.outbound(soft: 1 << 40, hard: 1 << 41, extended: false) == unset)
        #expect(PacketLimits.outbound(soft: 1000, hard: 2000, extended: false) == (1000, 2000))
        #expect(PacketLimits.outbound(soft: 0, hard: 0, extended: true) == (0, 0))
        #expect(PacketLimits.outbound(soft: 1 << 40, hard: 1 << 41, extended: true) == (1 << 40, 1 << 41))
    }

    @Test func refusesABufferWithoutRoom() throws {
        let (sealer, _) = try ReferenceSuite.gcm256.pair(key: [UInt8](repeating: 1, count: 96))
        var buffer = [UInt8](repeating: 0, count: 60)
        var span = buffer.mutableSpan
        #expect(throws: ESPError.room) { try sealer.seal(&span, payload: 8..<20, nextHeader: 4, sequence: 1) }
        #expect(throws: ESPError.room) { try sealer.seal(&span, payload: 16..<60, nextHeader: 4, sequence: 1) }
    }

    @Test func dummyPacketsAreToldApart() throws {
        let (sealer, opener) = try ReferenceSuite.gcm128.pair(key: [UInt8](repeating: 1, count: 96))
        let packet = try sealed(sealer, [0, 0, 0], nextHeader: NextHeader.none, sequence: 1)
        #expect(throws: ESPError.dummy) { try opened(opener, packet) }
        #expect(opener.window.highest == 1)
    }

    /// Padding that is wrong under a right ICV: made by sealing what looks like text with a trailer, one layer below.
    @Test func wrongPaddingIsRefused() throws {
        let key = [UInt8](repeating: 9, count: 36)
        let algorithm = ReferenceAEAD.gcm256
        let context = try algorithm.makeContext(key: key.span.extracting(0..<32), sealing: true)
        for (trailer, expected) in [
            ([1, 2, 3, 3, 4], nil), ([1, 2, 4, 3, 4], ESPError.padding), ([0, 0, 0, 3, 4], .padding), ([1, 2, 3, 255, 4], .padding),
            ([1, 2, 3, 0, 4], nil), ([9, 9, 9, 1, 4], .padding),
        ] as [([UInt8], ESPError?)] {
            let opener = try Opener(window: ReplayWindow(extended: false), aead: algorithm, keyMaterial: key.span)
            var text: [UInt8] = [0x45, 0, 0] + trailer
            let head: [UInt8] = [0, 0, 0, 1, 0, 0, 0, 1], iv: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 1]
            var tag = [UInt8](repeating: 0, count: 16)
            let nonce = Array(key[32...]) + iv
            do {
                var textSpan = text.mutableSpan, tagSpan = tag.mutableSpan
                try context.seal(nonce: nonce.span, aad: head.span, text: &textSpan, tag: &tagSpan)
            }
            if let expected {
                #expect(throws: expected, "\(trailer)") { try opened(opener, head + iv + text + tag) }
            } else {
                #expect(throws: Never.self, "\(trailer)") { try opened(opener, head + iv + text + tag) }
            }
        }
    }

    @Test func randomIVsDiffer() throws {
        let (sealer, _) = try ReferenceSuite.cbc128sha256.pair(key: [UInt8](repeating: 1, count: 96))
        var seen: Set<[UInt8]> = []
        for sequence in 1...1000 { seen.insert(Array(try sealed(sealer, [1], sequence: UInt64(sequence))[8..<24])) }
        #expect(seen.count == 1000)
    }

    @Test func headerNeedsEightBytes() {
        for length in 0..<8 { #expect(PacketHeader([UInt8](repeating: 1, count: length).span) == nil) }
        let header = PacketHeader([0, 0, 1, 2, 0, 0, 0, 5].span)
        #expect(header?.spi == 0x102)
        #expect(header?.sequence == 5)
    }
}
