// The gateway as a whole, on the control loop: starts and ends it, and knows what no single shard knows.

import CLinux
import Glibc
import IKECore
import IKECrypto
import IKEWire
import Synchronization

/// Everything that runs, after it was started. Its state belongs to the control loop.
package final class RunningGateway: @unchecked Sendable {
    let loop: EventLoop
    let log: Log
    let plugins: PluginSet
    let shards: [Shard]
    let router: ShardRouter
    let transport: Transport
    let jobs: JobPool
    /// Name look-ups may wait for long: they leave a thread to the key exchanges.
    let lookUps: JobPool.Lane
    let runner: JobRunner
    private let users: SharedUserBook
    let plane: PlaneDriver?
    /// How it was chosen.
    let planes: PlaneChoice
    let pools: AddressPoolSet
    /// Nil where leases are in memory alone.
    let leases: LeaseStore?
    private let nameServers: NameServerSetup
    let started = Instant.now()
    let startedUnixSeconds = unixMilliseconds() / 1000
    private let keyExport: KeyExport?
    private var driver: Driver?

    // The control loop alone.
    var sources: ConfigurationSources
    var server: ControlServer?
    private var serverTimer: (id: EventLoop.TimerID, at: Instant)?
    private var identities = IdentityIndex()
    /// What waits for an `Action.answer`.
    private var requests: [RequestID: (Result<String, Failure>) -> Void] = [:]
    private var lastRequest: UInt64 = 0
    /// Why a connection last failed.
    var failures: [String: (failure: Failure, at: Instant)] = [:]
    var traps = TrapPolicies()
    private var addressWatch: AddressWatch?
    var fileWatch: FileWatch?
    /// The configuration as its files have it, for when those of certificates change alone.
    var text: ReadConfiguration?
    /// By what the directories in use were made: `DirectoryConfiguration.fingerprint`.
    var directories = 0
    /// What was wrong with those, and has been said.
    var complaints: [String] = []
    /// Why a peer that no connection is configured for was last refused.
    var liveCheck = LiveCheck(interval: .seconds(60))
    var isLiveCheckArmed = false
    /// Nil without observers.
    var ledger: AccountingLedger?
    var observers: [Observer] = []
    private(set) var lastRefusal: (failure: Failure, at: Instant)?
    /// Look-ups that failed in a row, by connection.
    private var failedLookUps: [String: Int] = [:]
    /// Initiations in a row that were not answered, by connection: the next goes to another address where there are several.
    private var unanswered: [String: Int] = [:]
    private(set) var isEnding = false
    private var whenEnded: (() -> Void)?

    init(
        configuration: GatewayConfiguration, plugins: PluginSet, crypto: Crypto, transport: Transport, shardCount: Int, plane: PlaneDriver?, planes: PlaneChoice, loop: EventLoop, log: Log
    ) throws(SystemError) {
        sources = ConfigurationSources(files: configuration)
        self.plugins = plugins
        self.transport = transport
        self.plane = plane
        self.planes = planes
        self.loop = loop
        self.log = log
        router = ShardRouter(count: shardCount, seed: UInt64.random(in: .min ... .max))
        pools = AddressPoolSet()
        leases = try configuration.gateway.leases.map { path throws(SystemError) in try LeaseStore(path: path, log: log) }
        nameServers = try NameServerSetup(configuration.gateway.resolver, state: configuration.gateway.state, log: log)
        // Two at least: one may be waiting in a look-up.
        jobs = try JobPool(threads: max(2, shardCount), spares: 64) { lane, count in
            // One line for each would be a line for each SA that waits for the plugin.
            guard count.nonzeroBitCount == 1 else { return }
            log.write(.error, "JOB", "\(lane.map { "a call of \($0.name)" } ?? "a calculation") has not ended in its time and keeps its thread; there are \(count) such now")
        }
        lookUps = JobPool.Lane(name: "look-up", limit: max(2, shardCount) - 1)
        runner = JobRunner(methods: { plugins.authMethod(named: $0) }, eapMethods: { plugins.eapMethod(named: $0) }, directory: { plugins.directory(named: $0) }, secrets: configuration.secrets)
        keyExport = try configuration.gateway.exportKeysFolder.map { folder throws(SystemError) in try KeyExport(folder: folder, log: log) }
        var limits = configuration.gateway.limits
        limits.shards = shardCount
        limits.natPort = configuration.gateway.natPort
        users = SharedUserBook(limits)
        var shards: [Shard] = []
        for number in 0..<shardCount {
            shards.append(try Shard(number: number, crypto: crypto, connections: configuration.connections, limits: limits, pools: pools, users: users, transport: transport))
        }
        self.shards = shards
        driver = Driver(jobs: jobs, runner: runner, plane: plane, nameServers: nameServers, log: log, limits: limits, delegate: self)
    }

    /// What files and clients say together.
    var configuration: GatewayConfiguration { sources.merged }

    /// The one of that name if there is one, or all of them.
    func connections(named name: String?) -> [Connection] {
        guard let name else { return configuration.connections }
        return sources.connection(named: name).map { [$0] } ?? []
    }

    /// Starts shards and readers. After this datagrams are answered.
    func start() throws(SystemError) {
        guard let driver else { return }
        credentialsChanged()
        // Before anybody can be lent an address.
        poolsChanged()
        nameServers.start()
        try beginAccounting()
        for shard in shards { try shard.start(driver: driver) }
        let shards = shards
        try transport.start(router: router, undelivered: { remote, report in for shard in shards { shard.post(.unreachable(remote: remote, report)) } }) { index, datagrams in
            shards[index].deliver(datagrams)
        }
    }

    /// Tells every shard which addresses this host has, now and whenever they change. Without it an SA does not notice that it has to move.
    func watchAddresses() {
        do throws(SystemError) {
            addressWatch = try AddressWatch(loop, listen: configuration.gateway.listen, isInner: { [plane] address in plane?.isInner(address) ?? false }) { [unowned self] addresses in
                log.write(.debug, "NET", "this host's addresses: \(addresses.isEmpty ? "none" : addresses.map(\.description).joined(separator: ", "))")
                for shard in shards { shard.post(.localAddressesChanged(addresses)) }
            }
        } catch {
            log.write(.error, "NET", "this host's addresses are not watched, so that no SA moves when they change: \(error)")
        }
    }

    func event(_ event: Event, to shard: Int) {
        if shards.indices.contains(shard) { shards[shard].post(event) }
    }

    // MARK: The control socket

    func serve(_ server: ControlServer) throws(SystemError) {
        self.server = server
        for (descriptor, interest) in server.fds { try loop.watch(descriptor, Self.bits(interest)) { [unowned self] in ready(descriptor, $0) } }
        server.interestChanged = { [unowned self] descriptor, interest in
            // What waits for nothing is not watched at all: epoll reports a client that hung up whatever was asked for, again and again,
            // and nobody takes note while its command is under way.
            guard interest != [] else { return loop.unwatch(descriptor) }
            // A descriptor that cannot be watched is a client that gets no answers; its own time-out ends it.
            try? loop.watch(descriptor, Self.bits(interest)) { [unowned self] in ready(descriptor, $0) }
        }
        loop.afterBatch = { [unowned self] in armServerTimer() }
        log.subscribe { [weak self] line in
            guard let self else { return }
            loop.offer { [weak self] in self?.server?.publish(.logged(line.snapshot)) }
        }
    }

    private static func bits(_ interest: ControlInterest) -> UInt32 {
        (interest.contains(.read) ? MARTLET_READABLE : 0) | (interest.contains(.write) ? MARTLET_WRITABLE : 0)
    }

    private func ready(_ descriptor: Int32, _ events: UInt32) {
        if events & (MARTLET_READABLE | MARTLET_BROKEN) != 0 { server?.handleReadable(descriptor) }
        if events & MARTLET_WRITABLE != 0 { server?.handleWritable(descriptor) }
    }

    private func armServerTimer() {
        let deadline = server?.nextDeadline
        guard deadline != serverTimer?.at else { return }
        if let serverTimer { loop.cancel(serverTimer.id) }
        serverTimer = deadline.map { at in
            (
                loop.arm(at: at) { [unowned self] in
                    serverTimer = nil
                    server?.expire()
                }, at
            )
        }
    }

    // MARK: Initiating

    /// A number for a request, with what its answer means.
    func expect(_ answer: @escaping (Result<String, Failure>) -> Void) -> RequestID {
        lastRequest += 1
        let request = RequestID(rawValue: lastRequest)
        requests[request] = answer
        return request
    }

    /// Brings up every child with `start_action = start` of the connections named, or of all.
    func initiateStarting(only names: Set<String>? = nil) {
        for connection in names.map({ $0.compactMap(sources.connection(named:)) }) ?? configuration.connections {
            for child in connection.children where child.startAction.contains(.start) {
                initiate(connection: connection.name, child: child.name, request: nil)
            }
        }
    }

    /// Looks addresses up, then tells the connection's shard. `packet`: the one that asks for the child.
    func initiate(connection name: String, child: String?, packet: TriggeringPacket? = nil, request: RequestID?) {
        guard !isEnding else { return settle(request, .failure(Failure(.closed, "The daemon is ending"))) }
        guard let connection = sources.connection(named: name) else {
            return settle(request, .failure(Failure(.notConfigured, "There is no connection \(name)")))
        }
        // Nobody is looked up for a policy that has no peer.
        if let policy = child.flatMap({ connection.child(named: $0) }), !policy.mode.isNegotiated { return settle(request, .failure(.noTunnel(policy))) }
        let settings = configuration.gateway, failed = unanswered[name] ?? 0
        jobs.submit(deadline: Instant.now() + .seconds(30), lane: lookUps) {
            Resolution.resolve(connection, gateway: settings, failed: failed)
        } _: { [weak self] outcome in
            self?.loop.post { [weak self] in
                switch outcome {
                case .done(.success(let path)): self?.begin(connection, child, packet, path, request)
                case .done(.failure(let failure)): self?.lookUpFailed(connection, child, packet, failure, request)
                case .late, .refused:
                    self?.lookUpFailed(
                        connection, child, packet,
                        Failure(
                            .noAnswer, "Looking up the peer of \(connection.name) took too long",
                            advice: ["Check this host's name resolution, or write addresses to \(connection.setting("remote_addrs"))."]), request)
                }
            }
        }
    }

    private func begin(_ connection: Connection, _ child: String?, _ packet: TriggeringPacket?, _ path: Resolution.Path, _ request: RequestID?) {
        failedLookUps[connection.name] = nil
        // Children of one connection share an IKE SA, whichever side began it.
        let shard = identities.shard(ofConnection: connection.name) ?? router.shard(forConnection: connection.name)
        event(.initiate(connection: connection.name, child: child, packet: packet, local: path.local, remote: path.remote, request: request), to: shard)
    }

    private func lookUpFailed(_ connection: Connection, _ child: String?, _ packet: TriggeringPacket?, _ failure: Failure, _ request: RequestID?) {
        for line in failure.lines { log.write(.error, "IKE", line, connection: connection.name) }
        if failure.code == .noAnswer { server?.publish(.alert(type: "peer-addr-failed", nil, FailureSnapshot(failure))) }
        failures[connection.name] = (failure, Instant.now())
        settle(request, .failure(failure))
        let count = failedLookUps[connection.name, default: 0] + 1
        failedLookUps[connection.name] = count
        // Nobody waits: as often as the connection says. An operator tries again himself.
        guard request == nil, failure.code != .notConfigured, connection.keyingTries == 0 || count < connection.keyingTries else { return }
        loop.arm(after: .seconds(min(5 * count, 60))) { [unowned self] in initiate(connection: connection.name, child: child, packet: packet, request: nil) }
    }

    private func settle(_ request: RequestID?, _ result: Result<String, Failure>) {
        if let request { requests.removeValue(forKey: request)?(result) }
    }

    // MARK: Reports

    /// How long a peer that authenticates anew has to delete its older IKE SA itself.
    private static let handover = Duration.seconds(4)

    /// `sessions_per_user`: those whose place another one has taken, where the device has not ended them itself by then.
    private func endSessions(of user: Identification, replacedBy session: UInt64) {
        loop.arm(after: Self.handover) { [unowned self] in
            for (id, shard) in users.leaving(user, for: session) {
                willEnd(id, .replaced, "the user has authenticated anew, and sessions_per_user leaves no room for both")
                log.write(.info, "IKE", "IKE SA #\(id.rawValue) ends: \(user) has authenticated anew, and sessions_per_user leaves no room for both", ikeSA: id.rawValue)
                event(.replaced(id), to: Int(shard))
            }
        }
    }

    private func noted(_ report: Report, shard: Int) {
        let now = Instant.now()
        account(report)
        func snapshot(_ status: IKESAStatus) -> IKESASnapshot { IKESASnapshot(status, now: now, shard: shard) }
        // A snapshot is words: made where somebody listens.
        func publish(_ event: @autoclosure () -> ControlEvent) { if server?.hasListeners == true { server?.publish(event()) } }
        switch report {
        case .initiating, .note: break
        case .ikeSAEstablished(let sa):
            failures[sa.connection] = nil
            unanswered[sa.connection] = nil
            watchAccount(of: sa, shard: shard)
            let before = identities.shards(ofConnection: sa.connection)
            let verdicts = identities.established(sa, shard: shard)
            tellShards(of: sa.connection, before: before)
            for verdict in verdicts {
                switch verdict {
                case .terminate(let member):
                    willEnd(member.sa, .replaced, "unique = \(sa.unique.rawValue) leaves one session for each peer")
                    log.write(.info, "IKE", "IKE SA #\(member.sa.rawValue) ends: unique = \(sa.unique.rawValue) leaves one for each peer", connection: sa.connection, ikeSA: member.sa.rawValue)
                    event(.replaced(member.sa), to: member.shard)
                case .terminateSoon(let succession):
                    // It has its own time to delete it, and does so without losing a packet.
                    loop.arm(after: Self.handover) { [unowned self] in
                        guard let member = identities.due(succession) else { return }
                        willEnd(member.sa, .replaced, "the peer has authenticated anew")
                        event(.replaced(member.sa), to: member.shard)
                    }
                case .forget(let member):
                    willEnd(member.sa, .replaced, "the peer has begun anew")
                    log.write(.info, "IKE", "IKE SA #\(member.sa.rawValue) is dropped: the peer has begun anew", connection: sa.connection, ikeSA: member.sa.rawValue)
                    event(.forget(member.sa), to: member.shard)
                }
            }
            if let circle = identities.circle(sa.id) {
                log.write(LogLevel(NoteLevel.warning), "IKE", circle.words(sa), connection: sa.connection, ikeSA: sa.id.rawValue)
            }
            if let session = sa.replacingSession, let user = sa.user { endSessions(of: user, replacedBy: session) }
            publish(.ikeSAChanged(isUp: true, snapshot(sa)))
        case .ikeSARekeyed(let previous, let current):
            failures[current.connection] = nil
            identities.rekeyed(previous.id, current, shard: shard)
            liveCheck.rekeyed(previous.id, LiveCheck.Member(sa: current.id, shard: shard, connection: current.connection))
            publish(.ikeSARekeyed(old: snapshot(previous), new: snapshot(current)))
        case .ikeSAClosed(let sa, _):
            let before = identities.shards(ofConnection: sa.connection)
            identities.closed(sa.id)
            liveCheck.closed(sa.id)
            tellShards(of: sa.connection, before: before)
            // What another one has replaced is not down: its subscribers were told of the rekey.
            guard sa.state != .rekeyed else { break }
            var ended = snapshot(sa)
            ended.state = .deleting
            publish(.ikeSAChanged(isUp: false, ended))
        case .childSAUp(let sa, let child):
            failures[sa.connection] = nil
            publish(.childSAChanged(isUp: true, ike: snapshot(sa), child: ChildSASnapshot(child, now: now)))
        case .childSARekeyed(let sa, let previous, let current):
            failures[sa.connection] = nil
            publish(.childSARekeyed(ike: snapshot(sa), old: ChildSASnapshot(previous, now: now), new: ChildSASnapshot(current, now: now)))
        case .childSADown(let sa, let child):
            publish(.childSAChanged(isUp: false, ike: snapshot(sa), child: ChildSASnapshot(child, now: now)))
        case .ikeSAMoved(let sa, let local, let remote):
            identities.moved(sa.id, to: remote)
            publish(.ikeSAMoved(local: EndpointSnapshot(local, nil), remote: EndpointSnapshot(remote, nil), snapshot(sa)))
        case .failed(let failure, let connection, let sa):
            if let connection, failure.code == .noAnswer { unanswered[connection, default: 0] += 1 }
            if let connection { failures[connection] = (failure, now) } else { lastRefusal = (failure, now) }
            if let type = failure.alertType(sa) { publish(.alert(type: type, sa.map(snapshot), FailureSnapshot(failure))) }
        }
    }

    /// Tells each shard whether another has an SA of the connection, where that has changed.
    private func tellShards(of connection: String, before: Set<Int>) {
        let after = identities.shards(ofConnection: connection)
        guard after != before else { return }
        for shard in shards.indices {
            let isElsewhere = after.contains { $0 != shard }
            if isElsewhere != before.contains(where: { $0 != shard }) { event(.establishedElsewhere(connection: connection, isElsewhere), to: shard) }
        }
    }

    // MARK: The end

    /// Tells every peer, waits a moment for their answers, and calls `ended`.
    func shutDown(_ ended: @escaping () -> Void) {
        guard !isEnding else { return }
        isEnding = true
        whenEnded = ended
        for shard in shards { shard.post(.shutDown) }
        let deadline = Instant.now() + .seconds(2)
        waitForPeers(until: deadline)
    }

    private func waitForPeers(until deadline: Instant) {
        collect { [weak self] view in
            guard let self else { return }
            let rest = view.shards.reduce(0) { $0 + $1.ikeSACount }
            if rest == 0 || Instant.now() >= deadline {
                if rest > 0 { log.write(.info, "IKE", "IKE SAs whose peers have not answered the Delete: \(rest)") }
                endAccounting { [unowned self] in
                    whenEnded?()
                    whenEnded = nil
                }
            } else {
                loop.arm(after: .milliseconds(20)) { [unowned self] in waitForPeers(until: deadline) }
            }
        }
    }

    /// Ends every thread, after the control loop has ended. False where a job still runs: then plugins must not be shut down.
    func stop() -> Bool {
        log.subscribe(nil)
        transport.stop()
        for shard in shards { shard.stop() }
        // Nothing is lent or given back any more.
        leases?.stop()
        nameServers.stop()
        plane?.stop()
        let isTold = stopObservers()
        let isQuiet = jobs.stop() && isTold
        keyExport?.stop()
        server = nil
        return isQuiet
    }
}

extension RunningGateway: DriverDelegate {
    func reported(_ report: Report, shard: Int) {
        let work: EventLoop.Work = { [weak self] in self?.noted(report, shard: shard) }
        switch report {
        // Strangers can cause these, at any rate.
        case .failed, .note, .initiating, .ikeSAMoved: loop.offer(work)
        // The index of identities must not miss one of these.
        case .ikeSAEstablished, .ikeSARekeyed, .ikeSAClosed, .childSAUp, .childSARekeyed, .childSADown: loop.post(work)
        }
    }

    func answered(_ request: RequestID, _ result: Result<String, Failure>) {
        loop.post { [weak self] in self?.settle(request, result) }
    }

    func shouldInitiateAgain(connection: String, child: String?, packet: TriggeringPacket?, after: Duration, request: RequestID?) {
        loop.post { [weak self] in
            self?.loop.arm(after: after) { [weak self] in self?.initiate(connection: connection, child: child, packet: packet, request: request) }
        }
    }

    func exported(_ keys: ExportedKeys) { keyExport?.write(keys) }

    func looksUp(_ names: [String], shard: Int) {
        for name in names {
            jobs.submit(deadline: Instant.now() + .seconds(30), lane: lookUps) {
                Resolution.addresses(ofName: name)
            } _: { [weak self] outcome in
                if case .done(let found) = outcome { self?.event(.nameFound(name, found), to: shard) } else { self?.event(.nameFound(name, nil), to: shard) }
            }
        }
    }

    func handedOn(_ hint: Hint, from shard: Int, shardsLeft: Int) { event(.hint(hint, shardsLeft: shardsLeft), to: (shard + 1) % shards.count) }

    /// ESP that no SA takes. From a thread of the plane. The shard that chose the SPI knows best whether an SA is about to have it.
    func strayed(_ stray: StrayESP) { event(.hint(.strayESP(stray), shardsLeft: shards.count - 1), to: Int(stray.spi >> 24) % shards.count) }
}
