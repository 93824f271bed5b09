// Asks authorities whether certificates are revoked, for log-ins that wait for the answer: one thread for all of them, and no log-in waits for another's.
// RFC 5280 section 6.3, RFC 6960.

import CCURL
import CertificateKit
import Glibc
import PluginKit
import Synchronization

/// A question with the places that may know the answer, in the order in which they are asked.
package struct SourcedQuestion: Sendable {
    package var question: RevocationQuestion
    package var ocspURIs: [String]
    package var crlURIs: [String]

    /// Those that the administrator has configured for the authority come before those of the certificate.
    package init(_ question: RevocationQuestion, ocspURIs: [String] = [], crlURIs: [String] = []) {
        func joined(_ first: [String], _ second: [String]) -> [String] { first + second.filter { !first.contains($0) } }
        self.question = question
        self.ocspURIs = joined(ocspURIs, question.certificate.ocspURIs)
        self.crlURIs = joined(crlURIs, question.certificate.crlURIs)
    }

    /// Whether anybody is to be asked: not where a CRL at hand says that it is good and no responder is named.
    package var asksSomebody: Bool { !ocspURIs.isEmpty || !question.isGood && !crlURIs.isEmpty }
}

/// What one log-in wants to know.
package struct Inquiry: Sendable {
    package var questions: [SourcedQuestion]
    package var rules: PathRules
    /// On CLOCK_MONOTONIC, nanoseconds.
    package var deadline: UInt64
    /// Called once, on the service's thread: nil where nothing is against the path.
    package var completion: @Sendable (Refusal?) -> Void

    package init(_ questions: [SourcedQuestion], _ rules: PathRules, deadline: UInt64, _ completion: @escaping @Sendable (Refusal?) -> Void) {
        (self.questions, self.rules, self.deadline, self.completion) = (questions, rules, deadline, completion)
    }
}

package final class RevocationService: Sendable {
    package struct Options: Sendable {
        /// For one answer, in milliseconds.
        package var timeout = 5_000
        /// How long a place that failed is left alone, in seconds.
        package var rest: Int64 = 30
        /// Where fetched CRLs are kept; nil for memory alone.
        package var folder: String?
        /// The longest CRL that is fetched.
        package var listLimit = RevocationList.limit
        /// How old an answer may be before it is asked for again, though it still counts, in seconds.
        package var listAge: Int64 = 86_400
        package var answerAge: Int64 = 3_600
        /// Seconds of 1970.
        package var clock: @Sendable () -> Int64 = { Int64(time(nil)) }
        package init() {}
    }
    package enum Level: Sendable { case warning, notice, info }
    package struct Fetched: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let lists = Fetched(rawValue: 1), answers = Fetched(rawValue: 2)
    }

    let options: Options
    let log: @Sendable (Level, String) -> Void
    private struct State {
        var inbox: [Inquiry] = []
        /// To be done before anything of the inbox.
        var forgotten: Fetched = []
        var isRunning = false
        var transfers: Transfers?
        /// Asked and not yet answered.
        var open = 0
    }
    private let state = Mutex(State())
    private static let most = 4_096

    package init(_ options: Options, log: @escaping @Sendable (Level, String) -> Void) { (self.options, self.log) = (options, log) }

    static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// From any thread; never waits.
    package func ask(_ inquiry: Inquiry) {
        let (isFull, transfers, starts) = state.withLock { state in
            guard state.open < Self.most else { return (true, Transfers?.none, false) }
            state.open += 1
            state.inbox.append(inquiry)
            defer { state.isRunning = true }
            return (false, state.transfers, !state.isRunning)
        }
        if isFull { return end(inquiry, "\(Self.most) log-ins wait for answers already", counts: false) }
        transfers?.wake()
        guard starts, !startThread("x509 fetch", stackBytes: 8 << 20, { self.run() }) else { return }
        for inquiry in stop() { end(inquiry, "there is no thread to ask with") }
    }

    /// What was fetched of these kinds counts for nobody who asks from now on; nor does it that a place did not answer. From any thread; never waits.
    package func forget(_ kinds: Fetched) {
        guard !kinds.isEmpty else { return }
        let (transfers, starts) = state.withLock { state in
            state.forgotten.formUnion(kinds)
            defer { state.isRunning = true }
            return (state.transfers, !state.isRunning)
        }
        transfers?.wake()
        // Where nobody has asked for anything yet, there may be a folder of an earlier life.
        guard starts, !startThread("x509 fetch", stackBytes: 8 << 20, { self.run() }) else { return }
        log(.warning, "what was fetched cannot be forgotten: there is no thread for it")
        for inquiry in stop() { end(inquiry, "there is no thread to ask with") }
    }

    /// Nobody can be asked.
    private func end(_ inquiry: Inquiry, _ reason: String, counts: Bool = true) {
        if counts { answered() }
        for sourced in inquiry.questions {
            if let refusal = sourced.question.unknown(inquiry.rules.revocation, asked: [reason], isNamed: sourced.asksSomebody) { return inquiry.completion(refusal) }
        }
        inquiry.completion(nil)
    }

    func answered() { state.withLock { $0.open -= 1 } }

    private func stop() -> [Inquiry] {
        state.withLock { state in
            defer { (state.inbox, state.isRunning) = ([], false) }
            return state.inbox
        }
    }

    func take() -> (forgotten: Fetched, inbox: [Inquiry]) {
        state.withLock { state in
            defer { (state.inbox, state.forgotten) = ([], []) }
            return (state.forgotten, state.inbox)
        }
    }

    private func run() {
        do throws(Transfers.Unavailable) {
            let transfers = try Transfers()
            state.withLock { $0.transfers = transfers }
            RevocationWorker(self, transfers).run()
        } catch {
            log(.warning, "CRLs and OCSP answers cannot be fetched: \(error.missing) is missing (Debian: libcurl4)")
            for inquiry in stop() { end(inquiry, "nothing can be fetched, for \(error.missing) is missing") }
        }
    }
}
