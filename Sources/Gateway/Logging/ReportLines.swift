// The core's reports as lines of the log.

import IKECore
import IKEWire

enum ReportLines {
    static func write(_ report: Report, to log: Log) {
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
        case .ikeSAClosed(let sa, let reason):
            line(.info, "IKE", sa, "IKE SA closed: \(reason)")
        case .childSAUp(let sa, let child):
            line(.info, "CHD", sa, "child \(child.name){\(child.id.rawValue)} up: \(selectors(child)), \(carrier(child))")
        case .childSARekeyed(let sa, let previous, let current):
            line(.info, "CHD", sa, "child \(current.name){\(previous.id.rawValue)} rekeyed as {\(current.id.rawValue)}: \(carrier(current))")
        case .childSADown(let sa, let child):
            line(.info, "CHD", sa, "child \(child.name){\(child.id.rawValue)} down, SPIs \(hexadecimal(child.inboundSPI))_i \(hexadecimal(child.outboundSPI))_o")
        case .failed(let failure, let connection, let sa):
            for text in failure.lines { log.write(.error, "IKE", text, connection: connection ?? sa?.connection, ikeSA: sa?.id.rawValue) }
        case .note(let level, let text, let connection, let sa):
            log.write(LogLevel(level), "IKE", text, connection: connection, ikeSA: sa?.rawValue)
        }
    }

    private static func name(_ identity: Identification?) -> String { identity.map { "[\($0)]" } ?? "[no identity]" }

    private static func algorithms(_ transforms: [Transform]) -> String {
        // Sequence numbers of 32 bits are what nobody needs to be told of.
        let named = transforms.filter { !($0.type == .extendedSequenceNumbers && $0.id == 0) && !($0.type == .integrity && $0.id == 0) }
        return named.isEmpty ? "no algorithms yet" : named.map { transform in transform.keyLength.map { "\(transform.name)-\($0)" } ?? transform.name }.joined(separator: "/")
    }

    private static func selectors(_ child: ChildSAStatus) -> String {
        child.localTS.map(\.description).joined(separator: ", ") + " === " + child.remoteTS.map(\.description).joined(separator: ", ")
    }

    private static func carrier(_ child: ChildSAStatus) -> String {
        "ESP\(child.encapsulated ? " in UDP" : ""), \(algorithms(child.transforms)), SPIs \(hexadecimal(child.inboundSPI))_i \(hexadecimal(child.outboundSPI))_o"
    }

    private static func nat(_ sa: IKESAStatus) -> String {
        switch (sa.localBehindNAT, sa.remoteBehindNAT) {
        case (true, true): ", both ends are behind a NAT"
        case (true, false): ", this end is behind a NAT"
        case (false, true): ", the other end is behind a NAT"
        case (false, false): ""
        }
    }
}
