// The peer said no. It does not say why: what we offered, what came back, and the causes ranked by what we know.

import IKEWire

extension Failure {
    static func refusedInit(_ notify: Notify, offered: [Proposal], _ sa: IKESA) -> Failure {
        let evidence = offered.prefix(Wording.lines).map { "we offered \(Wording.proposal($0)) and \(sa.remote.address) answered \(notify.type)" } + [Wording.ends(sa)]
        let setting = sa.connection.setting("proposals")
        switch notify.type {
        case .noProposalChosen:
            return Failure(
                .noCommonProposal, "\(sa.remote.address) accepts none of our IKE proposals, or has no connection for us (NO_PROPOSAL_CHOSEN)", evidence: evidence,
                advice: [
                    "Make \(setting) and the peer's agree: one encryption, one PRF or integrity and one key exchange (DH group) must be the same. The peer's log shows both lists.",
                    "If they agree, the peer has no connection loaded for \(sa.local.address): is it configured there with our address, and loaded?",
                ])
        case .invalidKEPayload:
            let method = notify.data.count == 2 ? Transform(type: .keyExchange, id: UInt16(notify.data[0]) << 8 | UInt16(notify.data[1])) : nil
            let word = method.map(Wording.word) ?? "one that cannot be read"
            return Failure(
                .keyExchangeInvalid, "\(sa.remote.address) wants the key exchange (DH group) \(word), which we did not offer (INVALID_KE_PAYLOAD)", evidence: evidence,
                advice: ["Add \(word) to \(setting), or one of ours to the peer's proposals."])
        default:
            return Failure(.peerRefused, "\(sa.remote.address) refused to begin, with \(notify.type)", evidence: evidence, advice: ["The peer's log says why."])
        }
    }

    static func refusedAuth(_ notify: Notify, _ sa: IKESA) -> Failure {
        let connection = sa.connection
        let own = sa.localIdentity?.description ?? "?"
        let evidence = [
            "we are \(own), from \(connection.setting("local.id")), and asked for \(Wording.identity(connection.remote.identity)), from \(connection.setting("remote.id"))",
            "the peer answered \(notify.type)", Wording.ends(sa),
        ]
        guard notify.type == .authenticationFailed else {
            return Failure(.peerRefused, "\(sa.remote.address) refused to go on after our proof of identity, with \(notify.type)", evidence: evidence, advice: ["The peer's log says why."])
        }
        let expected = Wording.identity(connection.remote.identity)
        let usesSecret = connection.local.method == "psk"
        return Failure(
            .authenticationFailed, "\(sa.remote.address) does not accept that we are \(own) (AUTHENTICATION_FAILED)", evidence: evidence,
            advice: [
                usesSecret
                    ? "The secrets may differ: compare \(connection.secretPlace) with the peer's, to the last character."
                    : "Our certificate may not be believed there: the peer needs its authority, and looks at its dates, its names, its uses and whether it was revoked.",
                "The identities may differ: at the peer, the remote identity must be \(own)\(connection.remote.identity == .any ? "" : " and its own \(expected)"), written the same way.",
                "The peer's log says which of them. It does not tell us, so that strangers learn nothing.",
            ])
    }

    static func refusedChild(_ notify: Notify, _ offer: ChildOffer, _ sa: IKESA) -> Failure {
        let name = offer.policy.name
        func setting(_ key: String) -> String { sa.connection.setting(key, ofChild: name) }
        let answered = "the peer answered \(notify.type)"
        let selectors = ["we asked for \(Wording.pair(local: offer.localTS, remote: offer.remoteTS)); \(answered)", Wording.ends(sa)]
        let proposals = offer.proposals.prefix(Wording.lines).map { "we offered \(Wording.proposal($0)); \(answered)" } + [Wording.ends(sa)]
        switch notify.type {
        case .noProposalChosen:
            return Failure(
                .noCommonProposal, "\(sa.remote.address) is who it should be, and accepts none of the ESP proposals of \(name) (NO_PROPOSAL_CHOSEN)", evidence: proposals,
                advice: ["Make \(setting("esp_proposals")) and the peer's agree, key exchange (PFS) and ESN included. The peer's log shows both lists."]
                    + (offer.proposals.contains { $0.hasKeyExchange } ? [Wording.pfs] : []))
        case .tsUnacceptable:
            return Failure(
                .trafficSelectorsUnacceptable, "\(sa.remote.address) is who it should be, and does not allow the networks of \(name) (TS_UNACCEPTABLE)", evidence: selectors,
                advice: [
                    "Compare the networks: the peer's remote ones must overlap our \(setting("local_ts")), and its local ones our \(setting("remote_ts")). The peer's log shows its own.",
                    "If they agree, compare the mode: \(name) is a tunnel here, and a peer in transport mode allows no networks. Write mode = tunnel there.",
                ])
        case .invalidKEPayload:
            return Failure(
                .keyExchangeInvalid, "\(sa.remote.address) wants another key exchange for \(name) than we offered (INVALID_KE_PAYLOAD)", evidence: proposals,
                advice: ["Make the key exchange (PFS) in \(setting("esp_proposals")) and the peer's agree."])
        case .singlePairRequired:
            return Failure(
                .trafficSelectorsUnacceptable, "\(sa.remote.address) makes a child for each pair of hosts alone (SINGLE_PAIR_REQUIRED), and no packet says which pair \(name) is for",
                evidence: selectors,
                advice: ["Write `start_action = trap` to the child: each packet then asks for its own pair. Or have the peer take networks."])
        case .noAdditionalSAs:
            return Failure(
                .peerRefused, "\(sa.remote.address) takes no further children on this IKE SA (NO_ADDITIONAL_SAS)", evidence: [Wording.ends(sa)],
                advice: ["Put the networks of \(name) into one child, or raise the peer's limit."])
        default: return Failure(.peerRefused, "\(sa.remote.address) refused the child \(name) with \(notify.type)", evidence: selectors, advice: ["The peer's log says why."])
        }
    }

    /// The keys cannot be renewed on the IKE SA, which ends therefore. RFC 7296 section 4.
    static func renewsNoKeys(_ what: String, _ sa: IKESA) -> Failure {
        Failure(
            .peerRefused, "\(sa.remote.address) renews no keys of \(what) on this IKE SA (NO_ADDITIONAL_SAS)", evidence: [Wording.ends(sa)],
            advice: ["The IKE SA is closed, and another is begun in its place. Where the peer is always so, `reauth_time` in the place of `rekey_time` makes the new one before the old one goes."])
    }

    static func refusedRekey(_ notify: Notify, _ sa: IKESA) -> Failure {
        Failure(
            .peerRefused, "\(sa.remote.address) refused to renew the keys of the IKE SA, with \(notify.type)", evidence: [Wording.ends(sa)],
            advice: ["The peer's log says why; the SA goes on until its lifetime ends."])
    }

    /// The peer's own identity, in its answer, is not the one that was asked for.
    static func wrongPeerIdentity(_ identity: Identification, _ sa: IKESA) -> Failure {
        let expected = Wording.identity(sa.connection.remote.identity)
        return Failure(
            .unknownIdentity, "\(sa.remote.address) says that it is \(identity), and connection \(sa.connection.name) expects \(expected)", evidence: [Wording.ends(sa)],
            advice: ["If that is the peer you mean, write \(identity) to \(sa.connection.setting("remote.id")).", "Else have the peer call itself \(expected)."])
    }

    static func packetLeftOut(_ packet: TriggeringPacket, _ child: ChildSA, _ sa: IKESA) -> Failure {
        let name = child.policy.name
        return Failure(
            .trafficSelectorsUnacceptable, "\(sa.remote.address) does not carry packets from \(packet.source) to \(packet.destination)",
            evidence: ["it narrowed \(name) to \(Wording.pair(local: child.localTS, remote: child.remoteTS))", Wording.ends(sa)],
            advice: [
                "Add that traffic to the networks that the peer allows, or take it out of \(sa.connection.setting("local_ts", ofChild: name)) and \(sa.connection.setting("remote_ts", ofChild: name))."
            ])
    }

    /// The peer answers a request for transport mode with a tunnel. RFC 7296 section 1.3.1.
    static func transportDeclined(_ policy: ChildPolicy, _ sa: IKESA) -> Failure {
        Failure(
            .peerRefused, "\(sa.remote.address) makes \(policy.name) a tunnel, and \(sa.connection.setting("mode", ofChild: policy.name)) asks for transport mode", evidence: [Wording.ends(sa)],
            advice: ["Write mode = transport to the peer's child, or mode = tunnel here."])
    }

    /// Nothing is left to ask for.
    static func nothingToOffer(_ offer: ChildOffer, _ sa: IKESA) -> Failure {
        let name = offer.policy.name
        let key = offer.localTS.isEmpty ? "local_ts" : "remote_ts", host = offer.localTS.isEmpty ? sa.local.address : sa.remote.address
        let isTransport = offer.policy.mode == .transport
        return Failure(
            .trafficSelectorsUnacceptable,
            isTransport
                ? "\(name) is in transport mode, which carries what goes between the two hosts alone, and its selectors leave out \(host)"
                : "\(name) has no address to put in the place of `dynamic`",
            evidence: [Wording.ends(sa)],
            advice: [isTransport ? "Leave \(sa.connection.setting(key, ofChild: name)) at `dynamic`, or write mode = tunnel." : "Write networks to \(sa.connection.setting(key, ofChild: name))."])
    }

    /// A rekey that would carry less than before. RFC 7296 section 2.9.2.
    static func narrowedRekey(local: [TrafficSelector], remote: [TrafficSelector], _ old: ChildSA, _ sa: IKESA) -> Failure {
        Failure(
            .trafficSelectorsUnacceptable, "\(sa.remote.address) would renew \(old.policy.name) for less traffic than it carries now",
            evidence: [
                "it carries \(Wording.pair(local: old.localTS, remote: old.remoteTS))", "of that the new one would have \(Wording.pair(local: local, remote: remote))", Wording.ends(sa),
            ],
            advice: ["The peer's networks have changed since the child came up: end it and bring it up again."])
    }

    static func badAnswer(_ what: String, _ sa: IKESA) -> Failure {
        Failure(
            .peerMisbehaved, "\(sa.remote.address) breaks the protocol: \(what)", evidence: [Wording.ends(sa)],
            advice: ["This is a fault of the peer's software; a capture of the exchange helps its vendor."])
    }
}

extension Connection {
    /// `secrets.ike-east in /etc/martlet/martlet.conf:40`, or where to look for it.
    var secretPlace: String { self.places.secret.map { "`secret` of \($0)" } ?? "the secret of these identities in `secrets`" }
}
