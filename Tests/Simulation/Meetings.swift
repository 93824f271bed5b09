// Which exchanges have met: one of ours under way, and a request of the peer's that came meanwhile and was taken. A generator that no
// longer makes a pair is noticed. Those of an SA that is up: IKE_AUTH and re-authentication meet the others in Lossless, AUTH_LIFETIME and CP in Chaos.
// RFC 7296 sections 2.8 and 2.25.

import IKEWire
import Synchronization
import TestSupport
import Testing

@testable import IKECore

final class Meetings {
    enum Kind: String, CaseIterable, Comparable {
        case createChild, rekeyChild, rekeyIKE, deleteChild, deleteIKE, informational, updateAddresses, announceAddresses, checkAddress
        static func < (a: Kind, b: Kind) -> Bool { a.rawValue < b.rawValue }
    }

    struct Pair: Hashable {
        let ours: Kind
        let theirs: Kind
    }

    private struct RequestKey: Hashable {
        let initiator: UInt64, responder: UInt64
        let isFromInitiator: Bool
        let id: UInt32
    }
    /// What each request under way is, by what its header says.
    private var requests: [RequestKey: Kind] = [:]
    /// By our SPI: what was under way after the last step, and which request was expected.
    private var before: [UInt64: (ours: Kind?, expected: UInt32)] = [:]
    private(set) var counts: [Pair: Int] = [:]

    func stepped(_ node: Node, _ event: Event) {
        if case .datagramReceived(let datagram) = event { received(node, datagram) }
        for sa in node.endpoint.tables.sas.values {
            guard let established = sa.established else {
                before[sa.localSPI.rawValue] = nil
                continue
            }
            before[sa.localSPI.rawValue] = (Self.kind(established.outgoing), established.window.expected)
            guard case .sent(let exchange, _, let id) = established.outgoing else { continue }
            requests[RequestKey(initiator: sa.initiatorSPI.rawValue, responder: sa.responderSPI.rawValue, isFromInitiator: sa.isInitiator, id: id)] = Self.kind(exchange)
        }
    }

    private func received(_ node: Node, _ datagram: Datagram) {
        guard let header = try? Header.parse(datagram.bytes.span), !header.isResponse,
            let theirs = requests[
                RequestKey(initiator: header.initiatorSPI.rawValue, responder: header.responderSPI.rawValue, isFromInitiator: header.isFromInitiator, id: header.messageID)]
        else { return }
        let spi = header.isFromInitiator ? header.responderSPI : header.initiatorSPI
        guard let last = before[spi.rawValue], let ours = last.ours, last.expected == header.messageID else { return }
        // Taken: the next one is expected, or the SA is no more.
        if let established = node.endpoint.tables.sas[spi]?.established, established.window.expected == last.expected { return }
        counts[Pair(ours: ours, theirs: theirs), default: 0] += 1
    }

    private static func kind(_ outgoing: Established.Outgoing) -> Kind? {
        if case .installing(_, let creation) = outgoing { return creation?.replacing == nil ? .createChild : .rekeyChild }
        return outgoing.exchange.map(kind)
    }

    private static func kind(_ exchange: Established.Exchange) -> Kind {
        switch exchange {
        case .createChild(let creation): creation.replacing == nil ? .createChild : .rekeyChild
        case .rekeyIKE: .rekeyIKE
        case .deleteChild: .deleteChild
        case .deleteIKE: .deleteIKE
        case .informational: .informational
        case .updateAddresses(let update):
            switch update.kind {
            case .update: .updateAddresses
            case .announce: .announceAddresses
            case .check, .checkESP: .checkAddress
            }
        }
    }

    // MARK: Over all runs

    private static let all = Mutex<[Pair: Int]>([:])

    func add() { Self.all.withLock { $0.merge(counts, uniquingKeysWith: +) } }

    /// Those that never met, though they can.
    static var missing: [String] {
        all.withLock { all in
            Kind.allCases.flatMap { ours in Kind.allCases.map { Pair(ours: ours, theirs: $0) } }.filter { canMeet($0) && all[$0] == nil }.map(name)
        }
    }

    static func name(_ pair: Pair) -> String { "\(pair.ours) and the peer's \(pair.theirs)" }

    /// One end alone decides on addresses, and the other alone checks them.
    private static func canMeet(_ pair: Pair) -> Bool { pair.ours != pair.theirs || (pair.ours != .updateAddresses && pair.ours != .checkAddress) }
}
