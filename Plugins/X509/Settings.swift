// The options of the section `plugins { x509 { } }`.

import CertificateKit
import PluginKit
import Synchronization

struct Settings: Sendable {
    /// Bits of RSA keys, in every certificate of a path.
    var leastRSA = 2048
    /// Extended key usages, dotted, of which a certificate that has any must have one.
    var gatewayPurposes = PathRules.gatewayPurposes
    var clientPurposes = PathRules.clientPurposes

    /// Whether authorities are asked who is revoked, how long for, how long a place that failed is left alone (both in seconds), and where CRLs are kept.
    var fetches = true
    var fetchTimeout = 5
    var fetchRest: Int64 = 30
    var cache: String?

    private static let state = Mutex(Settings())
    static var current: Settings { state.withLock { $0 } }

    /// False where one is wrong; a log line says which.
    static func read(_ host: Host) -> Bool {
        var settings = Settings()
        if let text = host.setting("rsa_bits") {
            guard let bits = Int(text), (1024...8192).contains(bits) else {
                host.log(.error, "rsa_bits is a number from 1024 to 8192, not \(text)")
                return false
            }
            settings.leastRSA = bits
        }
        if let text = host.setting("fetch") {
            guard let word = ["yes": true, "true": true, "on": true, "1": true, "no": false, "false": false, "off": false, "0": false][text.lowercased()] else {
                host.log(.error, "fetch is yes or no, not \(text)")
                return false
            }
            settings.fetches = word
        }
        for (key, range, place) in [("fetch_timeout", 1...15, \Settings.fetchTimeout), ("fetch_retry", 1...3600, \Settings.rest)] {
            guard let text = host.setting(key) else { continue }
            guard let seconds = Int(text.hasSuffix("s") ? String(text.dropLast()) : text), range.contains(seconds) else {
                host.log(.error, "\(key) is a number of seconds from \(range.lowerBound) to \(range.upperBound), not \(text)")
                return false
            }
            settings[keyPath: place] = seconds
        }
        settings.cache = host.setting("cache") ?? host.setting("state").map { $0 + "/crls" }
        do throws(Wrong) {
            if let text = host.setting("gateway_eku") { settings.gatewayPurposes = try purposes(text) }
            if let text = host.setting("client_eku") { settings.clientPurposes = try purposes(text) }
        } catch {
            host.log(.error, "\(error.word) is no extended key usage: write serverAuth, clientAuth, ipsecIKE, any, or dotted numbers")
            return false
        }
        let final = settings
        state.withLock { $0 = final }
        return true
    }

    private var rest: Int {
        get { Int(clamping: fetchRest) }
        set { fetchRest = Int64(newValue) }
    }

    private struct Wrong: Error { let word: String }

    private static func purposes(_ text: String) throws(Wrong) -> Set<String> {
        var purposes: Set<String> = [PathRules.anyPurpose]
        for word in text.split(whereSeparator: { $0 == "," || $0 == " " }) {
            switch word.lowercased() {
            case "serverauth": purposes.insert(PathRules.serverAuth)
            case "clientauth": purposes.insert(PathRules.clientAuth)
            case "ipsecike": purposes.insert(PathRules.ipsecIKE)
            case "any": purposes.insert(PathRules.anyPurpose)
            default:
                guard word.contains("."), word.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }) else { throw Wrong(word: String(word)) }
                purposes.insert(String(word))
            }
        }
        return purposes
    }
}
