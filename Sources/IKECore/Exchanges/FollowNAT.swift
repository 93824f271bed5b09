// Where a peer behind a NAT is seen. Without MOBIKE IKE follows it at once, and asks there; ESP follows when that has been answered. With MOBIKE IKE stays where it
// is until the peer says otherwise, and ESP follows in the same way.
// RFC 7296 section 2.23, RFC 4555 sections 3.7 and 3.8.

import IKEWire

extension Established {
    /// Authentic ESP of the peer's has come from there.
    func espWasSeen(from remote: SocketAddress) {
        let before = sa.remote
        sa.countReceived(AddressProof.leastESP, from: remote.address)
        moved(to: remote)
        if sa.remote != before { sendAgainFromHere() } else { sendHeldBack() }
    }

    /// Something authentic has come from there. Its sender need not be there: whoever stands on the path can hold a packet back and write any address on it.
    //= RFC 7296 §2.23: an end that is not behind a NAT sends to where the last authentic packet of one that is came from.
    func moved(to remote: SocketAddress) {
        guard sa.mobility == nil, remote != sa.remote else { return }
        let before = sa.espPath, isAnotherHost = remote.address != sa.remote.address
        context.note(.notice, "the peer moved from \(sa.remote) to \(remote)", sa)
        moveIKE(to: AddressPair(local: sa.local, remote: remote), marked: sa.marked)
        // What an SA has left to its successor, or is about to end with, stays where it is.
        guard phase == .active else { return }
        if isAnotherHost { checkAddress(after: before) }
        moveChildren()
    }

    /// `before`: the way of ESP until now.
    private func checkAddress(after before: OuterPath) {
        guard sa.remote.address != before.ends.remote.address else {
            // Back where it has shown that it is.
            sa.heldPath = nil
            return sa.proof.prove()
        }
        guard context.limits.returnRoutability != .no else { return }
        sa.heldPath = context.limits.returnRoutability == .before ? before : nil
        spoilCheck()
        enqueueUpdate(.check)
    }

    /// IKE_AUTH came from another host than IKE_SA_INIT, and no answer from there was to anything that it could not know beforehand. Until it has answered a request ESP
    /// goes to the one that got our IKE_SA_INIT.
    func checkFirstAddress() {
        guard !sa.proof.isProven, let first = sa.firstAddress, context.limits.returnRoutability != .no else { return }
        if context.limits.returnRoutability == .before {
            sa.heldPath = OuterPath(ends: AddressPair(local: sa.local, remote: SocketAddress(address: first, port: sa.remote.port)), encapsulated: sa.encapsulated)
        }
        enqueueUpdate(.check)
    }

    /// A request that goes to the new address alone: who answers it has got it there.
    func askWhereItIsSeen() {
        guard sa.heldPath != nil || !sa.proof.isProven else { return }
        send(.updateAddresses(AddressUpdate(kind: .check, ends: AddressPair(local: sa.local, remote: sa.remote), generation: 0, cookie: [], announces: nil)), [])
    }

    /// The check under way goes elsewhere as well: its answer says no more of the address.
    func spoilCheck() {
        guard case .sent(.updateAddresses(var update), let retransmission, let messageID) = outgoing else { return }
        update.generation = -1
        outgoing = .sent(.updateAddresses(update), retransmission, messageID: messageID)
    }

    func answeredFromThere(_ update: AddressUpdate) {
        guard phase == .active, sa.heldPath != nil || !sa.proof.isProven else { return }
        guard update.generation == 0, update.ends.remote.address == sa.remote.address else { return enqueueUpdate(.check) }
        pathIsGood()
    }

    // MARK: With MOBIKE

    /// Another host than any that the peer has answered from.
    func askWhereESPComesFrom(_ remote: SocketAddress) {
        sa.countReceived(AddressProof.leastESP, from: remote.address)
        if !isCheckingPath { enqueueUpdate(.checkESP(remote)) }
    }

    /// ESP goes where the peer's comes from, and IKE does not.
    func sendESP(to remote: SocketAddress) {
        context.note(.info, "ESP of the peer comes from \(remote), and goes there", sa)
        let path = OuterPath(ends: AddressPair(local: sa.local, remote: remote), encapsulated: sa.encapsulated)
        sa.heldPath = path.ends.remote == sa.remote ? nil : path
        moveChildren()
    }

    /// To an address that has shown nothing yet.
    func transmit(_ datagrams: [[UInt8]], to remote: SocketAddress) {
        guard sa.maySend(datagrams.byteCount, to: remote.address) else { return context.counters.answersHeldBack += 1 }
        for bytes in datagrams { context.emit(.transmit(Datagram(local: sa.local, remote: remote, marked: sa.marked, bytes: bytes))) }
    }
}

extension AddressProof {
    /// Octets of the shortest ESP packet that can be authentic: what the data plane tells of says no length. RFC 4303 section 2: header, IV, padding to four, ICV of 16.
    static let leastESP = 36
}
