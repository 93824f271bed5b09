// The message codec against its description's own example, and against truncated, altered and random input.
import Testing

@testable import ViciWire

@Suite struct MessageCodecTests {
    /// "Encoding example" in strongSwan's src/libcharon/plugins/vici/README.md.
    static let example: [UInt8] =
        [3, 4] + Array("key1".utf8) + [0, 6] + Array("value1".utf8)
        + [1, 8] + Array("section1".utf8)
        + [1, 11] + Array("sub-section".utf8)
        + [3, 4] + Array("key2".utf8) + [0, 6] + Array("value2".utf8)
        + [2]
        + [4, 5] + Array("list1".utf8)
        + [5, 0, 5] + Array("item1".utf8)
        + [5, 0, 5] + Array("item2".utf8)
        + [6, 2]

    @Test func decodesTheExampleOfTheProtocolDescription() throws {
        let message = try ViciMessage(decoding: Self.example[...])
        #expect(message["key1"] == "value1")
        #expect(message.section("section1")?.section("sub-section")?["key2"] == "value2")
        #expect(message.section("section1")?.list("list1") == ["item1", "item2"])
        #expect(try message.encoded() == Self.example)
    }

    @Test func keepsOrderAndDuplicates() throws {
        var message = ViciMessage()
        message.add("b", "1")
        message.add("a", "2")
        message.add("b", "3")
        let decoded = try ViciMessage(decoding: message.encoded()[...])
        #expect(decoded.elements.map(\.name) == ["b", "a", "b"])
        #expect(decoded["b"] == "1")
    }

    @Test func readsNumbersAndTruth() {
        var message = ViciMessage()
        message.add("n", -1)
        message.add("big", "18446744073709551616")
        message.add("on", "Yes")
        message.add("off", "no")
        #expect(message.integer("n", as: Int32.self) == -1)
        #expect(message.integer("n", as: UInt32.self) == nil)
        #expect(message.integer("big", as: UInt64.self) == nil)
        #expect(message.boolean("on"))
        #expect(!message.boolean("off"))
        #expect(!message.boolean("absent"))
    }

    @Test func roundTripsGeneratedMessages() throws {
        for seed in 0..<2_000 as Range<UInt64> {
            var random = Seeded(seed: seed)
            let message = random.message()
            let decoded = try ViciMessage(decoding: message.encoded()[...])
            #expect(decoded == message, "seed \(seed)")
        }
    }

    @Test func refusesEveryTruncation() throws {
        // A cut between two elements of the root is a shorter message; any other is an error.
        for length in 0..<Self.example.count {
            let isWhole = length == 0 || length == 14
            let decoded = try? ViciMessage(decoding: Self.example[..<length])
            #expect((decoded != nil) == isWhole, "cut at \(length)")
        }
    }

    @Test func survivesBitFlips() throws {
        for seed in 0..<3_000 as Range<UInt64> {
            var random = Seeded(seed: seed)
            var bytes = try random.message().encoded()
            guard !bytes.isEmpty else { continue }
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            // Either an error, or a message that encodes to exactly the bytes that came.
            guard let decoded = try? ViciMessage(decoding: bytes[...]) else { continue }
            #expect(try decoded.encoded() == bytes, "seed \(seed)")
        }
    }

    @Test func survivesRandomBytes() throws {
        for seed in 0..<3_000 as Range<UInt64> {
            var random = Seeded(seed: seed)
            let bytes = (0..<Int.random(in: 0...64, using: &random)).map { _ in UInt8.random(in: 0...7, using: &random) }
            guard let decoded = try? ViciMessage(decoding: bytes[...]) else { continue }
            #expect(try decoded.encoded() == bytes, "seed \(seed)")
        }
    }

    @Test func namesTheErrors() {
        func error(_ bytes: [UInt8]) -> ViciError? {
            do {
                _ = try ViciMessage(decoding: bytes[...])
                return nil
            } catch { return error }
        }
        #expect(error([9]) == .unknownElementType(9))
        #expect(error([0]) == .unknownElementType(0))
        #expect(error([2]) == .misplacedElement(.sectionEnd))
        #expect(error([5, 0, 0]) == .misplacedElement(.listItem))
        #expect(error([6]) == .misplacedElement(.listEnd))
        #expect(error([4, 0, 4, 0]) == .misplacedElement(.listStart))
        #expect(error([4, 0, 3, 0, 0, 0]) == .misplacedElement(.keyValue))
        #expect(error([4, 0, 1, 0]) == .misplacedElement(.sectionStart))
        #expect(error([4, 0, 2]) == .misplacedElement(.sectionEnd))
        #expect(error([1, 0]) == .unterminated(sections: 1, inList: false))
        #expect(error([4, 0]) == .unterminated(sections: 0, inList: true))
        #expect(error([3, 2, 97]) == .truncated(need: 2, have: 1))
        #expect(error([3, 1, 97, 0]) == .truncated(need: 1, have: 0))
        #expect(error([3, 1, 97, 1, 0, 0]) == .truncated(need: 256, have: 1))
        #expect(error([3, 1, 0xff, 0, 0]) == .malformedName(offset: 2))
    }

    @Test func capsDepthAndElements() throws {
        let deepest = [1, 0].repeated(ViciLimits.depth) + [2].repeated(ViciLimits.depth)
        let message = try ViciMessage(decoding: deepest[...])
        #expect(try message.encoded() == deepest)

        let tooDeep = [1, 0].repeated(ViciLimits.depth + 1) + [2].repeated(ViciLimits.depth + 1)
        #expect(throws: ViciError.tooDeep) { try ViciMessage(decoding: tooDeep[...]) }
        #expect(throws: ViciError.tooDeep) { try ViciMessage([.section("", message)]).encoded() }

        let many = [3, 0, 0, 0].repeated(ViciLimits.elements)
        #expect(try ViciMessage(decoding: many[...]).elements.count == ViciLimits.elements)
        #expect(throws: ViciError.tooManyElements) { try ViciMessage(decoding: (many + [3, 0, 0, 0])[...]) }
    }

    @Test func refusesToEncodeWhatALengthFieldCannotCount() throws {
        var longest = ViciMessage([.value(String(repeating: "n", count: 255), [UInt8](repeating: 0, count: 65_535))])
        #expect(try ViciMessage(decoding: longest.encoded()[...]) == longest)
        longest = ViciMessage([.value(String(repeating: "n", count: 256), [])])
        #expect(throws: ViciError.nameTooLong(256)) { try longest.encoded() }
        longest = ViciMessage([.list("l", [[UInt8](repeating: 0, count: 65_536)])])
        #expect(throws: ViciError.valueTooLong(65_536)) { try longest.encoded() }
    }
}

extension [UInt8] {
    func repeated(_ count: Int) -> [UInt8] { (0..<count).flatMap { _ in self } }
}
