// What an established IKE SA has to do: tasks that wait for the outgoing slot or for their time, how they begin, and what people and
// programs that look on see of them.
// RFC 7296 sections 2.3 and 2.25.

import IKEWire

extension Established {
    /// A Delete of the SA waits for its turn.
    var isToBeDeleted: Bool { queue.contains { if case .deleteIKE = $0 { true } else { false } } }
    /// A Delete of the child waits for its turn.
    func isToBeDeleted(_ id: ChildSAID) -> Bool { queue.contains { if case .deleteChild(id, _) = $0 { true } else { false } } }

    func enqueue(_ task: Task) { queue.append(task) }
    func enqueueFirst(_ task: Task) { queue.insert(task, at: 0) }
    /// Tries again when the peer's own exchange is over: one to three seconds from now. RFC 7296 section 2.25.
    func postpone(_ task: Task) {
        postponedSince = postponedSince ?? now
        delayed.append((now + .seconds(1) + context.jitter(upTo: .seconds(2)), task))
        // What keeps the peer busy may be a request that does not reach us, because a NAT has given us another address: that is looked at.
        if case .updateAddresses = task { return }
        if !livenessPayloads.isEmpty { enqueue(.liveness) }
    }
    /// Whether the peer has said "not now" for so long that it means "no".
    var isPutOff: Bool { postponedSince.map { $0 + context.limits.temporaryFailureTime <= now } ?? false }

    //= RFC 7296 §2.25: minutes of TEMPORARY_FAILURE mean that the two ends are out of step, and the IKE SA is closed.
    func closeOutOfStep() {
        if phase == .active { closeWhole("the peer has put everything off for \(context.limits.temporaryFailureTime)") }
    }

    /// The daemon is ending: what is computed counts no more. A request that is on its way is waited for: the peer's window is one.
    func hurry() {
        guard phase == .active else { return }
        if case .sent = outgoing { return }
        stopOutgoing(Failure(.closed, "The daemon is ending"))
    }
    func takeTasks() -> [Task] {
        let tasks = queue + delayed.map(\.task)
        queue = []
        delayed = []
        return tasks
    }

    /// Starts what waits; the state to go on with.
    func settled() -> State {
        renumber()
        finishReauthentication()
        while next == nil, case .idle = outgoing, !incoming.replacesIKESA, let task = queue.first {
            // A child that the peer is being answered about must not change its IKE SA before the answer.
            if case .rekeyIKE = task, !incoming.isIdle { break }
            // Where the peer rekeys as well, it knows by the Delete of the old SA that this one has its place. A Delete of this one before that would be one
            // of what the collision leaves over, and the peer would go on with the children on the old SA.
            if case .deleteIKE = task, renewed != nil, phase == .active { break }
            //= RFC 7296 §1: nothing else before the answer to IKE_AUTH.
            if case .installing(_, .ikeAuth, _, _) = incoming { break }
            start(queue.removeFirst())
        }
        // Nothing is being put off any more.
        if delayed.isEmpty, queue.isEmpty, case .idle = outgoing { postponedSince = nil }
        guard let next else { return .established(self) }
        return next
    }

    private func start(_ task: Task) {
        guard phase == .active else {
            if case .deleteIKE(let requests, let reason) = task { return startDelete(requests, reason) }
            if case .updateAddresses(.update) = task, maySpeakOfAddresses { return startUpdate(.update) }
            if case .liveness = task, maySpeakOfAddresses { return send(.informational, livenessPayloads) }
            return fail(task, Failure(.closed, "The IKE SA is closing"))
        }
        switch task {
        case .createChild(let policy, let requests): startChild(policy, replacing: nil, requests)
        case .rekeyChild(let id, let requests):
            guard let child = children.first(where: { $0.id == id }), child.state == .installed else { return answer(requests, .success("nothing to rekey: the child has just been replaced")) }
            startChild(child.policy, replacing: child, requests)
        case .rekeyIKE(let requests): startIKERekey(requests)
        case .deleteChild(let id, let requests): startDelete(child: id, requests)
        case .deleteIKE(let requests, let reason): startDelete(requests, reason)
        case .liveness: send(.informational, livenessPayloads)
        case .updateAddresses(let kind): startUpdate(kind)
        //= RFC 7296 §1.5: the Notification Data is the SPI of the packet.
        case .invalidSPI(let spi): send(.informational, [.notify(Notify(.invalidSPI, data: spi.bytes))])
        case .authLifetime(let seconds): send(.informational, [.authLifetime(seconds)])
        }
    }
}

extension Established {
    /// The exchange that we drive, the one that the peer drives, and what waits for ours to end.
    var shownTasks: SATasks {
        var tasks = SATasks()
        tasks.queued = queue.map { task in
            switch task {
            case .createChild: .childCreate
            case .rekeyChild: .childRekey
            case .rekeyIKE: .ikeRekey
            case .deleteChild: .childDelete
            case .deleteIKE: .ikeDelete
            case .liveness, .invalidSPI: .liveness
            case .updateAddresses: sa.mobility == nil ? .liveness : .mobike
            case .authLifetime: .authLifetime
            }
        }
        switch outgoing {
        case .idle: break
        case .preparing(_, let exchange), .sent(let exchange, _, _), .agreeing(_, let exchange, _): tasks.active = [exchange.shown]
        case .installing(_, let creation): tasks.active = [creation?.replacing == nil ? .childCreate : .childRekey]
        }
        switch incoming {
        case .idle: break
        case .agreeingChild(_, let answer): tasks.passive = [answer.replacing == nil ? .childCreate : .childRekey]
        case .agreeingIKE: tasks.passive = [.ikeRekey]
        case .installing: tasks.passive = [.childCreate]
        }
        return tasks
    }
}

extension Established.Exchange {
    fileprivate var shown: SATask {
        switch self {
        case .createChild(let creation): creation.replacing == nil ? .childCreate : .childRekey
        case .rekeyIKE: .ikeRekey
        case .deleteChild: .childDelete
        case .deleteIKE: .ikeDelete
        case .informational: .liveness
        case .updateAddresses(let update): update.cookie.isEmpty ? .liveness : .mobike
        }
    }
}
