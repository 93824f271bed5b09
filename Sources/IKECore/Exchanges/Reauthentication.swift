// Proving identities anew: a new IKE SA with children of its own beside the old one, which is then deleted.
// RFC 7296 section 2.8.3, RFC 4478.

import IKEWire

extension Established {
    /// How long the old SA stays when the new one has its children: by then the other end sends on the new ones too, and nothing is on its way
    /// on the old ones.
    static let reauthGrace = Duration.seconds(2)

    /// The identities have just been proven: from now on it counts.
    func startAuthenticationClock() {
        let connection = sa.connection
        guard connection.reauthTime > .zero else { return }
        let early = context.jitter(upTo: min(connection.lifetime.randTime, connection.reauthTime))
        // The responder waits for the initiator, which was told the time; it deletes when that has not come for long.
        reauthAt = Instant(nanoseconds: (now + connection.reauthTime).nanoseconds - (sa.beganAuthentication ? early.wholeNanoseconds : 0))
        authEndsAt = now + connection.reauthTime + connection.overTime
    }

    //= RFC 4478 §2: the responder says in the last message of IKE_AUTH how long it believes the initiator.
    var authLifetime: [Payload] {
        let time = sa.connection.reauthTime
        return time > .zero ? [.authLifetime(UInt32(clamping: max(1, time.components.seconds)))] : []
    }

    //= RFC 4478 §2: the initiator authenticates anew within the time that it was told.
    func takeAuthLifetime(_ payloads: [Payload]) {
        for case .notify(let notify) in payloads where notify.type == .authLifetime {
            guard sa.beganAuthentication, let seconds = UInt32(bytes: notify.data) else { continue }
            context.note(.info, "the peer wants us to authenticate anew within \(seconds) s", sa)
            // A tenth of the time is left for it, five seconds at least, and half where there is no more than that.
            let time = Duration.seconds(Int64(seconds)), margin = max(time / 10, min(time / 2, .seconds(5)))
            // Less than a few seconds nobody can keep, and a peer that asks for it must not make us do nothing else.
            let at = now + max(time - margin - context.jitter(upTo: margin / 2), time < .seconds(4) ? .seconds(5) : .seconds(1))
            reauthAt = min(reauthAt ?? at, at)
        }
    }

    /// Not while it is undecided which of several SAs is the one that stays: the children are on the old one until then, and a new one would not have them.
    var mayReauthenticate: Bool { sa.beganAuthentication && peerSuccessor == nil && predecessor?.peerSuccessor?.sa !== sa }

    /// Begins anew beside this SA, where we began it; else asks the peer to.
    func reauthenticate(_ requests: [RequestID]) {
        reauthAt = nil
        guard phase == .active, peerSuccessor == nil else { return answer(requests, .failure(Failure(.closed, "The IKE SA with \(sa.remote) is being closed or replaced"))) }
        guard sa.beganAuthentication else { return askToReauthenticate(requests) }
        guard sa.replacement?.isDead ?? true else { return answer(requests, .success("it is being authenticated anew already")) }
        let new = IKESA(
            context: context, connection: sa.connection, isInitiator: true, localSPI: context.newIKESPI(), remoteSPI: .none, local: sa.local, remote: sa.remote, marked: sa.marked)
        new.replaces = sa
        sa.replacement = new
        var work = Initiation(child: nil, request: nil, nonce: context.randomBytes(32), deadline: now + context.limits.jobTime)
        // Those that are still to come on this one as well: it will not be here to bring them.
        for policy in wantedChildren() { work.add(policy, nil) }
        work.requests = requests
        context.note(.info, "authenticating anew, beside the IKE SA that stands", sa)
        context.emit(.report(.initiating(new.status)))
        new.state = GeneratingKey.begin(new, work)
        context.adopt(new)
    }

    private func askToReauthenticate(_ requests: [RequestID]) {
        let seconds: UInt32 = 30
        let end = now + .seconds(Int64(seconds)) + max(sa.connection.overTime, .seconds(30))
        authEndsAt = min(authEndsAt ?? end, end)
        enqueue(.authLifetime(seconds))
        answer(requests, .success("the peer was asked to authenticate anew within \(seconds) s"))
    }

    /// The new SA came to nothing: once more half way to the end.
    func reauthenticationFailed() {
        sa.replacement = nil
        guard phase == .active else { return }
        let end = [authEndsAt, expiresAt].compactMap { $0 }.min()
        reauthAt = now + (end.map { halfWay(to: $0) } ?? max(context.limits.retryDelay, .seconds(60)))
        context.adopt(sa)
    }

    /// On the new SA, whenever it has nothing left to do: once all that the old one has is here, that one goes.
    func finishReauthentication() {
        guard let given = sa.replaces, phase == .active, next == nil, case .idle = outgoing, incoming.isIdle, queue.isEmpty, delayed.isEmpty else { return }
        let old = Established.current(given)
        guard let standing = old.established, standing.phase == .active else {
            sa.replaces = nil
            return answer(reauthRequests.take(), .success("authenticated anew"))
        }
        // What came up on the old one meanwhile.
        for policy in standing.wantedChildren() where inherited.insert(policy.name).inserted { createChild(policy, requests: []) }
        guard queue.isEmpty else { return }
        sa.replaces = nil
        guard children.contains(where: \.isCurrent) || !standing.children.contains(where: \.isCurrent) else {
            // The old one carries traffic and this one does not: so it stays, and tries again.
            answer(reauthRequests.take(), .failure(Failure(.peerRefused, "The IKE SA with \(sa.remote) that was to authenticate anew came without children")))
            standing.reauthenticationFailed()
            return enqueue(.deleteIKE([], reason: "none of its children came up"))
        }
        // Its own tasks are of no use any more.
        standing.rekeyAt = nil
        standing.reauthAt = nil
        sa.take(over: old)
        standing.delayed.append((now + Established.reauthGrace, .deleteIKE([], reason: ClosingReason(.replaced, "the peers have authenticated anew"))))
        context.adopt(old)
        answer(reauthRequests.take(), .success("authenticated anew: IKE SA \(sa.initiatorSPI) and \(sa.responderSPI)"))
    }

    /// This SA ends because another carries its traffic. A rekey of a pair may have brought the traffic back here: from now on it takes the new
    /// pairs, so that nothing is on its way when the peer removes the old ones.
    func leaveTraffic() {
        guard let new = heirOfTraffic else { return }
        for child in new.children where child.isCurrent {
            // One that the peer has made for an older one carries our packets once the peer has deleted that.
            let older = new.children.first { $0.peerRekey?.replacement == child.id && $0.removeAt == nil && $0.state != .deleting }
            context.emit(.activateChildSA(older?.id ?? child.id))
        }
    }

    /// The one that carries the traffic when this SA is being deleted.
    var heirOfTraffic: Established? {
        guard let new = sa.replacement.map(Established.current)?.established, new.phase == .active else { return nil }
        return new
    }

    /// The pair carries our packets from now on. While the SA is being deleted they have left it, and a rekey or a Delete of the peer's that has
    /// crossed ours does not bring them back: the peer removes all of its pairs when it has our Delete.
    func carry(_ id: ChildSAID) {
        if phase == .deleting, heirOfTraffic != nil { return }
        context.emit(.activateChildSA(id))
    }

    /// What rekeys have made of an SA.
    static func current(_ sa: IKESA) -> IKESA {
        var sa = sa
        while let next = sa.successor { sa = next }
        return sa
    }
}

extension [RequestID] {
    mutating func take() -> [RequestID] {
        defer { self = [] }
        return self
    }
}

extension Payload {
    //= RFC 4478 §3: Protocol ID 0, no SPI, four octets of seconds.
    static func authLifetime(_ seconds: UInt32) -> Payload { .notify(Notify(.authLifetime, data: seconds.bytes)) }
}
