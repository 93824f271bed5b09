// Inner addresses that were not asked for, not lent or not given.

import IKEWire

extension Failure {
    static func addressNotAskedFor(_ sa: IKESA) -> Failure {
        Failure(
            .address, "\(sa.remote) asks for no inner address, and \(sa.connection.name) lends one to every peer",
            evidence: ["\(sa.connection.setting("pools")) is \(sa.connection.pools.joined(separator: ", "))"] + [Wording.ends(sa)],
            advice: ["Let the peer ask for one (in swanctl.conf `vips = 0.0.0.0`), or take `pools` out of \(sa.connection.name) for a peer with networks of its own."])
    }

    static func poolsExhausted(_ families: [IPAddress.Family], _ sa: IKESA) -> Failure {
        let pools = families.flatMap { sa.context.pools.occupancy($0, of: sa.connection.pools) }
        let wanted = families.map { "IPv\($0.rawValue)" }.joined(separator: " and ")
        return Failure(
            .address, "No \(wanted) address is left for \(sa.remoteIdentity?.description ?? "?")",
            evidence: ["\(sa.connection.setting("pools")) is \(sa.connection.pools.joined(separator: ", "))"] + pools.prefix(Wording.lines).map(full) + [Wording.ends(sa)],
            advice: ["Give the pools more addresses (`addrs`), or add a pool to `pools` of \(sa.connection.name); addresses come back when their IKE SAs end."])
    }

    /// Which pool, how many, who holds them.
    private static func full(_ pool: PoolOccupancy) -> String {
        var text = "the pool \(pool.name) (\(pool.first) to \(pool.last)) has lent \(pool.lent) of its \(pool.size)"
        if pool.lentByOthers > 0 { text += ", and pools that overlap have lent \(pool.lentByOthers)" }
        guard !pool.holders.isEmpty else { return text }
        let rest = pool.lent - pool.holders.count
        return text + ": " + pool.holders.map { "\($0.address) to \($0.identity)" }.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
    }

    static func addressFamilyNotServed(_ families: [IPAddress.Family], _ sa: IKESA) -> Failure {
        let wanted = families.map { "IPv\($0.rawValue)" }.joined(separator: " and ")
        return Failure(
            .address, "\(sa.remoteIdentity?.description ?? "?") asks for an address of \(wanted), and no pool of \(sa.connection.name) has such addresses",
            evidence: ["\(sa.connection.setting("pools")) is \(sa.connection.pools.joined(separator: ", "))"] + [Wording.ends(sa)],
            advice: ["Add a pool with addresses of \(wanted) to `pools` of \(sa.connection.name)."])
    }

    static func addressRefused(_ notify: Notify, _ sa: IKESA) -> Failure {
        Failure(
            .address, "\(sa.remote) lends us no inner address (\(notify.type))",
            evidence: ["we asked for \(sa.connection.vips.map(\.description).joined(separator: ", ")) (\(sa.connection.setting("vips")))"] + [Wording.ends(sa)],
            advice: notify.type == .internalAddressFailure ? ["The gateway's pool may be used up, or have no addresses of that family; its log says."] : ["The gateway's log says why."])
    }

    static func noAddressGiven(_ sa: IKESA) -> Failure {
        Failure(
            .address, "\(sa.remote) gave us no inner address, and said nothing of it",
            evidence: ["we asked for \(sa.connection.vips.map(\.description).joined(separator: ", ")) (\(sa.connection.setting("vips")))"] + [Wording.ends(sa)],
            advice: ["Does the gateway lend addresses on this connection? If it does not, take \(sa.connection.setting("vips")) out of \(sa.connection.name)."])
    }
}
