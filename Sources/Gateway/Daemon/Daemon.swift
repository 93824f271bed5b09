// From a command line to a running gateway, and to its end.

import CLinux
import Glibc
import IKECore
import IKECrypto
import IKEWire

package enum Martlet {
    package static let version = daemonVersion
}

package enum Daemon {
    /// Exit codes: 0 done, 1 it failed and the reason was printed, 2 wrong usage.
    package static func main(_ arguments: [String]) -> Int32 {
        let began = Instant.now()
        switch DaemonOptions.parse(arguments) {
        case .help:
            put(DaemonOptions.help, to: 1)
            return 0
        case .version:
            put("martletd \(Martlet.version)", to: 1)
            return 0
        case .wrong(let reason):
            put("martletd: \(reason)\n\(DaemonOptions.help)", to: 2)
            return 2
        case .run(let options):
            return run(options, began: began)
        }
    }

    private static func run(_ options: DaemonOptions, began: Instant) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        // Of libldap, which a reload may be the first to need: ldap.conf and .ldaprc say what other programs of this host are to do. Now, while nobody else reads the environment.
        setenv("LDAPNOINIT", "1", 1)
        martlet_process_small_heaps()
        // MARTLET_DEBUG allows debuggers and core dumps, in which keys can be read.
        if getenv("MARTLET_DEBUG") == nil { martlet_process_harden() }
        let signals = martlet_signals_create([SIGTERM, SIGINT, SIGHUP], 3)

        let read = ConfigurationLoader.read(path: options.configuration)
        var opened: Log?
        do {
            let log = try Log(level: read.gateway.level, target: options.isCheck ? .standardError : read.gateway.logTarget)
            opened = log
            defer { log.flush() }
            guard let services = ServiceThread() else { throw SystemError("start the plugins' service thread") }
            var settings = read.plugins.settings
            settings.state = read.gateway.state
            // The error that the section has says what is wrong with it; the plugin would only say that it does not start.
            let isDirectoryRight = DirectoryConfiguration.isRight(read.plugins, read.errors, files: SystemFileReader())
            if !isDirectoryRight { settings.sections["ldap"] = nil }
            let directories = DirectoryConfiguration.fingerprint(read.plugins)
            let plugins = PluginSet.load(
                paths: folders(options, read.plugins), settings: settings, services: services,
                log: { level, message in
                    // A check speaks of what is wrong alone.
                    if !options.isCheck || level <= .warning { log.write(LogLevel(level), "LIB", message) }
                })
            let planes = PlaneChoice(plugins, wanted: read.gateway.plane, priorities: read.plugins.priorities)
            // Before anything else is judged by what that plane cannot do. Whoever checks need not be who starts it, nor on that machine.
            if let refusal = planes.refusal, !options.isCheck || planes.name == nil { throw Refusal(refusal) }
            var capabilities = Capabilities(plugins, planes)
            if isDirectoryRight, capabilities.directories.isEmpty {
                capabilities.directoryFailure = plugins.refused.first { $0.file.hasSuffix("martlet-ldap.so") }?.description ?? "there is no plugin libmartlet-ldap.so"
            }
            let result = ConfigurationLoader.validate(read, capabilities)
            log.flush()
            for diagnostic in result.diagnostics { put(diagnostic.description, to: 2) }
            guard let configuration = result.configuration else {
                put("martletd: \(options.configuration) has \(count(result.errors.count, "error"))", to: 2)
                return 1
            }
            if let refusal = planes.refusal { put("\(options.configuration): \(refusal)", to: 2) }
            if planes.name == nil, let connection = configuration.connections.first {
                throw Refusal("the connection \(connection.name) needs a data plane, and no plugin that is loaded provides one (\(plugins.loaded.map(\.name).joined(separator: ", ")))")
            }
            // What the configuration names before anybody is answered; the rest before its first use.
            plugins.test(configuration.transforms)
            if options.isCheck {
                put("\(options.configuration) is right: \(count(configuration.connections.count, "connection"))", to: 1)
                return 0
            }
            try check("watch signals", signals)
            for (name, reason) in planes.reasons.sorted(by: { $0.key < $1.key }) where planes.name != nil {
                log.write(.info, "ESP", "the data plane \(planes.name ?? "") carries the packets, not \(name): \(reason)")
            }
            let gateway = try start(configuration, plugins, planes, log: log)
            gateway.loop.post {
                gateway.directories = directories
                gateway.watchFiles(read)
            }
            do {
                try gateway.loop.watch(signals, MARTLET_READABLE) { _ in handle(martlet_signals_read(signals), gateway) }
                gateway.loop.post {
                    // Ready is who lets nothing pass that a policy holds back.
                    gateway.installTraps { isComplete in
                        if !isComplete { log.write(.error, "ESP", "not every trap and policy is installed yet") }
                        let milliseconds = Instant.now().since(began).wholeNanoseconds / 1_000_000
                        log.write(
                            .info, "DMN",
                            "martletd \(Martlet.version) is ready in \(milliseconds) ms: \(count(gateway.shards.count, "shard")), \(count(configuration.connections.count, "connection")), control socket \(configuration.gateway.control)"
                        )
                        notify("READY=1\nSTATUS=\(count(configuration.connections.count, "connection"))")
                        martlet_process_trim()
                    }
                    gateway.initiateStarting()
                }
                gateway.loop.run()
            } catch {
                _ = gateway.stop()
                throw error
            }
            guard gateway.stop() else {
                log.write(.error, "DMN", "martletd ends although a job still runs: a plugin hangs")
                log.flush()
                // Nothing that the job uses may go before it.
                _exit(0)
            }
            services.end()
            plugins.shutDown()
            log.write(.info, "DMN", "martletd has ended")
            return 0
        } catch {
            put("martletd: \(error)", to: 2)
            // Whoever started it may not be there to read; the log file is.
            if let opened, !options.isCheck, read.gateway.logFile != nil {
                opened.write(.error, "DMN", "martletd does not start: \(error)")
                opened.flush()
            }
            return 1
        }
    }

    // MARK: Starting

    /// Why the daemon does not start.
    private struct Refusal: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    private static func start(_ configuration: GatewayConfiguration, _ plugins: PluginSet, _ planes: PlaneChoice, log: Log) throws -> RunningGateway {
        let settings = configuration.gateway
        let shardCount = settings.shards > 0 ? settings.shards : min(64, Int(martlet_machine_cores()))
        // One thread of the plane for each core, too, where packets come to user space.
        let workers = planes.needsSockets ? min(64, Int(martlet_machine_cores())) : 0
        var options = SocketOptions()
        options.listen = settings.listen
        options.port = settings.port
        options.natPort = settings.natPort
        options.workers = workers
        options.takesKernelUDP = planes.takesKernelUDP
        let sockets = try SocketSet(options)
        for note in sockets.notes { log.write(.error, "NET", note) }

        let transport = Transport(sockets, log: log)
        let loop = try EventLoop("control")
        var crypto = Crypto(preferred: plugins.registry(order: settings.ikeProviders) ?? Registry(random: SystemRandom()))
        crypto.signatureHashes = plugins.signatureHashes
        crypto.eapMethods = plugins.eapMethods
        for provider in plugins.providers { crypto.providers[provider] = plugins.registry(order: settings.crypto, provider: provider) }
        let plane = try planes.name.flatMap { name in plugins.plane(named: name).map { (name, $0) } }.map { try PlaneDriver(name: $0.0, table: $0.1, log: log) }
        let gateway = try RunningGateway(
            configuration: configuration, plugins: plugins, crypto: crypto, transport: transport, shardCount: shardCount, plane: plane, planes: planes, loop: loop, log: log)
        // The control socket before anything is changed on the host: it says whether another daemon is there.
        let server = try ControlServer(path: settings.control, backend: gateway) { level, message in log.write(LogLevel(rawValue: level) ?? .info, "CFG", message) }
        if let plane {
            plane.acquired = { [weak gateway] policy, packet in gateway?.acquired(policy, packet) }
            plane.strayed = { [weak gateway] stray in gateway?.strayed(stray) }
            let failure = try plane.start(sockets: sockets.plane, workers: workers, mark: SocketSet.mark) { [weak gateway] shard, event in gateway?.event(event, to: shard) }
            if let failure {
                guard let connection = configuration.connections.first else {
                    log.write(.error, "ESP", "the data plane \(plane.name) does not start: \(failure)")
                    try finish(gateway, server)
                    return gateway
                }
                log.flush()
                throw Refusal("the data plane \(plane.name) does not start, and the connection \(connection.name) needs it: \(failure)")
            }
        }
        try finish(gateway, server)
        return gateway
    }

    private static func finish(_ gateway: RunningGateway, _ server: ControlServer) throws {
        do {
            try gateway.start()
            gateway.watchAddresses()
            try gateway.serve(server)
        } catch {
            // The plane may have changed routes and rules already.
            _ = gateway.stop()
            throw error
        }
    }

    /// Where plugins are: as the command line and the configuration say; else beside the executable; else where they are installed.
    private static func folders(_ options: DaemonOptions, _ plugins: PluginConfiguration) -> [String] {
        var folders = options.plugins + plugins.path
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        if folders.isEmpty, length > 0 {
            let path = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if let slash = path.lastIndex(of: "/"), hasPlugins(String(path[..<slash])) { folders.append(String(path[..<slash])) }
        }
        if folders.isEmpty { folders = ["/usr/lib/martlet/plugins"] }
        var seen: Set<String> = []
        return folders.filter { folder in
            let resolved = realpath(folder, nil)
            defer { free(resolved) }
            return seen.insert(resolved.map { String(cString: $0) } ?? folder).inserted
        }
    }

    private static func hasPlugins(_ folder: String) -> Bool {
        guard let directory = opendir(folder) else { return false }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
            if name.hasPrefix("libmartlet-"), name.hasSuffix(".so") { return true }
        }
        return false
    }

    // MARK: Signals

    private static func handle(_ signal: Int32, _ gateway: RunningGateway) {
        switch signal {
        case SIGHUP:
            gateway.reload()
        case SIGTERM, SIGINT:
            if gateway.isEnding {
                gateway.log.write(.info, "DMN", "asked twice to end: peers are not waited for")
                return gateway.loop.end()
            }
            gateway.log.write(.info, "DMN", "asked to end by \(signal == SIGTERM ? "SIGTERM" : "SIGINT"): peers are told")
            notify("STOPPING=1")
            gateway.shutDown { gateway.loop.end() }
        default: break
        }
    }

    /// sd_notify(3).
    private static func notify(_ message: String) {
        if let path = getenv("NOTIFY_SOCKET") { martlet_notify(path, message) }
    }

    private static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

    private static func put(_ text: String, to descriptor: Int32) {
        var text = text + "\n"
        _ = text.withUTF8 { write(descriptor, $0.baseAddress, $0.count) }
    }
}

/// The kernel's random bytes, for a gateway without a provider of algorithms.
private final class SystemRandom: RandomSource {
    func fill(_ bytes: inout MutableSpan<UInt8>) {
        var generator = SystemRandomNumberGenerator()
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: generator.next()) }
    }
}

extension Capabilities {
    init(_ plugins: PluginSet, _ planes: PlaneChoice) {
        let all = plugins.registry(order: [])
        var each: [String: Registry] = [:]
        for name in plugins.providers { each[name] = plugins.registry(order: [], provider: name) }
        self.init(
            serves: { transform, provider in (provider.map { each[$0] } ?? all)?.serves(transform) ?? false }, providers: plugins.providers, methods: plugins.authMethodNames)
        carries = planes.carries
        carriesAlone = planes.carriesAlone
        passes = { transform, provider in plugins.passes(transform, provider: provider) }
        eapMethods = plugins.eapMethods
        (directories, areDirectoriesLoaded) = (plugins.directoryAbilities, true)
        planeName = planes.name
        carriesTransport = planes.carriesTransport
        features = planes.features
        credentials = plugins.credentialReader
    }
}

extension GatewayConfiguration {
    /// Every transform that a proposal names.
    var transforms: [Transform] { connections.flatMap { $0.proposals + $0.children.flatMap(\.proposals) }.flatMap(\.transforms) }
}

extension GatewaySettings {
    /// The providers of IKE's own algorithms, the preferred ones first: where nobody has said otherwise, the one whose key exchanges are the
    /// fastest by far. ESP goes by the plugins' priorities.
    var ikeProviders: [String] { crypto.isEmpty ? ["openssl"] : crypto }
    var level: LogLevel { LogLevel(rawValue: logLevel) ?? .info }
    var logTarget: Log.Target { logFile.map(Log.Target.file) ?? .standardError }
}
