// INFORMATIONAL exchanges: Delete in both roles, liveness, error notifications.
// RFC 7296 sections 1.4, 1.4.1, 1.5 and 2.25.

import IKEWire

extension Established {
    // MARK: Ours

    /// Ends a child in its turn, and with it what a rekey under way makes of it, ours or the peer's.
    func endChild(_ child: ChildSA, _ requests: [RequestID]) {
        child.isUnwanted = true
        if !requests.isEmpty || !isToBeDeleted(child.id) { enqueue(.deleteChild(child.id, requests)) }
        for new in children where new.id == child.peerRekey?.replacement || new.id == beingInstalled(for: child.id) {
            new.isUnwanted = true
            if new.isCurrent, !isToBeDeleted(new.id) { enqueue(.deleteChild(new.id, [])) }
        }
    }

    /// The new pair whose predecessor was ended while it was being made. Whoever waits for that end waits for this one's.
    func endUnwanted(_ child: ChildSA, replacing old: ChildSAID?) {
        guard child.isUnwanted, !isToBeDeleted(child.id) else { return }
        var waiting: [RequestID] = []
        queue = queue.map { task in
            guard case .deleteChild(let id, let requests) = task, id == old else { return task }
            waiting += requests
            return .deleteChild(id, [])
        }
        enqueue(.deleteChild(child.id, waiting))
    }

    func startDelete(child id: ChildSAID, _ requests: [RequestID]) {
        let gone = children.first { $0.id == id }
        guard let child = gone, child.removeAt == nil, child.state != .deleting else {
            // The peer has deleted it as well, while ours waited: as where the two Deletes cross, who began the IKE SA begins anew.
            if let gone, gone.beginsAnew, !gone.isUnwanted, requests.isEmpty, sa.beganAuthentication { beginAnew(gone) }
            return answer(requests, .success("it is gone already"))
        }
        if child.isCurrent { context.emit(.report(.childSADown(sa.status, child.status))) }
        child.state = .deleting
        // The peer may have rekeyed it and never deleted it.
        handOver(child)
        //= RFC 7296 §1.4.1: the SPI that we expect in inbound packets.
        send(.deleteChild(id, requests), [.delete(Delete(protocolID: .esp, spis: [child.inboundSPI]))])
    }

    /// The peer has answered our Delete of a child.
    func childDeleted(_ id: ChildSAID, _ requests: [RequestID]) {
        if let child = children.first(where: { $0.id == id }) {
            retire(child)
            if child.beginsAnew, !child.isUnwanted, requests.isEmpty { beginAnew(child) }
        }
        answer(requests, .success("closed"))
    }

    /// Another child in the place of one that is gone, unless one of the same policy carries the same, or is about to. `child` itself may be one that the data plane
    /// has refused.
    func beginAnew(_ child: ChildSA) {
        let equals = children.filter {
            $0 !== child && $0.policy.name == child.policy.name && ($0.isCurrent || $0.state == .installing) && !isToBeDeleted($0.id) && $0.localTS == child.localTS && $0.remoteTS == child.remoteTS
        }
        // One that is being installed may come to nothing still.
        equals.first { $0.state == .installing }?.beginsAnew = true
        let isWaited = (queue + delayed.map(\.task)).contains { task in
            if case .createChild(let policy, _) = task { policy.name == child.policy.name } else { false }
        }
        if equals.isEmpty, !isWaited { enqueue(.createChild(child.policy, [])) }
    }

    func startDelete(_ requests: [RequestID], _ reason: ClosingReason) {
        if phase == .active {
            leaveTraffic()
            phase = .deleting
            // It carries nothing any more: nobody is kept out because of it, whether or not the peer answers.
            sa.userSession = nil
            sa.keptPlace = nil
        }
        send(.deleteIKE(requests, reason: reason), [.delete(Delete(protocolID: .ike))])
    }

    func ikeDeleted(_ requests: [RequestID], _ reason: ClosingReason) {
        end(reason)
        // Last, so that who waits for it has read what ended.
        answer(requests, .success("closed"))
    }

    /// A pair sends no more: our packets go through what the peer's rekey has made of it. Whether there is such a pair.
    @discardableResult func handOver(_ old: ChildSA) -> Bool {
        guard let rekey = old.peerRekey, !rekey.isRedundant, let replacement = children.first(where: { $0.id == rekey.replacement && $0.isCurrent }) else { return false }
        carry(replacement.id)
        old.isReplaced = true
        return true
    }

    /// The outbound SA goes at once, the inbound one when the packets on the way have come.
    func retire(_ child: ChildSA) {
        guard child.removeAt == nil else { return }
        context.emit(.removeChildSA(child.id, keepInbound: true))
        child.state = child.isReplaced ? .rekeyed : .deleted
        child.removeAt = now + context.limits.inboundGrace
    }

    func childDeadline(_ child: ChildSA) {
        if let at = child.removeAt {
            guard at <= now else { return }
            children.removeAll { $0.id == child.id }
            return drop(child)
        }
        if let at = child.expiresAt, at <= now, child.state != .deleting {
            child.expiresAt = nil
            expire(child)
        } else if let at = child.rekeyAt, at <= now, child.state == .installed {
            child.rekeyAt = nil
            enqueue(.rekeyChild(child.id, []))
        }
    }

    /// The end of a pair that was not rekeyed in time. What should always be up is begun anew.
    private func expire(_ child: ChildSA) {
        //= RFC 7296 §2.8: it sends nothing after its lifetime.
        if child.isCurrent {
            context.emit(.removeChildSA(child.id, keepInbound: true))
            if handOver(child) { return enqueue(.deleteChild(child.id, [])) }
        }
        guard !child.isCurrent || !child.rekeyFailed else {
            //= RFC 7296 §2.8: what cannot be rekeyed takes its IKE SA with it; all of it may begin anew, and the first child needs no rekey then.
            return closeWhole("\(child.policy.name) could not be rekeyed in its lifetime")
        }
        if child.isCurrent {
            context.note(.notice, "the lifetime of \(child.policy.name) is over, and its keys were not renewed: another takes its place", sa)
            child.beginsAnew = true
            // Where that comes to nothing, what should always be up is tried once more.
            follow(child.policy.startAction.intersection(.start), child.policy, after: context.limits.retryDelay)
        }
        enqueue(.deleteChild(child.id, []))
    }

    /// The data plane has counted a limit. RFC 4301 section 4.4.2.1.
    func childSAExpired(_ id: ChildSAID, hard: Bool) {
        guard let child = children.first(where: { $0.id == id }), child.removeAt == nil else { return }
        if hard {
            guard child.state != .deleting else { return }
            expire(child)
        } else if child.state == .installed {
            enqueue(.rekeyChild(id, []))
        }
    }

    // MARK: The peer's

    func answerInformational(_ messageID: UInt32, _ payloads: [Payload]) {
        let aboutAddresses = answerAddresses(payloads)
        var answered: [UInt32] = []
        var closing: ClosingReason?
        var ended: [ChildPolicy] = []
        for payload in payloads {
            switch payload {
            case .delete(let delete) where delete.protocolID == .ike: closing = closing ?? ClosingReason(.peer, "the peer closed it")
            case .delete(let delete) where delete.protocolID == .esp:
                for spi in delete.spis {
                    guard let child = children.first(where: { $0.outboundSPI == spi && $0.removeAt == nil }) else {
                        if isCreatingChild, earlyDeletes.count < 16 { earlyDeletes.insert(spi) }
                        if let inbound = deletedAtSuccessor(spi) { answered.append(inbound) }
                        continue
                    }
                    //= RFC 7296 §1.4.1: when both delete at once, the answer does not name the SA again.
                    if child.state != .deleting { answered.append(child.inboundSPI) }
                    // The lifetime has ended at both ends at once: one of them begins anew, who began the IKE SA.
                    if child.state == .deleting, !sa.beganAuthentication { child.beginsAnew = false }
                    if let policy = peerDeleted(child) { ended.append(policy) }
                }
            case .notify(let notify) where notify.type == .authLifetime: takeAuthLifetime([payload])
            case .notify(let notify) where notify.type == .authenticationFailed:
                //= RFC 7296 §2.21.2: so a peer says that our proof, which came with the last answer of IKE_AUTH, is none.
                context.emit(.report(.failed(.refusedAuth(notify, sa), connection: sa.connection.name, ikeSA: sa.status)))
                closing = "the peer refused our proof of identity (AUTHENTICATION_FAILED)"
            case .notify(let notify) where notify.type == .invalidSyntax: closing = "the peer could not read our message (INVALID_SYNTAX)"
            case .notify(let notify) where notify.type == .invalidSPI || notify.type == .invalidSelectors: doubt(notify)
            default: break
            }
        }
        guard let closing else {
            respond(.informational, messageID, (answered.isEmpty ? [] : [.delete(Delete(protocolID: .esp, spis: answered))]) + configurationAnswer(payloads) + aboutAddresses)
            for policy in ended { follow(policy.closeAction, policy, after: .seconds(1)) }
            return
        }
        //= RFC 7296 §1.4.1: closing an IKE SA is answered with an empty message.
        respond(.informational, messageID, [])
        // The peer won a collision of rekeys that we have not seen the end of. RFC 7296 section 2.25.2.
        if let successor = peerSuccessor {
            peerSuccessor = nil
            succeed(by: successor.sa)
        }
        //= RFC 7296 §2.8.2: the SA that our rekey made is redundant, and ours to delete. The keys for that are being calculated.
        if case .agreeing(_, .rekeyIKE, _) = outgoing, case .rekeyed = phase { return overtaken = closing }
        if case .rekeyed = phase, let heir = sa.successor, !heir.isInitiator { heir.established?.peerKnows() }
        let wanted = wantedChildren()
        end(closing)
        for policy in wanted { follow(policy.closeAction, policy, after: .seconds(1)) }
    }

    /// The peer deleted a child before it saw that this SA was rekeyed: the successor has it now, and ends it. Returns our SPI of it, for the answer.
    private func deletedAtSuccessor(_ spi: UInt32) -> UInt32? {
        let current = Established.current(sa)
        guard current !== sa, let heir = current.established, let child = heir.children.first(where: { $0.outboundSPI == spi && $0.removeAt == nil }) else { return nil }
        let isNamed = child.state != .deleting
        if let policy = heir.peerDeleted(child) { follow(policy.closeAction, policy, after: .seconds(1)) }
        context.adopt(current)
        return isNamed ? child.inboundSPI : nil
    }

    /// The peer could not use an ESP packet of ours. Nothing ends for it: a packet may have crossed a Delete, or overtaken the answer that
    /// makes the pair. A pair that the peer does not know is asked about by a rekey, and CHILD_SA_NOT_FOUND ends it.
    //= RFC 7296 §3.10.1: the data of INVALID_SPI is the SPI; INVALID_SELECTORS has it in front.
    private func doubt(_ notify: Notify) {
        let spi = UInt32(bytes: notify.type == .invalidSPI && !notify.data.isEmpty ? notify.data : notify.spi)
        guard phase == .active, let child = children.first(where: { $0.outboundSPI == spi && $0.isCurrent }), child.doubtedUntil.map({ $0 <= now }) ?? true else { return }
        child.doubtedUntil = now + context.limits.doubtTime
        guard notify.type == .invalidSPI else {
            let allowed = Wording.pair(local: child.localTS, remote: child.remoteTS)
            return context.note(.warning, "the peer drops packets of \(child.policy.name) that are not of \(allowed) to it (INVALID_SELECTORS)", sa)
        }
        context.note(.warning, "the peer says that it does not know the SA \(child.outboundSPI.hex) of \(child.policy.name) (INVALID_SPI): it is asked to renew it", sa)
        enqueue(.rekeyChild(child.id, []))
    }

    /// What the configuration wants after a child's end. A trap is there already: it is set with the connection, so that there is no gap.
    func follow(_ action: ChildAction, _ policy: ChildPolicy, after delay: Duration) { sa.begin(action, policy, after: delay) }

    /// The peer deletes a child. Returns its policy where that was not expected.
    func peerDeleted(_ child: ChildSA) -> ChildPolicy? {
        // The peer has moved to the pair that replaces this one; so do we. RFC 7296 section 2.8.
        if handOver(child) {
            retire(child)
            return nil
        }
        if let old = children.first(where: { $0.peerRekey?.replacement == child.id && $0.peerRekey?.isRedundant == false && $0.removeAt == nil && $0.state != .deleting }),
            !isToBeDeleted(old.id)
        {
            takeBack(old, instead: child)
            retire(child)
            return nil
        }
        let unexpected = child.isCurrent
        if unexpected { context.emit(.report(.childSADown(sa.status, child.status))) }
        retire(child)
        return unexpected && !child.isUnwanted ? child.policy : nil
    }
}

extension IKESA {
    /// Begins the child again where the action says so.
    func begin(_ action: ChildAction, _ policy: ChildPolicy, after delay: Duration) {
        if action.contains(.start) { context.emit(.initiateAgain(connection: connection.name, child: policy.name, packet: nil, after: delay, request: nil)) }
    }
}
