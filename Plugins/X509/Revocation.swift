// Who asks authorities for this plugin, as its settings say.

import CertificateKit
import PluginKit
import RevocationKit
import Synchronization

enum Revocation {
    private static let state = Mutex<RevocationService?>(nil)

    /// Nil where nothing is fetched.
    static var service: RevocationService? { state.withLock { $0 } }

    static func start(_ settings: Settings) {
        guard settings.fetches else { return }
        var options = RevocationService.Options()
        options.timeout = settings.fetchTimeout * 1_000
        options.rest = settings.fetchRest
        options.folder = settings.cache
        let service = RevocationService(options) { level, line in
            let level: Host.LogLevel =
                switch level {
                case .warning: .warning
                case .notice: .notice
                case .info: .info
                }
            Plugin.log(level, line)
        }
        state.withLock { $0 = service }
    }
}

extension Known {
    /// With what the configuration says of the issuer.
    func sourced(_ question: RevocationQuestion) -> SourcedQuestion {
        let sections = places.filter { $0.subject == question.issuer.subject && $0.key == question.issuer.key?.der }
        return SourcedQuestion(question, ocspURIs: sections.flatMap(\.ocspURIs), crlURIs: sections.flatMap(\.crlURIs))
    }
}
