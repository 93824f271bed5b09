// The options of the section `plugins { eap { } }`. Read once, before any method runs.

import CertificateKit
import PluginKit
import Synchronization

package struct Settings: Sendable {
    package enum Inside: String, Sendable { case pap, mschapv2, eap }

    /// The latest version of TLS, in EAP-TLS.
    package var allowsTLS13 = true
    /// As the client, what goes inside TTLS where the server does not begin with EAP.
    package var ttls = Inside.mschapv2
    /// Types of EAP inside TTLS, the preferred one first.
    package var innerTypes = [InnerType.mschapv2, InnerType.gtc, InnerType.md5]
    package init() {}

    private static let state = Mutex(Settings())
    package static var current: Settings { state.withLock { $0 } }
    static var allowsTLS13: Bool { current.allowsTLS13 }
    static var ttls: Inside { current.ttls }
    static var innerTypes: [UInt8] { current.innerTypes }
    package static func use(_ settings: Settings) { state.withLock { $0 = settings } }

    /// False where one is wrong, or OpenSSL does not work; a log line says which.
    package static func read(_ host: Host) -> Bool {
        guard prepareOpenSSL() else {
            host.log(.error, "OpenSSL cannot be initialised")
            return false
        }
        RecentCredentials.remember(host)
        var settings = Settings()
        func wrong(_ key: String, _ text: String, _ what: String) -> Bool {
            host.log(.error, "\(key) is \(what), not \(text)")
            return false
        }
        if let text = host.setting("tls_max") {
            guard text == "1.2" || text == "1.3" else { return wrong("tls_max", text, "1.2 or 1.3") }
            settings.allowsTLS13 = text == "1.3"
        }
        if let text = host.setting("ttls") {
            guard let inside = Inside(rawValue: text.lowercased()) else { return wrong("ttls", text, "pap, mschapv2 or eap") }
            settings.ttls = inside
        }
        if let text = host.setting("ttls_eap") {
            let known = ["mschapv2": InnerType.mschapv2, "gtc": InnerType.gtc, "md5": InnerType.md5]
            let types = text.lowercased().split(whereSeparator: { $0 == "," || $0 == " " }).map { known[String($0)] }
            guard !types.isEmpty, !types.contains(nil) else { return wrong("ttls_eap", text, "a list of mschapv2, gtc and md5") }
            settings.innerTypes = types.compactMap { $0 }
        }
        use(settings)
        return true
    }
}
