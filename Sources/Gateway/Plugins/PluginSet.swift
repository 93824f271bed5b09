// The plugins of this process and what they offer: providers of algorithms, authentication methods, planes.
// Built once at start-up, because a plugin is never unloaded; what changes afterwards are the directories, with a reload of their section.

import IKECore
import IKECrypto
import IKEWire
import PluginABI
import PluginCrypto
import Synchronization

/// How important a line is; the values of `enum martlet_log_level`.
package enum PluginLogLevel: Int32, Sendable, Comparable {
    case error = 0, warning, notice, info, debug
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

package typealias PluginLog = @Sendable (PluginLogLevel, String) -> Void

/// The `plugins { }` section: for each plugin its keys, nested ones written "a.b".
package struct PluginSettings: Sendable {
    package var sections: [String: [String: String]]
    /// The folder of the daemon's own in which a plugin may have one.
    package var state: String?
    package init(sections: [String: [String: String]] = [:]) { self.sections = sections }

    /// Of one plugin, and where it keeps what outlives the daemon, unless its section says so.
    func of(_ plugin: String) -> [String: String] {
        var values = sections[plugin] ?? [:]
        if let state, values["state"] == nil { values["state"] = "\(state)/\(plugin)" }
        return values
    }
}

/// A plugin that runs.
package struct LoadedPlugin: Sendable {
    package var file: String
    package var name: String
    package var version: String
    package var vendor: String
    package var licence: String
    /// For example "crypto:openssl".
    package var provides: [String]
    /// The compiler a Swift plugin was built with; nil for a plugin in another language.
    package var swiftVersion: String?
}

/// One algorithm of one provider, and why it is not offered if it is not.
package struct AlgorithmStatus: Sendable {
    package var provider: String
    package var name: String
    package var kind: String
    package var transform: Transform?
    package var disabledBecause: String?
    /// False where the known-answer test waits for the first use.
    package var isTested = true
}

package final class PluginSet: Sendable {
    private let loadedAtStart: [LoadedPlugin]
    private let refusedAtStart: [PluginLoadError]
    private let candidates: [PluginCandidate]
    /// The preferred ones first.
    private let cryptoProviders: [CryptoProvider]
    private let authMethods: [AuthMethod]
    /// Reads certificates and keys; nil where no plugin does.
    package let credentialReader: CredentialReader?
    private let eapTables: [EAPMethodTable]
    private nonisolated(unsafe) let planes: [String: UnsafePointer<martlet_plane>]
    private let source: Source
    private let directory: PluginDirectory
    private let current: Mutex<DirectoryRenewal>
    /// Those who are told of sessions.
    package let observers: [ObserverTable]

    /// Loads every `libmartlet-*.so` and `martlet-*.so` in `paths`, in the order of the folders and then of the names, and tests
    /// their algorithms (slow key exchanges before their first use). A plugin that cannot be loaded is one line in the log and one
    /// element of `refused`. A section with `load = no` leaves a plugin out; the provider with the lowest `priority` goes first, one
    /// without any after them.
    package static func load(paths: [String], settings: PluginSettings, services: any PluginServices, log: @escaping PluginLog) -> PluginSet {
        var loading = Loading(settings: settings, services: services, log: log)
        for path in paths { loading.addFolder(path) }
        loading.startAll()
        return PluginSet(loading, Source(paths: paths, services: services, log: log))
    }

    /// Where plugins come from, and what they are handed.
    private struct Source: Sendable {
        let paths: [String]
        let services: any PluginServices
        let log: PluginLog
    }

    private init(_ loading: borrowing Loading, _ source: Source) {
        self.source = source
        directory = loading.directory
        loadedAtStart = loading.loaded
        refusedAtStart = loading.refused
        candidates = loading.started
        cryptoProviders = loading.providers
        authMethods = loading.authMethods
        credentialReader = loading.credentialReaders.first
        eapTables = loading.eapTables
        planes = loading.planes
        current = Mutex(DirectoryRenewal(directories: loading.directories))
        observers = loading.observers
    }

    private static let directoryPlugin = "ldap"

    /// What runs, and what was refused: that of the directories as they are now.
    package var loaded: [LoadedPlugin] {
        let now = current.withLock { $0 }
        return now.isNew ? loadedAtStart.filter { $0.name != Self.directoryPlugin } + now.loaded : loadedAtStart
    }
    package var refused: [PluginLoadError] {
        current.withLock { $0.isNew } ? refusedAtStart.filter { !$0.file.hasSuffix("martlet-\(Self.directoryPlugin).so") } : refusedAtStart
    }

    /// The directories that `settings` make, beside those in use; `use` has them asked from then on. The plugin is begun again, or now. Any thread, one at a time.
    package func renewedDirectories(_ settings: PluginSettings) -> DirectoryRenewal {
        var renewal = DirectoryRenewal(isNew: true)
        renewal.directories = Self.inPlace(of: Self.directoryPlugin, [], current.withLock { $0.directories })
        guard settings.sections[Self.directoryPlugin] != nil else { return renewal }
        var loading = Loading(settings: settings, services: source.services, log: source.log, only: Self.directoryPlugin, directory: directory.copy(without: Self.directoryPlugin))
        for path in source.paths { loading.addFolder(path) }
        loading.startAll()
        renewal.directories = Self.inPlace(of: Self.directoryPlugin, loading.directories, current.withLock { $0.directories })
        renewal.loaded = loading.loaded
        renewal.entries = loading.directory.entries(of: Self.directoryPlugin)
        renewal.failure = loading.refused.first { $0.file.hasSuffix("martlet-\(Self.directoryPlugin).so") }?.description
        return renewal
    }

    /// Those of other plugins stay, and where there is no name the first is asked.
    private static func inPlace(of plugin: String, _ new: [ProvidedDirectory], _ old: [ProvidedDirectory]) -> [ProvidedDirectory] {
        let others = old.filter { $0.plugin != plugin }
        let place = old.prefix { $0.plugin != plugin }.count
        return others.prefix(place) + new + others.dropFirst(place)
    }

    package func use(_ renewal: DirectoryRenewal) {
        directory.replace(plugin: Self.directoryPlugin, with: renewal.entries)
        current.withLock { $0 = renewal }
    }

    /// Every algorithm of every provider, with what is known of it now.
    package var algorithms: [AlgorithmStatus] { cryptoProviders.flatMap(\.statuses) }

    /// Runs the tests that wait for a first use, of `transforms` or of all: what a configuration names should be tested before the
    /// daemon is ready. Slow.
    package func test(_ transforms: [Transform]? = nil) {
        for algorithm in cryptoProviders.flatMap(\.deferred) where transforms?.contains(algorithm.transform) ?? true { algorithm.test() }
    }

    /// Whether a key exchange passes its test at `provider`, or at the first of all providers where it does; a test that waits for
    /// a first use runs now. For what a configuration names: it must be right before it is offered.
    package func passes(_ transform: Transform, provider: String?) -> Bool {
        cryptoProviders.contains { candidate in
            guard provider == nil || candidate.name == provider, let algorithm = candidate.keyExchanges.first(where: { $0.transform == transform }) else { return false }
            return (algorithm as? DeferredTest)?.test() == nil
        }
    }

    /// The names of the providers of algorithms, the preferred ones first.
    package var providers: [String] { cryptoProviders.map(\.name) }
    package var authMethodNames: [String] { authMethods.map(\.name) }
    /// In the order in which their plugins provide them: the preferred ones first.
    package var eapMethods: [EAPMethod] { eapTables.map(\.method) }
    package func eapMethod(named name: String) -> EAPMethodTable? { eapTables.first { $0.method.name == name } }
    /// Of all methods' signatures, each once. RFC 7427 section 4.
    package var signatureHashes: [UInt16] {
        var seen: Set<UInt16> = []
        return authMethods.flatMap(\.hashes).filter { seen.insert($0).inserted }
    }
    package var planeNames: [String] { planes.keys.sorted() }

    /// The tested algorithms: of `provider` alone, or of all providers, those in `order` first and then the others by their
    /// priority. Nil where there is no such provider or no source of random bytes.
    package func registry(order: [String], provider: String? = nil) -> Registry? {
        let ordered = order.compactMap { name in cryptoProviders.first { $0.name == name } } + cryptoProviders.filter { !order.contains($0.name) }
        let chosen = provider.map { name in ordered.filter { $0.name == name } } ?? ordered
        // A provider without a random source of its own borrows one.
        guard !chosen.isEmpty, let random = (chosen + ordered).lazy.compactMap(\.random).first else { return nil }
        var registry = Registry(random: random)
        for provider in chosen {
            for algorithm in provider.aeads { registry.add(algorithm) }
            for algorithm in provider.ciphers { registry.add(algorithm) }
            for algorithm in provider.macs { registry.add(algorithm) }
            for algorithm in provider.prfs { registry.add(algorithm) }
            for algorithm in provider.keyExchanges where (algorithm as? DeferredTest)?.failure == nil { registry.add(algorithm) }
        }
        return registry
    }

    package func authMethod(named name: String) -> AuthMethod? { authMethods.first { $0.name == name } }

    /// Of each directory, once: the first of several has two names.
    package var directoryAbilities: [DirectoryAbilities] { current.withLock { $0 }.abilities }

    /// The directory of users of that name, or, where nil is asked for, the first.
    package func directory(named name: String?) -> UserDirectory? { current.withLock { $0.directories }.first { name == nil || $0.directory.name == name }?.directory }

    package func plane(named name: String) -> UnsafePointer<martlet_plane>? { planes[name] }

    /// Calls each plugin's `shutdown`, last loaded first. For the end of the daemon, on the main thread.
    package func shutDown() {
        for candidate in candidates.reversed() { candidate.shutDown?() }
    }
}

private struct ProvidedDirectory {
    let plugin: String
    let directory: UserDirectory
}

/// The directories of users in use, or those that are about to be.
package struct DirectoryRenewal: Sendable {
    fileprivate var directories: [ProvidedDirectory] = []
    fileprivate var loaded: [LoadedPlugin] = []
    fileprivate var entries: [PluginDirectory.Entry] = []
    /// Not those that the daemon started with.
    fileprivate var isNew = false
    /// Why there are none, where there should be.
    package fileprivate(set) var failure: String?

    package var abilities: [DirectoryAbilities] {
        var seen: Set<String> = []
        return directories.map(\.directory.abilities).filter { seen.insert($0.name).inserted }
    }
}

/// The set while it is being made.
private struct Loading {
    let settings: PluginSettings
    let services: any PluginServices
    let log: PluginLog
    let directory: PluginDirectory
    /// The plugin that is begun again, and no other.
    let only: String?
    var waiting: [PluginCandidate] = []
    var started: [PluginCandidate] = []
    var loaded: [LoadedPlugin] = []
    var refused: [PluginLoadError] = []
    var providers: [CryptoProvider] = []
    var authMethods: [AuthMethod] = []
    var credentialReaders: [CredentialReader] = []
    var eapTables: [EAPMethodTable] = []
    var planes: [String: UnsafePointer<martlet_plane>] = [:]
    var directories: [ProvidedDirectory] = []
    var observers: [ObserverTable] = []

    init(settings: PluginSettings, services: any PluginServices, log: @escaping PluginLog, only: String? = nil, directory: PluginDirectory = PluginDirectory()) {
        (self.only, self.directory) = (only, directory)
        self.settings = settings
        self.services = services
        self.log = log
    }

    mutating func addFolder(_ folder: String) {
        guard let files = PluginFolder.files(in: folder) else { return refuse(PluginLoadError(file: folder, reason: .unreadable(lastError()))) }
        for (path, name) in files where only == nil || name == only {
            guard !isLeftOut(name) else {
                if isSwitchedOff(name) { log(.info, "plugin \(path) is left out, as plugins.\(name).load says") }
                continue
            }
            do throws(PluginLoadError) {
                let candidate = try PluginCandidate(path: path)
                if let first = waiting.first(where: { $0.name == candidate.name }) {
                    throw PluginLoadError(file: path, reason: .duplicate(name: "plugin \(candidate.name)", first: first.file.path))
                }
                waiting.append(candidate)
            } catch {
                refuse(error)
            }
        }
    }

    /// Starts every plugin after those that it depends on.
    mutating func startAll() {
        var progress = true
        while progress {
            progress = false
            for candidate in waiting where candidate.depends.allSatisfy({ directory.entry(kind: $0.kind, name: $0.name) != nil }) {
                waiting.removeAll { $0.name == candidate.name }
                start(candidate)
                progress = true
            }
        }
        for candidate in waiting {
            let missing = candidate.depends.first { directory.entry(kind: $0.kind, name: $0.name) == nil }
            refuse(PluginLoadError(file: candidate.file.path, reason: .missingDependency(missing?.description ?? "itself")))
        }
        waiting = []
        let priorities = settings.sections.mapValues { Int($0["priority"] ?? "") ?? .max }
        let ranked = providers.enumerated().sorted { a, b in
            let (x, y) = (priorities[a.element.name] ?? .max, priorities[b.element.name] ?? .max)
            return x == y ? a.offset < b.offset : x < y
        }
        guard only == nil else { return }
        providers = ranked.map(\.element)
        directory.setAlgorithms(providers.flatMap { provider in provider.tables.map { (provider.name, $0) } })
    }

    private mutating func start(_ candidate: PluginCandidate) {
        do throws(PluginLoadError) {
            func refusal(_ reason: PluginLoadError.Reason) -> PluginLoadError { PluginLoadError(file: candidate.file.path, reason: reason) }
            guard only == nil || candidate.beginsAgain else { throw refusal(.beginsOnce) }
            for provision in candidate.provides {
                if let first = directory.entry(kind: provision.kind, name: provision.name) {
                    throw refusal(.duplicate(name: provision.description, first: "plugin \(first.plugin)"))
                }
            }
            guard
                let (owner, table) = PluginHost.make(
                    name: candidate.name, version: daemonVersion, directory: directory, services: services, settings: settings.of(candidate.name), log: log)
            else { throw refusal(.initFailed(status: MARTLET_E_MEMORY)) }
            let status = candidate.start(table)
            owner.endInitialising()
            guard status == MARTLET_OK else { throw refusal(.initFailed(status: status)) }
            for provision in candidate.provides {
                guard directory.entry(kind: provision.kind, name: provision.name)?.plugin == candidate.name else { throw refusal(.notProvided(provision.description)) }
            }
            do throws(TableDefect) {
                for entry in directory.entries(of: candidate.name) { try take(entry) }
            } catch {
                throw refusal(.badTable(error.description))
            }
            started.append(candidate)
            // What it promises, and what its settings make of it besides.
            let provided =
                candidate.provides.map(\.description)
                + directory.entries(of: candidate.name).map { PluginCandidate.Provision(kind: $0.kind, name: $0.name) }.filter { !candidate.provides.contains($0) }.map(\.description)
            loaded.append(
                LoadedPlugin(
                    file: candidate.file.path, name: candidate.name, version: candidate.version, vendor: candidate.vendor, licence: candidate.licence,
                    provides: provided, swiftVersion: candidate.file.swiftVersion))
            log(.info, "plugin \(candidate.name) \(candidate.version) is loaded from \(candidate.file.path): \(provided.joined(separator: ", "))")
        } catch {
            directory.remove(plugin: candidate.name)
            refuse(error)
        }
    }

    private mutating func take(_ entry: PluginDirectory.Entry) throws(TableDefect) {
        switch entry.kind {
        case MARTLET_CLASS_CRYPTO.rawValue:
            providers.append(try CryptoProvider(name: entry.name, table: entry.table, log: log))
        case MARTLET_CLASS_AUTH.rawValue:
            authMethods.append(try AuthMethod(entry.table))
        case MARTLET_CLASS_EAP.rawValue:
            let table = try EAPMethodTable(entry.table)
            guard table.method.name == "eap-" + entry.name else { throw TableDefect("the EAP method \(table.method.name) is provided as \(entry.name)") }
            guard !eapTables.contains(where: { $0.method.type == table.method.type }) else { throw TableDefect("another EAP method has the type \(table.method.type)") }
            eapTables.append(table)
        case MARTLET_CLASS_PLANE.rawValue:
            planes[entry.name] = try PlaneTable.checked(entry.table)
        case MARTLET_CLASS_DIRECTORY.rawValue:
            directories.append(ProvidedDirectory(plugin: entry.plugin, directory: try UserDirectory(entry.table)))
        case MARTLET_CLASS_OBSERVER.rawValue:
            observers.append(try ObserverTable(entry.table))
        case MARTLET_CLASS_CREDENTIALS.rawValue:
            credentialReaders.append(try CredentialReader(entry.table))
        default:
            throw TableDefect("the daemon has no class \(entry.kind)")
        }
    }

    private mutating func refuse(_ error: PluginLoadError) {
        log(.error, error.description)
        refused.append(error)
    }

    /// These do nothing without a section of their own, and bring libraries that a gateway without them need not hold.
    private static let onlyWhenConfigured: Set = ["ldap", "observer"]

    private func isLeftOut(_ name: String) -> Bool {
        if Self.onlyWhenConfigured.contains(name), settings.sections[name] == nil { return true }
        return isSwitchedOff(name)
    }

    private func isSwitchedOff(_ name: String) -> Bool { ["no", "off", "false", "0"].contains(settings.sections[name]?["load"]?.lowercased() ?? "") }
}

/// What the daemon calls itself.
package let daemonVersion = "0.1.0"

/// A plane's table, checked before anything in it is called.
enum PlaneTable {
    static func checked(_ raw: UnsafeRawPointer) throws(TableDefect) -> UnsafePointer<martlet_plane> {
        let size = raw.load(as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_plane>.size) else { throw TableDefect("the plane's table has \(size) bytes, the daemon needs \(MemoryLayout<martlet_plane>.size)") }
        let table = raw.assumingMemoryBound(to: martlet_plane.self)
        try requireFunctions(
            table, (\.name, "name"), (\.start, "start"), (\.stop, "stop"), (\.add_sa, "add_sa"), (\.activate, "activate"), (\.remove_sa, "remove_sa"), (\.update, "update"),
            (\.counters, "counters"), (\.drops, "drops"))
        return table
    }
}
