// One IKE SA: who it is between, and the state that it is in. Hands each event to the state, and keeps the state that comes back.
// RFC 7296 section 2.

import IKECrypto
import IKEWire

final class IKESA {
    let id: IKESAID
    unowned let context: Context
    /// Whether we are the original initiator.
    let isInitiator: Bool
    let localSPI: IKESPI
    var remoteSPI: IKESPI
    var connection: Connection
    var local: SocketAddress
    var remote: SocketAddress
    /// Whether messages travel behind a non-ESP marker.
    var marked: Bool
    var nat = NATDetection.Verdict()
    var localIdentity: Identification?
    var remoteIdentity: Identification?
    /// Who the peer is by EAP, where that is not its identity of IKE. Once it is authenticated, this is who it is.
    @Rarely var remoteEAPIdentity: Identification?
    /// The same as the directory writes the name: what users are counted by.
    @Rarely var account: Identification?
    /// Of the user, where this end has let one in.
    var userSession: UserSession?
    /// Of the peer, where it may have one IKE SA alone.
    @Rarely var keptPlace: KeptPlace?
    /// The transforms chosen for this IKE SA.
    var transforms: [Transform] = []
    var initialContact = false
    /// The peer sent NAT_DETECTION notifications in IKE_SA_INIT: it does NAT traversal. RFC 7296 section 2.23.
    var peerDetectsNAT = false
    /// Where both ends speak MOBIKE. RFC 4555.
    var mobility: Mobility?
    /// Where the SA was before it last moved.
    @Rarely var movedFrom: AddressPair?
    /// Where ESP still goes while the peer's new address is being checked.
    @Rarely var heldPath: OuterPath?
    /// The Message ID of the IKE_AUTH exchange under way: what comes between IKE_SA_INIT and it (RFC 9242), and rounds of EAP, count it on.
    var authMessageID: UInt32 = 1
    /// The hashes that the peer takes in signatures. RFC 7427 section 4.
    var peerHashes: [UInt16] = []
    /// The authorities that the peer takes certificates of, until our proof is made. RFC 7296 section 3.7.
    var peerRequests: [CertificateRequest] = []
    /// What the peer says that it is; for the log alone.
    var vendorIDs: [String] = []
    /// Whether we began the IKE SA that this one descends from by rekeys: then it is ours to authenticate anew.
    var beganAuthentication: Bool
    /// The SA that this one authenticates anew, until it is told to go.
    var replaces: IKESA?
    /// The IKE SA that a rekey made of this one. It is held: whoever knows this one finds the newest by way of those between, which may be gone.
    var successor: IKESA?
    /// Those that it descends from by rekeys and that are not gone yet, as of the last rekey.
    private var ancestors: [Link] = []
    /// Those that this one has authenticated anew, itself or through one that has gone before, and that are about to go.
    private var leavingLinks: [Link] = []
    /// The one that does so for this one.
    weak var replacement: IKESA?
    /// The number that all its children share, where the connection has `if_id = %unique`.
    @Rarely private var number: UInt32?
    /// Every connection that a peer from there may mean takes IKE_AUTH without a child: who it is shows only then. RFC 6023.
    var announcesChildless = false
    /// The peer has said that it takes fragments. RFC 7383 section 2.3.
    var takesFragments = false
    /// When IKE_SA_INIT was begun, here or by the peer.
    let begun: Instant
    /// What an ICMP message last said of our datagrams to the peer, until something comes from it.
    var unreachable: UnreachableReport?
    /// The inner addresses that the gateway gave us, and those that we gave the peer.
    var localVirtual: [IPAddress] = []
    var remoteVirtual: [IPAddress] = []
    /// What this SA has to give back at its end: its successor takes both over.
    var leases: [Lease] = []
    var ownAddresses: [IPAddress] = []
    var nameServers: NameServers?
    /// The inbound SPI offered in IKE_AUTH, until a child has it.
    var offeredSPI: UInt32?
    var state: State = .dead
    /// Under what the endpoint knows the IKE_SA_INIT request that made this SA.
    var initiation: Int?
    /// Whether the endpoint has counted it among those that are closed.
    var countsAsClosed = false
    /// When this SA is next in the endpoint's queue.
    var scheduled: Instant?
    /// Where IKE_SA_INIT came from, where IKE_AUTH came from another address. That one has shown that it answers: whoever repeats the peer's request
    /// from elsewhere before it comes does not keep the answer from it.
    var firstAddress: IPAddress?
    /// Whether the peer's address has shown that it answers: what we send to it before has a limit.
    var proof: AddressProof
    /// The last other address that an authentic message came from, and what has gone there.
    @Rarely var otherAddress: OtherAddress?
    /// The address under which this SA counts as half-open.
    var countedAddress: IPAddress?
    var isCountedAnswering = false
    /// It made us compute, and ended at once.
    var wasCostly = false

    init(context: Context, connection: Connection, isInitiator: Bool, localSPI: IKESPI, remoteSPI: IKESPI, local: SocketAddress, remote: SocketAddress, marked: Bool) {
        id = context.newIKESAID()
        begun = context.now
        self.context = context
        self.connection = connection
        self.isInitiator = isInitiator
        self.localSPI = localSPI
        self.remoteSPI = remoteSPI
        self.local = local
        self.remote = remote
        self.marked = marked
        beganAuthentication = isInitiator
        // Where we began, the address is one that we chose.
        proof = AddressProof(isProven: isInitiator, factor: context.limits.amplification)
    }

    private struct Link { weak var sa: IKESA? }

    /// How many replaced IKE SAs this one has left behind, closed ones that still answer included.
    var livingAncestors: Int { ancestors.count { $0.sa?.isDead == false } }

    func uniqueNumber() -> UInt32 {
        if let number { return number }
        let new = context.newUniqueNumber()
        number = new
        return new
    }

    /// Notes what the successor descends from, and what it inherits by it.
    func bequeath(to successor: IKESA) {
        successor.number = number
        successor.ancestors = (ancestors + [Link(sa: self)]).filter { $0.sa?.isDead == false }
    }

    /// From now on this one carries the traffic of `old`, and of all that `old` has carried it for.
    func take(over old: IKESA) {
        let all = (old.leavingLinks.compactMap(\.sa) + [old]).map(Established.current).filter { $0 !== self && !$0.isDead }
        old.leavingLinks = []
        for sa in all {
            sa.replacement = self
            if !leavingLinks.contains(where: { $0.sa === sa }) { leavingLinks.append(Link(sa: sa)) }
        }
        leavingLinks.removeAll { $0.sa?.isDead != false }
        // This one is about to go itself: who carries its traffic carries that of those as well.
        guard let new = replacement.map(Established.current), new !== self, !new.isDead, new.leavingLinks.contains(where: { $0.sa === self }) else { return }
        new.take(over: self)
    }

    /// A rekey has put `successor` in the place of this one, whoever leaves it or is left for it.
    func handLinks(to successor: IKESA) {
        for sa in leavingLinks.compactMap(\.sa).map(Established.current) where sa !== successor && !sa.isDead {
            sa.replacement = successor
            successor.leavingLinks.append(Link(sa: sa))
        }
        leavingLinks = []
        guard let new = replacement.map(Established.current) else { return }
        successor.replacement = new
        // One that is not done yet takes over when it is.
        if new.leavingLinks.contains(where: { $0.sa === self }) { new.leavingLinks.append(Link(sa: successor)) }
    }

    var initiatorSPI: IKESPI { isInitiator ? localSPI : remoteSPI }
    var responderSPI: IKESPI { isInitiator ? remoteSPI : localSPI }
    var registry: Registry { context.crypto.registry(connection.provider) }
    var now: Instant { context.now }
    /// ESP travels in UDP.
    //= RFC 7296 §2.23: never on port 500, where a peer stays that finds a NAT and does not move, or knows nothing of NATs.
    var encapsulated: Bool { marked && (nat.localBehindNAT || nat.remoteBehindNAT || connection.encap) }

    // MARK: Sending

    /// The header of a message that is about to go out for the first time: it is counted here.
    func header(_ exchange: ExchangeType, messageID: UInt32, response: Bool) -> Header {
        countSent(exchange, response: response)
        var flags: HeaderFlags = isInitiator ? .initiator : []
        if response { flags.insert(.response) }
        return Header(initiatorSPI: initiatorSPI, responderSPI: responderSPI, exchangeType: exchange, flags: flags, messageID: messageID)
    }

    func transmit(_ bytes: [UInt8]) { transmit([bytes]) }

    /// All of a message's datagrams, or, where the address has proven nothing and they are too much, none. Whether they went out.
    @discardableResult func transmit(_ datagrams: [[UInt8]]) -> Bool {
        guard proof.spend(datagrams.byteCount) else {
            context.counters.answersHeldBack += 1
            return false
        }
        for bytes in datagrams { context.emit(.transmit(Datagram(local: local, remote: remote, marked: marked, bytes: bytes))) }
        return true
    }

    /// Octets of the peer's have come from an address: its own, or another one that an authentic message has come from.
    func countReceived(_ count: Int, from address: IPAddress) {
        if address == remote.address { return proof.receive(count) }
        if otherAddress?.address != address { otherAddress = OtherAddress(address: address, proof: AddressProof(isProven: false, factor: context.limits.amplification)) }
        otherAddress?.proof.receive(count)
    }

    /// Counts what is about to be sent to an address; false where it has not shown enough for so much.
    func maySend(_ count: Int, to address: IPAddress) -> Bool {
        if address == remote.address { return proof.spend(count) }
        if address == firstAddress { return true }
        return otherAddress?.address == address && otherAddress?.proof.spend(count) == true
    }

    /// Repeats a stored answer to where the request came from now.
    func repeatAnswer(_ datagrams: [[UInt8]], to datagram: Datagram) {
        //= RFC 7296 §2.1: the same answer, octet for octet.
        // Anybody can repeat what he has seen, from any address: that one has proven nothing.
        let isHere = datagram.remote.address == remote.address
        // What repetitions bring adds up: or an answer too long for one request would never go out.
        let isKnown = isHere || otherAddress?.address == datagram.remote.address
        if isKnown { countReceived(datagram.bytes.count, from: datagram.remote.address) }
        let isAllowed =
            isKnown ? maySend(datagrams.byteCount, to: datagram.remote.address) : datagram.remote.address == firstAddress || datagrams.byteCount <= context.limits.amplification * datagram.bytes.count
        guard isAllowed else { return context.counters.answersHeldBack += 1 }
        for bytes in datagrams { context.emit(.transmit(Datagram(local: datagram.local, remote: datagram.remote, marked: datagram.marked, bytes: bytes))) }
    }

    /// The longest datagram of IKE before fragments are used, where both ends take them: what `fragmentSize` leaves beside IP, UDP and the non-ESP marker.
    var fragmentLimit: Int? {
        guard takesFragments, connection.fragmentation != .no else { return nil }
        return connection.fragmentation == .yes ? context.limits.fragmentSize - (remote.address.family == .v4 ? 20 : 40) - 12 : Int(UInt16.max)
    }

    /// Moves to the ports that pass a NAT. RFC 7296 section 2.23.
    func floatPorts() {
        guard !marked else { return }
        local.port = context.limits.natPort
        if remote.port == 500 { remote.port = 4500 }
        marked = true
    }

    // MARK: Events

    func received(_ header: Header, _ datagram: Datagram) {
        unreachable = nil
        state =
            switch state {
            case .initSent(let current): current.received(header, datagram, self)
            case .authSent(let current): current.received(header, datagram, self)
            case .awaitingAuth(let current): current.received(header, datagram, self)
            case .authenticatingPeer(let current): current.received(header, datagram, self)
            case .answeringEAP(let current): current.received(header, datagram, self)
            case .established(let current): current.received(header, datagram)
            case .closed(let current): current.received(header, datagram, self)
            case .generatingKey(let current): current.received(header, datagram, self)
            // The peer repeats itself while a job runs: the answer follows.
            case .agreeing(let current): .agreeing(current)
            case .signing(let current): .signing(current)
            case .verifyingResponder(let current): .verifyingResponder(current)
            case .answering(let current): .answering(current)
            case .verifyingInitiator(let current): .verifyingInitiator(current)
            case .signingAnswer(let current): .signingAnswer(current)
            case .dead: .dead
            }
    }

    func jobFinished(_ job: JobID, _ result: JobResult) {
        state =
            switch state {
            case .generatingKey(let current): current.job == job ? current.finished(result, self) : .generatingKey(current)
            case .agreeing(let current): current.job == job ? current.finished(result, self) : .agreeing(current)
            case .signing(let current): current.job == job ? current.finished(result, self) : .signing(current)
            case .verifyingResponder(let current): current.job == job ? current.finished(result, self) : .verifyingResponder(current)
            case .answering(let current): current.job == job ? current.finished(result, self) : .answering(current)
            case .verifyingInitiator(let current): current.job == job ? current.finished(result, self) : .verifyingInitiator(current)
            case .signingAnswer(let current): current.job == job ? current.finished(result, self) : .signingAnswer(current)
            case .authenticatingPeer(let current): current.jobFinished(job, result, self)
            case .answeringEAP(let current): current.jobFinished(job, result, self)
            case .established(let current): current.jobFinished(job, result)
            // A job of an exchange that was given up: its result is dropped.
            case .initSent(let current): .initSent(current)
            case .authSent(let current): .authSent(current)
            case .awaitingAuth(let current): .awaitingAuth(current)
            case .closed(let current): .closed(current)
            case .dead: .dead
            }
    }

    func deadlineReached() {
        state =
            switch state {
            case .initSent(let current): current.deadlineReached(self)
            case .authSent(let current): current.deadlineReached(self)
            case .awaitingAuth(let current): current.deadlineReached(self)
            case .authenticatingPeer(let current): current.deadlineReached(self)
            case .answeringEAP(let current): current.deadlineReached(self)
            case .established(let current): current.deadlineReached()
            case .closed(let current): current.deadlineReached(self)
            case .generatingKey(let current): current.work.deadlineReached(self) ? .dead : .generatingKey(current)
            case .agreeing(let current): current.work.deadlineReached(self) ? .dead : .agreeing(current)
            case .signing(let current): current.work.deadlineReached(self) ? .dead : .signing(current)
            case .verifyingResponder(let current): current.work.deadlineReached(self) ? .dead : .verifyingResponder(current)
            case .answering(let current): current.deadline <= now ? .dead : .answering(current)
            case .verifyingInitiator(let current): current.deadline <= now ? .dead : .verifyingInitiator(current)
            case .signingAnswer(let current): current.deadline <= now ? .dead : .signingAnswer(current)
            case .dead: .dead
            }
    }

    var nextDeadline: Instant? {
        switch state {
        case .initSent(let current): current.retransmission.deadline
        case .authSent(let current): current.retransmission.deadline
        case .awaitingAuth(let current): current.deadline
        case .authenticatingPeer(let current): current.deadline
        case .answeringEAP(let current): current.nextDeadline
        case .established(let current): current.nextDeadline
        case .closed(let current): current.nextDeadline
        case .generatingKey(let current): current.work.deadline
        case .agreeing(let current): current.work.deadline
        case .signing(let current): current.work.deadline
        case .verifyingResponder(let current): current.work.deadline
        case .answering(let current): current.deadline
        case .verifyingInitiator(let current): current.deadline
        case .signingAnswer(let current): current.deadline
        case .dead: nil
        }
    }

    /// The established part, if there is one.
    var established: Established? {
        if case .established(let current) = state { current } else { nil }
    }

    var isClosed: Bool { if case .closed = state { true } else { false } }
    var isDead: Bool { if case .dead = state { true } else { false } }

    /// Answers an IKE_SA_INIT request, and the peer has not proven itself.
    var isHalfOpen: Bool {
        switch state {
        case .answering, .awaitingAuth, .verifyingInitiator, .authenticatingPeer, .signingAnswer: true
        case .closed(let closed): !closed.isProven
        default: false
        }
    }

    /// What its place among the half-open ones is held by.
    var placeHolder: HalfOpen.Holder? {
        switch state {
        case .verifyingInitiator, .authenticatingPeer, .signingAnswer: .loggingIn
        default: isHalfOpen ? .waiting : nil
        }
    }

    var agreesQuickly: Bool { transforms.contains { $0.isQuickKeyExchange } }
    /// The responder's key agreement is being computed.
    var isAnswering: Bool { if case .answering = state { true } else { false } }

    /// Initiating, and not established yet.
    var isConnecting: Bool {
        switch state {
        case .generatingKey, .initSent, .agreeing, .signing, .authSent, .answeringEAP, .verifyingResponder: true
        default: false
        }
    }

    /// Initiating, and the peer has been sent IKE_AUTH.
    var isAuthenticating: Bool {
        switch state {
        case .authSent, .answeringEAP, .verifyingResponder: true
        default: false
        }
    }

    /// Another request for a child while the first exchanges run: it waits for them.
    func enqueue(_ child: ChildPolicy, _ request: RequestID?) {
        switch state {
        case .generatingKey(var current):
            current.work.add(child, request)
            state = .generatingKey(current)
        case .initSent(var current):
            current.work.add(child, request)
            state = .initSent(current)
        case .agreeing(var current):
            current.work.add(child, request)
            state = .agreeing(current)
        case .signing(var current):
            current.work.add(child, request)
            state = .signing(current)
        case .authSent(var current):
            current.work.add(child, request)
            state = .authSent(current)
        case .answeringEAP(var current):
            current.add(child, request)
            state = .answeringEAP(current)
        case .verifyingResponder(var current):
            current.work.add(child, request)
            state = .verifyingResponder(current)
        case .established(let current):
            current.createChild(child, requests: request.map { [$0] } ?? [])
            state = current.settled()
        case .answering, .awaitingAuth, .verifyingInitiator, .authenticatingPeer, .signingAnswer, .closed, .dead:
            if let request { context.emit(.answer(request, .failure(Failure(.closed, "The IKE SA is not ready for a child")))) }
        }
    }

    /// Ends the SA without a word to the peer: everything goes at once.
    func abandon(_ failure: Failure) {
        defer { state = .dead }
        switch state {
        case .generatingKey(let current): current.work.fail(failure, self, retry: false, final: true)
        case .initSent(let current): current.work.fail(failure, self, retry: false, final: true)
        case .agreeing(let current): current.work.fail(failure, self, retry: false, final: true)
        case .signing(let current): current.work.fail(failure, self, retry: false, final: true)
        case .authSent(let current): current.work.fail(failure, self, retry: false, final: true)
        case .answeringEAP(let current): current.work.fail(failure, self, retry: false, final: true)
        case .verifyingResponder(let current): current.work.fail(failure, self, retry: false, final: true)
        case .established(let current): current.dismantle(failure)
        case .answering, .awaitingAuth, .verifyingInitiator, .authenticatingPeer, .signingAnswer, .closed, .dead: break
        }
    }
}

/// The states of an IKE SA. A responder's begin with `answering`, an initiator's with `generatingKey`. What a state holds is apart from the SA,
/// so that one that is established does not keep room for what is behind it.
enum State {
    case dead
    indirect case generatingKey(GeneratingKey)
    indirect case initSent(InitSent)
    indirect case agreeing(Agreeing)
    indirect case signing(Signing)
    indirect case authSent(AuthSent)
    indirect case answeringEAP(AnsweringEAP)
    indirect case verifyingResponder(VerifyingResponder)
    indirect case answering(Answering)
    indirect case awaitingAuth(AwaitingAuth)
    indirect case verifyingInitiator(VerifyingInitiator)
    indirect case authenticatingPeer(AuthenticatingPeer)
    indirect case signingAnswer(SigningAnswer)
    case established(Established)
    indirect case closed(Closed)
}

extension [[UInt8]] {
    /// Of all datagrams together.
    var byteCount: Int { reduce(0) { $0 + $1.count } }
}
