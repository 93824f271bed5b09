// Why a connection was not the one that a peer meant, in words, each with the line of the configuration that decided.

import IKEWire

extension ConnectionSelection.Claim {
    /// What `payloads` of IKE_AUTH claim; nil where they name nobody.
    init?(_ payloads: [Payload], _ sa: IKESA) {
        var identity: Identification?, wanted: Identification?, method: Authentication.Method?
        for payload in payloads {
            switch payload {
            case .identificationInitiator(let value): identity = value
            case .identificationResponder(let value): wanted = value
            case .authentication(let value): method = value.method
            default: break
            }
        }
        guard let identity else { return nil }
        self.init(local: sa.local.address, remote: sa.remote.address, transforms: sa.transforms, identity: identity, wanted: wanted, method: method, names: sa.context.names)
    }
}

extension ConnectionSelection.Loser {
    func line(_ ours: IPAddress) -> String {
        let name = connection.name
        return switch loss {
        case .remoteAddress(let address): "connection \(name) is not for the peer's address \(address): \(connection.setting("remote_addrs"))"
        case .localAddress(let address): "connection \(name) is not for our address \(address): \(connection.setting("local_addrs"))"
        case .proposals: "connection \(name) would have chosen other IKE algorithms: \(connection.setting("proposals"))"
        case .remoteIdentity, .localIdentity:
            "connection \(name) expects \(Wording.identity(connection.remote.identity)), from \(connection.setting("remote.id")), and is itself \(connection.ownIdentity(ours)), from \(connection.setting("local.id"))"
        case .method(let method): "connection \(name) asks for `\(connection.remote.method)`, from \(connection.setting("remote.auth")), and the peer comes with \(Wording.proof(method))"
        case .outranked(let winner): "connection \(name) fits as well, and \(winner) comes before it"
        }
    }
}

extension [ConnectionSelection.Loser] {
    /// A line each, and how many more there are.
    func lines(_ sa: IKESA, chosen: Bool) -> [String] {
        let rest = sa.context.connections.count { $0.isNegotiated } - count - (chosen ? 1 : 0)
        return map { $0.line(sa.local.address) } + (rest > 0 ? ["and \(rest) more connections"] : [])
    }
}

extension Failure {
    /// The same, with the connections that were passed over for the one that was chosen.
    func passingOver(_ payloads: [Payload], _ sa: IKESA) -> Failure {
        guard let claim = ConnectionSelection.Claim(payloads, sa) else { return self }
        let losers = ConnectionSelection.losers(sa.context.connections, claim, chosen: sa.connection.name, limit: Wording.lines)
        var failure = self
        // Before what names both ends, which comes last.
        failure.evidence.insert(contentsOf: losers.lines(sa, chosen: true), at: max(failure.evidence.count - 1, 0))
        return failure
    }

    /// No connection takes the peer. The first of `losers` came furthest.
    static func noConnectionFits(_ claim: ConnectionSelection.Claim, _ losers: [ConnectionSelection.Loser], _ sa: IKESA) -> Failure {
        guard let first = losers.first, case .method(let method) = first.loss else { return unknownIdentity(claim.identity, wanted: claim.wanted, losers: losers, sa) }
        return Failure(
            .authenticationFailed, "\(sa.remote.address) wants to authenticate with \(Wording.proof(method)), which connection \(first.connection.name) does not do",
            evidence: Array(losers.dropFirst()).lines(sa, chosen: true) + [Wording.ends(sa)],
            advice: ["Set the peer to authenticate with `\(first.connection.remote.method)`, as \(first.connection.setting("remote.auth")) says."])
    }
}

extension Wording {
    /// RFC 7296 section 3.8, RFC 7427, RFC 7619.
    static func proof(_ method: Authentication.Method?) -> String {
        switch method {
        case nil: "EAP"
        case .sharedKey: "a shared secret"
        case .rsaSignature: "an RSA signature"
        case .digitalSignature: "a digital signature (RFC 7427)"
        case .null: "nothing (NULL authentication)"
        case let other?: "authentication method \(other.rawValue)"
        }
    }
}
