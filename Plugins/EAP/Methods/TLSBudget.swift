// What all conversations of TLS together hold of what peers have sent that have proven nothing yet: pieces of messages, and handshakes that are not over.

import PluginABI
import Synchronization

/// The part of one conversation. Gives back what it has when it goes.
final class TLSBudget {
    /// What a conversation may hold whatever the others do: a ClientHello, or a certificate with one above it. With as many half-open SAs as the daemon allows 40 MB.
    static let assured = 8_192
    /// Beyond that, in all.
    package static let all = 16 << 20
    private static let used = Atomic<Int>(0)
    private var taken = 0

    /// Of that many octets of its own; false where there is no room for them.
    func hold(_ count: Int) -> Bool {
        let wanted = max(0, count - Self.assured), change = wanted - taken
        guard change > 0 else {
            if change < 0 { Self.used.subtract(-change, ordering: .relaxed) }
            taken = wanted
            return true
        }
        guard Self.used.add(change, ordering: .relaxed).newValue <= Self.all else {
            Self.used.subtract(change, ordering: .relaxed)
            return false
        }
        taken = wanted
        return true
    }

    deinit { if taken > 0 { Self.used.subtract(taken, ordering: .relaxed) } }
}
