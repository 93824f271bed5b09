// A failure as a value: what happened, with its evidence, a stable code, and words for the person who must fix it. The one place where
// failures become notifications, log lines and explanations.

import IKEWire

package struct Failure: Error, Hashable, Sendable {
    /// Stable, for scripts: e.g. `no-common-proposal`.
    package enum Code: String, Hashable, Sendable, CaseIterable {
        case noAnswer = "no-answer"
        case noCommonProposal = "no-common-proposal"
        case authenticationFailed = "authentication-failed"
        case unknownIdentity = "unknown-identity"
        case noSecret = "no-secret"
        case trafficSelectorsUnacceptable = "traffic-selectors-unacceptable"
        case noConnection = "no-connection"
        case keyExchangeInvalid = "key-exchange-invalid"
        case peerRefused = "peer-refused"
        case peerMisbehaved = "peer-misbehaved"
        case address = "inner-address"
        case dataPlane = "data-plane"
        case limit = "limit"
        case notConfigured = "not-configured"
        case closed = "closed"
        case internalError = "internal"
    }
    package var code: Code
    /// One sentence: what happened.
    package var summary: String
    /// What was seen, a line each: what we offered, what came back, addresses, SPIs.
    package var evidence: [String]
    /// What to change, or where to look, the likeliest first.
    package var advice: [String]

    package init(_ code: Code, _ summary: String, evidence: [String] = [], advice: [String] = []) {
        self.code = code
        self.summary = summary
        self.evidence = evidence
        self.advice = advice
    }
}
