// version, stats, list-conn, get-algorithms and log: snapshots as vici messages.
// Keys, formats and order are those of strongSwan's src/libcharon/plugins/vici/README.md; keys and commands that begin with
// `martlet-` are additions.
import Glibc
import ViciWire

enum ConfigurationMessages {
    static func version(daemonVersion: String) -> ViciMessage {
        var m = ViciMessage()
        m.add("daemon", "martletd")
        m.add("version", daemonVersion)
        var names = utsname()
        if uname(&names) == 0 {
            m.add("sysname", text(of: names.sysname))
            m.add("release", text(of: names.release))
            m.add("machine", text(of: names.machine))
        }
        return m
    }

    static func stats(_ stats: StatsSnapshot) -> ViciMessage {
        var m = ViciMessage()
        var uptime = ViciMessage()
        uptime.add("running", duration(stats.uptimeSeconds))
        uptime.add("since", date(stats.startedUnixSeconds))
        m.add("uptime", section: uptime)
        var workers = ViciMessage()
        workers.add("total", stats.workers)
        workers.add("idle", stats.idleWorkers)
        // Jobs have one priority here; the others are there for clients that print all four.
        var active = ViciMessage()
        active.add("critical", 0)
        active.add("high", 0)
        active.add("medium", max(0, stats.workers - stats.idleWorkers))
        active.add("low", 0)
        workers.add("active", section: active)
        m.add("workers", section: workers)
        var queues = ViciMessage()
        queues.add("critical", 0)
        queues.add("high", 0)
        queues.add("medium", stats.queuedJobs)
        queues.add("low", 0)
        m.add("queues", section: queues)
        m.add("scheduled", stats.armedTimers)
        var sas = ViciMessage()
        sas.add("total", stats.ikeSAs)
        sas.add("half-open", stats.halfOpenIKESAs)
        m.add("ikesas", section: sas)
        m.add("plugins", list: stats.plugins)
        m.add("martlet-uptime", stats.uptimeSeconds)
        m.add("martlet-shards", stats.shards)
        m.add("martlet-drops", section: counters(stats.drops))
        m.add("martlet-counters", section: counters(stats.counters))
        if !stats.expiring.isEmpty {
            var list = ViciMessage()
            for (index, item) in stats.expiring.prefix(64).enumerated() {
                var one = ViciMessage()
                one.add("subject", item.subject)
                one.add("origin", item.origin)
                one.add("authority", item.isAuthority ? "yes" : "no")
                one.add("expired", item.isExpired ? "yes" : "no")
                one.add("not-after", date(item.notAfter))
                one.add("not-after-seconds", String(item.notAfter))
                list.add("certificate-\(index + 1)", section: one)
            }
            m.add("martlet-expiring", section: list)
        }
        if let failure = stats.lastRefusal { m.add("martlet-last-refusal", section: self.failure(failure)) }
        return m
    }

    static func connection(_ connection: ConnectionSnapshot) -> ViciMessage {
        var m = ViciMessage()
        m.add("local_addrs", list: connection.localAddresses)
        m.add("remote_addrs", list: connection.remoteAddresses)
        m.add("local_port", connection.localPort)
        m.add("remote_port", connection.remotePort)
        m.add("version", connection.version)
        m.add("reauth_time", connection.reauthSeconds)
        m.add("rekey_time", connection.rekeySeconds)
        m.add("unique", "UNIQUE_" + connection.unique.uppercased())
        if connection.livenessSeconds > 0 { m.add("dpd_delay", connection.livenessSeconds) }
        for (side, rounds) in [("local", connection.local), ("remote", connection.remote)] {
            for (index, round) in rounds.enumerated() {
                var section = ViciMessage()
                if !round.id.isEmpty { section.add("id", round.id) }
                section.add("class", round.method)
                section.add("groups", list: round.groups)
                section.add("cert_policy", list: [])
                section.add("certs", list: [])
                section.add("cacerts", list: [])
                m.add("\(side)-\(index + 1)", section: section)
            }
        }
        var children = ViciMessage()
        for child in connection.children { children.add(clipped(child.name), section: self.child(child)) }
        m.add("children", section: children)
        m.add("martlet-origin", connection.origin)
        m.add("martlet-mobike", connection.usesMOBIKE ? "yes" : "no")
        if let failure = connection.lastFailure { m.add("martlet-last-failure", section: self.failure(failure)) }
        var message = ViciMessage()
        message.add(clipped(connection.name), section: m)
        return message
    }

    private static func child(_ child: ChildConfigurationSnapshot) -> ViciMessage {
        var m = ViciMessage()
        m.add("mode", child.mode)
        m.add("rekey_time", child.rekeySeconds)
        m.add("rekey_bytes", child.rekeyBytes)
        m.add("rekey_packets", child.rekeyPackets)
        m.add("dpd_action", child.livenessAction)
        m.add("close_action", child.closeAction)
        m.add("local-ts", list: child.localSelectors)
        m.add("remote-ts", list: child.remoteSelectors)
        m.add("martlet-start-action", child.startAction)
        if let failure = child.lastFailure { m.add("martlet-last-failure", section: self.failure(failure)) }
        return m
    }

    static func policy(_ policy: PolicySnapshot) -> ViciMessage {
        var m = ViciMessage()
        m.add("child", policy.child)
        m.add("ike", policy.connection)
        m.add("mode", policy.mode)
        m.add("local-ts", list: policy.localSelectors)
        m.add("remote-ts", list: policy.remoteSelectors)
        var message = ViciMessage()
        message.add(clipped("\(policy.connection)/\(policy.child)"), section: m)
        return message
    }

    /// A section for each pool. Leases beyond those that the packet has room for are left out.
    static func pools(_ pools: [PoolSnapshot]) -> ViciMessage {
        var message = ViciMessage()
        var room = 4_096
        for pool in pools.prefix(room) {
            var m = ViciMessage()
            m.add("base", pool.base)
            m.add("size", pool.size)
            m.add("online", pool.online)
            m.add("offline", pool.offline)
            if let leases = pool.leases, !leases.isEmpty {
                var section = ViciMessage()
                for (index, lease) in leases.prefix(room).enumerated() {
                    var one = ViciMessage()
                    one.add("address", lease.address)
                    one.add("identity", clipped(lease.identity, to: 64))
                    one.add("status", lease.isOnline ? "online" : "offline")
                    section.add(String(index), section: one)
                }
                room -= min(room, leases.count)
                m.add("leases", section: section)
            }
            message.add(clipped(pool.name), section: m)
        }
        return message
    }

    static func failure(_ failure: FailureSnapshot) -> ViciMessage {
        var m = ViciMessage()
        m.add("code", failure.code)
        m.add("summary", clipped(failure.summary, to: 4_096))
        m.add("evidence", list: lines(failure.evidence))
        m.add("advice", list: lines(failure.advice))
        m.add("age", failure.ageSeconds)
        return m
    }

    /// So many and so long that the packet has room for them.
    static func lines(_ lines: [String]) -> [String] { lines.prefix(32).map { clipped($0, to: 1_024) } }

    /// The sections that vici clients of 5.9 know, in their order; one that Martlet has nothing for is empty.
    private static let algorithmSections: [(name: String, kind: AlgorithmSnapshot.Kind?)] = [
        ("encryption", .encryption), ("integrity", .integrity), ("aead", .aead), ("hasher", .hasher), ("prf", .prf), ("xof", nil), ("kdf", .kdf), ("drbg", nil), ("dh", .keyExchange),
        ("rng", .random), ("nonce-gen", nil),
    ]

    /// A section for each kind, then `name = provider` for the algorithms that are offered, or will be once a connection names them.
    static func algorithms(_ algorithms: [AlgorithmSnapshot]) -> ViciMessage {
        var m = ViciMessage()
        for (name, kind) in algorithmSections {
            var section = ViciMessage()
            var seen: Set<String> = []
            for one in algorithms where one.kind == kind && (one.state == .active || one.state == .untested) && seen.insert(one.plainName).inserted {
                section.add(clipped(one.plainName), one.provider)
            }
            m.add(name, section: section)
        }
        return m
    }

    /// Every algorithm of every provider, with its state.
    static func allAlgorithms(_ algorithms: [AlgorithmSnapshot]) -> ViciMessage {
        var m = ViciMessage()
        for (index, one) in algorithms.enumerated() {
            var section = ViciMessage()
            section.add("kind", one.kind.rawValue)
            section.add("name", one.name)
            section.add("provider", one.provider)
            section.add("state", one.state.rawValue)
            section.add("note", one.note)
            m.add(String(index + 1), section: section)
        }
        return m
    }

    static func plugins(_ plugins: [PluginSnapshot]) -> ViciMessage {
        var m = ViciMessage()
        for (index, plugin) in plugins.enumerated() {
            var section = ViciMessage()
            section.add("name", plugin.name)
            section.add("path", plugin.path)
            section.add("version", plugin.version)
            section.add("vendor", plugin.vendor)
            section.add("licence", plugin.licence)
            section.add("abi", plugin.abi)
            section.add("state", plugin.isLoaded ? "loaded" : "refused")
            section.add("reason", plugin.reason)
            section.add("provides", list: plugin.provides)
            if !plugin.notes.isEmpty { section.add("notes", list: plugin.notes) }
            m.add(String(index + 1), section: section)
        }
        return m
    }

    /// `sequence` counts the entries of this daemon's life, so that a client can join backlog and stream.
    static func log(_ entry: LogEntrySnapshot, sequence: UInt64?, withThread: Bool) -> ViciMessage {
        var m = ViciMessage()
        m.add("group", entry.group)
        m.add("level", entry.level)
        if withThread { m.add("thread", entry.thread) }
        m.add("ikesa-name", entry.ikeSAName)
        m.add("ikesa-uniqueid", entry.ikeSAUniqueID)
        m.add("msg", clipped(entry.message, to: 16_384))
        m.add("martlet-time", entry.unixMilliseconds)
        m.add("martlet-sequence", sequence)
        return m
    }

    private static func counters(_ counters: [CounterSnapshot]) -> ViciMessage {
        var m = ViciMessage()
        for counter in counters { m.add(clipped(counter.name), counter.value) }
        return m
    }

    private static func duration(_ seconds: UInt64) -> String {
        func form(_ count: UInt64, _ unit: String) -> String { "\(count) \(unit)\(count == 1 ? "" : "s")" }
        return switch seconds {
        case ..<120: form(seconds, "second")
        case ..<7_200: form(seconds / 60, "minute")
        case ..<172_800: form(seconds / 3_600, "hour")
        default: form(seconds / 86_400, "day")
        }
    }

    private static func date(_ unixSeconds: Int64) -> String {
        var time = time_t(unixSeconds)
        var parts = tm()
        guard localtime_r(&time, &parts) != nil else { return String(unixSeconds) }
        var buffer = [CChar](repeating: 0, count: 64)
        let count = strftime(&buffer, buffer.count, "%b %d %H:%M:%S %Y", &parts)
        return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The text in one of uname's arrays, which Swift sees as tuples.
    private static func text<Tuple>(of tuple: Tuple) -> String {
        withUnsafeBytes(of: tuple) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
