// Failures in words: what each one says to the person who must fix it. The side that refuses shows both sides' values; the initiator
// shows what it offered, what came back and what that usually means. Nothing of this goes on the wire.

import IKECrypto
import IKEWire

extension Failure {
    private static func both(_ sa: IKESA) -> [String] {
        var lines = ["between \(sa.local) (we) and \(sa.remote) (the peer)"]
        lines.append("IKE SPIs: initiator \(sa.initiatorSPI), responder \(sa.responderSPI); look for them in the other end's log")
        return lines
    }

    private static func text(_ proposal: Proposal) -> String { proposal.transforms.prefix(shown).map(\.description).joined(separator: "/") + (proposal.transforms.count > shown ? "/..." : "") }
    /// How many of a peer's proposals, transforms or selectors are looked at: it may send hundreds.
    private static let shown = 32
    private static func text(_ identity: Identification) -> String { identity.description }
    private static func text(_ selectors: [TrafficSelector]) -> String { selectors.prefix(shown).map(\.description).joined(separator: " ") + (selectors.count > shown ? " ..." : "") }
    private static func text(_ pattern: IdentityPattern) -> String {
        switch pattern {
        case .any: "%any"
        case .exactly(let identity): identity.description
        case .suffix(let kind, let suffix): "*" + Identification(kind: kind, data: suffix).description
        }
    }

    // MARK: No answer

    static func noAnswer(exchange: String, sent: Int, _ sa: IKESA) -> Failure {
        let early = exchange == "IKE_SA_INIT"
        return Failure(
            .noAnswer, "\(sa.remote.address) does not answer on UDP port \(sa.remote.port): \(exchange) was sent \(sent) times from \(sa.local)",
            evidence: both(sa),
            advice: early
                ? [
                    "Is the peer running, and listening on \(sa.remote)?", "Does a firewall at either end, or between, let UDP port \(sa.remote.port) pass?",
                    "Does the peer have a connection for \(sa.local.address)? Some drop what they do not know.",
                ]
                : [
                    "The peer answered before, so it is there: does a firewall drop UDP port \(sa.remote.port), or fragments of larger packets?",
                    "Some peers say nothing when they reject a proof of identity: compare the identities and secrets.",
                ])
    }

    // MARK: Traps

    static func packetLeftOut(_ packet: TriggeringPacket, _ child: ChildSA, _ sa: IKESA) -> Failure {
        Failure(
            .trafficSelectorsUnacceptable, "\(sa.remote) does not carry packets from \(packet.source) to \(packet.destination)",
            evidence: ["it narrowed \(child.policy.name) to \(text(child.localTS)) === \(text(child.remoteTS))"] + both(sa),
            advice: ["Add that traffic to the other end's selectors, or take it out of `local_ts` and `remote_ts` of \(child.policy.name)."])
    }

    // MARK: Refused by the peer

    static func refusedInit(_ notify: Notify, offered: [Proposal], _ sa: IKESA) -> Failure {
        let offers = offered.map { "we offered \(text($0))" }
        switch notify.type {
        case .noProposalChosen:
            return Failure(
                .noCommonProposal, "\(sa.remote) refused all IKE proposals (NO_PROPOSAL_CHOSEN)", evidence: offers + both(sa),
                advice: [
                    "The peer's log names what it wants: make `proposals` of \(sa.connection.name) and the peer's agree in encryption, PRF and key exchange.",
                    "Some peers say the same when they have no connection for \(sa.local.address).",
                ])
        case .invalidKEPayload:
            return Failure(
                .keyExchangeInvalid,
                "\(sa.remote) wants a key exchange method that we did not offer (INVALID_KE_PAYLOAD, \(notify.data.count == 2 ? Transform(type: .keyExchange, id: UInt16(notify.data[0]) << 8 | UInt16(notify.data[1])).description : "unreadable"))",
                evidence: offers + both(sa), advice: ["Add that method to `proposals` of \(sa.connection.name), if you trust it."])
        default:
            return Failure(.peerRefused, "\(sa.remote) refused IKE_SA_INIT with \(notify.type)", evidence: offers + both(sa), advice: ["The peer's log says why."])
        }
    }

    static func refusedAuth(_ notify: Notify, _ sa: IKESA) -> Failure {
        let own = sa.localIdentity.map(text) ?? "?"
        guard notify.type == .authenticationFailed else {
            return Failure(.peerRefused, "\(sa.remote) refused IKE_AUTH with \(notify.type)", evidence: ["we showed the identity \(own)"] + both(sa), advice: ["The peer's log says why."])
        }
        return Failure(
            .authenticationFailed, "\(sa.remote) does not accept our proof of identity (AUTHENTICATION_FAILED)",
            evidence: ["we showed the identity \(own) and expected \(text(sa.connection.remote.identity)), with `auth = \(sa.connection.local.method)`"] + both(sa),
            advice: [
                "Is the secret the same at both ends, to the last character?", "Does the peer expect the identity \(own), and show \(text(sa.connection.remote.identity))?",
                "The peer's log names the reason; what it sends us does not, so that strangers learn nothing.",
            ])
    }

    static func refusedChild(_ notify: Notify, _ offer: ChildOffer, _ sa: IKESA) -> Failure {
        let name = offer.policy.name
        let selectors = "we offered the traffic selectors \(text(offer.localTS)) === \(text(offer.remoteTS))"
        switch notify.type {
        case .noProposalChosen:
            return Failure(
                .noCommonProposal, "\(sa.remote) refused all ESP proposals for \(name) (NO_PROPOSAL_CHOSEN)", evidence: offer.proposals.map { "we offered \(text($0))" } + both(sa),
                advice: ["Make `esp_proposals` of \(name) and the peer's agree, key exchange (PFS) and ESN included."])
        case .tsUnacceptable:
            return Failure(
                .trafficSelectorsUnacceptable, "\(sa.remote) refused the traffic selectors of \(name) (TS_UNACCEPTABLE)", evidence: [selectors] + both(sa),
                advice: ["Our `local_ts` must lie within the peer's `remote_ts`, and our `remote_ts` within its `local_ts`; its log shows its own."])
        case .invalidKEPayload:
            return Failure(
                .keyExchangeInvalid, "\(sa.remote) wants another key exchange for \(name) than we offered (INVALID_KE_PAYLOAD)", evidence: offer.proposals.map { "we offered \(text($0))" } + both(sa),
                advice: ["Make the key exchange (PFS) in `esp_proposals` of \(name) and the peer's agree."])
        case .noAdditionalSAs:
            return Failure(
                .peerRefused, "\(sa.remote) takes no further child SAs on this IKE SA (NO_ADDITIONAL_SAS)", evidence: both(sa),
                advice: ["Put the networks of \(name) into one child, or raise the peer's limit."])
        default:
            return Failure(.peerRefused, "\(sa.remote) refused the child \(name) with \(notify.type)", evidence: [selectors] + both(sa), advice: ["The peer's log says why."])
        }
    }

    static func refusedRekey(_ notify: Notify, _ sa: IKESA) -> Failure {
        Failure(.peerRefused, "\(sa.remote) refused to rekey the IKE SA with \(notify.type)", evidence: both(sa), advice: ["The peer's log says why; the SA goes on until its lifetime ends."])
    }

    // MARK: Refused by us

    static func noConnection(_ sa: IKESA) -> Failure {
        Failure(
            .noConnection, "\(sa.remote) wants to connect to \(sa.local.address), but no connection is configured for these addresses", evidence: both(sa),
            advice: ["Add \(sa.remote.address) to `remote_addrs` and \(sa.local.address) to `local_addrs` of the connection that is meant, if the peer is welcome."])
    }

    static func noCommonIKEProposal(offered: [Proposal], connections: [Connection], _ sa: IKESA) -> Failure {
        Failure(
            .noCommonProposal, "\(sa.remote) and we have no IKE proposal in common",
            evidence: offered.prefix(16).map { "the peer offers \(text($0))" }
                + connections.prefix(8).flatMap { connection in connection.proposals.prefix(8).map { "connection \(connection.name) takes \(text($0))" } } + both(sa),
            advice: [difference(offered, connections.flatMap(\.proposals)), "Change `proposals` here or at the peer so that one of each kind is the same."])
    }

    static func noCommonESPProposal(offered: [Proposal], policies: [ChildPolicy], _ sa: IKESA) -> Failure {
        Failure(
            .noCommonProposal, "\(sa.remote) and we have no ESP proposal in common",
            evidence: offered.prefix(16).map { "the peer offers \(text($0))" } + policies.prefix(8).flatMap { policy in policy.proposals.prefix(8).map { "child \(policy.name) takes \(text($0))" } }
                + both(sa),
            advice: [difference(offered, policies.flatMap(\.proposals)), "Change `esp_proposals` here or at the peer so that one of each kind is the same."])
    }

    /// The nearest miss: in which kind of transform the closest pair of proposals differs.
    private static func difference(_ offered: [Proposal], _ ours: [Proposal]) -> String {
        var best: (score: Int, text: String) = (-1, "The peer offers nothing that can be read.")
        for theirs in offered.prefix(shown) where theirs.transforms.count <= 2 * shown {
            for mine in ours.prefix(shown) {
                let types = Set((theirs.transforms + mine.transforms).map(\.type)).sorted()
                let missing = types.filter { type in
                    let a = theirs.transforms.filter { $0.type == type }, b = mine.transforms.filter { $0.type == type }
                    return !a.contains { b.contains($0) } && !(a.isEmpty && b.contains { $0.id == 0 }) && !(b.isEmpty && a.contains { $0.id == 0 })
                }
                guard types.count - missing.count > best.score else { continue }
                let parts = missing.map { type in
                    let a = theirs.transforms.filter { $0.type == type }.map(\.description), b = mine.transforms.filter { $0.type == type }.map(\.description)
                    return "\(name(of: type)) (the peer: \(a.isEmpty ? "none" : a.joined(separator: ", ")); here: \(b.isEmpty ? "none" : b.joined(separator: ", ")))"
                }
                best = (types.count - missing.count, "The closest pair differs in \(parts.joined(separator: " and ")).")
            }
        }
        return best.text
    }

    private static func name(of type: TransformType) -> String {
        switch type {
        case .encryption: "encryption"
        case .prf: "PRF"
        case .integrity: "integrity"
        case .keyExchange: "key exchange"
        case .extendedSequenceNumbers: "extended sequence numbers"
        default: "transform type \(type.rawValue)"
        }
    }

    static func unknownIdentity(_ remote: Identification, wanted: Identification?, candidates: [Connection], _ sa: IKESA) -> Failure {
        let asked = wanted.map { " and asks for \(text($0))" } ?? ""
        return Failure(
            .unknownIdentity, "\(sa.remote) shows the identity \(text(remote))\(asked), which fits no connection",
            evidence: candidates.prefix(8).map { "connection \($0.name) expects \(text($0.remote.identity)) and is itself \(text(.exactly($0.ownIdentity(sa.local.address))))" } + both(sa),
            advice: ["Set `remote { id = \(text(remote)) }`\(wanted.map { " and `local { id = \(text($0)) }`" } ?? "") in the connection that is meant, or correct the identity at the peer."])
    }

    static func noAuthPayload(_ sa: IKESA) -> Failure {
        Failure(
            .authenticationFailed, "\(sa.remote) wants to authenticate with EAP, which the connection \(sa.connection.name) does not do", evidence: both(sa),
            advice: ["Set the peer to authenticate with `\(sa.connection.remote.method)`."])
    }

    static func wrongPeerIdentity(_ identity: Identification, _ sa: IKESA) -> Failure {
        Failure(
            .unknownIdentity, "\(sa.remote) shows the identity \(text(identity)), but \(sa.connection.name) expects \(text(sa.connection.remote.identity))", evidence: both(sa),
            advice: ["Set `remote { id = \(text(identity)) }` in \(sa.connection.name) if that is the peer you mean, or correct the identity at the peer."])
    }

    static func selectorsUnacceptable(theirs: [TrafficSelector], ours: [TrafficSelector], policies: [ChildPolicy], _ sa: IKESA) -> Failure {
        Failure(
            .trafficSelectorsUnacceptable, "\(sa.remote) asks for traffic that no child of \(sa.connection.name) allows",
            evidence: ["the peer asks for \(text(ours)) (here) === \(text(theirs)) (there)"]
                + policies.prefix(8).map { policy in
                    "child \(policy.name) allows \(text(policy.localTS.map { $0.resolved(sa.local.address) })) === \(text(policy.remoteTS.map { $0.resolved(sa.remote.address) }))"
                } + both(sa),
            advice: ["Our `local_ts` and the peer's `remote_ts` must overlap, and so must our `remote_ts` and its `local_ts`."])
    }

    static func badAnswer(_ what: String, _ sa: IKESA) -> Failure {
        Failure(.peerMisbehaved, "\(sa.remote) breaks the protocol: \(what)", evidence: both(sa), advice: ["This is a fault of the peer's software; a capture of the exchange helps its vendor."])
    }

    // MARK: Jobs

    static func job(_ result: JobResult, _ doing: String, _ sa: IKESA) -> Failure {
        guard case .failed(let failure) = result else { return Failure(.internalError, "A job ended with the wrong kind of result while \(doing)") }
        switch failure {
        case .crypto(let error): return crypto(error, doing, sa)
        case .noSecret:
            return Failure(
                .noSecret, "No secret is configured for \(sa.localIdentity.map(text) ?? text(sa.connection.local.identity)) and \(sa.remoteIdentity.map(text) ?? text(sa.connection.remote.identity))",
                evidence: both(sa),
                advice: ["Add an `ike` section with these identities and the secret to `secrets`."])
        case .rejected:
            return Failure(
                .authenticationFailed, "\(sa.remote) does not prove that it is \(sa.remoteIdentity.map(text) ?? "who it says")",
                evidence: ["the connection is \(sa.connection.name), with `auth = \(sa.connection.remote.method)`"] + both(sa),
                advice: ["Is the secret for \(sa.localIdentity.map(text) ?? "us") and \(sa.remoteIdentity.map(text) ?? "the peer") the same at both ends, to the last character?"])
        case .noMethod(let name): return Failure(.internalError, "No loaded plugin provides the authentication method \(name)", advice: ["Load the plugin `\(name)`."])
        case .deadline: return Failure(.internalError, "The time for \(doing) is over", evidence: both(sa), advice: ["The machine is overloaded, or a plugin hangs."])
        }
    }

    static func crypto(_ error: CryptoError, _ doing: String, _ sa: IKESA) -> Failure {
        switch error {
        case .invalid:
            Failure(
                .keyExchangeInvalid, "\(sa.remote) sent a public value that fails the checks of RFC 6989, while \(doing)", evidence: both(sa),
                advice: ["This is a fault of the peer's software, or an attack."])
        case .unavailable(let transform): Failure(.internalError, "No loaded plugin provides \(transform)", advice: ["Load a crypto plugin that does."])
        case .rejected, .failed: Failure(.internalError, "The crypto backend failed while \(doing)", evidence: both(sa), advice: ["See the log of the plugin."])
        }
    }
}
