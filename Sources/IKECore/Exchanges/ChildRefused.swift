// A child of ours that does not come about: what was refused, what cannot be used, and what is done then.
// RFC 7296 sections 1.3, 2.8.1, 2.25 and 4.

import IKEWire

extension Established {
    //= RFC 6989 §2.5: a public value that fails its checks ends the IKE SA.
    func closeOnInvalidValue(_ result: JobResult) {
        if case .failed(.crypto(.invalid)) = result { enqueueFirst(.deleteIKE([], reason: "the peer's public value fails the checks of RFC 6989")) }
    }

    /// Our rekey of `old` is over without a result; the peer's may have replaced it meanwhile.
    func stopRekeying(_ old: ChildSA) {
        guard old.state == .rekeying else { return }
        let replaced = children.contains { $0.id == old.peerRekey?.replacement && $0.state != .installing }
        if replaced { supersede(old) } else { old.state = .installed }
    }

    /// The peer has replaced `old`. Whoever rekeys deletes; a peer that does not must not make us keep pair after pair.
    func supersede(_ old: ChildSA) {
        old.state = .rekeyed
        old.isReplaced = true
        let end = now + context.limits.rekeyedTime
        old.expiresAt = min(old.expiresAt ?? end, end)
    }

    /// The peer deletes what its rekey of `old` has made, and `old` stands: its data plane may have refused the new pair. The old one goes on, to the end of its
    /// own lifetime, and may be rekeyed again, by either end.
    func takeBack(_ old: ChildSA, instead new: ChildSA) {
        old.peerRekey = nil
        if new.isCurrent {
            context.note(.notice, "the peer gives up the SAs that its rekey of \(old.policy.name) has made: those before go on", sa)
            context.emit(.report(.childSARekeyed(sa.status, previous: new.status, current: old.status)))
        }
        if case .createChild(let creation)? = outgoing.exchange, creation.replacing == old.id { return }
        guard beingInstalled(for: old.id) == nil else { return }
        old.state = .installed
        old.isReplaced = false
        let lifetime = old.policy.lifetime.lifeTime
        old.expiresAt = lifetime > .zero ? old.installed + lifetime : nil
        if old.rekeyAt == nil, let end = old.expiresAt { old.rekeyAt = now + halfWay(to: end) }
    }

    func childPostponed(_ creation: ChildCreation) {
        context.releaseInboundSPI(creation.offer.inboundSPI)
        if let id = creation.replacing {
            guard let old = children.first(where: { $0.id == id }), old.isCurrent else { return answer(creation.requests, .success("the child was replaced meanwhile")) }
            stopRekeying(old)
            //= RFC 7296 §2.8: put off until its lifetime ends is refused.
            old.rekeyFailed = true
            if old.peerRekey == nil { postpone(.rekeyChild(id, creation.requests)) } else { answer(creation.requests, .success("the peer rekeyed it at the same time")) }
        } else {
            postpone(.createChild(creation.offer.policy, creation.requests))
        }
    }

    /// RFC 7296 section 2.25.1: the peer no longer has the child that we rekey: drop it, and begin anew.
    func childNotFound(_ creation: ChildCreation, _ failure: Failure) {
        // It says nothing where nothing was to be rekeyed.
        guard creation.replacing != nil else { return childFailed(creation, failure) }
        context.releaseInboundSPI(creation.offer.inboundSPI)
        guard let old = children.first(where: { $0.id == creation.replacing }), old.isCurrent, old.peerRekey == nil else {
            if let old = children.first(where: { $0.id == creation.replacing }) { stopRekeying(old) }
            return answer(creation.requests, .success("the child was replaced meanwhile"))
        }
        context.emit(.report(.childSADown(sa.status, old.status)))
        retire(old)
        guard !old.isUnwanted else { return answer(creation.requests, .success("the child was ended meanwhile")) }
        enqueue(.createChild(creation.offer.policy, creation.requests))
    }

    /// The peer makes no further SA on this IKE SA: keys are renewed with a new IKE SA in its place.
    func noRoom(_ creation: ChildCreation, _ refused: Failure) {
        guard creation.replacing != nil, replaceWhole("the peer renews no keys on it") else { return childFailed(creation, refused) }
        let failure = Failure.renewsNoKeys(creation.offer.policy.name, sa)
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        if let old = children.first(where: { $0.id == creation.replacing }) { stopRekeying(old) }
        context.releaseInboundSPI(creation.offer.inboundSPI)
        answer(creation.requests, .failure(failure))
    }

    /// Deletes this IKE SA and begins what it carries anew, where we know how to reach the peer. Whether we do.
    //= RFC 7296 §4: after NO_ADDITIONAL_SAS the old SA is deleted and a new one made.
    func replaceWhole(_ reason: ClosingReason) -> Bool {
        guard phase == .active, sa.beganAuthentication || sa.connection.hasInitiableAddress else { return false }
        for policy in wantedChildren() { context.emit(.initiateAgain(connection: sa.connection.name, child: policy.name, packet: nil, after: .zero, request: nil)) }
        enqueueFirst(.deleteIKE([], reason: reason))
        return true
    }

    /// Deletes this IKE SA, which has come to nothing, and begins anew what it carries where we can, or else what should always be up.
    func closeWhole(_ reason: ClosingReason) {
        guard !replaceWhole(reason) else { return }
        for policy in wantedChildren() { follow(policy.startAction.intersection(.start), policy, after: context.limits.retryDelay) }
        enqueueFirst(.deleteIKE([], reason: reason))
    }

    /// Nothing was made at the other end.
    func childFailed(_ creation: ChildCreation, _ failure: Failure) {
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        fail(.createChild(creation), failure)
        if let old = children.first(where: { $0.id == creation.replacing }) {
            if old.state == .rekeying { old.rekeyFailed = true }
            rekeyLater(old)
        } else if creation.requests.isEmpty || creation.offer.policy.startAction.contains(.start) {
            tryAgain(creation.offer.policy)
        }
    }

    /// Our rekey of `old` has failed.
    func rekeyLater(_ old: ChildSA) {
        guard old.state == .rekeying else { return }
        stopRekeying(old)
        // Tried once more half way to the end of the old one's life.
        if let end = old.expiresAt, old.peerRekey == nil { old.rekeyAt = now + halfWay(to: end) }
    }

    /// A child has not come up that nobody waits for: as after every failure, where the configuration says "for ever".
    func tryAgain(_ policy: ChildPolicy) {
        guard sa.connection.keyingTries == 0 else { return }
        context.emit(.initiateAgain(connection: sa.connection.name, child: policy.name, packet: policy.trigger, after: context.limits.retryDelay, request: nil))
    }

    /// Half of the time to `end`, and never so little that failures follow one another.
    func halfWay(to end: Instant) -> Duration { max(.nanoseconds(Int64(clamping: end.since(now).wholeNanoseconds / 2)), context.limits.retryDelay) }

    /// The other end has made a child that we cannot use: tell it so.
    func childRefused(_ creation: ChildCreation, _ payloads: [Payload], _ failure: Failure) {
        childFailed(creation, failure)
        guard case .securityAssociation(let answer)? = payloads.first(where: { $0.type == .securityAssociation }), let spi = answer.proposals.first?.spi, spi.count == 4 else { return }
        send(.informational, [.delete(Delete(protocolID: .esp, spis: [creation.offer.inboundSPI]))])
    }
}
