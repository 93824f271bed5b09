// What the control socket can say about connections, plugins, algorithms, failures and the daemon itself.
// Strings and integers alone: a secret never enters one of these.

/// A failure as a person should read it.
package struct FailureSnapshot: Sendable, Hashable, Error {
    /// Stable, for scripts: `no-answer`.
    package var code: String
    /// One sentence: what happened.
    package var summary: String
    /// What was seen, a line each.
    package var evidence: [String]
    /// What to change or where to look, the likeliest first.
    package var advice: [String]
    /// Seconds since it happened.
    package var ageSeconds: UInt64
    package init(code: String, summary: String, evidence: [String] = [], advice: [String] = [], ageSeconds: UInt64 = 0) {
        self.code = code
        self.summary = summary
        self.evidence = evidence
        self.advice = advice
        self.ageSeconds = ageSeconds
    }
}

/// A configured connection.
package struct ConnectionSnapshot: Sendable, Hashable {
    package var name: String
    package var localAddresses: [String] = []
    package var remoteAddresses: [String] = []
    package var localPort: UInt16 = 500
    package var remotePort: UInt16 = 500
    /// `IKEv2`.
    package var version = "IKEv2"
    /// Seconds; 0 is never.
    package var reauthSeconds: UInt64 = 0
    package var rekeySeconds: UInt64 = 0
    /// The value of the key `unique`: `no`, `never`, `keep` or `replace`.
    package var unique = "no"
    /// Seconds; 0 is off.
    package var usesMOBIKE = true
    package var livenessSeconds: UInt64 = 0
    package var local: [AuthenticationSnapshot] = []
    package var remote: [AuthenticationSnapshot] = []
    package var children: [ChildConfigurationSnapshot] = []
    /// Martlet's addition: where it was read, `/etc/martlet/martlet.conf:12`, or `vici`.
    package var origin: String?
    /// Martlet's addition: why it last failed; nil after a success.
    package var lastFailure: FailureSnapshot?
    package init(name: String) { self.name = name }
}

/// One round of authentication of one side.
package struct AuthenticationSnapshot: Sendable, Hashable {
    /// `pre-shared key`, `public key`, `EAP` or `any`, the words that vici clients know.
    package var method: String
    package var id: String
    package var groups: [String] = []
    package init(method: String, id: String) {
        self.method = method
        self.id = id
    }
}

package struct ChildConfigurationSnapshot: Sendable, Hashable {
    package var name: String
    package var mode = "TUNNEL"
    /// 0 is never.
    package var rekeySeconds: UInt64 = 0
    package var rekeyBytes: UInt64 = 0
    package var rekeyPackets: UInt64 = 0
    /// The values of the keys `start_action`, `dpd_action` and `close_action`: `none`, `trap`, `start`, `clear`, `restart`.
    package var startAction = "none"
    package var livenessAction = "clear"
    package var closeAction = "none"
    package var localSelectors: [String] = []
    package var remoteSelectors: [String] = []
    package var lastFailure: FailureSnapshot?
    package init(name: String) { self.name = name }
}

/// A policy that is installed without an SA: it takes traffic to a tunnel that it makes, past all tunnels, or nowhere.
package struct PolicySnapshot: Sendable, Hashable {
    package enum Kind: String, Sendable, Hashable, CaseIterable { case trap, drop, pass }
    package var kind: Kind
    package var connection: String
    package var child: String
    /// `TUNNEL`, `TRANSPORT`, `PASS` or `DROP`.
    package var mode: String
    package var localSelectors: [String] = []
    package var remoteSelectors: [String] = []
    package init(kind: Kind, connection: String, child: String, mode: String) {
        self.kind = kind
        self.connection = connection
        self.child = child
        self.mode = mode
    }
}

/// A plugin file that was loaded, or why it was not.
package struct PluginSnapshot: Sendable, Hashable {
    package var name: String
    package var path: String
    package var version = ""
    package var vendor = ""
    package var licence = ""
    /// `0`, the major of the contract.
    package var abi = ""
    package var isLoaded: Bool
    /// Why it was refused, or nil.
    package var reason: String?
    /// `crypto:AES_GCM_16`, `auth:psk`, `plane:tun` and so on.
    package var provides: [String] = []
    /// What else there is to say of it on this machine.
    package var notes: [String] = []
    package init(name: String, path: String, isLoaded: Bool) {
        self.name = name
        self.path = path
        self.isLoaded = isLoaded
    }
}

/// One algorithm of one provider.
package struct AlgorithmSnapshot: Sendable, Hashable {
    /// The kinds that vici clients know.
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        case encryption, integrity, aead, hasher, prf, kdf, keyExchange = "ke", signature, random = "rng"
    }
    package enum State: String, Sendable, Hashable {
        /// Offered, and this provider serves it.
        case active
        /// Passed its known answers, another provider is preferred.
        case standby
        /// Not yet tested: no connection names it.
        case untested
        /// Failed a known answer and is not offered.
        case failed
    }
    package var kind: Kind
    /// As in IKEWire's `Transform.name`, with the key's bits where there are several sizes.
    package var name: String
    /// The same for all sizes of key, as vici clients know it.
    package var plainName: String
    package var provider: String
    package var state: State
    /// Why it failed, or what it measured.
    package var note: String?
    package init(kind: Kind, name: String, plainName: String? = nil, provider: String, state: State, note: String? = nil) {
        self.kind = kind
        self.name = name
        self.plainName = plainName ?? name
        self.provider = provider
        self.state = state
        self.note = note
    }
}

/// A named number.
package struct CounterSnapshot: Sendable, Hashable {
    package var name: String
    package var value: UInt64
    package init(name: String, value: UInt64) {
        self.name = name
        self.value = value
    }
}

/// A pool of inner addresses.
package struct PoolSnapshot: Sendable, Hashable {
    package struct Lease: Sendable, Hashable {
        package var address: String
        package var identity: String
        package var isOnline: Bool
        package init(address: String, identity: String, isOnline: Bool) {
            self.address = address
            self.identity = identity
            self.isOnline = isOnline
        }
    }
    package var name: String
    package var base: String
    package var size: UInt64
    package var online: Int
    package var offline: Int
    /// Nil where nobody asked.
    package var leases: [Lease]?
    package init(name: String, base: String, size: UInt64, online: Int, offline: Int, leases: [Lease]? = nil) {
        self.name = name
        self.base = base
        self.size = size
        self.online = online
        self.offline = offline
        self.leases = leases
    }
}

/// The counters of one connection, or, under the empty name, of all together.
package struct NamedCounters: Sendable, Hashable {
    package var connection: String
    /// In the order in which vici clients know them.
    package var counters: [CounterSnapshot]
    package init(connection: String, counters: [CounterSnapshot]) {
        self.connection = connection
        self.counters = counters
    }
}

/// The daemon's load.
package struct StatsSnapshot: Sendable, Hashable {
    package var uptimeSeconds: UInt64 = 0
    /// Seconds since 1970 at the start.
    package var startedUnixSeconds: Int64 = 0
    package var workers = 0
    package var idleWorkers = 0
    package var queuedJobs = 0
    package var armedTimers = 0
    package var ikeSAs = 0
    package var halfOpenIKESAs = 0
    package var plugins: [String] = []
    /// Martlet's additions: packets and datagrams not carried, by stable reason; and any other counters.
    package var drops: [CounterSnapshot] = []
    package var counters: [CounterSnapshot] = []
    package var shards = 1
    /// The last failure that belongs to no connection: a peer that none is configured for.
    package var lastRefusal: FailureSnapshot?
    /// Certificates of ours and of trusted authorities that have expired, or will within 30 days.
    package var expiring: [ExpiringSnapshot] = []
    package init() {}
}

/// A certificate whose time is over, or soon will be.
package struct ExpiringSnapshot: Sendable, Hashable {
    package var subject: String
    package var origin: String
    package var isAuthority: Bool
    /// Seconds of 1970.
    package var notAfter: Int64
    package var isExpired: Bool

    /// Those of `items` that anybody relies on: with a key of ours, or trusted.
    package static func all(in items: [Credential], now: Int64) -> [ExpiringSnapshot] {
        let keys = Set(items.filter { $0.kind == .privateKey }.map(\.facts.keyID))
        return items.filter { item in
            item.kind == .certificate && item.facts.notAfter < now + 30 * 86_400 && (keys.contains(item.facts.keyID) || item.isTrusted && item.facts.isAuthority)
        }.map { item in
            ExpiringSnapshot(
                subject: item.facts.subjectText, origin: item.origin, isAuthority: !keys.contains(item.facts.keyID), notAfter: item.facts.notAfter, isExpired: item.facts.notAfter < now)
        }.sorted { $0.notAfter < $1.notAfter }
    }
}

/// One line of the log.
package struct LogEntrySnapshot: Sendable, Hashable {
    /// The subsystem, three letters where vici clients have one: `IKE`, `NET`, `CFG`, `CHD`, `DMN`, `LIB`, `ENC`, `KNL`, `JOB`, `MGR`, `ESP`.
    package var group: String
    /// 0 is always shown (errors and audit), 1 what an administrator wants, 2 to 4 for the developer.
    package var level: Int
    /// Which thread wrote it; 0 where that says nothing.
    package var thread: Int
    package var ikeSAName: String?
    package var ikeSAUniqueID: UInt64?
    package var message: String
    /// Milliseconds since 1970.
    package var unixMilliseconds: Int64
    package init(
        group: String, level: Int, thread: Int = 0, ikeSAName: String? = nil, ikeSAUniqueID: UInt64? = nil, message: String,
        unixMilliseconds: Int64
    ) {
        self.group = group
        self.level = level
        self.thread = thread
        self.ikeSAName = ikeSAName
        self.ikeSAUniqueID = ikeSAUniqueID
        self.message = message
        self.unixMilliseconds = unixMilliseconds
    }
}
