// We said no: both sides' values, what they differ in, and the change that would fix it. Nothing of this goes on the wire.

import IKECrypto
import IKEWire

extension Failure {
    static func noConnection(_ sa: IKESA) -> Failure {
        let connections = sa.context.connections
        func addresses(_ patterns: [AddressPattern]) -> String { patterns.prefix(Wording.lines).map(\.text).joined(separator: ", ") }
        var evidence = connections.prefix(Wording.lines).map {
            "connection \($0.name) is for \(addresses($0.remoteAddresses)), from \($0.setting("remote_addrs")), to \(addresses($0.localAddresses)), from \($0.setting("local_addrs"))"
        }
        if connections.count > Wording.lines { evidence.append("and \(connections.count - Wording.lines) more connections") }
        let target = connections.count == 1 ? connections.first?.setting("remote_addrs") : nil
        return Failure(
            .noConnection, "\(sa.remote.address) wants to connect to \(sa.local.address), and no connection is configured for these addresses", evidence: evidence + [Wording.ends(sa)],
            advice: ["If the peer is welcome, add \(sa.remote.address) to \(target ?? "`remote_addrs` of the connection that is meant")\(connections.isEmpty ? ": there is none yet" : "")."])
    }

    static func noCommonIKEProposal(offered: [Proposal], connections: [Connection], _ sa: IKESA) -> Failure {
        let accepted = connections.flatMap { connection in connection.proposals.map { NearestProposal.Accepted(proposal: $0, setting: connection.setting("proposals")) } }
        let names = connections.prefix(Wording.lines).map(\.name).joined(separator: ", ")
        return noCommonProposal(
            "\(sa.remote.address) offers IKE algorithms that connection \(names) does not accept", offered: offered, accepted: accepted,
            lines: connections.flatMap { connection in connection.proposals.map { "connection \(connection.name) accepts \(Wording.proposal($0))" } }, sa)
    }

    static func noCommonESPProposal(offered: [Proposal], policies: [ChildPolicy], _ sa: IKESA) -> Failure {
        let accepted = policies.flatMap { policy in policy.proposals.map { NearestProposal.Accepted(proposal: $0, setting: sa.connection.setting("esp_proposals", ofChild: policy.name)) } }
        let names = policies.prefix(Wording.lines).map(\.name).joined(separator: ", ")
        return noCommonProposal(
            "\(sa.remote.address) offers ESP algorithms that child \(names) does not accept", offered: offered, accepted: accepted,
            lines: policies.flatMap { policy in policy.proposals.map { "child \(policy.name) accepts \(Wording.proposal($0))" } }, sa)
    }

    private static func noCommonProposal(_ summary: String, offered: [Proposal], accepted: [NearestProposal.Accepted], lines: [String], _ sa: IKESA) -> Failure {
        let nearest = NearestProposal(offered: offered, accepted: accepted)
        return Failure(
            .noCommonProposal, summary,
            evidence: offered.prefix(Wording.lines).map { "the peer offers \(Wording.proposal($0))" } + lines.prefix(Wording.lines) + (nearest?.difference.map { [$0] } ?? []) + [Wording.ends(sa)],
            advice: nearest?.advice(sa.registry) ?? ["The peer offers nothing that can be read."])
    }

    static func unknownIdentity(_ remote: Identification, wanted: Identification?, losers: [ConnectionSelection.Loser], _ sa: IKESA) -> Failure {
        let asked = wanted.map { " and asks for \($0)" } ?? ""
        let near = losers.filter { loser in
            switch loser.loss {
            case .remoteIdentity, .localIdentity: true
            default: false
            }
        }
        let advice: [String]
        if remote.data.isEmpty {
            advice = ["The peer's identity has no octets: have it give the one that `remote.id` of its connection has."]
        } else if let only = near.first, near.count == 1 {
            advice = identityAdvice(only.connection, remote, wanted, sa)
        } else if let only = losers.first, losers.count == 1, only.loss == .proposals {
            advice = ["The connection would have chosen other algorithms: compare \(only.connection.setting("proposals")) with the other connections'."]
        } else {
            advice = [
                "If the peer is welcome, write \(remote) to `remote.id`\(wanted.map { " and \($0) to `local.id`" } ?? "") of the connection that is meant, or correct the identities at the peer."
            ]
        }
        return Failure(
            .unknownIdentity, "\(sa.remote.address) says that it is \(remote)\(asked), which fits no connection", evidence: losers.lines(sa, chosen: false) + [Wording.ends(sa)], advice: advice)
    }

    /// Which of the two does not fit, and both ways to mend it.
    private static func identityAdvice(_ connection: Connection, _ remote: Identification, _ wanted: Identification?, _ sa: IKESA) -> [String] {
        var advice: [String] = []
        if !connection.remote.identity.matches(remote) {
            advice.append("The peer's identity differs: write \(remote) to \(connection.setting("remote.id")), or have the peer call itself \(Wording.identity(connection.remote.identity)).")
        }
        let own = connection.ownIdentity(sa.local.address)
        if let wanted, !own.matches(wanted) {
            advice.append("Our identity differs: write \(wanted) to \(connection.setting("local.id")), or have the peer expect \(own).")
        }
        return advice
    }

    /// Somebody wants a child up that is a policy alone.
    package static func noTunnel(_ child: ChildPolicy) -> Failure {
        Failure(
            .notConfigured, "The child \(child.name) has mode = \(child.mode.rawValue): it is a policy without a tunnel",
            advice: ["`start_action = trap` installs it at the start, `swanctl --install --child \(child.name)` at once."])
    }

    /// The peer asks for a tunnel where only transport mode will do.
    static func tunnelRefused(_ policy: ChildPolicy, _ sa: IKESA) -> Failure {
        Failure(
            .noCommonProposal, "\(sa.remote.address) asks for a tunnel, and \(sa.connection.setting("mode", ofChild: policy.name)) asks for transport mode", evidence: [Wording.ends(sa)],
            advice: ["Write mode = transport to the peer's child, or mode = tunnel here."])
    }

    static func selectorsUnacceptable(theirs: [TrafficSelector], ours: [TrafficSelector], policies: [ChildPolicy], transport: Bool, _ sa: IKESA) -> Failure {
        let children = policies.prefix(Wording.lines).map { policy in
            (policy: policy, local: policy.localTS.flatMap { $0.resolved(sa.localEnds) }, remote: policy.remoteTS.flatMap { $0.resolved(sa.remoteEnds) })
        }
        let evidence =
            ["the peer asks for \(Wording.pair(local: ours, remote: theirs))\(transport ? ", in transport mode" : "")"]
            + children.map { "child \($0.policy.name) allows \(Wording.pair(local: $0.local, remote: $0.remote))" } + [Wording.ends(sa)]
        guard !transport else {
            return Failure(
                .trafficSelectorsUnacceptable, "\(sa.remote.address) asks for transport mode, and the children of connection \(sa.connection.name) are tunnels", evidence: evidence,
                advice: ["Write mode = tunnel in the peer's child."])
        }
        var advice: [String] = []
        if let child = children.first, children.count == 1 {
            for (key, allowed, asked, end) in [("local_ts", child.local, ours, "remote"), ("remote_ts", child.remote, theirs, "local")]
            where TrafficSelectors.narrow(configured: allowed, offered: asked).isEmpty {
                guard !asked.isEmpty else {
                    advice.append("The peer names no network at its \(end == "local" ? "own end" : "other end, which is ours"): set its \(end) networks to \(Wording.selectors(allowed)).")
                    continue
                }
                advice.append(
                    "To allow it, add \(Wording.selectors(asked)) to \(sa.connection.setting(key, ofChild: child.policy.name)), or set the peer's \(end) networks to \(Wording.selectors(allowed)).")
            }
        }
        return Failure(
            .trafficSelectorsUnacceptable, "\(sa.remote.address) is who it should be, and asks for networks that no child of connection \(sa.connection.name) allows", evidence: evidence,
            advice: advice.isEmpty ? ["Some `local_ts` must overlap the networks asked for here, and `remote_ts` of the same child those there."] : advice)
    }
}

extension AddressPattern {
    fileprivate var text: String {
        switch self {
        case .any: "%any"
        case .name(let name): name
        case .range(let start, let end): start == end ? start.description : TrafficSelector(start: start, end: end).description
        }
    }
}
