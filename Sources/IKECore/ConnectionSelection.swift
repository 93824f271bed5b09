// Which configured connection a peer means: by addresses, by the algorithms that were chosen, by identities, and by the way it proves its
// own; and why each of the others was not meant.
// RFC 7296 section 2.15, RFC 4301 section 4.4.3.

import IKEWire

package enum ConnectionSelection {
    /// Why a connection is not the one.
    package enum Loss: Hashable, Sendable {
        case remoteAddress(IPAddress), localAddress(IPAddress)
        /// It would have chosen other algorithms than those that are in use.
        case proposals
        case remoteIdentity(Identification)
        /// The peer has asked for another identity of ours.
        case localIdentity(Identification)
        /// Nil for EAP.
        case method(Authentication.Method?)
        /// It fits, and another fits better.
        case outranked(by: String)
    }

    package struct Loser: Hashable, Sendable {
        package let connection: Connection
        package let loss: Loss
    }

    /// What is known of a peer when it asks to be let in.
    package struct Claim: Sendable {
        package var local: IPAddress
        package var remote: IPAddress
        /// Those of the IKE SA.
        package var transforms: [Transform]
        package var identity: Identification
        /// The identity of ours that it asks for.
        package var wanted: Identification?
        /// Of its AUTH payload; nil where it has none.
        package var method: Authentication.Method?
        /// Where host names lead.
        package var names: HostNames

        package init(
            local: IPAddress, remote: IPAddress, transforms: [Transform], identity: Identification, wanted: Identification? = nil, method: Authentication.Method?, names: HostNames = HostNames()
        ) {
            self.names = names
            self.local = local
            self.remote = remote
            self.transforms = transforms
            self.identity = identity
            self.wanted = wanted
            self.method = method
        }
    }

    /// The connections that may be meant by a request from `remote` to `local`, the closest match first, in the order of the file
    /// where they match alike.
    package static func candidates(_ connections: [Connection], local: IPAddress, remote: IPAddress, names: HostNames = HostNames()) -> [Connection] {
        connections.enumerated()
            .compactMap { index, connection -> (score: Int, index: Int, connection: Connection)? in
                guard connection.isNegotiated, let here = score(connection.localAddresses, local, names), let there = score(connection.remoteAddresses, remote, names) else { return nil }
                return (here + there * 2, index, connection)
            }
            .sorted { ($1.score, $0.index) < ($0.score, $1.index) }
            .map(\.connection)
    }

    /// How well the best of the candidates is meant for an address.
    static func fit(_ best: Connection?, to remote: IPAddress, names: HostNames) -> HostNames.Fit {
        guard let best else { return .none }
        return score(best.remoteAddresses, remote, names) == 3 ? .exact : .wide
    }

    /// 3 for exactly this address, 2 for a range, 1 for any; nil for no match. A host name is what it leads to.
    private static func score(_ patterns: [AddressPattern], _ address: IPAddress, _ names: HostNames) -> Int? {
        patterns.compactMap { pattern -> Int? in
            if case .name(let name) = pattern { return names.leads(name, to: address) ? 3 : nil }
            guard pattern.matches(address) else { return nil }
            if case .range(let start, let end) = pattern { return start == end ? 3 : 2 }
            return 1
        }.max()
    }

    /// The connection that the peer means, if there is one: of those that fit in everything, one that names its identity comes before one
    /// that takes many.
    package static func choose(_ connections: [Connection], _ claim: Claim) -> Connection? {
        let fitting = fitting(connections, claim)
        return fitting.first { if case .exactly = $0.remote.identity { true } else { false } } ?? fitting.first
    }

    /// Those that fit in everything, the closest match first.
    static func fitting(_ connections: [Connection], _ claim: Claim) -> [Connection] {
        var algorithms = Algorithms(claim)
        return candidates(connections, local: claim.local, remote: claim.remote, names: claim.names).filter { identityLoss($0, claim) == nil && algorithms.may(be: $0.proposals) }
    }

    /// The connection that an EAP identity means, of those that fit otherwise and prove us as `current` has done: one that names it before one that takes many.
    static func choose(_ connections: [Connection], _ claim: Claim, eap identity: Identification, like current: Connection) -> Connection? {
        let fitting = fitting(connections, claim).filter { $0.isSameServer(as: current) && $0.remote.eapIdentity?.matches(eap: identity) ?? true }
        func rank(_ pattern: IdentityPattern?) -> Int {
            switch pattern {
            case .exactly: 0
            case .suffix, .name: 1
            case .any, nil: 2
            }
        }
        /// By the identity of EAP first, then by that of IKE.
        func ranks(_ connection: Connection) -> (Int, Int) { (rank(connection.remote.eapIdentity), rank(connection.remote.identity)) }
        return fitting.enumerated().min { (ranks($0.element).0, ranks($0.element).1, $0.offset) < (ranks($1.element).0, ranks($1.element).1, $1.offset) }?.element
    }

    /// Those among which the user's groups may choose: what has been proven was proven to what `current` asks.
    static func alike(_ connections: [Connection], _ claim: Claim, _ current: Connection) -> [Connection] {
        fitting(connections, claim).filter {
            $0.isSameServer(as: current) && $0.remote.method == current.remote.method && $0.remote.directory == current.remote.directory
                && $0.remote.certificates == current.remote.certificates
        }
    }

    /// The connection for a user who is in `groups`, who has proven to be `identity` as `current` asks: of those that name the user alike, one that names a group
    /// of the user's comes before one that takes everybody.
    static func choose(_ connections: [Connection], _ claim: Claim, user identity: Identification, in groups: [String]?, like current: Connection) -> Connection? {
        // Where nobody speaks of groups the choice was made. A reload may have taken away the connection that did when the peer began.
        let alike = alike(connections, claim, current)
        guard !current.remote.groups.isEmpty || alike.contains(where: { !$0.remote.groups.isEmpty }) else { return current }
        func rank(_ connection: Connection) -> Int {
            let byUser =
                switch connection.remote.eapIdentity {
                case .exactly: 0
                case .suffix, .name: 2
                case .any, nil: 4
                }
            return byUser + (connection.remote.groups.isEmpty ? 1 : 0)
        }
        let own = Set((groups ?? []).map(GroupName.compared))
        let open = alike.filter { ($0.remote.eapIdentity?.matches(eap: identity) ?? true) && $0.remote.admits(own) }
        return open.enumerated().min { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }?.element
    }

    /// Why each of the others is not `chosen`, those that came furthest first; at most `limit`.
    package static func losers(_ connections: [Connection], _ claim: Claim, chosen: String?, limit: Int) -> [Loser] {
        let near = candidates(connections, local: claim.local, remote: claim.remote, names: claim.names)
        var losers: [Loser] = [], algorithms = Algorithms(claim)
        for connection in near where connection.name != chosen {
            guard let loss = algorithms.may(be: connection.proposals) ? identityLoss(connection, claim) ?? chosen.map(Loss.outranked) : .proposals else { continue }
            losers.append(Loser(connection: connection, loss: loss))
        }
        let names = Set(near.map(\.name))
        for connection in connections where connection.isNegotiated && losers.count < limit && !names.contains(connection.name) {
            losers.append(Loser(connection: connection, loss: score(connection.remoteAddresses, claim.remote, claim.names) == nil ? .remoteAddress(claim.remote) : .localAddress(claim.local)))
        }
        return Array(losers.enumerated().sorted { ($1.element.loss.progress, $0.offset) < ($0.element.loss.progress, $1.offset) }.map(\.element).prefix(limit))
    }

    /// Only connections that would have chosen the same algorithms: the peer must not get weaker ones by its address. Many connections have the same list, which is
    /// compared once.
    private struct Algorithms {
        private let chosen: Proposal
        private var known: [(proposals: [Proposal], fit: Bool)] = []

        init(_ claim: Claim) { chosen = Proposal(number: 1, protocolID: .ike, transforms: claim.transforms) }

        mutating func may(be proposals: [Proposal]) -> Bool {
            if let known = known.first(where: { $0.proposals == proposals }) { return known.fit }
            let fit = Negotiation.choose(configured: proposals, offered: [chosen], protocolID: .ike) != nil
            if known.count < 8 { known.append((proposals, fit)) }
            return fit
        }
    }

    /// What else keeps a connection whose addresses fit from being the one.
    private static func identityLoss(_ connection: Connection, _ claim: Claim) -> Loss? {
        guard connection.remote.identity.matches(claim.identity) else { return .remoteIdentity(claim.identity) }
        if let wanted = claim.wanted, case .exactly(let own) = connection.local.identity, !own.matches(wanted) { return .localIdentity(wanted) }
        return connection.remote.takes(claim.method) ? nil : .method(claim.method)
    }
}

extension ConnectionSelection.Loss {
    /// How far a connection came.
    fileprivate var progress: Int {
        switch self {
        case .remoteAddress, .localAddress: 0
        case .proposals: 1
        case .remoteIdentity: 2
        case .localIdentity: 3
        case .method: 4
        case .outranked: 5
        }
    }
}

extension AuthenticationPolicy {
    /// Whether a user who is in `own` may come in: names as `GroupName.compared` has them.
    func admits(_ own: Set<String>) -> Bool { groups.isEmpty || groups.contains { own.contains(GroupName.compared($0)) } }

    /// Whether a proof of that kind may be one of this policy's. `nil`: no AUTH payload came, so that EAP is asked for. RFC 7296 sections 2.15 and 2.16.
    func takes(_ proof: Authentication.Method?) -> Bool {
        switch method {
        case "psk": proof == .sharedKey
        case let name where name.hasPrefix("eap"): proof == nil
        case let name where name.hasPrefix("pubkey"): proof != nil && proof != .sharedKey && proof != .null
        default: true
        }
    }
}

extension IdentityPattern {
    /// Whether an identity of EAP, which has no type, fits: by its text.
    package func matches(eap identity: Identification) -> Bool {
        switch self {
        case .any: true
        case .exactly(let expected): expected.matches(identity) || Identification(eap: expected.eapIdentity).matches(identity)
        // A user has no distinguished name.
        case .name: false
        case .suffix(_, let suffix): identity.data.count > suffix.count && Identification(kind: .fqdn, data: identity.data.suffix(suffix.count)).matches(Identification(kind: .fqdn, data: suffix))
        }
    }
}

extension AuthenticationPolicy {
    /// The identity that we show in EAP, where one is configured.
    var ownEAPIdentity: [UInt8]? { if case .exactly(let identity) = eapIdentity { identity.eapIdentity } else { nil } }
}

extension Connection {
    /// Whether the peer is asked for its EAP identity.
    var asksEAPIdentity: Bool {
        switch self.remote.eapIdentity {
        case .any, .suffix, .name: true
        case .exactly, nil: false
        }
    }

    /// Whether we prove ourselves in it as in the other.
    func isSameServer(as other: Connection) -> Bool { self.local == other.local && self.remote.isEAP == other.remote.isEAP && self.provider == other.provider }
}

extension Connection {
    /// Whether an SA of this connection may be one between the same identities as an SA of the other.
    func mayReachPeer(of other: Connection) -> Bool {
        guard self.name != other.name else { return true }
        guard self.local.identity == other.local.identity else { return false }
        return switch (self.remote.identity, other.remote.identity) {
        case (.exactly(let one), let pattern), (let pattern, .exactly(let one)): pattern.matches(one)
        default: true
        }
    }

    /// The identity that we show: the configured one, or our address.
    func ownIdentity(_ address: IPAddress) -> Identification {
        if case .exactly(let identity) = self.local.identity { return identity }
        return Identification(kind: address.family == .v4 ? .ipv4 : .ipv6, data: address.bytes)
    }
}
