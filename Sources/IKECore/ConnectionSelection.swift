// Which configured connection a peer means: first by addresses, then by identities.
// RFC 7296 section 2.15, RFC 4301 section 4.4.3.

import IKEWire

package enum ConnectionSelection {
    /// The connections that may be meant by a request from `remote` to `local`, the closest match first, in the order of the file
    /// where they match alike.
    package static func candidates(_ connections: [Connection], local: IPAddress, remote: IPAddress) -> [Connection] {
        connections.enumerated()
            .compactMap { index, connection -> (score: Int, index: Int, connection: Connection)? in
                guard connection.isNegotiated, let here = score(connection.localAddresses, local), let there = score(connection.remoteAddresses, remote) else { return nil }
                return (here + there * 2, index, connection)
            }
            .sorted { ($1.score, $0.index) < ($0.score, $1.index) }
            .map(\.connection)
    }

    /// 3 for exactly this address, 2 for a range, 1 for any; nil for no match. A host name may stand for any address here: the
    /// identities decide.
    private static func score(_ patterns: [AddressPattern], _ address: IPAddress) -> Int? {
        patterns.compactMap { pattern -> Int? in
            guard pattern.matches(address) else { if case .name = pattern { return 1 } else { return nil } }
            if case .range(let start, let end) = pattern { return start == end ? 3 : 2 }
            return 1
        }.max()
    }

    /// Of `candidates`, the first whose identities fit: the peer's, and ours if the peer named it.
    package static func byIdentity(_ candidates: [Connection], remote: Identification, local: Identification?) -> Connection? {
        let fitting = candidates.filter { connection in
            guard connection.remote.identity.matches(remote) else { return false }
            guard let local, case .exactly(let own) = connection.local.identity else { return true }
            return own.matches(local)
        }
        return fitting.first { if case .exactly = $0.remote.identity { true } else { false } } ?? fitting.first
    }
}

extension Connection {
    /// The identity that we show: the configured one, or our address.
    func ownIdentity(_ address: IPAddress) -> Identification {
        if case .exactly(let identity) = local.identity { return identity }
        return Identification(kind: address.family == .v4 ? .ipv4 : .ipv6, data: address.bytes)
    }
}
