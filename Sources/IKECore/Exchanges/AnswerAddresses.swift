// What the peer says about addresses in an INFORMATIONAL request, and what we do about it: UPDATE_SA_ADDRESSES, its list of further
// addresses, COOKIE2 and NAT_DETECTION.
// RFC 4555 sections 3.5 to 3.9.

import IKEWire

extension Established {
    /// Takes what an authentic INFORMATIONAL request says of addresses; returns what its answer has to carry.
    func answerAddresses(_ payloads: [Payload]) -> [Payload] {
        guard let mobility = sa.mobility, let ends = requestEnds else { return [] }
        var answer: [Payload] = []
        let updates = payloads.hasNotify(.updateSAAddresses), addresses = payloads.additionalAddresses
        if updates || addresses != nil {
            if natIsForbidden(payloads, ends) {
                answer.append(.notify(Notify(.unexpectedNATDetected)))
            } else if !isCurrent {
                // A path of the SA that has taken over is changed by requests on that one.
            } else if updates, mobility.decides {
                context.note(.warning, "the peer sent UPDATE_SA_ADDRESSES, which is ours to send: nothing is changed", sa)
            } else if updates, !accepts(ends) {
                context.note(.warning, "the peer wants to move to \(ends.remote), and us to \(ends.local), which \(sa.connection.setting("local_addrs")) does not have", sa)
                answer.append(.notify(Notify(.unacceptableAddresses)))
            } else {
                if let addresses { sa.mobility?.peerAddresses = addresses }
                if updates { follow(ends, payloads) } else if mobility.decides { reconsider(after: ends) }
            }
        }
        //= RFC 4555 §3.8: NAT_DETECTION notifications are answered with ours, of the addresses that the request came by.
        if payloads.detectsNAT, sa.peerDetectsNAT { answer += sa.natNotifications(ends) }
        //= RFC 4555 §3.7: COOKIE2 goes back as it came.
        if let cookie = payloads.firstNotify(.cookie2), (8...64).contains(cookie.data.count) { answer.append(.notify(Notify(.cookie2, data: cookie.data))) }
        return answer
    }

    /// Whether a NO_NATS_ALLOWED notification names other addresses than the message came by. It serves for nothing else.
    //= RFC 4555 §3.9: its contents are compared with the addresses of the packet.
    private func natIsForbidden(_ payloads: [Payload], _ ends: AddressPair) -> Bool {
        guard let notify = payloads.firstNotify(.noNATsAllowed) else { return false }
        guard notify.data != IKESA.noNATsAllowed(from: ends.remote, to: ends.local).data else { return false }
        context.note(.warning, "a NAT changes the peer's addresses, which it does not allow: its request came from \(ends.remote) to \(ends.local)", sa)
        return true
    }

    /// RFC 4555 section 3.5: our own policy. Where the peer may be is not restricted: it has proven who it is, and the check shows where.
    private func accepts(_ ends: AddressPair) -> Bool { sa.mayUse(ends.local.address) && ends.remote.port != 0 }

    private var isCurrent: Bool { phase == .active }

    /// The end that decides has moved, or has moved us.
    private func follow(_ ends: AddressPair, _ payloads: [Payload]) {
        let before = sa.espPath
        if sa.peerDetectsNAT, let verdict = NATDetection.judge(payloads, initiatorSPI: sa.initiatorSPI, responderSPI: sa.responderSPI, local: ends.local, remote: ends.remote) { found(verdict) }
        if ends.remote.address != sa.remote.address { context.note(.notice, "the peer moved from \(sa.remote) to \(ends.remote)", sa) }
        let hasMoved = ends.remote != sa.remote || ends.local != sa.local
        moveIKE(to: ends, marked: requestIsMarked)
        if hasMoved { sendsAgainAfterAnswer = true }
        guard before.ends.remote != ends.remote, context.limits.returnRoutability != .no else {
            sa.heldPath = nil
            return moveChildren()
        }
        //= RFC 4555 §3.7: whether the peer is where it says is seen before ESP is sent there.
        sa.heldPath = context.limits.returnRoutability == .before ? before : nil
        moveChildren()
        enqueueUpdate(.check)
    }

    /// The peer's addresses have changed: is the one in use still among them? RFC 4555 section 3.5.
    private func reconsider(after ends: AddressPair) {
        guard let mobility = sa.mobility, ends.remote.address != sa.remote.address, !mobility.peerAddresses.contains(sa.remote.address) else { return }
        context.note(.notice, "the peer no longer has the address \(sa.remote.address); it wrote from \(ends.remote)", sa)
        move(to: ends, afterAnswer: true)
    }
}

extension Failure {
    static func wrongCookie2(_ sa: IKESA) -> Failure {
        Failure(
            .peerMisbehaved, "\(sa.remote) did not return the COOKIE2 that we sent it",
            evidence: ["RFC 4555 section 3.7: the IKE SA has to be closed", Wording.ends(sa)], advice: ["The peer's MOBIKE is broken: write mobike = no in \(sa.connection.setting("mobike"))."])
    }

    /// The responder's view in IKE_AUTH.
    static func natForbidden(_ sa: IKESA) -> Failure {
        Failure(
            .peerRefused, "\(sa.remote) does no NAT traversal, and a NAT changes its addresses", evidence: ["its NO_NATS_ALLOWED names other addresses than its message came by", Wording.ends(sa)],
            advice: ["Switch NAT traversal on at the peer."])
    }

    static func natNotAllowed(_ sa: IKESA) -> Failure {
        Failure(
            .peerRefused, "\(sa.remote) sees other addresses than ours, and does no NAT traversal (UNEXPECTED_NAT_DETECTED)", evidence: [Wording.ends(sa)],
            advice: ["A NAT between changes addresses: switch NAT traversal on at the peer."])
    }
}
