// The service's thread: which answers are known, who is being asked, and which log-ins wait for that.

import CertificateKit

/// A log-in that waits.
private final class Waiting {
    let inquiry: Inquiry
    var cases: [Case] = []
    var open = 0
    var isDone = false
    init(_ inquiry: Inquiry) { self.inquiry = inquiry }
}

/// One question of it, and how far it has come.
private final class Case {
    enum Step {
        case ocsp(String)
        case list(String)
    }
    let waiting: Waiting
    let sourced: SourcedQuestion
    let steps: [Step]
    var next = 0
    var reasons: [String] = []
    var isSettled = false

    init(_ sourced: SourcedQuestion, of waiting: Waiting) {
        (self.sourced, self.waiting) = (sourced, waiting)
        steps = sourced.ocspURIs.map(Step.ocsp) + (sourced.question.isGood ? [] : sourced.crlURIs.map(Step.list))
    }
    var certificate: X509Certificate { sourced.question.certificate }
    var issuer: X509Certificate { sourced.question.issuer }
}

/// What is asked for once, however many wait for it.
private enum Wanted: Hashable {
    case list(String)
    /// A responder, and the hash of the certificate and its issuer's key.
    case answer(String, [UInt8])

    var uri: String {
        switch self {
        case .list(let uri), .answer(let uri, _): uri
        }
    }
}

private final class Fetch {
    let wanted: Wanted
    let request: OCSPRequest?
    var cases: [Case] = []
    /// Kept until it has ended.
    var transfer: Transfer?
    /// What it brings is of before somebody had everything forgotten.
    var isForgotten = false
    init(_ wanted: Wanted, request: OCSPRequest?) { (self.wanted, self.request) = (wanted, request) }
}

/// Belongs to its thread.
final class RevocationWorker {
    private struct KnownList {
        var list: RevocationList
        var fetched: Int64
    }
    private struct KnownAnswer {
        var answer: RevocationAnswer
        var source: String
        var asked: Int64
        /// Whom the authority has named to sign it; nil where it has signed itself.
        var signer: X509Certificate?
    }
    private struct Failure {
        var reason: String
        var until: Int64
    }

    private let service: RevocationService
    private let transfers: Transfers
    private var options: RevocationService.Options { service.options }
    private var waiting: [ObjectIdentifier: Waiting] = [:]
    private var fetches: [ObjectIdentifier: Fetch] = [:]
    private var wanted: [Wanted: Fetch] = [:]
    /// Transfers from a place, and who waits for one of them to end.
    private var busy: [String: Int] = [:]
    private var queues: [String: [Case]] = [:]
    private var lists: [String: KnownList] = [:]
    private var answers: [[UInt8]: KnownAnswer] = [:]
    /// One object for each of those that signed them, by its DER.
    private var signers: [[UInt8]: X509Certificate] = [:]
    /// Of one certificate's answer.
    private var failures: [Wanted: Failure] = [:]
    /// Of a place as a whole: it is down.
    private var down: [String: Failure] = [:]
    private var folder: ListFolder?

    private static let transfersPerPlace = 8
    private static let listCount = 256, listBytes = 64 << 20, answerCount = 65_536, failureCount = 4_096, signerCount = 256

    init(_ service: RevocationService, _ transfers: Transfers) {
        (self.service, self.transfers) = (service, transfers)
        guard let path = service.options.folder else { return }
        do throws(ListFolder.Problem) { folder = try ListFolder(path) } catch { service.log(.warning, "fetched CRLs are kept in memory alone: \(error.reason)") }
    }

    func run() -> Never {
        while true {
            let (forgotten, inbox) = service.take()
            if !forgotten.isEmpty { forget(forgotten) }
            for inquiry in inbox { begin(inquiry) }
            for (transfer, result) in transfers.step() { finish(transfer, result) }
            expire()
            let now = RevocationService.now, next = waiting.values.map(\.inquiry.deadline).min()
            let rest = next.map { $0 > now ? Int(clamping: ($0 - now) / 1_000_000) + 1 : 0 } ?? 3_600_000
            transfers.wait(milliseconds: min(rest, 3_600_000))
        }
    }

    private func forget(_ kinds: RevocationService.Fetched) {
        let counts = (lists: lists.count, answers: answers.count)
        var words: [String] = []
        if kinds.contains(.lists) {
            lists = [:]
            let files = folder?.clear() ?? 0
            words.append("\(max(counts.lists, files)) CRLs")
        }
        if kinds.contains(.answers) {
            (answers, signers) = ([:], [:])
            words.append("\(counts.answers) answers of OCSP")
        }
        failures = failures.filter { failure in
            switch failure.key {
            case .list: !kinds.contains(.lists)
            case .answer: !kinds.contains(.answers)
            }
        }
        down = [:]
        for (what, fetch) in wanted {
            let isMeant = if case .list = what { kinds.contains(.lists) } else { kinds.contains(.answers) }
            guard isMeant else { continue }
            fetch.isForgotten = true
            wanted[what] = nil
        }
        service.log(.notice, "forgets what was fetched: \(words.joined(separator: ", "))")
    }

    // MARK: Log-ins

    private func begin(_ inquiry: Inquiry) {
        let log = Waiting(inquiry)
        log.cases = inquiry.questions.map { Case($0, of: log) }
        log.open = log.cases.count
        waiting[ObjectIdentifier(log)] = log
        if log.cases.isEmpty { end(log, nil) }
        for one in log.cases { advance(one) }
    }

    private func end(_ log: Waiting, _ refusal: Refusal?) {
        guard !log.isDone else { return }
        log.isDone = true
        service.answered()
        log.inquiry.completion(refusal)
        waiting[ObjectIdentifier(log)] = nil
        // Those that still stand in a queue hold on to the log-in.
        log.cases = []
    }

    private func expire() {
        let now = RevocationService.now
        for log in waiting.values.filter({ $0.inquiry.deadline <= now }) {
            for one in log.cases where !one.isSettled && !log.isDone {
                // What was known before still counts, even where it was to be asked for anew.
                if let known = known(one) {
                    settle(one, known.answer, known.source)
                    continue
                }
                one.reasons.append("\(one.steps.indices.contains(one.next) ? place(one.steps[one.next]) : "nobody") did not answer in the time that the log-in has")
                giveUp(one)
            }
        }
    }

    private func place(_ step: Case.Step) -> String {
        switch step {
        case .ocsp(let uri): "the OCSP responder \(uri)"
        case .list(let uri): uri
        }
    }

    // MARK: One question

    private enum Look {
        case answer(RevocationAnswer, String)
        case nothing(String)
        case wait
    }

    /// Goes on from source to source until one answers, or has to be waited for.
    private func advance(_ one: Case) {
        // Whoever settles the last question lets the log-in go.
        let log = one.waiting
        while !log.isDone, !one.isSettled, one.steps.indices.contains(one.next) {
            switch look(one.steps[one.next], one) {
            case .answer(let answer, let source): return settle(one, answer, source)
            case .nothing(let reason):
                one.reasons.append(reason)
                one.next += 1
            case .wait: return
            }
        }
        if !log.isDone, !one.isSettled { giveUp(one) }
    }

    private func settle(_ one: Case, _ answer: RevocationAnswer, _ source: String) {
        if case .revoked(let date, let reason) = answer.status { return end(one.waiting, one.sourced.question.revoked(date, reason, by: source)) }
        close(one)
    }

    private func giveUp(_ one: Case) {
        if let refusal = one.sourced.question.unknown(one.waiting.inquiry.rules.revocation, asked: one.reasons, isNamed: !one.steps.isEmpty) { return end(one.waiting, refusal) }
        close(one)
    }

    private func close(_ one: Case) {
        one.isSettled = true
        one.waiting.open -= 1
        if one.waiting.open == 0 { end(one.waiting, nil) }
    }

    private func look(_ step: Case.Step, _ one: Case) -> Look {
        switch step {
        case .ocsp(let uri): lookAtAnswer(uri, one)
        case .list(let uri): lookAtList(uri, one)
        }
    }

    // MARK: Places

    /// What a source has said already, or who waits for it from now on.
    private func lookAtAnswer(_ uri: String, _ one: Case) -> Look {
        let key = key(one), now = options.clock(), known = known(one)
        if let known, known.asked + options.answerAge >= now { return .answer(known.answer, known.source) }
        // It was asked a moment ago, and signs with what is worth nothing.
        if known == nil, let held = answers[key], held.asked + options.rest >= now, isRevoked(held, one, now) {
            return .nothing("the OCSP responder \(uri) signs with the certificate \"\(held.signer?.subjectText ?? "")\", which is revoked")
        }
        let wanted = Wanted.answer(uri, key)
        if let failure = failure(wanted, now) {
            // One that still counts is better than none.
            return known.map { .answer($0.answer, $0.source) } ?? .nothing("the OCSP responder \(uri) \(failure)")
        }
        return fetch(wanted, one) { OCSPRequest(about: one.certificate, issuedBy: one.issuer) }
    }

    private func key(_ one: Case) -> [UInt8] { sha256(one.certificate.der + (one.issuer.key?.der ?? [])) }

    /// The answer of a responder that still counts.
    private func known(_ one: Case) -> KnownAnswer? {
        let now = options.clock()
        return answers[key(one)].flatMap { counts($0.answer, now) && !isRevoked($0, one, now) ? $0 : nil }
    }

    /// Whether who signed an answer has been revoked since. What says "revoked" is kept all the same.
    private func isRevoked(_ known: KnownAnswer, _ one: Case, _ now: Int64) -> Bool {
        guard case .good = known.answer.status, let signer = known.signer else { return false }
        return isRevoked(signer, one, now)
    }

    /// By a list that was fetched, or one of the configuration.
    private func isRevoked(_ signer: X509Certificate, _ one: Case, _ now: Int64) -> Bool {
        one.sourced.question.hasRevoked(signer, time: now)
            || lists.values.contains { if case .revoked = $0.list.judge(signer, issuedBy: one.issuer, time: now) { true } else { false } }
    }

    private func counts(_ answer: RevocationAnswer, _ now: Int64) -> Bool {
        if case .revoked = answer.status { return true }
        // Without an end of its own for as long as a clock may be wrong.
        return now <= answer.nextUpdate ?? (answer.thisUpdate + 300)
    }

    private func lookAtList(_ uri: String, _ one: Case) -> Look {
        if lists[uri] == nil, let found = folder?.read(uri), let list = RevocationList(der: found.der) { remember(uri, KnownList(list: list, fetched: found.fetched)) }
        let now = options.clock()
        var reason = "there is none at \(uri)"
        if let known = lists[uri] {
            let source = "the CRL of \"\(known.list.issuerText)\" (\(uri))"
            switch known.list.judge(one.certificate, issuedBy: one.issuer, time: now) {
            case .revoked(let date, let why): return .answer(RevocationAnswer(status: .revoked(date, why), thisUpdate: known.list.thisUpdate, nextUpdate: nil), source)
            case .good:
                let isDue = known.fetched + max(options.listAge, options.rest) < now || known.fetched > now + 300
                if !isDue || failure(.list(uri), now) != nil {
                    return .answer(RevocationAnswer(status: .good, thisUpdate: known.list.thisUpdate, nextUpdate: known.list.nextUpdate), source)
                }
            case .stale: reason = "the CRL at \(uri) \(known.list.age(at: now))"
            case .silent: reason = "the CRL at \(uri) says nothing of it"
            }
        }
        if let failure = failure(.list(uri), now) { return .nothing("\(uri) \(failure)") }
        // It was fetched a moment ago, and is about others.
        if let known = lists[uri], known.list.isFresh(at: now), known.fetched + options.rest >= now, known.list.isSigned(by: one.issuer) { return .nothing(reason) }
        return fetch(.list(uri), one) { nil }
    }

    private func failure(_ wanted: Wanted, _ now: Int64) -> String? {
        func counts(_ failure: Failure?) -> String? { failure.flatMap { now <= $0.until && $0.until <= now + options.rest ? $0.reason : nil } }
        return counts(failures[wanted]).map { "is not believed: \($0)" } ?? counts(down[wanted.uri])
    }

    private func fetch(_ what: Wanted, _ one: Case, request: () -> OCSPRequest?) -> Look {
        if let running = wanted[what] {
            running.cases.append(one)
            return .wait
        }
        guard busy[what.uri, default: 0] < Self.transfersPerPlace else {
            queues[what.uri, default: []].append(one)
            return .wait
        }
        let asked = request()
        if case .answer = what, asked == nil { return .nothing("a request to \(what.uri) cannot be made") }
        let transfer = Transfer(uri: what.uri, body: asked?.der, limit: asked == nil ? options.listLimit : OCSPRequest.answerLimit)
        guard transfers.begin(transfer, milliseconds: options.timeout) else { return .nothing("\(what.uri) cannot be asked: libcurl does not take it") }
        let fetch = Fetch(what, request: asked)
        fetch.transfer = transfer
        fetch.cases = [one]
        wanted[what] = fetch
        fetches[ObjectIdentifier(transfer)] = fetch
        busy[what.uri, default: 0] += 1
        return .wait
    }

    private func finish(_ transfer: Transfer, _ result: Result<[UInt8], TransferFailure>) {
        guard let fetch = fetches.removeValue(forKey: ObjectIdentifier(transfer)) else { return }
        let uri = transfer.uri, now = options.clock()
        if wanted[fetch.wanted] === fetch { wanted[fetch.wanted] = nil }
        busy[uri, default: 1] -= 1
        if busy[uri] == 0 { busy[uri] = nil }
        switch result {
        // Whoever waits for it asks anew.
        case _ where fetch.isForgotten: break
        case .failure(let failure): note(uri, failure.reason, now)
        case .success(let bytes):
            if down.removeValue(forKey: uri) != nil { service.log(.notice, "\(uri) answers again") }
            switch fetch.wanted {
            case .list: take(list: bytes, fetch, now)
            case .answer(_, let key): take(answer: bytes, key, fetch, now)
            }
        }
        for one in fetch.cases { if fetch.isForgotten { advance(one) } else { goOn(one, after: fetch.wanted) } }
        for one in queues.removeValue(forKey: uri) ?? [] { advance(one) }
    }

    /// Whoever waited looks at what is known now, and asks that place no second time.
    private func goOn(_ one: Case, after wanted: Wanted) {
        guard !one.waiting.isDone, !one.isSettled, one.steps.indices.contains(one.next) else { return }
        let now = options.clock()
        if failure(wanted, now) == nil, case .answer(_, let key) = wanted, answers[key] == nil {
            one.reasons.append("the OCSP responder \(wanted.uri) gave no answer")
            one.next += 1
        }
        advance(one)
    }

    private func note(_ uri: String, _ reason: String, _ now: Int64) {
        if down.count >= Self.failureCount { down = down.filter { $0.value.until >= now } }
        if down.count >= Self.failureCount { down = [:] }
        if down.updateValue(Failure(reason: reason, until: now + options.rest), forKey: uri) == nil { service.log(.warning, "\(uri) \(reason)") }
    }

    private func note(_ wanted: Wanted, _ reason: String, _ now: Int64) {
        if failures.count >= Self.failureCount { failures = failures.filter { $0.value.until >= now } }
        if failures.count >= Self.failureCount { failures = [:] }
        failures[wanted] = Failure(reason: reason, until: now + options.rest)
        service.log(.warning, "\(wanted.uri) is not believed: \(reason)")
    }

    // MARK: Answers

    private func take(answer bytes: [UInt8], _ key: [UInt8], _ fetch: Fetch, _ now: Int64) {
        guard let request = fetch.request, let first = fetch.cases.first else { return }
        let rules = first.waiting.inquiry.rules
        do throws(OCSPProblem) {
            var signer: X509Certificate?
            let answer = try request.judge(bytes, time: now, leastRSA: rules.leastRSA, responders: first.sourced.question.responders) { named in
                signer = named
                return fetch.cases.contains { isRevoked(named, $0, now) }
            }
            if answers.count >= Self.answerCount { answers = answers.filter { counts($0.value.answer, now) } }
            if answers.count >= Self.answerCount { answers = [:] }
            failures[fetch.wanted] = nil
            // "Revoked" stays, whatever an older answer says.
            if let before = answers[key], case .revoked = before.answer.status, before.answer.thisUpdate > answer.thisUpdate {
                answers[key]?.asked = now
                return
            }
            answers[key] = KnownAnswer(answer: answer, source: "the OCSP responder \(fetch.wanted.uri)", asked: now, signer: signer.map(shared))
        } catch { note(fetch.wanted, error.reason, now) }
    }

    private func shared(_ signer: X509Certificate) -> X509Certificate {
        if let known = signers[signer.der] { return known }
        if signers.count >= Self.signerCount { signers = [:] }
        signers[signer.der] = signer
        return signer
    }

    private func take(list bytes: [UInt8], _ fetch: Fetch, _ now: Int64) {
        let uri = fetch.wanted.uri
        guard let list = Self.list(bytes) else { return note(fetch.wanted, "it is no CRL", now) }
        guard fetch.cases.contains(where: { list.isOf($0.issuer) }) else { return note(fetch.wanted, "it is a CRL of another authority, \"\(list.issuerText)\"", now) }
        guard fetch.cases.contains(where: { list.isOf($0.issuer) && list.isSigned(by: $0.issuer) }) else { return note(fetch.wanted, "its signature is not one of \"\(list.issuerText)\"", now) }
        guard !list.isDelta, !list.hasUnknownCriticalExtension else { return note(fetch.wanted, "it is a delta CRL, or has another critical extension that is not known here", now) }
        if let before = lists[uri]?.list, before.issuer == list.issuer, before.thisUpdate > list.thisUpdate, fetch.cases.contains(where: { before.isSigned(by: $0.issuer) }) {
            lists[uri]?.fetched = now
            return note(fetch.wanted, "it is older than the one that it gave before", now)
        }
        remember(uri, KnownList(list: list, fetched: now))
        failures[fetch.wanted] = nil
        service.log(.info, "fetched the CRL of \"\(list.issuerText)\" from \(uri): \(list.der.count) octets")
        do throws(ListFolder.Problem) { try folder?.write(uri, list.der) } catch { service.log(.warning, "a fetched CRL cannot be kept: \(error.reason)") }
        if !list.isFresh(at: now) { note(fetch.wanted, "it \(list.age(at: now))", now) }
    }

    /// DER, as RFC 5280 section 4.2.1.13 has it; some servers have PEM.
    private static func list(_ bytes: [UInt8]) -> RevocationList? {
        if let list = RevocationList(der: bytes) { return list }
        var found: [UInt8]?
        bytes.withUnsafeBufferPointer { file in
            try? CredentialFile.read(file, passphrase: UnsafeBufferPointer(start: nil, count: 0)) { item in if case .crl(let der) = item, found == nil { found = der } }
        }
        return found.flatMap(RevocationList.init(der:))
    }

    private func remember(_ uri: String, _ known: KnownList) {
        lists[uri] = known
        while lists.count > Self.listCount || lists.values.reduce(0, { $0 + $1.list.der.count }) > Self.listBytes, lists.count > 1 {
            guard let oldest = lists.filter({ $0.key != uri }).min(by: { $0.value.fetched < $1.value.fetched })?.key else { break }
            lists[oldest] = nil
        }
    }
}
