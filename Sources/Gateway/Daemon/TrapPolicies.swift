// Policies without SAs: traps, which wait for traffic, with the one initiation that their packets cause; and those that pass or drop.
// RFC 4301 section 4.4.1.

import IKECore
import IKEWire

/// A child with a policy installed.
package struct InstalledPolicy: Hashable, Sendable {
    package var connection: String
    package var child: String
    /// `pass` and `drop` are what they say; any other has a trap.
    package var mode: ChildMode
    package var localTS: [TrafficSelector]
    package var remoteTS: [TrafficSelector]
}

/// The traps, and the policies that pass or drop, of a gateway. On the control loop alone.
struct TrapPolicies {
    /// Whose policy it is.
    struct Name: Hashable {
        let connection: String, child: String
    }

    private struct Trap {
        let number: UInt64
        /// By the configuration, not by an operator.
        var isConfigured = false
        var installed: InstalledPolicy?
        /// An initiation that its packets began is under way.
        var isAcquiring = false
        /// Until then packets begin nothing: the last initiation failed.
        var quietUntil = Instant(nanoseconds: 0)
        var failures = 0
    }

    private var traps: [Name: Trap] = [:]
    private var names: [UInt64: Name] = [:]
    private var children: [String: Set<String>] = [:]
    private var last: UInt64 = 0
    /// How often the plane has refused those that are tried again.
    private var refusals: [Name: Int] = [:]

    var installed: [InstalledPolicy] { traps.values.compactMap(\.installed).sorted { ($0.connection, $0.child) < ($1.connection, $1.child) } }
    /// Installed, or about to be.
    var wanted: [Name] { Array(traps.keys) }
    func wanted(of connection: String) -> [Name] { children[connection, default: []].map { Name(connection: connection, child: $0) } }
    func isInstalled(_ name: Name) -> Bool { traps[name]?.installed != nil }
    func mode(of name: Name) -> ChildMode? { traps[name]?.installed?.mode }
    func contains(_ name: Name) -> Bool { traps[name] != nil }
    func isConfigured(_ name: Name) -> Bool { traps[name]?.isConfigured == true }

    /// The number of the trap, a new one if there is none yet. The highest bit tells it from the SAs' policies.
    mutating func number(for name: Name, isConfigured: Bool) -> UInt64 {
        if let trap = traps[name] {
            traps[name]?.isConfigured = isConfigured
            return trap.number
        }
        last += 1
        let number = 1 << 63 | last
        traps[name] = Trap(number: number, isConfigured: isConfigured)
        names[number] = name
        children[name.connection, default: []].insert(name.child)
        return number
    }

    mutating func installed(_ name: Name, _ trap: InstalledPolicy) { traps[name]?.installed = trap }

    /// Its number where the plane holds it.
    mutating func remove(_ name: Name) -> UInt64? {
        guard let trap = traps.removeValue(forKey: name) else { return nil }
        names[trap.number] = nil
        children[name.connection]?.remove(name.child)
        if children[name.connection]?.isEmpty == true { children[name.connection] = nil }
        return trap.number
    }

    /// When the plane is asked again that has refused it: after 2, 4, ... 256 seconds. Nil while that is already to come.
    mutating func refused(_ name: Name) -> Duration? {
        let count = refusals[name, default: 0]
        guard count >= 0 else { return nil }
        // Negative while an attempt is to come.
        refusals[name] = -(min(count, 7) + 1)
        return .seconds(1 << (min(count, 7) + 1))
    }

    /// The attempt begins.
    mutating func triesAgain(_ name: Name) { refusals[name] = refusals[name].map { abs($0) } }
    mutating func accepted(_ name: Name) { refusals[name] = nil }

    /// Whose packet it is, where it should begin an initiation.
    mutating func acquired(_ number: UInt64, now: Instant) -> Name? {
        guard let name = names[number], let trap = traps[name], !trap.isAcquiring, trap.quietUntil <= now else { return nil }
        traps[name]?.isAcquiring = true
        return name
    }

    /// The initiation has ended. After failures packets begin nothing for a while: 2, 4, ... 60 seconds.
    mutating func settled(_ name: Name, succeeded: Bool, now: Instant) {
        guard var trap = traps[name] else { return }
        trap.isAcquiring = false
        trap.failures = succeeded ? 0 : min(trap.failures + 1, 6)
        trap.quietUntil = succeeded ? now : now + .seconds(min(1 << trap.failures, 60))
        traps[name] = trap
    }
}

extension RunningGateway {
    /// Installs the policy of every child that has one, of the connections named or of all; a changed one takes the old one's place.
    /// `completion` hears when every one was tried, or when some addresses have been looked up for long; and whether all are there.
    func installTraps(only names: Set<String>? = nil, _ completion: ((_ isComplete: Bool) -> Void)? = nil) {
        let connections = names.map { $0.compactMap(sources.connection(named:)) } ?? configuration.connections
        let wanted = connections.flatMap { connection in connection.children.filter(\.isInstalledAtStart).map { TrapPolicies.Name(connection: connection.name, child: $0.name) } }
        let progress = InstallationProgress(wanted.count, completion)
        for name in wanted {
            install(name) { [unowned self] result in
                defer { progress.tried(result) }
                guard case .failure(let failure) = result else { return }
                for line in failure.lines { log.write(.error, "ESP", line, connection: name.connection) }
                failures[name.connection] = (failure, Instant.now())
            }
        }
        if completion != nil, !progress.isOver { loop.arm(after: .seconds(10)) { progress.giveUp() } }
    }

    /// Counts what was tried. On the control loop.
    private final class InstallationProgress: @unchecked Sendable {
        private var left: Int
        private var isComplete = true
        private var completion: ((Bool) -> Void)?

        init(_ count: Int, _ completion: ((Bool) -> Void)?) {
            left = count
            self.completion = completion
            if count == 0 { end() }
        }

        var isOver: Bool { completion == nil }

        func tried(_ result: Result<Void, Failure>) {
            if case .failure = result { isComplete = false }
            left -= 1
            if left == 0 { end() }
        }

        func giveUp() {
            isComplete = false
            end()
        }

        private func end() {
            completion?(isComplete)
            completion = nil
        }
    }

    /// After a reload: what the configuration no longer has goes; what it has otherwise is put in place of the old one, with no gap between.
    func updateTraps(changed: Set<String>) {
        for name in traps.wanted { update(name, isChanged: changed.contains(name.connection)) }
        installTraps(only: changed)
    }

    /// The same where one connection alone has come, has changed or has gone.
    func updateTraps(of connection: String) {
        for name in traps.wanted(of: connection) { update(name, isChanged: true) }
        installTraps(only: [connection])
    }

    private func update(_ name: TrapPolicies.Name, isChanged: Bool) {
        let child = sources.connection(named: name.connection)?.child(named: name.child)
        guard let child, child.isInstalledAtStart || !traps.isConfigured(name) else { return _ = uninstall(name) }
        if isChanged, !child.isInstalledAtStart { install(name) { _ in } }
    }

    /// Looks addresses up where the selectors need them, and hands the policy to the plane.
    func install(_ name: TrapPolicies.Name, _ completion: @escaping @Sendable (Result<Void, Failure>) -> Void) {
        guard let connection = sources.connection(named: name.connection), let child = connection.child(named: name.child) else {
            return completion(.failure(Failure(.notConfigured, "There is no connection \(name.connection) with a child \(name.child)")))
        }
        // A policy that has no peer has no address to look up.
        guard child.mode.isNegotiated, child.localTS.contains(where: \.isDynamic) || child.remoteTS.contains(where: \.isDynamic) else {
            return install(name, child, nil, completion)
        }
        let settings = configuration.gateway
        jobs.submit(deadline: Instant.now() + .seconds(30), lane: lookUps) {
            Resolution.resolve(connection, gateway: settings)
        } _: { [weak self] outcome in
            self?.loop.post { [weak self] in
                guard let self else { return }
                // Somebody may have changed it meanwhile.
                guard configuration.connection(named: name.connection)?.child(named: name.child) == child else {
                    return completion(.failure(Failure(.closed, "The child \(name.child) was changed meanwhile")))
                }
                guard case .done(.success(let path)) = outcome else {
                    // The network may not be there yet at start.
                    if traps.contains(name) || child.isInstalledAtStart { loop.arm(after: .seconds(10)) { [unowned self] in retry(name, child) } }
                    let failure = if case .done(.failure(let failure)) = outcome { failure } else { Failure(.noAnswer, "Looking up the peer of \(name.connection) took too long") }
                    return completion(.failure(failure))
                }
                install(name, child, path, completion)
            }
        }
    }

    /// Tries again, if the configuration still says the same.
    private func retry(_ name: TrapPolicies.Name, _ child: ChildPolicy) {
        guard !isEnding, sources.connection(named: name.connection)?.child(named: name.child) == child else { return }
        install(name) { _ in }
    }

    private func install(_ name: TrapPolicies.Name, _ child: ChildPolicy, _ path: Resolution.Path?, _ completion: @escaping @Sendable (Result<Void, Failure>) -> Void) {
        guard let plane else { return completion(.failure(Failure(.dataPlane, "No data plane is loaded, so nothing can wait for traffic of \(name.child)"))) }
        // As swanctl.conf has it: where there is no peer, `dynamic` is every address.
        let everywhere = child.mode.isNegotiated ? nil : [IPAddress.Family.v4, .v6].map(TrafficSelector.init(everyAddressOf:))
        // Before a gateway has lent us an address, any may be it.
        let vips = sources.connection(named: name.connection)?.vips ?? []
        let localEnds = vips.isEmpty ? path.map { [TrafficSelector(host: $0.local.address)] } ?? [] : vips.map { TrafficSelector(everyAddressOf: $0.family) }
        let remoteEnds = path.map { [TrafficSelector(host: $0.remote.address)] } ?? []
        let trap = InstalledPolicy(
            connection: name.connection, child: name.child, mode: child.mode, localTS: child.localTS.flatMap { $0.resolved(everywhere ?? localEnds) },
            remoteTS: child.remoteTS.flatMap { $0.resolved(everywhere ?? remoteEnds) })
        plane.setPolicy(traps.number(for: name, isConfigured: child.isInstalledAtStart), "\(name.connection)/\(name.child)", child.mode, local: trap.localTS, remote: trap.remoteTS, child.carriage) {
            [weak self] failure in
            self?.loop.post { [weak self] in
                guard let self else { return }
                if let failure {
                    if !traps.isInstalled(name) { _ = traps.remove(name) }
                    var told = Failure(.dataPlane, "The data plane refused the \(child.mode.isNegotiated ? "trap" : "policy") of \(name.child): \(failure.reason)")
                    // What is in its way may go.
                    if failure.mayPass, child.isInstalledAtStart {
                        told.advice.append("It is tried again; until then its packets go their way without it.")
                        if let delay = traps.refused(name) {
                            loop.arm(after: delay) { [unowned self] in
                                traps.triesAgain(name)
                                retry(name, child)
                            }
                        }
                    }
                    return completion(.failure(told))
                }
                traps.accepted(name)
                traps.installed(name, trap)
                let effect =
                    switch child.mode {
                    case .tunnel, .transport: "traffic brings \(name.child) up"
                    case .pass: "\(name.child) passes all tunnels"
                    case .drop: "\(name.child) is dropped"
                    }
                log.write(.info, "ESP", "\(effect): \(text(trap.localTS)) === \(text(trap.remoteTS))", connection: name.connection)
                completion(.success(()))
            }
        }
    }

    private func text(_ selectors: [TrafficSelector]) -> String { selectors.map(\.description).joined(separator: " ") }

    /// Whether there was one.
    @discardableResult
    func uninstall(_ name: TrapPolicies.Name) -> Bool {
        let mode = traps.mode(of: name)
        guard let number = traps.remove(name) else { return false }
        plane?.removePolicy(number)
        let effect =
            switch mode {
            case .pass: "\(name.child) no longer passes all tunnels"
            case .drop: "\(name.child) is no longer dropped"
            case .tunnel, .transport, nil: "traffic no longer brings \(name.child) up"
            }
        log.write(.info, "ESP", effect, connection: name.connection)
        return true
    }

    /// A packet met a trap. From any thread.
    func acquired(_ number: UInt64, _ packet: TriggeringPacket) {
        loop.offer { [weak self] in
            guard let self, let name = traps.acquired(number, now: Instant.now()) else { return }
            log.write(.info, "ESP", "a packet from \(packet.source) to \(packet.destination) asks for \(name.child)", connection: name.connection)
            let request = expect { [unowned self] result in
                let succeeded = if case .success = result { true } else { false }
                traps.settled(name, succeeded: succeeded, now: Instant.now())
            }
            initiate(connection: name.connection, child: name.child, packet: packet, request: request)
        }
    }
}

extension SelectorPattern {
    var isDynamic: Bool { if case .dynamic = self { true } else { false } }
}
