// The core's reports as lines of the log. What strangers can cause is written so often and no more.

import IKECore
import IKEWire
import Synchronization

final class ReportLines: Sendable {
    private let log: Log
    private let allowances = Mutex<[Failure.Code: Allowance]>([:])

    /// A token bucket for failures of one kind.
    private struct Allowance {
        static let burst = 20.0
        static let perSecond = 2.0
        var tokens = Allowance.burst
        var refilled: Instant
        /// Failures that were not written since the last one that was.
        var silent = 0

        mutating func take(_ now: Instant) -> Bool {
            tokens = min(Self.burst, tokens + Double(now.since(refilled).wholeNanoseconds) / 1e9 * Self.perSecond)
            refilled = now
            guard tokens >= 1 else {
                silent += 1
                return false
            }
            tokens -= 1
            return true
        }
    }

    init(log: Log) { self.log = log }

    /// How many were passed over before this one; nil where it is not written itself.
    func passedOver(_ code: Failure.Code, now: Instant) -> Int? {
        allowances.withLock { allowances in
            var allowance = allowances[code] ?? Allowance(refilled: now)
            let isWritten = allowance.take(now)
            let count = allowance.silent
            if isWritten { allowance.silent = 0 }
            allowances[code] = allowance
            return isWritten ? count : nil
        }
    }

    func write(_ report: Report) {
        func line(_ level: LogLevel, _ group: String, _ sa: IKESAStatus, _ text: @autoclosure () -> String) {
            log.write(level, group, text(), connection: sa.connection, ikeSA: sa.id.rawValue)
        }
        switch report {
        case .initiating(let sa):
            line(.info, "IKE", sa, "initiating IKE SA to \(sa.remote) from \(sa.local)")
        case .ikeSAEstablished(let sa):
            line(
                .info, "IKE", sa,
                "IKE SA established: \(sa.local) \(name(sa.localIdentity)) ... \(sa.remote) \(name(sa.remoteIdentity)), \(algorithms(sa.transforms)), SPIs \(sa.initiatorSPI)_i \(sa.responderSPI)_r\(nat(sa))"
            )
        case .ikeSARekeyed(let previous, let current):
            line(.info, "IKE", current, "IKE SA rekeyed, it was #\(previous.id.rawValue): \(algorithms(current.transforms)), SPIs \(current.initiatorSPI)_i \(current.responderSPI)_r")
        // A note says it.
        case .ikeSAMoved: break
        case .ikeSAClosed(let sa, let reason):
            line(.info, "IKE", sa, "IKE SA closed: \(reason)")
        case .childSAUp(let sa, let child):
            line(.info, "CHD", sa, "child \(child.name){\(child.id.rawValue)} up: \(selectors(child)), \(carrier(child))")
        case .childSARekeyed(let sa, let previous, let current):
            line(.info, "CHD", sa, "child \(current.name){\(previous.id.rawValue)} rekeyed as {\(current.id.rawValue)}: \(carrier(current))")
        case .childSADown(let sa, let child):
            line(.info, "CHD", sa, "child \(child.name){\(child.id.rawValue)} down, SPIs \(hexadecimal(child.inboundSPI))_i \(hexadecimal(child.outboundSPI))_o")
        case .failed(let failure, let connection, let sa):
            guard let silent = passedOver(failure.code, now: Instant.now()) else { return }
            if silent > 0 { log.write(.error, "IKE", "\(failure.code.rawValue): \(silent) more of these were not written") }
            for text in failure.lines { log.write(.error, "IKE", text, connection: connection ?? sa?.connection, ikeSA: sa?.id.rawValue) }
        case .note(let level, let text, let connection, let sa):
            log.write(LogLevel(level), "IKE", text, connection: connection, ikeSA: sa?.rawValue)
        }
    }

    private func name(_ identity: Identification?) -> String { identity.map { "[\($0)]" } ?? "[no identity]" }

    private func algorithms(_ transforms: [Transform]) -> String {
        // Sequence numbers of 32 bits are what nobody needs to be told of.
        let named = transforms.filter { !($0.type == .extendedSequenceNumbers && $0.id == 0) && !($0.type == .integrity && $0.id == 0) }
        return named.isEmpty ? "no algorithms yet" : named.map { transform in transform.keyLength.map { "\(transform.name)-\($0)" } ?? transform.name }.joined(separator: "/")
    }

    private func selectors(_ child: ChildSAStatus) -> String {
        child.localTS.map(\.description).joined(separator: ", ") + " === " + child.remoteTS.map(\.description).joined(separator: ", ")
    }

    private func carrier(_ child: ChildSAStatus) -> String {
        "ESP\(child.encapsulated ? " in UDP" : ""), \(algorithms(child.transforms)), SPIs \(hexadecimal(child.inboundSPI))_i \(hexadecimal(child.outboundSPI))_o"
    }

    private func nat(_ sa: IKESAStatus) -> String {
        switch (sa.localBehindNAT, sa.remoteBehindNAT) {
        case (true, true): ", both ends are behind a NAT"
        case (true, false): ", this end is behind a NAT"
        case (false, true): ", the other end is behind a NAT"
        case (false, false): ""
        }
    }
}
