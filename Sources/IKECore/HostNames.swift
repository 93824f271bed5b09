// Where the host names of `local_addrs` and `remote_addrs` lead. They say who may begin, as addresses do: the shell looks names up when a connection
// comes, and again when a peer begins that none of the addresses known so far fits. A name that was not found leads nowhere.

import IKEWire

package struct HostNames: Sendable {
    private struct Entry {
        var addresses: [IPAddress] = []
        /// When it was asked for last, and whether that is still open.
        var asked: Instant?
        var isOpen = false
        /// An answer has come at least once.
        var isKnown = false
    }
    private var entries: [String: Entry] = [:]
    /// Strangers make us ask for a name once in this time.
    private static let interval = Duration.seconds(10)
    /// So long an answer counts as new, and what is looked up is waited for.
    private static let age = Duration.seconds(60), patience = Duration.seconds(5)

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

    /// A peer has begun. `isMeant`: a connection is for its address already. Returns what is to be looked up now, and whether the answer should be waited for:
    /// the peer will send its request again.
    mutating func peerBegan(isMeant: Bool, now: Instant) -> (lookUp: [String], waits: Bool) {
        var due: [String] = [], waits = false
        for (name, entry) in entries {
            if let asked = entry.asked {
                if entry.isOpen, now < asked + Self.patience {
                    waits = waits || !isMeant || !entry.isKnown
                    continue
                }
                guard now >= asked + (isMeant && entry.isKnown ? Self.age : Self.interval) else { continue }
            }
            ask(name, now)
            due.append(name)
            waits = waits || !isMeant || !entry.isKnown
        }
        return (due.sorted(), waits)
    }

    /// `addresses`: nil where the name could not be looked up. What it led to before stands then.
    mutating func found(_ name: String, _ addresses: [IPAddress]?) {
        guard entries[name] != nil else { return }
        entries[name]?.isOpen = false
        entries[name]?.isKnown = true
        if let addresses { entries[name]?.addresses = addresses }
    }
}
