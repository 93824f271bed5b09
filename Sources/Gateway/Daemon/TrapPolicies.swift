// Policies that wait for traffic: which children have one, and the one initiation that its packets cause.
// RFC 4301 section 4.4.1: a packet that needs an SA that is not there.

import IKECore
import IKEWire

/// A child with a trap installed.
package struct InstalledTrap: Hashable, Sendable {
    package var connection: String
    package var child: String
    package var localTS: [TrafficSelector]
    package var remoteTS: [TrafficSelector]
}

/// The traps of a gateway. On the control loop alone.
struct TrapPolicies {
    struct Name: Hashable {
        let connection: String, child: String
    }

    private struct Trap {
        let number: UInt64
        /// By the configuration, not by an operator.
        var isConfigured = false
        var installed: InstalledTrap?
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

    var installed: [InstalledTrap] { traps.values.compactMap(\.installed).sorted { ($0.connection, $0.child) < ($1.connection, $1.child) } }
    /// Installed, or about to be.
    var wanted: [Name] { Array(traps.keys) }
    func wanted(of connection: String) -> [Name] { children[connection, default: []].map { Name(connection: connection, child: $0) } }
    func isInstalled(_ name: Name) -> Bool { traps[name]?.installed != nil }
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

    mutating func installed(_ name: Name, _ trap: InstalledTrap) { traps[name]?.installed = trap }

    /// Its number where the plane holds it.
    mutating func remove(_ name: Name) -> UInt64? {
        guard let trap = traps.removeValue(forKey: name) else { return nil }
        names[trap.number] = nil
        children[name.connection]?.remove(name.child)
        if children[name.connection]?.isEmpty == true { children[name.connection] = nil }
        return trap.number
    }

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
    /// Installs the trap of every child that has one, of the connections named or of all; a changed one takes the old one's place.
    func installTraps(only names: Set<String>? = nil) {
        for connection in names.map({ $0.compactMap(sources.connection(named:)) }) ?? configuration.connections {
            for child in connection.children where child.hasTrap {
                install(TrapPolicies.Name(connection: connection.name, child: child.name)) { [unowned self] result in
                    guard case .failure(let failure) = result else { return }
                    for line in failure.lines { log.write(.error, "ESP", line, connection: connection.name) }
                    failures[connection.name] = (failure, Instant.now())
                }
            }
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
        guard let child, child.hasTrap || !traps.isConfigured(name) else { return _ = uninstall(name) }
        if isChanged, !child.hasTrap { install(name) { _ in } }
    }

    /// Looks addresses up where the selectors need them, and hands the policy to the plane.
    func install(_ name: TrapPolicies.Name, _ completion: @escaping @Sendable (Result<Void, Failure>) -> Void) {
        guard let connection = sources.connection(named: name.connection), let child = connection.child(named: name.child) else {
            return completion(.failure(Failure(.notConfigured, "There is no connection \(name.connection) with a child \(name.child)")))
        }
        guard child.localTS.contains(where: \.isDynamic) || child.remoteTS.contains(where: \.isDynamic) else {
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
                    if traps.contains(name) || child.hasTrap { loop.arm(after: .seconds(10)) { [unowned self] in retry(name, child) } }
                    let failure = if case .done(.failure(let failure)) = outcome { failure } else { Failure(.noAnswer, "Looking up the peer of \(name.connection) took too long") }
                    return completion(.failure(failure))
                }
                install(name, child, path, completion)
            }
        }
    }

    /// Tries a look-up again, if the configuration still says the same.
    private func retry(_ name: TrapPolicies.Name, _ child: ChildPolicy) {
        guard !isEnding, sources.connection(named: name.connection)?.child(named: name.child) == child else { return }
        install(name) { _ in }
    }

    private func install(_ name: TrapPolicies.Name, _ child: ChildPolicy, _ path: Resolution.Path?, _ completion: @escaping @Sendable (Result<Void, Failure>) -> Void) {
        guard let plane else { return completion(.failure(Failure(.dataPlane, "No data plane is loaded, so nothing can wait for traffic of \(name.child)"))) }
        // Before a gateway has lent us an address, any may be it.
        let vips = sources.connection(named: name.connection)?.vips ?? []
        let localEnds = vips.isEmpty ? path.map { [TrafficSelector(host: $0.local.address)] } ?? [] : vips.map { TrafficSelector(everyAddressOf: $0.family) }
        let remoteEnds = path.map { [TrafficSelector(host: $0.remote.address)] } ?? []
        let trap = InstalledTrap(
            connection: name.connection, child: name.child, localTS: child.localTS.flatMap { $0.resolved(localEnds) }, remoteTS: child.remoteTS.flatMap { $0.resolved(remoteEnds) })
        plane.setTrap(traps.number(for: name, isConfigured: child.hasTrap), "\(name.connection)/\(name.child)", local: trap.localTS, remote: trap.remoteTS) { [weak self] failure in
            self?.loop.post { [weak self] in
                guard let self else { return }
                if let failure {
                    if !traps.isInstalled(name) { _ = traps.remove(name) }
                    return completion(.failure(Failure(.dataPlane, "The data plane refused the trap of \(name.child): \(failure)")))
                }
                traps.installed(name, trap)
                log.write(.info, "ESP", "traffic brings \(name.child) up: \(text(trap.localTS)) === \(text(trap.remoteTS))", connection: name.connection)
                completion(.success(()))
            }
        }
    }

    private func text(_ selectors: [TrafficSelector]) -> String { selectors.map(\.description).joined(separator: " ") }

    /// Whether there was one.
    @discardableResult
    func uninstall(_ name: TrapPolicies.Name) -> Bool {
        guard let number = traps.remove(name) else { return false }
        plane?.removeTrap(number)
        log.write(.info, "ESP", "traffic no longer brings \(name.child) up", connection: name.connection)
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
