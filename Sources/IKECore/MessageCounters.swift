// Messages and renewed keys, counted for each connection and for all together: plain numbers, for programs that watch a gateway.

import IKEWire

package struct MessageCounters: Hashable, Sendable {
    /// What is counted. A message counts once it is authentic, or, in IKE_SA_INIT, could be read; a retransmission does not count again.
    package enum Kind: Int, CaseIterable, Sendable {
        /// IKE SAs rekeyed by us, and by the peer; Child SAs rekeyed by either.
        case ikeRekeyInitiated, ikeRekeyAnswered, childRekeyed
        /// Not a message; and a message for an SA that is not there.
        case invalid, invalidSPI
        case initRequestIn, initResponseIn, initRequestOut, initResponseOut
        case authRequestIn, authResponseIn, authRequestOut, authResponseOut
        case createChildRequestIn, createChildResponseIn, createChildRequestOut, createChildResponseOut
        case informationalRequestIn, informationalResponseIn, informationalRequestOut, informationalResponseOut

        init?(_ exchange: ExchangeType, response: Bool, incoming: Bool) {
            let first: Kind
            switch exchange {
            case .ikeSAInit: first = .initRequestIn
            case .ikeAuth: first = .authRequestIn
            case .createChildSA: first = .createChildRequestIn
            case .informational: first = .informationalRequestIn
            default: return nil
            }
            self.init(rawValue: first.rawValue + (incoming ? 0 : 2) + (response ? 1 : 0))
        }
    }
    private var values = [UInt64](repeating: 0, count: Kind.allCases.count)
    package init() {}

    package subscript(kind: Kind) -> UInt64 {
        get { values[kind.rawValue] }
        set { values[kind.rawValue] = newValue }
    }

    package static func += (a: inout Self, b: Self) { for kind in Kind.allCases { a[kind] &+= b[kind] } }
}

/// The counters of one shard. A peer that has not proven itself counts in `all` alone.
package struct ConnectionCounters: Hashable, Sendable {
    package internal(set) var all = MessageCounters()
    package internal(set) var connections: [String: MessageCounters] = [:]
    package init() {}

    /// Which ones an operator sets to zero.
    package enum Scope: Hashable, Sendable {
        case all
        case connection(String)
        case everyConnection
    }

    mutating func count(_ kind: MessageCounters.Kind, _ connection: String?) {
        all[kind] &+= 1
        if let connection { connections[connection, default: MessageCounters()][kind] &+= 1 }
    }

    mutating func reset(_ scope: Scope) {
        switch scope {
        case .all: all = MessageCounters()
        case .connection(let name): connections[name] = nil
        case .everyConnection: connections = [:]
        }
    }
}

extension IKESA {
    func count(_ kind: MessageCounters.Kind) { context.messages.count(kind, isHalfOpen ? nil : connection.name) }

    /// An authentic message, or one of IKE_SA_INIT that could be read.
    func countReceived(_ header: Header) {
        if let kind = MessageCounters.Kind(header.exchangeType, response: header.isResponse, incoming: true) { count(kind) }
    }

    func countSent(_ exchange: ExchangeType, response: Bool) {
        if let kind = MessageCounters.Kind(exchange, response: response, incoming: false) { count(kind) }
    }
}
