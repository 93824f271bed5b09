// Name servers that gateways name to this host: handed to systemd-resolved or resolvconf for the tunnel's interface, and taken back at the
// end of the tunnel, of the daemon, or at the next start. /etc/resolv.conf is theirs alone.

import Glibc
import IKECore
import IKEWire
import Synchronization

/// One thread runs the programs, one after the other: use and forget return at once.
package final class NameServerSetup: @unchecked Sendable {
    private let choice: ResolverChoice
    private let record: ResolverRecord
    private let log: Log
    private let path: String
    private let limit: Duration
    private let loop: EventLoop
    /// Nothing is set up any more, and programs have less time: somebody waits for the daemon's end.
    private let isEnding = Atomic<Bool>(false)
    /// The thread is there: most gateways never need it.
    private let isRunning = Mutex(false)

    /// What an interface's names are given to.
    enum Keeper: String { case resolved, resolvconf }

    // The loop's thread alone.
    private var uses: [NameServers: Int] = [:]
    /// In the order in which they came, with their interfaces.
    private var active: [(servers: NameServers, interface: String)] = []
    private var keepers: [String: Keeper] = [:]

    /// `path`: where programs are looked for; nil for the daemon's own PATH. `state`: the folder that remembers what has to be taken back.
    package init(_ choice: ResolverChoice, state: String, path: String? = nil, limit: Duration = .seconds(5), log: Log) throws(SystemError) {
        self.choice = choice
        self.log = log
        self.limit = limit
        self.path = path ?? getenv("PATH").map { String(cString: $0) } ?? HostProgram.standardPath
        record = ResolverRecord(folder: state)
        loop = try EventLoop("name servers")
    }

    /// Takes back what a daemon that was killed has left.
    package func start() {
        let left = record.takeLeft()
        guard !left.isEmpty else { return }
        onLoop { [self] in
            for (interface, keeper) in left {
                log.write(.info, "DMN", "the name servers of \(interface) that an earlier run has left with \(keeper.rawValue) are taken back")
                _ = takeBack(interface, keeper)
            }
        }
    }

    private func onLoop(_ work: @escaping @Sendable () -> Void) {
        let isThere = isRunning.withLock { isRunning in
            guard !isRunning, !isEnding.load(ordering: .relaxed) else { return isRunning }
            do throws(SystemError) { try loop.start() } catch {
                log.write(.error, "DMN", "name servers are not set up: \(error)")
                return false
            }
            isRunning = true
            return true
        }
        if isThere { loop.post(work) }
    }

    package func use(_ servers: NameServers) {
        onLoop { [self] in
            uses[servers, default: 0] += 1
            if uses[servers] == 1 { begin(servers) }
        }
    }

    package func forget(_ servers: NameServers) {
        onLoop { [self] in
            guard let count = uses[servers] else { return }
            uses[servers] = count > 1 ? count - 1 : nil
            if count == 1 { end(servers) }
        }
    }

    /// Takes back what is set up, while the interface is still there.
    package func stop() {
        isEnding.store(true, ordering: .relaxed)
        guard isRunning.withLock({ $0 }) else { return }
        loop.post { [self] in
            for interface in Set(active.map(\.interface)) { remove(interface) }
            active = []
        }
        loop.end()
        loop.join()
    }

    /// After what was asked for so far, for tests.
    func settle() { if isRunning.withLock({ $0 }) { _ = loop.sync { true } } }

    // MARK: On the loop's thread

    private func begin(_ servers: NameServers) {
        let what = "the name servers \(servers.servers.map(\.description).joined(separator: ", "))"
        guard !isEnding.load(ordering: .relaxed) else { return }
        guard choice != .no else { return log.write(.info, "DMN", "\(what) are not set up: gateway.resolver is no", connection: servers.connection) }
        guard let interface = servers.addresses.lazy.compactMap(Self.interface(of:)).first else {
            return log.write(.error, "DMN", "\(what) are not set up: no interface has the inner address that came with them", connection: servers.connection)
        }
        active.append((servers, interface))
        if let reason = install(interface) {
            active.removeAll { $0.servers == servers }
            return log.write(.error, "DMN", "\(what) are not set up, and names of the other network are unknown here: \(reason)", connection: servers.connection)
        }
        let names = servers.domains.isEmpty ? "every name" : servers.domains.joined(separator: ", ")
        log.write(.info, "DMN", "\(what) answer for \(names) (\(keepers[interface]?.rawValue ?? ""), \(interface))", connection: servers.connection)
    }

    private func end(_ servers: NameServers) {
        guard let index = active.firstIndex(where: { $0.servers == servers }) else { return }
        let interface = active.remove(at: index).interface
        guard active.contains(where: { $0.interface == interface }) else { return remove(interface) }
        if let reason = install(interface) { log.write(.error, "DMN", "name servers of \(interface) that are gone are still asked: \(reason)", connection: servers.connection) }
    }

    /// Everything that is active on the interface. Why not, or nil.
    private func install(_ interface: String) -> String? {
        let here = active.filter { $0.interface == interface }.map(\.servers)
        var servers: [String] = [], domains: [String] = []
        for server in here.flatMap(\.servers) where !servers.contains(server.description) { servers.append(server.description) }
        for domain in here.flatMap(\.domains) where !domains.contains(domain) { domains.append(domain) }
        // Many gateways at once: what a command line and a pipe hold.
        (servers, domains) = (Array(servers.prefix(16)), Array(domains.prefix(64)))
        // One gateway that names no domain is asked for every name.
        let isForAll = here.contains { $0.domains.isEmpty }
        var reasons: [String] = []
        for keeper in wanted(interface) {
            guard let program = HostProgram.find(keeper.program, path: path) else {
                reasons.append("there is no \(keeper.program) in PATH")
                continue
            }
            keepers[interface] = keeper
            record.write(keepers)
            let result: HostProgram.Result
            switch keeper {
            case .resolved:
                var first = run(program, ["dns", interface] + servers)
                if first.isSuccess { first = run(program, ["domain", interface] + domains + (isForAll ? ["~."] : [])) }
                // Older ones do not know it.
                if first.isSuccess { _ = run(program, ["default-route", interface, isForAll ? "yes" : "no"]) }
                if !first.isSuccess { _ = run(program, ["revert", interface]) }
                result = first
            case .resolvconf:
                let lines = servers.map { "nameserver \($0)\n" } + (domains.isEmpty ? [] : ["search \(domains.joined(separator: " "))\n"])
                result = run(program, ["-a", Self.recordName(interface)], input: lines.joined())
            }
            if result.isSuccess { return nil }
            keepers[interface] = nil
            record.write(keepers)
            reasons.append("\(program) failed\(result.words.isEmpty ? "" : " (\(result.words))")")
        }
        return reasons.joined(separator: ", and ")
    }

    /// An interface stays with whom it was given to.
    private func wanted(_ interface: String) -> [Keeper] {
        if let keeper = keepers[interface] { return [keeper] }
        switch choice {
        case .auto: return [.resolved, .resolvconf]
        case .resolved: return [.resolved]
        case .resolvconf: return [.resolvconf]
        case .no: return []
        }
    }

    private func remove(_ interface: String) {
        guard let keeper = keepers.removeValue(forKey: interface) else { return }
        let result = takeBack(interface, keeper)
        record.write(keepers)
        // With the interface go its settings.
        if let result, !result.isSuccess, if_nametoindex(interface) != 0 {
            log.write(.error, "DMN", "the name servers of \(interface) stay with \(keeper.rawValue): \(result.words)")
        }
    }

    private func takeBack(_ interface: String, _ keeper: Keeper) -> HostProgram.Result? {
        HostProgram.find(keeper.program, path: path).map { run($0, keeper == .resolved ? ["revert", interface] : ["-d", Self.recordName(interface)]) }
    }

    private func run(_ program: String, _ arguments: [String], input: String = "") -> HostProgram.Result {
        log.write(.debug, "DMN", "running \(program) \(arguments.joined(separator: " "))")
        return HostProgram.run(program, arguments, input: input, path: path, limit: isEnding.load(ordering: .relaxed) ? min(limit, .seconds(2)) : limit)
    }

    /// resolvconf(8) wants a name for what it is told: the interface and who tells.
    private static func recordName(_ interface: String) -> String { interface + ".martlet" }

    /// The interface that has the address.
    private static func interface(of address: IPAddress) -> String? {
        var first: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&first) == 0 else { return nil }
        defer { freeifaddrs(first) }
        for entry in sequence(first: first, next: { $0?.pointee.ifa_next }) {
            guard let entry, let socket = entry.pointee.ifa_addr else { continue }
            let found: IPAddress? =
                switch Int32(socket.pointee.sa_family) {
                case AF_INET: socket.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { IPAddress(v4: UInt32(bigEndian: $0.pointee.sin_addr.s_addr)) }
                case AF_INET6: socket.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { withUnsafeBytes(of: $0.pointee.sin6_addr) { IPAddress(bytes: Array($0)) } }
                default: nil
                }
            let name = String(cString: entry.pointee.ifa_name)
            // It will stand on a command line.
            if found == address, ResolverRecord.isInterface(name) { return name }
        }
        return nil
    }
}

extension NameServerSetup.Keeper {
    var program: String { self == .resolved ? "resolvectl" : "resolvconf" }
}
