// Packets that the kernel did not carry, by reason: /proc/net/xfrm_stat, of the whole network namespace, from the plane's start on.

import Glibc

struct Drops {
    /// The kernel's names, each under the name that other planes use for the like of it, where there is one.
    private static let reasons: [(kernel: String, reason: StaticString)] = [
        ("XfrmInNoStates", "unknown_spi"), ("XfrmInStateSeqError", "replay"), ("XfrmInStateProtoError", "icv"), ("XfrmInHdrError", "malformed"), ("XfrmInNoPols", "selector"),
        ("XfrmInTmplMismatch", "template"), ("XfrmInPolBlock", "blocked_in"), ("XfrmInStateMismatch", "encapsulation"), ("XfrmInStateExpired", "expired"), ("XfrmInStateInvalid", "invalid_sa"),
        ("XfrmInStateModeError", "mode"), ("XfrmInBufferError", "memory"), ("XfrmInError", "in_error"), ("XfrmFwdHdrError", "forward"), ("XfrmOutNoStates", "no_sa"),
        ("XfrmOutPolBlock", "blocked_out"), ("XfrmOutPolDead", "policy_dead"), ("XfrmOutPolError", "policy"), ("XfrmOutStateSeqError", "sequence_exhausted"),
        ("XfrmOutStateExpired", "expired_out"), ("XfrmOutStateProtoError", "crypto"), ("XfrmOutStateModeError", "mode_out"), ("XfrmOutStateInvalid", "invalid_sa_out"),
        ("XfrmOutBundleGenError", "bundle"), ("XfrmOutBundleCheckError", "bundle_check"), ("XfrmOutError", "out_error"), ("XfrmAcquireError", "acquire"),
    ]

    private var before: [String: UInt64]

    init() { before = Self.read() }

    static var count: Int { reasons.count }

    /// Calls `each` with the reason's name, which is immortal, and its packets.
    func each(_ each: (Int, UnsafePointer<CChar>, UInt64) -> Void) {
        let now = Self.read()
        for (place, entry) in Self.reasons.enumerated() {
            let packets = (now[entry.kernel] ?? 0) &- (before[entry.kernel] ?? 0)
            each(place, UnsafeRawPointer(entry.reason.utf8Start).assumingMemoryBound(to: CChar.self), packets)
        }
    }

    /// Empty where the kernel does not count.
    private static func read() -> [String: UInt64] {
        guard let file = fopen("/proc/thread-self/net/xfrm_stat", "re") else { return [:] }
        defer { fclose(file) }
        var counts: [String: UInt64] = [:]
        var line = [CChar](repeating: 0, count: 128)
        while fgets(&line, Int32(line.count), file) != nil {
            let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split { $0 == " " || $0 == "\t" || $0 == "\n" }
            if words.count == 2, let value = UInt64(words[1]) { counts[String(words[0])] = value }
        }
        return counts
    }
}
