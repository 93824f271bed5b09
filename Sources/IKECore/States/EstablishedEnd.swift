// How an established IKE SA ends: what goes with it, who is told, and what the configuration wants again.
// RFC 7296 sections 1.4.1 and 2.4.

import IKEWire

extension Established {
    /// What the end of this SA takes away that nobody has asked to end: children in use, and those that were to come. `exchange`: one that has
    /// just been given up.
    func wantedChildren(besides exchange: Exchange? = nil) -> [ChildPolicy] {
        guard phase == .active, !isToBeDeleted else { return [] }
        var policies = children.filter { $0.isToBegin || $0.isCurrent && !isToBeDeleted($0.id) }.map(\.policy)
        for case .createChild(let creation)? in [exchange, outgoing.exchange] where creation.replacing == nil { policies.append(creation.offer.policy) }
        if case .installing(_, let creation?) = outgoing, creation.replacing == nil { policies.append(creation.offer.policy) }
        for case .createChild(let policy, _) in queue + delayed.map(\.task) { policies.append(policy) }
        var names: Set<String> = []
        return policies.filter { names.insert($0.name).inserted }
    }

    // MARK: Ending

    /// Ends the SA: children go, requests are answered, retransmissions of the peer's last request are answered for a while.
    func end(_ reason: ClosingReason) {
        guard next == nil else { return }
        tearDown(Failure(.closed, "The IKE SA with \(sa.remote) was closed: \(reason)"))
        context.emit(.report(.ikeSAClosed(sa.status, reason: reason)))
        next = Closed.answering(sa, window)
    }

    /// Ends the SA whatever is under way. The peer is told once, where no other request of ours is out: the window has no room for two.
    func endAtOnce(_ reason: ClosingReason) {
        if case .idle = outgoing, phase == .active { send(.deleteIKE([], reason: reason), [.delete(Delete(protocolID: .ike))]) }
        end(reason)
    }

    /// The same with one child: whose Delete could not go out yet finds out by INVALID_SPI.
    func endAtOnce(_ child: ChildSA) {
        if child.isCurrent { endChild(child, []) }
        sa.state = settled()
        guard let index = children.firstIndex(where: { $0.id == child.id }) else { return }
        drop(children.remove(at: index))
    }

    /// For `IKESA.abandon`: as `end`, without an afterlife.
    func dismantle(_ failure: Failure) {
        tearDown(failure)
        context.emit(.report(.ikeSAClosed(sa.status, reason: ClosingReason(failure))))
    }

    private func tearDown(_ failure: Failure) {
        for child in children { drop(child) }
        children = []
        sa.userSession = nil
        sa.keptPlace = nil
        sa.giveBackAddresses()
        // What the peer's rekey made and nobody has taken over yet ends with it.
        if let pending = peerSuccessor?.sa {
            peerSuccessor = nil
            pending.established?.enqueueFirst(.deleteIKE([], reason: "the IKE SA that it replaces was closed"))
            pending.state = pending.established?.settled() ?? .dead
            context.adopt(pending)
        }
        if let heir = sa.successor?.established, heir.renewed === self {
            heir.renewed = nil
            heir.sa.state = heir.settled()
            context.adopt(heir.sa)
        }
        stopOutgoing(failure)
        if case .agreeingChild(_, let answer) = incoming { context.releaseInboundSPI(answer.offer.inboundSPI) }
        incoming = .idle
        for task in takeTasks() { fail(task, failure) }
        answer(reauthRequests, .failure(failure))
        reauthRequests = []
        guard let old = sa.replaces.take() else { return }
        // One that has been replaced itself leaves the older one to its own heir.
        if let heir = heirOfTraffic, heir.sa.replaces == nil, Established.current(old) !== heir.sa {
            heir.sa.replaces = old
            Established.current(old).replacement = heir.sa
            heir.sa.state = heir.settled()
            return context.adopt(heir.sa)
        }
        Established.current(old).established?.reauthenticationFailed()
    }

    /// Gives up the exchange under way, whatever it waits for.
    func stopOutgoing(_ failure: Failure) {
        switch outgoing {
        case .preparing(_, let exchange), .sent(let exchange, _, _), .agreeing(_, let exchange, _): fail(exchange, failure)
        case .installing(_, let creation): answer(creation?.requests ?? [], .failure(failure))
        case .idle: break
        }
        outgoing = .idle
    }

    /// Removes a child from the data plane at once.
    func drop(_ child: ChildSA) {
        context.emit(.removeChildSA(child.id, keepInbound: false))
        context.forgetChild(child.id)
        context.releaseInboundSPI(child.inboundSPI)
        context.release(child.instance)
        if child.isCurrent { context.emit(.report(.childSADown(sa.status, child.status))) }
    }

    func answer(_ requests: [RequestID], _ result: Result<String, Failure>) { for request in requests { context.emit(.answer(request, result)) } }

    func fail(_ exchange: Exchange, _ failure: Failure) {
        switch exchange {
        case .createChild(let creation):
            context.releaseInboundSPI(creation.offer.inboundSPI)
            answer(creation.requests, .failure(failure))
        case .rekeyIKE(let rekey): answer(rekey.requests, .failure(failure))
        case .deleteChild(_, let requests), .deleteIKE(let requests, _): answer(requests, .success("closed with the IKE SA"))
        case .informational, .updateAddresses: break
        }
    }

    func fail(_ task: Task, _ failure: Failure) {
        switch task {
        case .createChild(_, let requests), .rekeyChild(_, let requests), .rekeyIKE(let requests): answer(requests, .failure(failure))
        case .deleteChild(_, let requests), .deleteIKE(let requests, _): answer(requests, .success("closed with the IKE SA"))
        case .liveness, .updateAddresses, .authLifetime, .invalidSPI: break
        }
    }
}
