// Why an IKE SA has ended: a kind that programs count by, and words for the log.

/// A text alone is a failure; whoever ends an SA for another reason says so.
package struct ClosingReason: Hashable, Sendable, CustomStringConvertible {
    package enum Cause: UInt32, Hashable, Sendable {
        /// The peer has closed it.
        case peer = 1
        /// The peer does not answer.
        case noAnswer
        /// An operator has closed it, or the configuration has.
        case operatorRequest
        /// The daemon ends.
        case shutDown
        /// Another IKE SA has its place.
        case replaced
        /// Its time is over.
        case lifetime
        case failure
    }
    package let cause: Cause
    package let text: String
    package init(_ cause: Cause, _ text: String) { (self.cause, self.text) = (cause, text) }

    /// What an SA that is given up without a word died of.
    init(_ failure: Failure) { self.init(failure.code == .noAnswer ? .noAnswer : .failure, failure.summary) }

    package var description: String { text }
}

extension ClosingReason: ExpressibleByStringInterpolation {
    package init(stringLiteral text: String) { self.init(.failure, text) }
}
