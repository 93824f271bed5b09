// INFORMATIONAL exchanges of ours about addresses: UPDATE_SA_ADDRESSES by the end that decides, the list of further addresses by
// either, and the return routability check.
// RFC 4555 sections 3.5 to 3.9.

import IKECrypto
import IKEWire

/// One such exchange.
struct AddressUpdate {
    enum Kind: Equatable {
        /// UPDATE_SA_ADDRESSES, with our list of addresses where that has changed.
        case update
        /// The list of addresses alone.
        case announce
        /// COOKIE2 alone: does the peer get what is sent to its new address?
        case check
        /// COOKIE2 alone, to where its ESP comes from and IKE does not go.
        case checkESP(SocketAddress)

        var isCheck: Bool { self != .update && self != .announce }
    }
    let kind: Kind
    /// The addresses that it was first sent between, and the count of changes then.
    let ends: AddressPair
    var generation: Int
    let cookie: [UInt8]
    /// The list that it carries.
    let announces: [IPAddress]?
}

extension Established {
    // MARK: Sending

    /// Also while a replaced SA waits for the peer's Delete: where our answer to the peer's rekey was lost, the peer knows no other SA yet,
    /// and sends its request again to where it believes us.
    var maySpeakOfAddresses: Bool {
        switch phase {
        case .active, .rekeyed, .redundant: true
        case .deleting: false
        }
    }

    /// Puts an exchange about addresses before everything else that waits.
    func enqueueUpdate(_ kind: AddressUpdate.Kind) {
        guard maySpeakOfAddresses else { return }
        let isQueued = queue.contains { if case .updateAddresses(let waiting) = $0 { waiting == kind } else { false } }
        if !isQueued { enqueueFirst(.updateAddresses(kind)) }
    }

    func startUpdate(_ kind: AddressUpdate.Kind) {
        guard let mobility = sa.mobility else { return askWhereItIsSeen() }
        var ends = AddressPair(local: sa.local, remote: sa.remote)
        if case .checkESP(let remote) = kind { ends.remote = remote }
        //= RFC 4555 §4.2.5: 8 to 64 octets that the peer cannot guess.
        let cookie = context.randomBytes(16)
        var payloads: [Payload] = []
        var announces: [IPAddress]?
        if kind == .update { payloads.append(.notify(Notify(.updateSAAddresses))) }
        if !kind.isCheck {
            let further = sa.furtherAddresses
            // An update may have told it meanwhile.
            if kind == .announce, further == mobility.announced { return }
            if further != mobility.announced {
                announces = further
                payloads += IKESA.addressNotifications(further, orNone: true)
            }
            payloads += sa.natNotifications(ends)
        }
        payloads.append(.notify(Notify(.cookie2, data: cookie)))
        send(.updateAddresses(AddressUpdate(kind: kind, ends: ends, generation: mobility.generation, cookie: cookie, announces: announces)), payloads, to: ends.remote)
    }

    /// What a liveness check carries: it also asks how the peer sees us.
    //= RFC 4555 §3.8: the end behind a NAT puts NAT_DETECTION notifications into its liveness checks; so does one that a NAT may come in front of.
    var livenessPayloads: [Payload] {
        guard let mobility = sa.mobility, mobility.decides, sa.peerDetectsNAT else { return [] }
        return sa.natNotifications(AddressPair(local: sa.local, remote: sa.remote))
    }

    // MARK: The answer

    /// `remote`: where it came from.
    func addressesUpdated(_ update: AddressUpdate, _ payloads: [Payload], from remote: SocketAddress) {
        // Libreswan returns it beside UPDATE_SA_ADDRESSES alone. That it answers a request that went to its new address alone says as much as with a peer without MOBIKE.
        let cookie = payloads.firstNotify(.cookie2)?.data ?? (update.kind.isCheck ? update.cookie : [])
        //= RFC 4555 §3.7: another COOKIE2 than ours ends the IKE SA, and so does none in the answer to an update.
        guard constantTimeEqual(cookie.span, update.cookie.span) else {
            context.emit(.report(.failed(.wrongCookie2(sa), connection: sa.connection.name, ikeSA: sa.status)))
            return enqueueFirst(.deleteIKE([], reason: "the peer did not return our COOKIE2"))
        }
        guard sa.mobility != nil else { return }
        // The peer's rekey of this SA is still under way there, and it may send no more to our new address than came from it: it is given more.
        if case .rekeyed = phase { livenessAt = now + Established.replacedInterval }
        guard phase == .active else { return }
        //= RFC 4555 §3.5: after a further change of addresses the answer to an older update says nothing; a newer one follows.
        guard update.generation == sa.mobility?.generation else { return again(update.kind, from: remote) }
        if payloads.hasNotify(.unexpectedNATDetected) { return natRefused(update) }
        sa.mobility?.natRefusals = 0
        if let error = payloads.firstError, !update.kind.isCheck {
            // A check asks for nothing but our COOKIE2.
            if error.type == .temporaryFailure { return isPutOff ? closeOutOfStep() : postpone(.updateAddresses(update.kind)) }
            //= RFC 7296 §3.10.1: an error of any kind in a response means that the request has failed entirely.
            return addressesRefused(update, error)
        }
        if let announced = update.announces { sa.mobility?.announced = announced }
        switch update.kind {
        case .update:
            if sa.peerDetectsNAT, let verdict = NATDetection.judge(payloads, initiatorSPI: sa.initiatorSPI, responderSPI: sa.responderSPI, local: sa.local, remote: sa.remote) { found(verdict) }
            sa.mobility?.seenAs = payloads.firstNotify(.natDetectionDestinationIP)?.data
            pathIsGood()
        case .check: pathIsGood()
        case .checkESP(let remote): sendESP(to: remote)
        case .announce: break
        }
    }

    private func again(_ kind: AddressUpdate.Kind, from remote: SocketAddress) {
        guard let mobility = sa.mobility else { return }
        switch kind {
        case .update: if mobility.decides { enqueueUpdate(.update) }
        case .announce: break
        case .check: if sa.heldPath != nil || !mobility.decides { enqueueUpdate(.check) }
        // It went to where IKE goes as well.
        case .checkESP(let asked): if remote == asked { askWhereESPComesFrom(remote) }
        }
    }

    /// The peer has what we sent to its address: ESP may go there.
    func pathIsGood() {
        sa.proof.prove()
        sa.heldPath = nil
        moveChildren()
    }

    //= RFC 4555 §3.9: who could change one packet must not keep a path from being used: several tries.
    private func natRefused(_ update: AddressUpdate) {
        guard let refusals = sa.mobility?.natRefusals else { return }
        sa.mobility?.natRefusals = refusals + 1
        guard refusals + 1 < Mobility.natTries else {
            sa.mobility?.natRefusals = 0
            context.emit(.report(.failed(.natNotAllowed(sa), connection: sa.connection.name, ikeSA: sa.status)))
            return refuse(update.ends)
        }
        enqueueUpdate(update.kind)
    }

    private func addressesRefused(_ update: AddressUpdate, _ error: Notify) {
        context.note(.warning, "the peer does not accept the addresses \(update.ends.local) and \(update.ends.remote) (\(error.type))", sa)
        if update.kind == .update { refuse(update.ends) }
    }

    /// Looks for other addresses than a pair that the peer does not take.
    private func refuse(_ ends: AddressPair) {
        guard let mobility = sa.mobility, mobility.decides else { return }
        if mobility.refused.count < 64 { sa.mobility?.refused.insert(ends) }
        search(.reconsider)
    }

    /// What an INFORMATIONAL answer says of how the peer sees us.
    func compareMapping(_ payloads: [Payload]) {
        guard let mobility = sa.mobility, mobility.decides, let seen = payloads.firstNotify(.natDetectionDestinationIP)?.data else { return }
        let isHidden = seen != NATDetection.hash(initiatorSPI: sa.initiatorSPI, responderSPI: sa.responderSPI, sa.local)
        guard isHidden ? !sa.nat.localBehindNAT || seen != mobility.seenAs : sa.nat.localBehindNAT else { return }
        sa.mobility?.seenAs = seen
        //= RFC 4555 §3.8: the NAT has given us another address: the peer is told by UPDATE_SA_ADDRESSES.
        enqueueUpdate(.update)
    }

    // MARK: Moving

    /// The NAT between us has come, gone or changed sides.
    func found(_ verdict: NATDetection.Verdict) {
        guard verdict != sa.nat else { return }
        context.note(.notice, verdict.words(instead: sa.nat), sa)
        sa.nat = verdict
        armKeepalive()
    }

    /// Keepalives are the business of the end behind a NAT. RFC 3948 section 4.
    func armKeepalive() {
        guard sa.nat.localBehindNAT, context.limits.keepalive > .zero else { return keepaliveAt = nil }
        keepaliveAt = keepaliveAt ?? now + context.limits.keepalive
    }

    /// Authentic ESP of the peer's has come from another address than it has.
    func espCame(from remote: SocketAddress) {
        if sa.mobility != nil, remote.address == sa.remote.address, !sa.proof.isProven {
            // IKE has moved there, ESP has not: what comes from there lets as much more go there.
            sa.countReceived(AddressProof.leastESP, from: remote.address)
            sendHeldBack()
        }
        guard sa.nat.remoteBehindNAT, !sa.nat.localBehindNAT else { return suspected() }
        guard sa.mobility != nil else { return espWasSeen(from: remote) }
        //= RFC 4555 §3.8: ESP may follow the peer's NAT at once. IKE does not: the end behind it sees the new mapping and tells.
        guard remote != sa.espPath.ends.remote else { return }
        let isKnown = [sa.remote.address, sa.espPath.ends.remote.address].contains(remote.address)
        if !isKnown, context.limits.returnRoutability == .before { return askWhereESPComesFrom(remote) }
        if !isCheckingPath { sendESP(to: remote) }
    }

    /// The peer has a new address, and is being asked there.
    var isCheckingPath: Bool {
        if sa.mobility == nil, sa.heldPath != nil { return true }
        if case .sent(.updateAddresses(let update), _, _) = outgoing, update.kind != .announce { return true }
        return queue.contains { if case .updateAddresses(let kind) = $0 { kind != .announce } else { false } }
    }

    /// Where ESP goes and IKE does not: it has followed the peer's NAT before IKE was told, or, without MOBIKE, does not follow yet. What goes unanswered is sent
    /// there as well. It moves nothing.
    var followedPath: AddressPair? {
        guard let held = sa.heldPath else { return nil }
        guard let mobility = sa.mobility else { return held.ends }
        return mobility.decides || isCheckingPath ? nil : held.ends
    }

    /// The IKE SA goes on between other addresses; ESP follows with `moveChildren`.
    func moveIKE(to ends: AddressPair, marked: Bool) {
        guard ends != AddressPair(local: sa.local, remote: sa.remote) || marked != sa.marked else { return }
        if ends.remote != sa.remote {
            sa.userSession?.move(to: ends.remote)
            sa.keptPlace?.move(to: ends.remote)
        }
        if phase == .active { context.emit(.report(.ikeSAMoved(sa.status, local: ends.local, remote: ends.remote))) }
        if ends.remote != sa.remote { for lease in sa.leases { context.pools.moved(lease, to: ends.remote) } }
        if ends.remote.address != sa.remote.address {
            // Where a message of the peer's made us go there, the address has shown nothing but that; else it is one that we chose.
            sa.proof = sa.otherAddress.flatMap { $0.address == ends.remote.address ? $0.proof : nil } ?? AddressProof(isProven: true, factor: context.limits.amplification)
            sa.otherAddress = nil
        }
        sa.movedFrom = AddressPair(local: sa.local, remote: sa.remote)
        sa.local = ends.local
        sa.remote = ends.remote
        sa.marked = marked
        sa.unreachable = nil
        sa.mobility?.generation += 1
        channel.fragmentLimit = sa.fragmentLimit
    }

    /// The peer has deleted the SA that this one replaces: it knows this one now. What it could not read before goes again, as if it were new.
    func peerKnows() {
        guard case .sent(_, let retransmission, _) = outgoing, retransmission.sent > 1 || retransmission.isHeldBack else { return }
        sendAgainFromHere()
        // Its deadline is another one now.
        context.adopt(sa)
    }

    /// What waits for its answer is sent to the new address, or from it, and as often as if it were new.
    func sendAgainFromHere() {
        guard case .sent(let exchange, var retransmission, let messageID) = outgoing else { return }
        retransmission.restart(limits: context.limits, now: now)
        retransmission.isHeldBack = !sa.transmit(retransmission.datagrams)
        outgoing = .sent(exchange, retransmission, messageID: messageID)
    }

    /// Brings the data plane in line with the path that ESP takes now.
    func moveChildren() {
        let path = sa.espPath
        for child in children where child.path != path {
            // RFC 4555 section 1.3: MOBIKE is for tunnel mode. What transport mode carries has the old addresses.
            if child.policy.mode == .transport, child.path.ends.local.address != path.ends.local.address || child.path.ends.remote.address != path.ends.remote.address, child.isCurrent {
                context.note(.notice, "the child \(child.policy.name) is in transport mode and does not move: its SAs end", sa)
                endChild(child, [])
            }
            child.path = path
            context.emit(.moveChildSA(child.id, local: path.ends.local, remote: path.ends.remote, encapsulated: path.encapsulated))
        }
    }
}

extension NATDetection.Verdict {
    fileprivate func words(instead old: NATDetection.Verdict) -> String {
        switch (localBehindNAT, remoteBehindNAT) {
        case (false, false): "there is no NAT between us and the peer any more"
        case (true, false): old.localBehindNAT ? "the peer is no longer behind a NAT" : "we are behind a NAT now"
        case (false, true): old.remoteBehindNAT ? "we are no longer behind a NAT" : "the peer is behind a NAT now"
        case (true, true): "both ends are behind a NAT now"
        }
    }
}
