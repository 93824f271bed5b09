// The table that a plugin is handed (plugin.h, struct martlet_host), and what stands behind it.

import Glibc
import IKEWire
import PluginABI
import Synchronization

/// What plugins provide, for `look_up` and `algorithm`. Filled while plugins load.
final class PluginDirectory: Sendable {
    struct Entry: @unchecked Sendable {
        var plugin: String
        var kind: UInt32
        var name: String
        var table: UnsafeRawPointer
    }

    private struct State: @unchecked Sendable {
        var entries: [Entry] = []
        /// Tested algorithms, the preferred ones first.
        var algorithms: [(provider: String, table: UnsafePointer<martlet_algorithm>)] = []
    }

    private let state = Mutex(State())

    func add(_ entry: Entry) { state.withLock { $0.entries.append(entry) } }
    func remove(plugin: String) { state.withLock { $0.entries.removeAll { $0.plugin == plugin } } }
    func entries(of plugin: String) -> [Entry] { state.withLock { state in state.entries.filter { $0.plugin == plugin } } }
    func entry(kind: UInt32, name: String?) -> Entry? { state.withLock { state in state.entries.first { $0.kind == kind && (name == nil || $0.name == name) } } }

    /// Everybody's but one plugin's.
    func copy(without plugin: String) -> PluginDirectory {
        let copy = PluginDirectory()
        let current = state.withLock { $0 }
        copy.state.withLock { $0 = State(entries: current.entries.filter { $0.plugin != plugin }, algorithms: current.algorithms) }
        return copy
    }

    /// One plugin's are those from now on.
    func replace(plugin: String, with entries: [Entry]) { state.withLock { $0.entries = $0.entries.filter { $0.plugin != plugin } + entries } }

    func setAlgorithms(_ algorithms: [(provider: String, table: UnsafePointer<martlet_algorithm>)]) {
        nonisolated(unsafe) let algorithms = algorithms
        state.withLock { $0.algorithms = algorithms }
    }

    func algorithm(provider: String?, kind: UInt32, id: UInt16, bits: UInt16) -> UnsafeRawPointer? {
        let address: UInt? = state.withLock { state in
            state.algorithms.first {
                (provider == nil || $0.provider == provider) && $0.table.pointee.kind == kind && $0.table.pointee.transform_id == id && $0.table.pointee.key_bits == bits
            }.map { UInt(bitPattern: $0.table) }
        }
        return address.flatMap { UnsafeRawPointer(bitPattern: $0) }
    }
}

/// One plugin's view of the host. Lives for ever, as the table does that points to it.
final class PluginHost: Sendable {
    let name: String
    private let directory: PluginDirectory
    private let services: any PluginServices
    private let log: PluginLog
    /// Values as immortal C strings.
    private nonisolated(unsafe) let settings: [String: UnsafePointer<CChar>]
    private let isInitialising = Mutex(true)

    private init(name: String, directory: PluginDirectory, services: any PluginServices, settings: [String: String], log: @escaping PluginLog) {
        self.name = name
        self.directory = directory
        self.services = services
        self.log = log
        self.settings = settings.compactMapValues { UnsafePointer(strdup($0)) }
    }

    /// The table for a plugin and its owner.
    static func make(name: String, version: String, directory: PluginDirectory, services: any PluginServices, settings: [String: String], log: @escaping PluginLog) -> (
        PluginHost, UnsafePointer<martlet_host>
    )? {
        guard let version = strdup(version) else { return nil }
        let owner = PluginHost(name: name, directory: directory, services: services, settings: settings, log: log)
        let table = UnsafeMutablePointer<martlet_host>.allocate(capacity: 1)
        table.initialize(
            to: martlet_host(
                struct_size: UInt32(MemoryLayout<martlet_host>.size), abi_major: UInt16(MARTLET_ABI_MAJOR), abi_minor: UInt16(MARTLET_ABI_MINOR), version: version,
                opaque: Unmanaged.passRetained(owner).toOpaque(),
                provide: { host, kind, name, table in PluginHost.of(host).provide(kind, String(cString: name), table) },
                look_up: { host, kind, name in PluginHost.of(host).directory.entry(kind: kind, name: name.map { String(cString: $0) })?.table },
                algorithm: { host, provider, kind, id, bits in
                    PluginHost.of(host).directory.algorithm(provider: provider.map { String(cString: $0) }, kind: kind, id: id, bits: bits)
                },
                log: { host, level, message in PluginHost.of(host).write(level, message) },
                setting: { host, key in PluginHost.of(host).settings[String(cString: key)] },
                now: { host in PluginHost.of(host).services.now },
                arm_timer: { host, after, fire, context in
                    nonisolated(unsafe) let context = context
                    return PluginHost.of(host).services.armTimer(after: after) { fire(context) }
                },
                watch: { host, descriptor, events, ready, context in
                    nonisolated(unsafe) let context = context
                    return PluginHost.of(host).services.watch(descriptor, events: events) { ready(context, $0) }
                },
                cancel: { host, handle in PluginHost.of(host).services.cancel(handle) },
                secret_allocate: { _, size in SecretMemory.allocate(size) },
                secret_free: { _, memory, size in SecretMemory.free(memory, size) },
                wipe: { memory, size in explicit_bzero(memory, size) }))
        return (owner, UnsafePointer(table))
    }

    /// From now on nothing is provided, and secrets in the settings are no longer there.
    func endInitialising() {
        isInitialising.withLock { $0 = false }
        for (key, value) in settings where key.hasSuffix("password") || key.hasSuffix("secret") { explicit_bzero(UnsafeMutablePointer(mutating: value), strlen(value)) }
    }

    private static func of(_ host: UnsafePointer<martlet_host>) -> PluginHost {
        Unmanaged<PluginHost>.fromOpaque(host.pointee.opaque).takeUnretainedValue()
    }

    private func provide(_ kind: UInt32, _ provided: String, _ table: UnsafeRawPointer) -> martlet_status {
        guard isInitialising.withLock({ $0 }), directory.entry(kind: kind, name: provided) == nil else { return MARTLET_E_INVALID }
        directory.add(PluginDirectory.Entry(plugin: name, kind: kind, name: provided, table: table))
        return MARTLET_OK
    }

    /// One line: cut at 1,000 bytes, control characters replaced.
    private func write(_ level: Int32, _ message: UnsafePointer<CChar>) {
        log(PluginLogLevel(rawValue: min(max(level, 0), 4)) ?? .notice, "\(name): \(PluginText.line(message))")
    }
}

/// Text of a plugin, which may hold what a peer or a file has chosen.
enum PluginText {
    /// One line: cut at 1,000 bytes, control characters replaced.
    static func line(_ text: UnsafePointer<CChar>) -> String {
        let bytes = UnsafeBufferPointer(start: text, count: strnlen(text, 1000)).map { UInt8(bitPattern: $0) }
        return String(decoding: bytes.map { $0 < 0x20 || $0 == 0x7f ? UInt8(ascii: " ") : $0 }, as: UTF8.self)
    }
}

/// Pages that hold secrets: locked where the limits allow, left out of core dumps, unmapped when they are given back.
enum SecretMemory {
    static func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
        guard size > 0, let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), memory != MAP_FAILED else { return nil }
        _ = mlock(memory, size)
        _ = madvise(memory, size, MADV_DONTDUMP)
        return memory
    }

    static func free(_ memory: UnsafeMutableRawPointer?, _ size: Int) {
        guard let memory, size > 0 else { return }
        explicit_bzero(memory, size)
        munmap(memory, size)
    }
}
