// Properties of the codec over generated messages. A failure prints the seed, which replays alone.

import Testing

@testable import IKEWire

@Suite struct GeneratedMessages {
    /// 400 seeds, in order: the same on every machine.
    static let seeds = (0..<400).map { 0x4d41_5254_4c45_5400 + UInt64($0) }

    @Test func survivesTheRoundTrip() throws {
        for seed in Self.seeds {
            var random = SplitMix64(seed: seed)
            var message = random.message()
            let bytes = message.serialized()
            message.header.length = UInt32(bytes.count)
            let parsed = try #require(try? Message.parse(bytes.span), "seed \(seed)")
            #expect(parsed == message, "seed \(seed)")
            #expect(parsed.serialized() == bytes, "seed \(seed)")
            let chain = Payload.serializeChain(message.payloads)
            #expect(try Payload.parseChain(first: chain.first, chain.bytes.span) == message.payloads, "seed \(seed)")
        }
    }

    @Test func refusesEveryTruncation() {
        for seed in Self.seeds.prefix(60) {
            var random = SplitMix64(seed: seed)
            let bytes = random.message().serialized()
            for count in 0..<bytes.count {
                var cut = Array(bytes[..<count])
                #expect(throws: WireError.self, "seed \(seed), \(count) bytes") { try Message.parse(cut.span) }
                // With the header's length made right, the cut must be noticed by the chain itself.
                guard count >= Header.byteCount else { continue }
                for index in 0..<4 { cut[24 + index] = UInt8(truncatingIfNeeded: count >> (24 - 8 * index)) }
                #expect(throws: WireError.self, "seed \(seed), \(count) bytes, length mended") { try Message.parse(cut.span) }
            }
        }
    }

    @Test func refusesTrailingBytes() {
        for seed in Self.seeds.prefix(100) {
            var random = SplitMix64(seed: seed)
            var bytes = random.message().serialized() + [0]
            #expect(throws: WireError.trailing(1), "seed \(seed)") { try Message.parse(bytes.span) }
            for index in 0..<4 { bytes[24 + index] = UInt8(truncatingIfNeeded: bytes.count >> (24 - 8 * index)) }
            #expect(throws: WireError.trailing(1), "seed \(seed), length mended") { try Message.parse(bytes.span) }
        }
    }

    /// What is accepted after damage is a message like any other: writing and reading it again changes nothing.
    @Test func survivesFlippedBits() throws {
        for seed in Self.seeds.prefix(100) {
            var random = SplitMix64(seed: seed)
            let bytes = random.message().serialized()
            for round in 0..<200 {
                var damaged = bytes
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    damaged[Int.random(in: damaged.indices, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                }
                guard let parsed = try? Message.parse(damaged.span) else { continue }
                // Selectors and attributes that are not understood are not written again; then the length differs.
                let again = parsed.serialized()
                #expect(try Message.parse(again.span).payloads.count == parsed.payloads.count, "seed \(seed), round \(round)")
            }
        }
    }
}
