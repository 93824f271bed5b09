// A key exchange whose known-answer test is too slow for start-up: it runs on the job thread that first needs it, before its first use.

import IKECrypto
import IKEWire
import Synchronization

final class DeferredTest: KeyExchangeAlgorithm {
    private enum State {
        case untested
        case passed
        case failed(String)
    }

    private let algorithm: any KeyExchangeAlgorithm
    /// Called once with the reason of a failure.
    private let report: @Sendable (String) -> Void
    private let state = Mutex(State.untested)

    init(_ algorithm: any KeyExchangeAlgorithm, report: @escaping @Sendable (String) -> Void) {
        self.algorithm = algorithm
        self.report = report
    }

    /// The groups whose tests take milliseconds with some library. The others are tested at once.
    static func isSlow(_ transform: Transform) -> Bool { transform != .curve25519 }

    var transform: Transform { algorithm.transform }
    var publicLength: Int { algorithm.publicLength }
    var isTested: Bool { state.withLock { if case .untested = $0 { false } else { true } } }
    var failure: String? { state.withLock { if case .failed(let reason) = $0 { reason } else { nil } } }

    /// Runs the test unless it has run; other callers wait for it. Nil where the algorithm passed.
    @discardableResult func test() -> String? {
        state.withLock { state in
            switch state {
            case .passed: return nil
            case .failed(let reason): return reason
            case .untested:
                let failure = SelfTest.failure(of: algorithm)
                state = failure.map(State.failed) ?? .passed
                if let failure { report(failure) }
                return failure
            }
        }
    }

    func generate() throws(CryptoError) -> any KeyExchangeKey {
        guard test() == nil else { throw .unavailable(transform) }
        return try algorithm.generate()
    }

    func makeKey(privateValue: Span<UInt8>) throws(CryptoError) -> (any KeyExchangeKey)? {
        guard test() == nil else { throw .unavailable(transform) }
        return try algorithm.makeKey(privateValue: privateValue)
    }
}
