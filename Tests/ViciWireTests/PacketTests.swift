// Packets and the framing of the stream.
import Testing

@testable import ViciWire

@Suite struct PacketTests {
    @Test func roundTripsGeneratedPackets() throws {
        for seed in 0..<2_000 as Range<UInt64> {
            var random = Seeded(seed: seed)
            let packet = random.packet()
            let framed = try packet.framed()
            #expect(framed[4] == packet.type.rawValue)
            #expect(try ViciPacket(decoding: framed[4...]) == packet, "seed \(seed)")
        }
    }

    @Test func encodesTheLayoutOfTheProtocolDescription() throws {
        #expect(try ViciPacket.eventRegister(name: "log").framed() == [0, 0, 0, 5, 3, 3] + Array("log".utf8))
        #expect(try ViciPacket.commandUnknown.framed() == [0, 0, 0, 1, 2])
        #expect(
            try ViciPacket.commandRequest(name: "a", ViciMessage([.value("k", [118])])).framed()
                == [0, 0, 0, 9, 0, 1, 97, 3, 1, 107, 0, 1, 118])
    }

    @Test func namesTheErrors() {
        func error(_ bytes: [UInt8]) -> ViciError? {
            do {
                _ = try ViciPacket(decoding: bytes[...])
                return nil
            } catch { return error }
        }
        #expect(error([]) == .emptyPacket)
        #expect(error([8]) == .unknownPacketType(8))
        #expect(error([0]) == .truncated(need: 1, have: 0))
        #expect(error([0, 5, 97]) == .truncated(need: 5, have: 1))
        #expect(error([3, 1, 97, 0]) == .trailing(1))
        #expect(error([5, 0]) == .trailing(1))
        #expect(error([1, 2]) == .misplacedElement(.sectionEnd))
    }

    @Test func framesArriveInAnyPieces() throws {
        for seed in 0..<300 as Range<UInt64> {
            var random = Seeded(seed: seed)
            let packets = (0..<Int.random(in: 1...8, using: &random)).map { _ in random.packet() }
            let stream = try packets.flatMap { try $0.framed() }
            var framer = ViciFramer()
            var received: [ViciPacket] = []
            var offset = 0
            while offset < stream.count {
                let end = min(stream.count, offset + Int.random(in: 1...17, using: &random))
                framer.append(stream[offset..<end])
                offset = end
                while let frame = try framer.next() { received.append(try ViciPacket(decoding: frame)) }
            }
            #expect(received == packets, "seed \(seed)")
            #expect(framer.pendingBytes == 0)
        }
    }

    @Test func waitsAtEveryTruncationOfAFrame() throws {
        let framed = try ViciPacket.event(name: "log", ViciMessage([.value("msg", Array("hello".utf8))])).framed()
        for length in 0..<framed.count {
            var framer = ViciFramer()
            framer.append(framed[..<length])
            #expect(try framer.next() == nil, "cut at \(length)")
            framer.append(framed[length...])
            #expect(try framer.next() == framed[4...])
        }
    }

    @Test func refusesFramesThatAreTooLargeOrEmptyFromTheLengthAlone() throws {
        var framer = ViciFramer()
        framer.append([0, 8, 0, 1])
        #expect(throws: ViciError.oversizePacket(524_289)) { try framer.next() }
        framer = ViciFramer()
        framer.append([0xff, 0xff, 0xff, 0xff])
        #expect(throws: ViciError.oversizePacket(0xffff_ffff)) { try framer.next() }
        framer = ViciFramer()
        framer.append([0, 0, 0, 0])
        #expect(throws: ViciError.emptyPacket) { try framer.next() }
        framer = ViciFramer()
        framer.append([0, 8, 0, 0])
        #expect(try framer.next() == nil)
    }

    @Test func refusesToSendWhatNobodyWouldTake() throws {
        let large = ViciMessage((0..<9).map { .value("k\($0)", [UInt8](repeating: 0, count: 65_000)) })
        #expect(throws: ViciError.self) { try ViciPacket.commandResponse(large).framed() }
    }

    @Test func framerDoesNotKeepWhatItHandedOut() throws {
        let framed = try ViciPacket.commandResponse(ViciMessage([.value("k", [UInt8](repeating: 7, count: 60_000))])).framed()
        var framer = ViciFramer()
        for _ in 0..<100 {
            framer.append(framed[...])
            #expect(try framer.next()?.count == framed.count - 4)
            #expect(framer.pendingBytes == 0)
        }
    }

    @Test func withholdsASecretAndForgetsItsBytes() throws {
        var message = ViciMessage()
        message.add("id", "a")
        message.elements.append(.value("data", Array("swordfish".utf8)))
        var inner = ViciMessage()
        inner.add("data", "no secret")
        message.elements.append(.value("pin", Array("1234".utf8)))
        message.add("section", section: inner)
        var framer = ViciFramer()
        framer.append(try ViciPacket.commandRequest(name: "load-shared", message).framed()[...])
        do {
            let next = try framer.next()
            let frame = try #require(next)
            let (packet, secrets) = try ViciPacket.decode(frame, withholding: ["data", "pin"])
            guard case .commandRequest(name: "load-shared", let decoded) = packet else {
                Issue.record("\(packet)")
                return
            }
            #expect(decoded["id"] == "a")
            #expect(decoded.bytes("data") == [] && decoded.bytes("pin") == [])
            #expect(decoded.section("section")?["data"] == "no secret")
            #expect(secrets.map { Array(frame[$0]) } == [Array("swordfish".utf8), Array("1234".utf8)])
            let whole = try ViciPacket(decoding: frame)
            #expect(whole == .commandRequest(name: "load-shared", message))
        }
        framer.append([0, 0, 0, 2, 5, 5])
        framer.forgetTaken()
        let next = try framer.next()
        #expect(next.map(Array.init) == [5, 5])
    }
}
