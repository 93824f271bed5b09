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

extension Revocation {
    /// What is left to ask of a peer whose path holds and who has its key. True where somebody is asked: then `later` is called, once, from any thread. Throws where
    /// what is known already is not enough.
    static func settle(_ questions: [SourcedQuestion], _ rules: PathRules, deadline: UInt64, _ later: @escaping @Sendable (Refusal?) -> Void) throws(Refusal) -> Bool {
        guard let service, questions.contains(where: \.asksSomebody) else {
            for question in questions {
                if let refusal = question.question.unknown(rules.revocation, isNamed: question.asksSomebody) { throw refusal }
            }
            return false
        }
        // A moment is left for what comes of it.
        let end = deadline.subtractingReportingOverflow(Self.margin)
        service.ask(Inquiry(questions, rules, deadline: end.overflow ? 0 : end.partialValue, later))
        return true
    }
    private static let margin: UInt64 = 2_000_000_000
}

extension Known {
    /// With what the configuration says of the issuer.
    func sourced(_ question: RevocationQuestion) -> SourcedQuestion {
        var question = question
        question.responders = responders
        let sections = places.filter { $0.subject == question.issuer.subject && $0.key == question.issuer.key?.der }
        return SourcedQuestion(question, ocspURIs: sections.flatMap(\.ocspURIs), crlURIs: sections.flatMap(\.crlURIs))
    }
}
