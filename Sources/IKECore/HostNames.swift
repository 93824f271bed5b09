// Where the host names of `local_addrs` and `remote_addrs` lead. They say who may begin, as addresses do: the shell looks names up when a connection
// comes, and again when a peer begins that none of the addresses known so far fits. A name that was not found leads nowhere.

import IKEWire

package struct HostNames: Sendable {
    private struct Entry {
        var addresses: [IPAddress] = []
        /// When it was asked for last, and whether that is still open.
        var asked: Instant?
        var isOpen = false
        /// An answer has come at least once, or is not waited for any more.
        var isKnown = false
    }
    private var entries: [String: Entry] = [:]
    /// Strangers make us ask for a name once in this time.
    private static let interval = Duration.seconds(10)
    /// So long an answer counts as new, and what is looked up is waited for.
    private static let age = Duration.seconds(60), patience = Duration.seconds(5)
    /// So many are asked for at once because of one request; those that wait longest come first.
    private static let most = 16

    package init() {}

    var isEmpty: Bool { entries.isEmpty }

    func leads(_ name: String, to address: IPAddress) -> Bool { entries[name]?.addresses.contains(address) ?? false }

    /// New ones, which are to be looked up.
    private(set) var hasUnasked = false

    /// The names of these connections and no others; what is known of them stays.
    mutating func take(_ connections: [Connection]) {
        var names: Set<String> = []
        for connection in connections where connection.isNegotiated {
            for case .name(let name) in connection.localAddresses + connection.remoteAddresses { names.insert(name) }
        }
        guard !names.isEmpty || !entries.isEmpty else { return }
        entries = entries.filter { names.contains($0.key) }
        for name in names where entries[name] == nil {
            entries[name] = Entry()
            hasUnasked = true
        }
    }

    mutating func askNew(now: Instant) -> [String] {
        hasUnasked = false
        let names = entries.filter { $0.value.asked == nil }.keys.sorted()
        for name in names { ask(name, now) }
        return names
    }

    private mutating func ask(_ name: String, _ now: Instant) {
        entries[name]?.asked = now
        entries[name]?.isOpen = true
    }

    /// How well a connection fits the address that a peer begins from.
    enum Fit {
        /// None is for it, one is for many others as well, or one is for just this address.
        case none, wide, exact
    }

    /// A peer has begun. Returns what is to be looked up now, and whether the answer should be waited for: the peer will send its request again. One whose address
    /// stands in a connection waits for no name; one that a connection for many would take waits, once, for names that nobody has answered for yet.
    mutating func peerBegan(_ fit: Fit, now: Instant) -> (lookUp: [String], waits: Bool) {
        var due: [String] = [], waits = false
        for (name, entry) in entries.sorted(by: { ($0.value.asked?.nanoseconds ?? 0, $0.key) < ($1.value.asked?.nanoseconds ?? 0, $1.key) }) {
            let counts = fit == .none || fit == .wide && !entry.isKnown
            if entry.isOpen, let asked = entry.asked {
                if now < asked + Self.patience { waits = waits || counts } else { entries[name]?.isKnown = true }
            }
            guard due.count < Self.most, now >= (entry.asked.map { $0 + (fit == .none ? Self.interval : Self.age) } ?? now) else { continue }
            ask(name, now)
            due.append(name)
            waits = waits || counts
        }
        return (due, waits)
    }

    /// `addresses`: nil where the name could not be looked up. What it led to before stands then.
    mutating func found(_ name: String, _ addresses: [IPAddress]?) {
        guard entries[name] != nil else { return }
        entries[name]?.isOpen = false
        entries[name]?.isKnown = true
        if let addresses { entries[name]?.addresses = addresses }
    }
}
