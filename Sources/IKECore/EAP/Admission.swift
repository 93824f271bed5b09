// Who has proven who it is, and may still not come in: by the groups of the directory, and by the number of the user's sessions.

import IKEWire

enum Admission {
    /// Whether a directory has to be asked about whoever has proven who it is: because a connection that may be meant says so, or takes groups.
    static func needsLookUp(_ claim: ConnectionSelection.Claim, _ sa: IKESA) -> Bool {
        func asks(_ connection: Connection) -> Bool { connection.remote.looksUpUser || !connection.remote.groups.isEmpty }
        return asks(sa.connection) || ConnectionSelection.alike(sa.context.connections, claim, sa.connection).contains(where: asks)
    }

    /// The user's groups choose among connections that are alike, and the session counts from now on; or why not.
    /// `payloads`: of the first IKE_AUTH request.
    static func refusal(_ groups: [String]?, _ claim: ConnectionSelection.Claim, _ payloads: [Payload], _ sa: IKESA) -> EAPRefusal? {
        guard let connection = ConnectionSelection.choose(sa.context.connections, claim, user: sa.eapUser, in: groups, like: sa.connection) else {
            // Of every connection that was open to the user, not of the one that was tried first alone.
            var seen: Set<String> = []
            let open = [sa.connection] + ConnectionSelection.alike(sa.context.connections, claim, sa.connection).filter { $0.remote.eapIdentity?.matches(eap: sa.eapUser) ?? true }
            let wanted = open.flatMap(\.remote.groups).filter { seen.insert($0.lowercased()).inserted }.prefix(16).joined(separator: ", ")
            guard let groups else { return EAPRefusal(.notInGroup, "is no user of a directory, and only groups of one are taken: \(wanted)") }
            return EAPRefusal(.notInGroup, "is in none of the groups that are taken (\(wanted)), but in " + (groups.isEmpty ? "none at all" : groups.prefix(8).joined(separator: "; ")))
        }
        sa.connection = connection
        var place = UserSessions.Claim(sa: sa.id, shard: sa.context.shard, remote: sa.remote, connection: connection.name)
        place.replaces = connection.unique == .replace
        // Whoever says that it has no other session left takes the place of those that end because of that.
        place.contact = sa.initialContact && connection.unique != .never ? sa.begun : nil
        place.isFirst = sa.initialContact
        let wanted = payloads.requested.filter { $0.addressFamily != nil }
        (place.asks, place.wishes) = (!wanted.isEmpty, wanted.compactMap(\.address).filter { $0.value != 0 })
        // One of an earlier step of the same log-in is none beside it.
        sa.userSession = nil
        sa.userSession = UserSession.begin(sa.context.users, sa.account ?? sa.eapUser, place, limit: connection.sessionsPerUser, now: sa.now)
        guard sa.userSession == nil else { return nil }
        return .tooManySessions(connection)
    }
}

extension EAPRefusal {
    static func tooManySessions(_ connection: Connection) -> EAPRefusal {
        let limit = connection.sessionsPerUser
        return EAPRefusal(.tooManySessions, "has \(limit) session\(limit == 1 ? "" : "s") already, and no more are allowed (sessions_per_user)")
    }
}
