// A connection that the administrator has changed while SAs of it are up: what it no longer allows goes, the rest stays.

import IKEWire

extension IKESA {
    /// `new`: the connection of our name as it is configured now; nil where there is none any more. The gateway ends the established SAs of those itself.
    func reconfigure(_ new: Connection?) {
        guard let new else {
            // What was being proven is of no use now. A responder that waits for IKE_AUTH has not chosen a connection yet.
            switch state {
            case .generatingKey, .initSent, .agreeing, .signing, .authSent, .verifyingResponder, .answeringEAP, .verifyingInitiator, .authenticatingPeer, .signingAnswer:
                abandon(Failure(.closed, "The connection \(connection.name) is gone from the configuration"))
            case .answering, .awaitingAuth, .established, .closed, .dead: break
            }
            return
        }
        let authenticates = (connection.local, connection.remote) == (new.local, new.remote)
        switch state {
        case .established(let current):
            connection = new
            current.reconfigure()
            state = current.settled()
        case .generatingKey, .initSent, .agreeing, .signing, .authSent, .verifyingResponder: connection = new
        case .verifyingInitiator, .authenticatingPeer, .signingAnswer, .answeringEAP:
            if authenticates { connection = new } else { abandon(Failure(.closed, "The connection \(connection.name) asks for another proof of identity now")) }
        case .answering, .awaitingAuth, .closed, .dead: break
        }
    }
}

extension Established {
    fileprivate func reconfigure() {
        guard phase == .active else { return }
        let connection = sa.connection
        let isStillMeant = sa.remoteIdentity.map { connection.remote.identity.matches($0) } ?? false
        // Who may come by EAP has changed as well.
        let isUserMeant = sa.remoteEAPIdentity.map { connection.remote.isEAP && connection.remote.eapIdentity?.matches(eap: $0) == true } ?? true
        guard isStillMeant, isUserMeant, connection.ownIdentity(sa.local.address) == sa.localIdentity else {
            return enqueueFirst(.deleteIKE([], reason: ClosingReason(.operatorRequest, "its identities are not those of the connection as it is configured now")))
        }
        sa.reconsiderPlace(since: since)
        livenessAt = connection.dpdDelay > .zero ? now + connection.dpdDelay : nil
        for child in children where child.isCurrent { adopt(child) }
    }

    /// Brings a child in line with its policy as it is configured now; deletes one that carries more than that allows.
    func adopt(_ child: ChildSA) {
        guard let policy = sa.connection.child(named: child.policy.name) else { return remove(child, "is gone from the configuration") }
        guard policy.mode == child.policy.mode else { return remove(child, "has mode = \(policy.mode.rawValue) now") }
        let (local, remote) = policy.selectors(sa)
        guard TrafficSelectors.within(child.localTS, local), TrafficSelectors.within(child.remoteTS, remote) else { return remove(child, "has other selectors now") }
        child.policy = policy
    }

    private func remove(_ child: ChildSA, _ why: String) {
        context.note(.notice, "the child \(child.policy.name) \(why): its SAs end", sa)
        endChild(child, [])
    }
}
