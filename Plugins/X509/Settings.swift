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
