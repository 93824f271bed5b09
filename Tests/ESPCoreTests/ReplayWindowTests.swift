// The window against a model that remembers everything, and the reconstruction of extended sequence numbers.

import ESPCore
import Testing

/// Every number ever accepted, in a set.
private struct NaiveWindow {
    var size: UInt64
    var seen: Set<UInt64> = []
    var highest: UInt64 = 0

    func accepts(_ sequence: UInt64) -> Bool {
        if sequence == 0 { return false }
        if sequence > highest || size == 0 { return true }
        return highest - sequence < size && !seen.contains(sequence)
    }
    mutating func advance(_ sequence: UInt64) {
        seen.insert(sequence)
        highest = max(highest, sequence)
    }
}

@Suite struct ReplayWindowTests {
    @Test(arguments: [0, 1, 32, 63, 64, 65, 128, 1000, 1024, 4096], [false, true])
    func agreesWithTheModel(size: Int, extended: Bool) {
        for seed in UInt64(1)...5 {
            var generator = SeededGenerator(seed: seed)
            // Begin near a half so that the extended variant crosses it.
            let start: UInt64 = extended ? 0x3_ffff_f000 : UInt64(generator.next() % 10_000)
            var window = ReplayWindow(size: size, extended: extended, highest: start)
            var model = NaiveWindow(size: UInt64(size), highest: start)
            for step in 0..<4000 {
                let spread = UInt64(max(size, 16))
                let jump = generator.next() % 100
                let sequence: UInt64 =
                    switch jump {
                    case 0: model.highest + generator.next() % (4 * spread)
                    case 1...40: model.highest + 1
                    default: model.highest + 4 - min(generator.next() % (2 * spread), model.highest + 4)
                    }
                if extended && size == 0 && sequence <= start { continue }
                let verdict = window.check(UInt32(truncatingIfNeeded: sequence))
                let expected = model.accepts(sequence)
                #expect((verdict == sequence) == expected, "seed \(seed) step \(step): \(sequence) after \(model.highest), got \(String(describing: verdict))")
                // Only some are authentic; a check alone must not move the window.
                if let verdict, verdict == sequence, generator.next() % 4 != 0 {
                    window.advance(sequence)
                    model.advance(sequence)
                }
                if expected != (verdict == sequence) { return }
            }
            #expect(window.highest == model.highest)
        }
    }

    @Test func theNumbersEnd() {
        var window = ReplayWindow(size: 64, extended: false)
        window.advance(0xffff_ffff)
        #expect(window.check(0xffff_ffff) == nil)
        #expect(window.check(0xffff_fffe) == 0xffff_fffe)
        #expect(window.check(0) == nil)
        #expect(window.check(1) == nil)
        var extended = ReplayWindow(size: 64, extended: true, highest: .max - 1)
        extended.advance(.max)
        #expect(extended.check(3) == nil)
        #expect(extended.check(0xffff_ffff) == nil)
    }

    @Test func zeroIsNeverAccepted() {
        #expect(ReplayWindow(extended: false).check(0) == nil)
        #expect(ReplayWindow(extended: true).check(0) == nil)
        #expect(ReplayWindow(size: 0, extended: false).check(0) == nil)
    }

    @Test func sizesAreBounded() {
        #expect(ReplayWindow(size: 1_000_000, extended: false).size == 4096)
        #expect(ReplayWindow(size: -1, extended: false).size == 0)
        #expect(ReplayWindow(extended: false).size == 64)
    }

    /// RFC 4303 Appendix A2.1, with the subspaces written out.
    @Test func reconstructsTheHighHalf() {
        let one: UInt64 = 1 << 32
        #expect(ExtendedSequence.reconstruct(low: 100, highest: 50, window: 64) == 100)
        #expect(ExtendedSequence.reconstruct(low: 0xffff_fff0, highest: 10, window: 64) == nil)
        #expect(ExtendedSequence.reconstruct(low: 0xffff_fff0, highest: one + 10, window: 64) == 0xffff_fff0)
        #expect(ExtendedSequence.reconstruct(low: 5, highest: one + 10, window: 64) == one + 5)
        #expect(ExtendedSequence.reconstruct(low: 5, highest: one - 1, window: 64) == one + 5)
        #expect(ExtendedSequence.reconstruct(low: 0xffff_ffc0, highest: one - 1, window: 64) == 0xffff_ffc0)
        #expect(ExtendedSequence.reconstruct(low: 0xffff_ffbf, highest: one - 1, window: 64) == one + 0xffff_ffbf)
        #expect(ExtendedSequence.reconstruct(low: 0, highest: .max, window: 64) == nil)
    }
}
