// The plugins of this process and what they offer: providers of algorithms, authentication methods, planes.
// Built once at start-up; immutable afterwards, because a plugin is never unloaded.

import IKECore
import IKECrypto
import IKEWire
import PluginABI

/// How important a line is; the values of `enum martlet_log_level`.
package enum PluginLogLevel: Int32, Sendable, Comparable {
    case error = 0, warning, notice, info, debug
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

package typealias PluginLog = @Sendable (PluginLogLevel, String) -> Void

/// The `plugins { }` section: for each plugin its keys, nested ones written "a.b".
package struct PluginSettings: Sendable {
    package var sections: [String: [String: String]]
    package init(sections: [String: [String: String]] = [:]) { self.sections = sections }
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
}

package final class PluginSet: Sendable {
    package let loaded: [LoadedPlugin]
    package let refused: [PluginLoadError]
    package let algorithms: [AlgorithmStatus]

    /// Loads every `libmartlet-*.so` and `martlet-*.so` in `paths`, in the order of the folders and then of the names, and tests
    /// their algorithms. A plugin that cannot be loaded is one line in the log and one element of `refused`.
    package static func load(paths: [String], settings: PluginSettings, services: any PluginServices, log: @escaping PluginLog) -> PluginSet {
        PluginSet(loaded: [], refused: [], algorithms: [])
    }

    private init(loaded: [LoadedPlugin], refused: [PluginLoadError], algorithms: [AlgorithmStatus]) {
        self.loaded = loaded
        self.refused = refused
        self.algorithms = algorithms
    }

    /// The names of the providers of algorithms.
    package var providers: [String] { [] }

    /// The tested algorithms: of `provider` alone, or of all providers, those in `order` first. Nil where there is no such provider
    /// or no source of random bytes.
    package func registry(order: [String], provider: String? = nil) -> Registry? { nil }

    package func authMethod(named name: String) -> AuthMethod? { nil }

    package func plane(named name: String) -> UnsafePointer<martlet_plane>? { nil }

    /// Calls each plugin's `shutdown`, last loaded first. For the end of the daemon, on the main thread.
    package func shutDown() {}
}
