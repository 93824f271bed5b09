// The clocks of an established IKE SA: retransmission, lifetimes, liveness, keepalives, and work that takes too long.
// RFC 7296 sections 2.1, 2.4 and 2.8, RFC 3948 section 4.

import IKEWire

extension Established {
    var nextDeadline: Instant? {
        var candidates: [Instant?] = children.map(\.nextDeadline)
        candidates += delayed.map(\.at)
        candidates += [outgoingUntil, incomingUntil, channel.piecesDeadline]
        switch phase {
        case .active: candidates += [expiresAt, authEndsAt, rekeyAt, livenessAt, keepaliveAt, mayReauthenticate ? reauthAt : nil]
        case .rekeyed(let until): candidates += [until, livenessAt]
        case .redundant(let until): candidates.append(until)
        case .deleting: break
        }
        if case .sent(_, let retransmission, _) = outgoing { candidates.append(retransmission.deadline) }
        return candidates.compactMap { $0 }.min()
    }

    /// Ends what a job or the data plane should have ended long ago.
    private func giveUpWork() {
        let slow = "no answer within \(context.limits.jobTime)"
        if let at = outgoingUntil, at <= now {
            switch outgoing {
            case .preparing(let job, _), .agreeing(let job, _, _):
                _ = context.takeJobOwner(job)
                _ = jobFinished(job, .failed(.deadline))
            case .installing(let id, _): _ = childSAInstalled(id, failure: slow)
            case .idle, .sent: break
            }
        }
        if let at = incomingUntil, at <= now {
            switch incoming {
            case .agreeingChild(let job, _), .agreeingIKE(let job, _):
                _ = context.takeJobOwner(job)
                _ = jobFinished(job, .failed(.deadline))
            case .installing(let id, _, _, _): _ = childSAInstalled(id, failure: slow)
            case .idle: break
            }
        }
    }

    func deadlineReached() -> State {
        giveUpWork()
        channel.discardPieces(now: now)
        if case .sent(let exchange, var retransmission, let messageID) = outgoing, retransmission.deadline <= now {
            switch retransmission.fire(now: now, endless: waitsForNetwork) {
            case .sendAgain:
                retransmission.isHeldBack = !sa.transmit(retransmission.datagrams)
                outgoing = .sent(exchange, retransmission, messageID: messageID)
                // A check that goes elsewhere as well shows nothing: not before it has had time to be answered on a slow path.
                if retransmission.sent >= 3 || sa.mobility != nil || !exchange.isCheck { probe(retransmission.datagrams) }
                unanswered(exchange, retransmission.sent)
            case .giveUp:
                outgoing = .idle
                peerIsDead(exchange, sent: retransmission.sent)
                return settled()
            }
        }
        switch phase {
        case .rekeyed(let until), .redundant(let until):
            if until <= now {
                phase = .deleting
                if case .sent(.deleteIKE, _, _) = outgoing { break }
                enqueueFirst(.deleteIKE([], reason: ClosingReason(.replaced, "the peer did not delete the replaced IKE SA")))
            } else if case .rekeyed = phase, let at = livenessAt, at <= now {
                askOnReplaced()
            }
        case .active: activeDeadlines()
        case .deleting: break
        }
        for child in children { childDeadline(child) }
        for (at, task) in delayed where at <= now { enqueue(task) }
        delayed.removeAll { $0.at <= now }
        return settled()
    }

    /// No address of this host leads to the peer, which says nothing of whether it is there. Until there is one, or the SA is to end by itself.
    //= RFC 7296 §2.4: an endpoint is dead when repeated attempts to contact it go unanswered; these contact nobody.
    private var waitsForNetwork: Bool { phase == .active && (waitsForAddress || sa.mobility?.isStranded == true) && !isToBeDeleted }

    private func activeDeadlines() {
        if let at = expiresAt, at <= now {
            expiresAt = nil
            for policy in wantedChildren() { follow(policy.startAction, policy, after: context.limits.retryDelay) }
            enqueue(.deleteIKE([], reason: Established.lifetimeOver))
        }
        if let at = authEndsAt, at <= now {
            authEndsAt = nil
            for policy in wantedChildren() { follow(policy.startAction.intersection(.start), policy, after: context.limits.retryDelay) }
            //= RFC 4478 §2: an SA whose identities were not proven anew in time is deleted.
            enqueue(.deleteIKE([], reason: ClosingReason(.lifetime, "its time without a new authentication is over")))
        }
        if let at = reauthAt, at <= now, mayReauthenticate { reauthenticate([]) }
        if let at = rekeyAt, at <= now {
            rekeyAt = nil
            enqueue(.rekeyIKE([]))
        }
        if let at = keepaliveAt, at <= now {
            context.emit(.transmitKeepalive(local: sa.local, remote: sa.remote))
            keepaliveAt = now + context.limits.keepalive
        }
        if let at = livenessAt, at <= now { checkLiveness() }
    }

    // MARK: Liveness, RFC 7296 section 2.4

    /// How long an end that has moved waits for the Delete of a replaced SA before it asks; it asks again after twice that.
    static let replacedInterval = Duration.seconds(2)

    /// The peer was to delete this SA, which its rekey has replaced, and has not for long. Perhaps our answer was lost, and our NAT has another mapping since,
    /// so that the peer sends its request again to where we are no more. It knows this SA alone: a check of liveness shows it where we are.
    //= RFC 7296 §2.23: an authentic message from the host behind a NAT is what its peer follows.
    private func askOnReplaced() {
        livenessAt = now + Established.replacedInterval * 2
        if case .idle = outgoing, !isToBeDeleted { enqueue(.liveness) }
    }

    /// Quiet for `dpd_delay`: ask the data plane first, the peer a second later.
    private func checkLiveness() {
        let delay = sa.connection.dpdDelay
        guard delay > .zero else { return livenessAt = nil }
        if lastInbound + delay > now {
            askedDataPlane = false
            livenessAt = lastInbound + delay
        } else if askedDataPlane {
            askedDataPlane = false
            livenessAt = now + delay
            //= RFC 7296 §2.4: an exchange under way asks already.
            if case .idle = outgoing { enqueue(.liveness) }
        } else {
            askedDataPlane = true
            livenessAt = now + (children.contains { $0.isCurrent } ? .milliseconds(200) : .zero)
            for child in children where child.isCurrent { context.emit(.queryUse(child.id)) }
        }
    }

    func useReported(_ instant: Instant?) {
        guard let instant, instant > lastInbound else { return }
        lastInbound = min(instant, now)
    }

    /// Every try of a request went unanswered. RFC 7296 section 2.4: the SA is gone, children included.
    private func peerIsDead(_ exchange: Exchange, sent: Int) {
        let failure = Failure.noAnswer(exchange: exchange.type.description, sent: sent, sa)
        if case .deleteIKE(let requests, let reason) = exchange {
            answer(requests, .success("closed; the peer did not answer the Delete"))
            return end(reason)
        }
        // Of an SA that was replaced nobody asks any more.
        if exchange.asksWhereWeAre, phase != .active { return end(ClosingReason(.replaced, "it was replaced")) }
        if case .rekeyIKE(let rekey) = exchange, let successor = peerSuccessor {
            // The peer's own rekey went through, and it uses that SA: the children live on there. This one has nobody left to talk to.
            peerSuccessor = nil
            answer(rekey.requests, .success("the peer rekeyed it at the same time"))
            succeed(by: successor.sa)
            return end(ClosingReason(.replaced, "our rekey of it was not answered, and the peer's took its place"))
        }
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        fail(exchange, failure)
        let wanted = wantedChildren(besides: exchange)
        end(ClosingReason(.noAnswer, "the peer does not answer"))
        for policy in wanted { follow(policy.dpdAction, policy, after: context.limits.retryDelay) }
    }
}
