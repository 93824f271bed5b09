// The plugins of this build, loaded once for all tests: a plugin is never unloaded, and its settings are read once.

import Foundation
import Gateway
import IKECrypto
import Synchronization
import Testing

/// Lines that a loader logged.
final class LogLines: Sendable {
    private let lines = Mutex<[(level: PluginLogLevel, line: String)]>([])
    var all: [String] { lines.withLock { $0.map(\.line) } }
    var errors: [String] { lines.withLock { $0.filter { $0.level == .error }.map(\.line) } }
    func add(_ level: PluginLogLevel, _ line: String) { lines.withLock { $0.append((level, line)) } }
}

enum Built {
    /// The folder of the test runner, where SwiftPM puts the plugins too.
    static let folder: String = {
        let executable = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        return URL(fileURLWithPath: executable).deletingLastPathComponent().path
    }()

    static let log = LogLines()
    static let services: any PluginServices = {
        guard let thread = ServiceThread() else { preconditionFailure("no service thread") }
        return thread
    }()

    /// OpenSSL before Gcrypt. The TUN plane has its own tests, where interfaces are.
    static let plugins = PluginSet.load(
        paths: [folder], settings: PluginSettings(sections: ["openssl": ["priority": "5"], "gcrypt": ["priority": "10"], "tun": ["load": "no"]]), services: services,
        log: { log.add($0, $1) })

    /// Every provider of algorithms that Martlet ships.
    static let providers = ["openssl", "gcrypt"]

    static func registry(_ provider: String) throws -> Registry {
        try #require(plugins.registry(order: [], provider: provider), "no \(provider): \(log.errors)")
    }
}
