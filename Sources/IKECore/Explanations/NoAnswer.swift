// Nothing came back: how often we asked, what the network said of it, and where to look.

import IKEWire

/// What an ICMP message said of a datagram of ours. Anybody can send one: it goes into words, and ends nothing.
package enum Unreachable: Hashable, Sendable {
    case port
    case host
    case network
    /// A firewall that says so.
    case prohibited
}

/// Who said that the peer cannot be reached.
package struct UnreachableReport: Hashable, Sendable {
    package var reason: Unreachable
    /// The sender of the ICMP message: the peer's host, a router, or this host itself.
    package var reporter: IPAddress?
    package init(reason: Unreachable, reporter: IPAddress?) {
        self.reason = reason
        self.reporter = reporter
    }
}

extension Failure {
    static func noAnswer(exchange: String, sent: Int, _ sa: IKESA) -> Failure {
        let peer = sa.remote.address, port = sa.remote.port
        if let report = sa.unreachable { return unreachable(report, exchange: exchange, sent: sent, sa) }
        if sa.established != nil {
            return Failure(
                .noAnswer, "\(peer) has stopped answering: \(exchange) was sent \(Wording.times(sent)) to UDP port \(port)", evidence: [Wording.ends(sa)],
                advice: [
                    "Is the peer still running, and does `ping \(peer)` answer?", "Has a firewall or a NAT between lost its state? UDP port \(port) must pass at any time, not only at the beginning.",
                ])
        }
        guard exchange == "IKE_SA_INIT" else { return silentAfterInit(exchange, sent, sa) }
        return Failure(
            .noAnswer, "\(peer) does not answer on UDP port \(port): \(exchange) was sent \(Wording.times(sent)), and nothing came back", evidence: [Wording.ends(sa)],
            advice: [
                "Is \(peer) the peer's address? It comes from \(sa.connection.setting("remote_addrs")).", "Is the peer's host up (`ping \(peer)`), and IKE running on it?",
                "Does a firewall drop UDP port \(port): here, at the peer, or between? Port 4500 must pass as well.",
                "Does the peer have a connection for \(sa.local.address)? Some do not answer strangers.",
            ])
    }

    private static func silentAfterInit(_ exchange: String, _ sent: Int, _ sa: IKESA) -> Failure {
        let peer = sa.remote.address
        let floated = sa.remote.port != sa.connection.remotePort
        let nat =
            switch (sa.nat.localBehindNAT, sa.nat.remoteBehindNAT) {
            case (true, true): "both ends are behind a NAT, so that IKE continues on port \(sa.remote.port)"
            case (true, false): "we are behind a NAT, so that IKE continues on port \(sa.remote.port)"
            case (false, true): "the peer is behind a NAT, so that IKE continues on port \(sa.remote.port)"
            case (false, false) where floated:
                "there is no NAT between; IKE continues on port \(sa.remote.port) for MOBIKE all the same (`mobike = no` would leave it on port \(sa.connection.remotePort))"
            case (false, false): "there is no NAT between"
            }
        return Failure(
            .noAnswer,
            floated
                ? "\(peer) answered on UDP port \(sa.connection.remotePort), and is silent on UDP port \(sa.remote.port): \(exchange) was sent \(Wording.times(sent))"
                : "\(peer) answered IKE_SA_INIT, and is silent since: \(exchange) was sent \(Wording.times(sent)) to UDP port \(sa.remote.port)",
            evidence: [nat, Wording.ends(sa)],
            advice: [
                floated
                    ? "A firewall most likely drops UDP port \(sa.remote.port), here, at the peer or between: let it pass in both directions."
                    : "Does a firewall drop fragments? \(exchange) is longer than IKE_SA_INIT.",
                "Some peers are silent when they refuse an identity or a secret: the peer's log says so.",
            ])
    }

    private static func unreachable(_ report: UnreachableReport, exchange: String, sent: Int, _ sa: IKESA) -> Failure {
        let peer = sa.remote.address, port = sa.remote.port
        let isLocal = report.reporter == sa.local.address
        let reporter = report.reporter.map { isLocal ? "this host" : $0 == peer ? "the peer's host" : "\($0), on the way," } ?? "the network"
        let address = "Is \(peer) the peer's address? It comes from \(sa.connection.setting("remote_addrs"))."
        let said: (what: String, icmp: String, advice: [String]) =
            switch report.reason {
            case .port:
                (
                    "nothing listens on UDP port \(port) of \(peer)", "port unreachable",
                    ["Start IKE at the peer: its host is up, and no daemon listens on UDP port \(port).", "A firewall that rejects looks the same: does one let UDP port \(port) pass?", address]
                )
            case .host:
                (
                    "the host \(peer) cannot be reached", "host unreachable",
                    [isLocal ? "Nobody on the link answers for \(peer): is the host off, or unplugged?" : "Is the peer's host up? \(reporter) finds no way to it.", address]
                )
            case .network:
                ("there is no route to \(peer)", "network unreachable", ["Does this host, and each router on the way, have a route to \(peer)? `ip route get \(peer)` shows ours.", address])
            case .prohibited:
                if isLocal {
                    (
                        "a firewall on this host refuses what we send to UDP port \(port) of \(peer)", "not permitted",
                        ["Let UDP ports \(port) and 4500 out: `nft list ruleset` shows this host's rules."]
                    )
                } else {
                    ("a firewall refuses what we send to UDP port \(port) of \(peer)", "administratively prohibited", ["Let UDP ports \(port) and 4500 pass there.", address])
                }
            }
        return Failure(
            .noAnswer, "\(said.what): \(exchange) was sent \(Wording.times(sent)), and \(reporter) reported \"\(said.icmp)\"", evidence: [Wording.ends(sa)], advice: said.advice)
    }
}
