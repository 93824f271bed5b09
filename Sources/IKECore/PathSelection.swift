// Which addresses an IKE SA goes on with when those in use are gone or lead nowhere.
// RFC 4555 sections 3.5, 3.6 and 3.10.

import IKEWire

extension Established {
    // MARK: What sets it off

    /// This host has other addresses, or other routes.
    func localAddressesChanged() {
        guard maySpeakOfAddresses else { return }
        let isUsable = context.localAddresses.contains(sa.local.address)
        guard let mobility = sa.mobility else {
            guard isUsable else { return leaveLostAddress() }
            if waitsForAddress { sendAgainFromHere() }
            return waitsForAddress = false
        }
        sa.mobility?.refused = []
        if mobility.decides || mobility.isStranded || !isUsable { return search(.reconsider) }
        announceChanges()
    }

    /// The network says that the peer cannot be reached. Anybody can say so.
    //= RFC 4555 §3.5: such news is a hint, and leads to a check of the path.
    func hinted() { if sa.mobility?.decides == true { checkPath() } }

    /// Authentic ESP comes from an address that is not the peer's.
    //= RFC 4555 §5.3: such packets lead to a liveness check.
    func suspected() { checkPath() }

    private func checkPath() {
        guard phase == .active, let mobility = sa.mobility else { return }
        if let last = mobility.hintedAt, now.since(last) < .seconds(5) { return }
        sa.mobility?.hintedAt = now
        if case .idle = outgoing, queue.isEmpty { enqueue(.liveness) }
    }

    /// The request under way was sent again and again: perhaps another path works.
    func unanswered(_ exchange: Exchange, _ sent: Int) {
        guard sent >= 3, let mobility = sa.mobility, mobility.probing.isEmpty, mobility.search.map({ $0.until <= now }) ?? true else { return }
        // RFC 4555 section 3.6: the end that does not decide does so for its list of addresses alone.
        if !mobility.decides { guard case .updateAddresses(let update) = exchange, update.kind == .announce else { return } }
        search(.probe)
    }

    /// Tells the peer of other addresses of ours than before. Not all SAs at once.
    private func announceChanges() {
        guard phase == .active, let mobility = sa.mobility, sa.furtherAddresses != mobility.announced else { return }
        let waits = (queue + delayed.map(\.task)).contains { if case .updateAddresses = $0 { true } else { false } }
        if !waits { delayed.append((now + context.jitter(upTo: .seconds(2)), .updateAddresses(.announce))) }
    }

    // MARK: Without MOBIKE

    /// The SA cannot move. Where we have proven who we are first, we do so anew from the address that leads to the peer now (RFC 4555 section 1); else the peer has to.
    private func leaveLostAddress() {
        guard phase == .active else { return }
        guard sa.beganAuthentication else {
            return context.note(.warning, "this host has lost the address \(sa.local.address), and the SA cannot move: MOBIKE is not in use, and the peer has to begin anew", sa)
        }
        addressSearch = context.run(.findPaths([sa.remote.address]), for: sa.localSPI)
    }

    func addressFound(_ result: JobResult) {
        addressSearch = nil
        guard phase == .active, sa.mobility == nil, !context.localAddresses.contains(sa.local.address) else { return }
        let lost = sa.local.address
        guard case .pathsFound(let paths) = result, let new = paths.first(where: { context.localAddresses.contains($0.local) && sa.mayUse($0.local) })?.local else {
            if !waitsForAddress { context.note(.warning, "this host has lost the address \(lost), and no other one leads to the peer: the SA waits for one", sa) }
            return waitsForAddress = true
        }
        waitsForAddress = false
        context.note(.notice, "this host has lost the address \(lost), and MOBIKE is not in use: authenticating anew from \(new)", sa)
        // What is left to say on this SA, too, comes from there; behind a NAT the peer follows at once (RFC 7296 section 2.23).
        moveIKE(to: AddressPair(local: SocketAddress(address: new, port: sa.local.port), remote: sa.remote), marked: sa.marked)
        moveChildren()
        sendAgainFromHere()
        if let earlier = sa.replacement, earlier.isConnecting, !context.localAddresses.contains(earlier.local.address) {
            earlier.abandon(Failure(.closed, "This host has lost the address that it began from"))
            context.adopt(earlier)
        }
        if mayReauthenticate { reauthenticate([]) } else { reauthAt = now }
    }

    // MARK: The search

    /// Asks which addresses of ours the routes choose towards each of the peer's.
    func search(_ purpose: PathSearch) {
        guard let mobility = sa.mobility, maySpeakOfAddresses else { return }
        var remotes = [sa.remote.address]
        for address in mobility.peerAddresses where !remotes.contains(address) { remotes.append(address) }
        sa.mobility?.search = (context.run(.findPaths(remotes), for: sa.localSPI), purpose, now + context.limits.jobTime)
    }

    /// `routed`: for the peer's addresses that there is a route to, the address of ours that it chooses.
    func pathsFound(_ routed: [FoundPath], _ purpose: PathSearch) {
        sa.mobility?.search = nil
        guard maySpeakOfAddresses, let mobility = sa.mobility else { return }
        let current = AddressPair(local: sa.local, remote: sa.remote)
        let candidates = candidates(routed).filter { !mobility.refused.contains($0) }
        switch purpose {
        case .reconsider:
            guard let best = candidates.first else {
                if !mobility.isStranded { context.note(.warning, "no address of this host leads to the peer: the SA waits for one", sa) }
                sa.mobility?.isStranded = true
                return
            }
            sa.mobility?.isStranded = false
            if best != current { return move(to: best) }
            // What was tried while there was no way to the peer has reached nobody.
            if mobility.isStranded { sendAgainFromHere() }
            if mobility.isStranded, mobility.decides { return enqueueUpdate(.update) }
            // The same addresses may be in another network, behind another NAT.
            if mobility.decides { checkPath() }
            announceChanges()
        case .probe:
            guard case .sent(let exchange, let retransmission, _) = outgoing else { return }
            let others = candidates.filter { $0 != current }
            guard !others.isEmpty else { return }
            context.note(.notice, "\(exchange.type) is not answered: it is tried over \(others.map { "\($0.local.address) to \($0.remote.address)" }.joined(separator: ", "))", sa)
            sa.mobility?.probing = Array(others.prefix(Mobility.probeLimit))
            probe(retransmission.datagrams)
        }
    }

    /// The pairs that may be used, the best first: what the routes choose, then whatever this host and the peer have.
    private func candidates(_ routed: [FoundPath]) -> [AddressPair] {
        let mine = context.localAddresses.filter { sa.mayUse($0) }
        let theirs = [sa.remote.address] + (sa.mobility?.peerAddresses ?? [])
        var pairs: [AddressPair] = []
        func add(_ local: IPAddress, _ remote: IPAddress) {
            guard local.family == remote.family, mine.contains(local), pairs.count < 64 else { return }
            let pair = AddressPair(local: SocketAddress(address: local, port: sa.local.port), remote: SocketAddress(address: remote, port: port(of: remote)))
            if !pairs.contains(pair) { pairs.append(pair) }
        }
        let reachable = Set(routed.map(\.remote))
        // Where the addresses are written out, the one in use stays while it is there; else the routes say.
        if !sa.connection.localAddresses.contains(.any), reachable.contains(sa.remote.address) { add(sa.local.address, sa.remote.address) }
        for path in routed { add(path.local, path.remote) }
        for remote in theirs where reachable.contains(remote) { for local in mine { add(local, remote) } }
        return pairs
    }

    /// A peer behind a NAT is where that says; any other address of it has the well-known port.
    private func port(of remote: IPAddress) -> UInt16 {
        if remote == sa.remote.address { return sa.remote.port }
        return sa.nat.remoteBehindNAT && sa.marked ? 4500 : sa.remote.port
    }

    // MARK: Moving

    /// Our side moves the SA. Where the peer's address is another, ESP follows when the peer has answered from there.
    func move(to ends: AddressPair, afterAnswer: Bool = false) {
        guard let mobility = sa.mobility else { return }
        let before = sa.espPath
        context.note(.notice, "moving from \(sa.local) and \(sa.remote) to \(ends.local) and \(ends.remote)", sa)
        moveIKE(to: ends, marked: sa.marked)
        sa.mobility?.probing = []
        if ends.remote == before.ends.remote || context.limits.returnRoutability != .before {
            sa.heldPath = nil
        } else {
            // To the peer where it is known to be, from the address that we have.
            var held = before
            if held.ends.remote.address.family == ends.local.address.family { held.ends.local = ends.local }
            sa.heldPath = held
        }
        moveChildren()
        //= RFC 4555 §3.5: what waits for its answer is sent from the new addresses.
        if afterAnswer { sendsAgainAfterAnswer = true } else { sendAgainFromHere() }
        // RFC 4555 section 3.6: an end that does not decide tells its addresses, and the other moves.
        if !mobility.decides { sa.mobility?.announced = nil }
        enqueueUpdate(mobility.decides ? .update : .announce)
    }

    /// Sends the request under way over the other pairs as well: the same message, whichever way its answer comes.
    func probe(_ datagrams: [[UInt8]]) {
        if sa.mobility == nil, followedPath != nil { spoilCheck() }
        if case .sent(.updateAddresses(let update), _, _) = outgoing, case .checkESP(let remote) = update.kind {
            spoilCheck()
            transmit(datagrams, to: remote)
        }
        for pair in (sa.mobility?.probing ?? []) + [followedPath].compactMap({ $0 }) {
            for bytes in datagrams { context.emit(.transmit(Datagram(local: pair.local, remote: pair.remote, marked: sa.marked, bytes: bytes))) }
        }
    }

    /// An authentic answer came: over the path in use, or over one that was being tried.
    //= RFC 4555 §3.6: an update that was tried from several addresses is sent anew, as a request of its own.
    func answered(over datagram: Datagram) {
        guard let mobility = sa.mobility, !mobility.probing.isEmpty else { return }
        sa.mobility?.probing = []
        let ends = AddressPair(local: datagram.local, remote: datagram.remote)
        if mobility.probing.contains(ends), ends != AddressPair(local: sa.local, remote: sa.remote) { move(to: ends) }
    }
}
