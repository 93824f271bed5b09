// What the control socket's commands do: the gateway as a backend of the control server.

import Glibc
import IKECore
import IKECrypto
import IKEWire
import PluginABI

extension RunningGateway: ControlBackend {
    package var daemonVersion: String { Martlet.version }

    package func stats(_ completion: @escaping @Sendable (StatsSnapshot) -> Void) {
        collect { [unowned self] view in
            var stats = StatsSnapshot()
            stats.uptimeSeconds = UInt64(clamping: Instant.now().since(started).wholeSeconds)
            stats.startedUnixSeconds = startedUnixSeconds
            let load = jobs.load
            stats.workers = jobs.threadCount
            stats.idleWorkers = max(0, jobs.threadCount - load.running)
            stats.queuedJobs = load.waiting
            stats.armedTimers = loop.timerCount
            stats.ikeSAs = view.shards.reduce(0) { $0 + $1.ikeSACount }
            stats.halfOpenIKESAs = view.shards.reduce(0) { $0 + $1.halfOpen }
            stats.plugins = plugins.loaded.map(\.name)
            stats.shards = shards.count
            stats.lastRefusal = lastRefusal.map { FailureSnapshot($0.failure, ageSeconds: UInt64(clamping: Instant.now().since($0.at).wholeSeconds)) }
            stats.expiring = ExpiringSnapshot.all(in: sources.credentials, now: unixMilliseconds() / 1000)
            let transport = transport.counters
            stats.drops =
                view.drops.map { CounterSnapshot(name: $0.reason, value: $0.packets) } + [
                    CounterSnapshot(name: "ike_malformed", value: transport.malformed + view.sum(\.malformed)),
                    CounterSnapshot(name: "ike_unknown_spi", value: transport.noShard + view.sum(\.unknownSPI)),
                    CounterSnapshot(name: "ike_over_limit", value: view.sum(\.overLimit)),
                    CounterSnapshot(name: "ike_address_over_limit", value: view.sum(\.addressOverLimit)),
                    CounterSnapshot(name: "ike_network_over_limit", value: view.sum(\.networkOverLimit)),
                    CounterSnapshot(name: "ike_agreements_over_limit", value: view.sum(\.agreementsOverLimit)),
                    CounterSnapshot(name: "ike_displaced", value: view.sum(\.displaced)),
                    CounterSnapshot(name: "ike_auth_not_tried", value: view.sum(\.authNotTried)),
                    CounterSnapshot(name: "ike_answers_held_back", value: view.sum(\.answersHeldBack)),
                    CounterSnapshot(name: "ike_fragments_over_limit", value: view.sum(\.fragmentsOverLimit)),
                    CounterSnapshot(name: "ike_queue_full", value: transport.queueFull),
                    CounterSnapshot(name: "ike_send_refused", value: transport.refused),
                    CounterSnapshot(name: "esp_stray", value: transport.strayESP),
                    CounterSnapshot(name: "job_refused", value: load.refused),
                    CounterSnapshot(name: "job_late", value: load.late), CounterSnapshot(name: "job_stuck", value: UInt64(load.stuck)),
                    CounterSnapshot(name: "log_lost", value: log.lost),
                ]
            if !observers.isEmpty {
                stats.drops += [
                    CounterSnapshot(name: "accounting_lost", value: observers.reduce(0) { $0 + $1.counters.lost }),
                    CounterSnapshot(name: "accounting_refused", value: observers.reduce(0) { $0 + $1.counters.refused }),
                ]
            }
            stats.counters = [
                CounterSnapshot(name: "ike_received", value: transport.received), CounterSnapshot(name: "ike_sent", value: transport.sent),
                CounterSnapshot(name: "nat_keepalives", value: transport.keepalives), CounterSnapshot(name: "cookies_demanded", value: view.sum(\.cookiesDemanded)),
                CounterSnapshot(name: "cookies_taken", value: view.sum(\.cookiesTaken)),
                CounterSnapshot(name: "invalid_spi_sent", value: view.sum(\.invalidSPISent)), CounterSnapshot(name: "invalid_spi_received", value: view.sum(\.invalidSPIReceived)),
            ]
            completion(stats)
        }
    }

    package func listSAs(_ filter: SAFilter, _ completion: @escaping @Sendable (Result<Listing<IKESASnapshot>, FailureSnapshot>) -> Void) {
        SAPages.begin(self, filter, completion)
    }

    package func listConnections(_ completion: @escaping @Sendable ([ConnectionSnapshot]) -> Void) {
        let now = Instant.now()
        completion(
            configuration.connections.map { connection in
                var snapshot = ConnectionSnapshot(connection)
                snapshot.origin = sources.isLoaded(connection: connection.name) ? "vici" : configuration.origin(ofConnection: connection.name)?.description
                snapshot.lastFailure = failures[connection.name].map { FailureSnapshot($0.failure, ageSeconds: UInt64(clamping: now.since($0.at).wholeSeconds)) }
                return snapshot
            })
    }

    package func initiate(
        _ request: InitiateRequest, _ progress: ControlProgress, _ completion: @escaping @Sendable (Result<InitiateOutcome, FailureSnapshot>) -> Void
    ) {
        let named = connections(named: request.ike).filter { connection in request.child.map { connection.child(named: $0) != nil } ?? true }
        guard let connection = named.first else { return completion(.failure(FailureSnapshot(notConfigured(request)))) }
        guard named.count == 1 else {
            return completion(
                .failure(
                    FailureSnapshot(
                        code: Failure.Code.notConfigured.rawValue, summary: "The child \(request.child ?? "") is there more than once",
                        evidence: ["connections: \(named.map(\.name).joined(separator: ", "))"], advice: ["name the connection as well"])))
        }
        guard let child = request.child ?? connection.children.first(where: \.mode.isNegotiated)?.name else {
            return completion(.failure(FailureSnapshot(Failure(.notConfigured, "The connection \(connection.name) has no children"))))
        }
        progress.follow(connection.name)
        collect(.connection(connection.name)) { [unowned self] view in
            // What is not known to be down is not begun a second time.
            if let missing = view.missingShards { return completion(.failure(FailureSnapshot(missing))) }
            let isUp = view.shards.contains { shard in
                shard.selected.contains { sa in
                    sa.state != .deleting
                        && sa.children.contains { $0.name == child && ($0.state == .installed || $0.state == .rekeying) }
                }
            }
            guard !isUp else { return completion(.success(InitiateOutcome(wasUp: true))) }
            let id = expect { result in
                completion(result.map { _ in InitiateOutcome(wasUp: false) }.mapError { FailureSnapshot($0) })
            }
            initiate(connection: connection.name, child: child, request: id)
        }
    }

    func notConfigured(_ request: InitiateRequest) -> Failure {
        let names = configuration.connections.map(\.name), children = configuration.connections.flatMap { $0.children.map(\.name) }
        var advice = ["`martlet check FILE` shows what a file configures; SIGHUP reads it again"]
        if let wanted = request.child, let near = nearest(to: wanted, among: children) { advice.insert("did you mean the child \(near)?", at: 0) }
        if let wanted = request.ike, let near = nearest(to: wanted, among: names) { advice.insert("did you mean the connection \(near)?", at: 0) }
        let what = [request.ike.map { "connection \($0)" }, request.child.map { "child \($0)" }].compactMap(\.self).joined(separator: " with a ")
        return Failure(.notConfigured, "There is no \(what)", evidence: ["children configured: \(children.isEmpty ? "none" : children.joined(separator: ", "))"], advice: advice)
    }

    package func terminate(_ request: TerminateRequest, _ progress: ControlProgress, _ completion: @escaping @Sendable (SelectionOutcome) -> Void) {
        let isForced = request.force
        change(request.filter, progress, evenLeaving: isForced, { isForced ? .terminateAtOnce($0, request: $1) : .terminate($0, request: $1) }, completion)
    }

    package func rekey(_ request: RekeyRequest, _ progress: ControlProgress, _ completion: @escaping @Sendable (SelectionOutcome) -> Void) {
        let reauthenticates = request.reauthenticates
        change(request.filter, progress, { reauthenticates ? .reauthenticate($0, request: $1) : .rekey($0, request: $1) }, completion)
    }

    /// Sends one event for each SA that the filter means, and counts the answers. `evenLeaving`: also for what is on its way out.
    private func change(
        _ filter: SAFilter, _ progress: ControlProgress, evenLeaving: Bool = false, _ event: @escaping (SASelection, RequestID?) -> Event,
        _ completion: @escaping @Sendable (SelectionOutcome) -> Void
    ) {
        let selection = filter.ikeID.map { SASelection.ikeSA(IKESAID(rawValue: $0)) } ?? filter.ike.map { .connection($0) } ?? .child("", connection: nil)
        collect(selection) { [unowned self] view in
            if let missing = view.missingShards { return completion(SelectionOutcome(matches: 0, completed: 0, failure: FailureSnapshot(missing))) }
            var targets: [(shard: Int, selection: SASelection)] = []
            for shard in view.shards {
                for sa in shard.selected where (filter.ike == nil || filter.ike == sa.connection) && (filter.ikeID == nil || filter.ikeID == sa.id.rawValue) {
                    progress.follow(sa.connection)
                    guard filter.selectsChildren else {
                        if sa.state != .rekeyed { targets.append((shard.shard, .ikeSA(sa.id))) }
                        continue
                    }
                    for child in sa.children where (filter.child == nil || filter.child == child.name) && (filter.childID == nil || filter.childID == child.id.rawValue) {
                        if child.state != .rekeyed, child.state != .deleted, evenLeaving || child.state != .deleting { targets.append((shard.shard, .childSA(child.id))) }
                    }
                }
            }
            guard !targets.isEmpty else { return completion(SelectionOutcome(matches: 0, completed: 0)) }
            let tally = Tally(targets.count, completion)
            for target in targets {
                self.event(event(target.selection, expect { tally.add($0) }), to: target.shard)
            }
        }
    }

    /// Answers of one command, on the control loop.
    private final class Tally {
        private let matches: Int
        private var completed = 0
        private var failed = 0
        private var failure: FailureSnapshot?
        private let completion: @Sendable (SelectionOutcome) -> Void

        init(_ matches: Int, _ completion: @escaping @Sendable (SelectionOutcome) -> Void) {
            self.matches = matches
            self.completion = completion
        }

        func add(_ result: Result<String, Failure>) {
            switch result {
            case .success: completed += 1
            case .failure(let reason):
                failed += 1
                failure = failure ?? FailureSnapshot(reason)
            }
            if completed + failed == matches { completion(SelectionOutcome(matches: matches, completed: completed, failure: failure)) }
        }
    }

    package func counters(_ selection: CounterSelection, _ completion: @escaping @Sendable ([NamedCounters]?) -> Void) {
        collect { view in
            let all = view.messages
            switch selection {
            case .global: completion([NamedCounters("", all.all)])
            case .connection(let name): completion(all.connections[name].map { [NamedCounters(name, $0)] })
            case .allConnections: completion(all.connections.sorted { $0.key < $1.key }.map { NamedCounters($0.key, $0.value) })
            }
        }
    }

    package func resetCounters(_ selection: CounterSelection, _ completion: @escaping @Sendable (Bool) -> Void) {
        let scope: ConnectionCounters.Scope =
            switch selection {
            case .global: .all
            case .connection(let name): .connection(name)
            case .allConnections: .everyConnection
            }
        collect { [unowned self] view in
            if case .connection(let name) = selection, view.messages.connections[name] == nil { return completion(false) }
            for shard in shards { shard.post(.resetCounters(scope)) }
            completion(true)
        }
    }

    package func algorithms(_ completion: @escaping @Sendable ([AlgorithmSnapshot]) -> Void) {
        let first = configuration.gateway.ikeProviders
        let order = first.filter { plugins.providers.contains($0) } + plugins.providers.filter { !first.contains($0) }
        var served: Set<String> = []
        completion(
            plugins.algorithms.sorted { (order.firstIndex(of: $0.provider) ?? .max) < (order.firstIndex(of: $1.provider) ?? .max) }.map { status in
                let isFirst = status.disabledBecause == nil && served.insert(status.kind + ":" + status.name).inserted
                return AlgorithmSnapshot(
                    kind: AlgorithmSnapshot.Kind(pluginKind: status.kind), name: status.transform.map { $0.keyLength == nil ? $0.name : "\($0.name)_\($0.keyLength ?? 0)" } ?? status.name,
                    plainName: status.kind == "random" ? "RNG_STRONG" : status.transform?.name, provider: status.provider,
                    state: status.disabledBecause != nil ? .failed : !status.isTested ? .untested : isFirst ? .active : .standby, note: status.disabledBecause)
            })
    }

    package func plugins(_ completion: @escaping @Sendable ([PluginSnapshot]) -> Void) {
        completion(
            plugins.loaded.map { plugin in
                var snapshot = PluginSnapshot(name: plugin.name, path: plugin.file, isLoaded: true)
                snapshot.version = plugin.version
                snapshot.vendor = plugin.vendor
                snapshot.licence = plugin.licence
                snapshot.abi = String(MARTLET_ABI_MAJOR)
                snapshot.provides = plugin.provides
                snapshot.notes = plugin.provides.filter { $0.hasPrefix("plane:") }.flatMap { planeNotes(String($0.dropFirst(6))) }
                return snapshot
            }
                + plugins.refused.map { error in
                    let file = error.file.split(separator: "/").last.map(String.init) ?? error.file
                    var snapshot = PluginSnapshot(name: file, path: error.file, isLoaded: false)
                    snapshot.reason = error.description
                    return snapshot
                })
    }
}

extension RunningGateway {
    /// Whether a plane carries the packets, why it cannot, and which of the algorithms that a configuration may name for ESP it does not do.
    private func planeNotes(_ name: String) -> [String] {
        guard name == planes.name else { return [planes.reasons[name] ?? "does not carry the packets: \(quoted(planes.name ?? "none")) does"] }
        var seen: Set<Transform> = []
        let provided = plugins.algorithms.filter { ["aead", "encryption", "integrity"].contains(AlgorithmSnapshot.Kind(pluginKind: $0.kind).rawValue) }.compactMap(\.transform)
        let missing = (provided + ESPKeyLengths.all).filter { seen.insert($0).inserted && !planes.carries($0) }
        let features = planes.features, unable = PlaneFeatures.names.filter { !features.contains($0.feature) }
        return ["carries the packets"] + (unable.isEmpty ? [] : ["cannot do " + unable.map(\.name).joined(separator: ", ")])
            + (missing.isEmpty ? [] : ["cannot do ESP with " + missing.map(\.description).joined(separator: ", ")])
    }
}

extension AlgorithmSnapshot.Kind {
    init(pluginKind: String) {
        switch pluginKind {
        case "aead": self = .aead
        case "cipher", "encryption": self = .encryption
        case "mac", "integrity": self = .integrity
        case "prf": self = .prf
        case "random": self = .random
        default: self = .keyExchange
        }
    }
}

extension GatewayView {
    func sum(_ counter: KeyPath<EndpointCounters, UInt64>) -> UInt64 { shards.reduce(0) { $0 + ($1.counters?[keyPath: counter] ?? 0) } }

    /// Why this is not the truth about SAs: a shard has not answered in time.
    var missingShards: Failure? { shards.count < shardCount ? Self.late("\(shardCount - shards.count) of \(shardCount) shards have not answered within a second") : nil }
    /// The same with their counters, which the data plane has.
    var missing: Failure? { missingShards ?? (isPlaneMissing ? Self.late("the data plane has not answered within a second") : nil) }

    static func late(_ reason: String) -> Failure {
        Failure(.limit, "The SAs are not all known now: \(reason)", advice: ["Try again; `martlet status` shows the load."])
    }

    /// The counters of all shards together.
    var messages: (all: MessageCounters, connections: [String: MessageCounters]) {
        var sum = (all: MessageCounters(), connections: [String: MessageCounters]())
        for shard in shards {
            sum.all += shard.messages.all
            for (name, counters) in shard.messages.connections { sum.connections[name, default: MessageCounters()] += counters }
        }
        return sum
    }
}

extension ChildSASnapshot {
    mutating func add(_ traffic: ChildTraffic, now: Instant) {
        func snapshot(_ counters: martlet_sa_counters) -> TrafficSnapshot {
            TrafficSnapshot(
                bytes: counters.bytes, packets: counters.packets,
                idleSeconds: counters.last_use_ns == 0 ? nil : UInt64(clamping: now.since(Instant(nanoseconds: counters.last_use_ns)).wholeSeconds))
        }
        if let counters = traffic.inbound {
            inbound = snapshot(counters)
            replayed = counters.replayed
            failedIntegrity = counters.rejected_icv
            outsideSelectors = counters.rejected_selector
            malformed = counters.malformed
        }
        if let counters = traffic.outbound { outbound = snapshot(counters) }
        tunnel = traffic.totals.map { totals in
            TunnelSnapshot(
                seconds: UInt64(clamping: now.since(totals.since).wholeSeconds), inbound: TrafficSnapshot(bytes: totals.inboundBytes, packets: totals.inboundPackets),
                outbound: TrafficSnapshot(bytes: totals.outboundBytes, packets: totals.outboundPackets))
        }
    }
}
