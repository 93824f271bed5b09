// The options of the section `plugins { eap { } }`. Read once, before any method runs.

import CertificateKit
import PluginKit
import Synchronization

package enum Settings {
    private struct Values { var allowsTLS13 = true }
    private static let values = Mutex(Values())
    package static var allowsTLS13: Bool { values.withLock { $0.allowsTLS13 } }

    /// False where one is wrong, or OpenSSL does not work; a log line says which.
    package static func read(_ host: Host) -> Bool {
        guard prepareOpenSSL() else {
            host.log(.error, "OpenSSL cannot be initialised")
            return false
        }
        switch host.setting("tls_max") {
        case nil, "1.3": use(tls13: true)
        case "1.2": use(tls13: false)
        case let text?:
            host.log(.error, "tls_max is 1.2 or 1.3, not \(text)")
            return false
        }
        return true
    }

    /// For tests.
    package static func use(tls13: Bool) { values.withLock { $0.allowsTLS13 = tls13 } }
}
