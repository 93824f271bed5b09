// The first inputs of the fuzzer of the kernel's replies, as they are and changed: whatever comes, every reader of netlink stands it.

import Foundation
import KernelReplies
import Testing

struct KernelRepliesTests {
    /// With MARTLET_SEED another one.
    @Test func noReplyHurts() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../Fuzz/Corpus/FuzzKernelReplies")
        let inputs = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map { Array(try Data(contentsOf: folder.appendingPathComponent($0))) }
        #expect(inputs.count >= 30)
        var state = ProcessInfo.processInfo.environment["MARTLET_SEED"].flatMap { UInt64($0) } ?? 1
        print("seed \(state)")
        func next(_ below: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(truncatingIfNeeded: (state >> 33) % UInt64(max(below, 1)))
        }
        // A precondition of KernelReplies fails where something is taken for what it is not.
        for input in inputs { KernelReplies.take(input) }
        for _ in 0..<10_000 {
            var bytes = inputs[next(inputs.count)]
            for _ in 0...next(5) {
                let place = next(bytes.count)
                switch next(6) {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: next(256))
                case 1: bytes[place] ^= UInt8(1 << next(8))
                // A length, wherever it may be.
                case 2: bytes[place] = [0, 1, 3, 4, 15, 16, 127, 255][next(8)]
                case 3: bytes.removeSubrange(place..<min(bytes.count, place + 1 + next(40)))
                // The same again, behind itself.
                case 4: bytes += bytes.dropFirst().prefix(600)
                default: bytes[0] = UInt8(truncatingIfNeeded: next(256))
                }
                if bytes.isEmpty { bytes = [UInt8(truncatingIfNeeded: next(256))] }
            }
            KernelReplies.take(bytes)
        }
    }
}
