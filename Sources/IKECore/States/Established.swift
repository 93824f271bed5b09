// An established IKE SA: its children, one outgoing and one incoming exchange slot, and the clocks that drive it. The exchanges
// themselves are in Exchanges/.
// RFC 7296 sections 1.3 to 1.5, 2.3, 2.4, 2.8 and 2.25.

import IKECrypto
import IKEWire

final class Established {
    let sa: IKESA
    let channel: SecureChannel
    var window: MessageWindow
    /// Where the peer's last request came from and arrived: the answer goes back the same way. RFC 7296 section 2.11.
    private var requestPath: (local: SocketAddress, remote: SocketAddress, marked: Bool)?
    var children: [ChildSA] = []
    var outgoing = Outgoing.idle { didSet { outgoingUntil = outgoing.waitsForUs ? now + context.limits.jobTime : nil } }
    var incoming = Incoming.idle { didSet { incomingUntil = incoming.isIdle ? nil : now + context.limits.jobTime } }
    /// When the job or the data plane that an exchange waits for has taken too long.
    var outgoingUntil: Instant?
    var incomingUntil: Instant?
    /// What waits for the outgoing slot.
    var queue: [Task] = []
    /// What waits for its time: after TEMPORARY_FAILURE.
    var delayed: [(at: Instant, task: Task)] = []
    var phase = Phase.active
    let since: Instant
    var rekeyAt: Instant?
    var expiresAt: Instant?
    /// When the identities are to be proven anew, and when the SA ends where that has not happened. Both outlive a rekey. RFC 4478.
    var reauthAt: Instant?
    var authEndsAt: Instant?
    /// Who waits for that.
    var reauthRequests: [RequestID] = []
    /// Children of the SA that this one replaces, which were asked for here.
    var inherited: Set<String> = []
    var keepaliveAt: Instant?
    /// When the peer was last heard: an authentic message, or ESP that the data plane told of.
    var lastInbound: Instant
    /// When liveness is asked after next.
    var livenessAt: Instant?
    /// Whether the data plane was asked first.
    var askedDataPlane = false
    /// When somebody last made us ask whether the peer is alive.
    var suspectedAt: Instant?
    /// The peer's rekey of this IKE SA while ours was under way. RFC 7296 section 2.8.2.
    var peerSuccessor: PeerSuccessor?
    /// Why this SA ends, once our own rekey of it, which the peer's has overtaken, has keys.
    var overtaken: String?
    /// The SA that this one will replace, while a collision of rekeys is not decided.
    weak var predecessor: Established?
    /// SPIs that the peer deleted while our exchange that makes them was under way: its Delete overtook its answer, or our job.
    var earlyDeletes: Set<UInt32> = []
    /// How many requests the peer would take at once. We send one: what is slow here waits for calculations, not for the peer. RFC 7296 section 2.3.
    var peerWindow: UInt32 = 1
    /// The rekey that new Message IDs need was asked for.
    var renumbers = false
    /// What the SA becomes when the current event is done; nil to stay.
    var next: State?

    /// Why an SA ends that its successor need not end for.
    static let lifetimeOver = "its lifetime is over and it was not rekeyed"

    /// A Delete of the SA waits for its turn.
    var isToBeDeleted: Bool { queue.contains { if case .deleteIKE = $0 { true } else { false } } }
    /// A Delete of the child waits for its turn.
    func isToBeDeleted(_ id: ChildSAID) -> Bool { queue.contains { if case .deleteChild(id, _) = $0 { true } else { false } } }

    enum Phase: Equatable {
        case active
        /// Replaced; only the Delete is left to do. Gone by the time given.
        case rekeyed(until: Instant)
        /// The winner of a collision is another; the peer deletes this one.
        case redundant(until: Instant)
        case deleting
    }

    struct PeerSuccessor {
        let sa: IKESA
        let lowestNonce: [UInt8]
    }

    /// What an outgoing exchange will be.
    indirect enum Task {
        case createChild(ChildPolicy, [RequestID])
        case rekeyChild(ChildSAID, [RequestID])
        case rekeyIKE([RequestID])
        case deleteChild(ChildSAID, [RequestID])
        case deleteIKE([RequestID], reason: String)
        case liveness
        case updateAddresses(AddressUpdate.Kind)
        /// Seconds until the peer is to prove itself anew. RFC 4478.
        case authLifetime(UInt32)
    }

    /// The one outgoing exchange. Most of the time there is none: what one holds is apart from the SA.
    indirect enum Outgoing {
        case idle
        /// A job makes our half of a key exchange.
        case preparing(JobID, Exchange)
        case sent(Exchange, Retransmission, messageID: UInt32)
        /// The answer is here; a job computes the shared secret.
        case agreeing(JobID, Exchange, payloads: [Payload])
        /// The data plane installs the child.
        case installing(ChildSAID, ChildCreation?)

        var exchange: Exchange? {
            switch self {
            case .preparing(_, let exchange), .sent(let exchange, _, _), .agreeing(_, let exchange, _): exchange
            case .idle, .installing: nil
            }
        }

        /// A job or the data plane is at work, not the peer.
        var waitsForUs: Bool {
            switch self {
            case .preparing, .agreeing, .installing: true
            case .idle, .sent: false
            }
        }
    }

    enum Exchange {
        case createChild(ChildCreation)
        case rekeyIKE(IKERekey)
        case deleteChild(ChildSAID, [RequestID])
        case deleteIKE([RequestID], reason: String)
        /// A liveness check, or a message that needs no more than an answer.
        case informational
        case updateAddresses(AddressUpdate)

        var type: ExchangeType {
            switch self {
            case .createChild, .rekeyIKE: .createChildSA
            case .deleteChild, .deleteIKE, .informational, .updateAddresses: .informational
            }
        }
    }

    /// The one incoming exchange, while its answer waits.
    indirect enum Incoming {
        case idle
        case agreeingChild(JobID, ChildAnswer)
        case agreeingIKE(JobID, IKERekeyAnswer)
        /// The data plane installs the child; then `payloads` are the answer.
        case installing(ChildSAID, ExchangeType, UInt32, payloads: [Payload])

        var isIdle: Bool { if case .idle = self { true } else { false } }
        /// The peer's rekey of the IKE SA is accepted: what waits goes to the new SA.
        var replacesIKESA: Bool { if case .agreeingIKE = self { true } else { false } }
    }

    /// The peer may hold a child that we do not know yet.
    var isCreatingChild: Bool {
        switch outgoing {
        case .sent(.createChild, _, _), .agreeing(_, .createChild, _): true
        default: false
        }
    }

    init(_ sa: IKESA, _ channel: SecureChannel, window: MessageWindow) {
        self.sa = sa
        self.channel = channel
        self.window = window
        channel.reassemblyLimit = 65_536
        channel.fragmentRoom = sa.context.provenFragments
        channel.forgetProofKeys()
        since = sa.now
        lastInbound = sa.now
        let lifetime = sa.connection.lifetime
        if lifetime.rekeyTime > .zero {
            let early = min(lifetime.randTime, lifetime.rekeyTime)
            rekeyAt = Instant(nanoseconds: (sa.now + lifetime.rekeyTime).nanoseconds - sa.context.jitter(upTo: early).wholeNanoseconds)
        }
        if lifetime.lifeTime > .zero { expiresAt = sa.now + lifetime.lifeTime }
        if sa.connection.dpdDelay > .zero { livenessAt = sa.now + sa.connection.dpdDelay }
        armKeepalive()
    }

    var context: Context { sa.context }
    var now: Instant { sa.now }

    /// Tells everyone that the SA stands.
    func begin() {
        context.emit(.report(.ikeSAEstablished(status(of: .established))))
        if !sa.vendorIDs.isEmpty { context.note(.debug, "the peer's Vendor IDs: \(sa.vendorIDs.joined(separator: ", "))", sa) }
    }

    // MARK: Receiving

    func received(_ header: Header, _ datagram: Datagram) -> State {
        //= RFC 7296 §2.2: the flags say who was the original initiator.
        guard header.isFromInitiator != sa.isInitiator else { return .established(self) }
        if header.nextPayload == .notify, heard(unprotected: datagram) {
            suspect()
            return settled()
        }
        if header.isResponse { receivedResponse(header, datagram) } else { receivedRequest(header, datagram) }
        return settled()
    }

    private func receivedRequest(_ header: Header, _ datagram: Datagram) {
        switch window.judge(request: header.messageID, bytes: datagram.bytes) {
        case .duplicate:
            // The stored answer; none while the exchange is still worked on, or was forgotten.
            return sa.repeatAnswer(window.storedResponse ?? [], to: datagram)
        case .outside:
            if window.isCutAnew(header, datagram.bytes, channel) { sa.repeatAnswer(window.storedResponse ?? [], to: datagram) }
            return
        case .fresh: break
        }
        guard incoming.isIdle else { return }
        switch channel.open(header, datagram.bytes, now: now) {
        case .forged, .incomplete: return
        case .malformed(let error):
            sa.count(.invalid)
            window.accept(bytes: channel.takeOpenedDatagram())
            requestPath = (datagram.local, datagram.remote, datagram.marked)
            heard(from: datagram)
            refuseAsInvalid(header.exchangeType, header.messageID, "it sent a malformed request (\(error))")
        case .payloads(let payloads):
            sa.countReceived(header)
            window.accept(bytes: channel.takeOpenedDatagram())
            requestPath = (datagram.local, datagram.remote, datagram.marked)
            heard(from: datagram)
            for case .unknown(let type, critical: true, _) in payloads {
                //= RFC 7296 §2.5: an unknown critical payload is refused, and nothing else in the message is done.
                respond(header.exchangeType, header.messageID, [.notify(Notify(.unsupportedCriticalPayload, data: [type.rawValue]))])
                return
            }
            adoptEarly(payloads)
            takeWindowSize(payloads)
            switch header.exchangeType {
            case .createChildSA: answerCreateChildSA(header.messageID, payloads)
            case .informational: answerInformational(header.messageID, payloads)
            default: refuseAsInvalid(header.exchangeType, header.messageID, "it sent a request of an exchange that has no place here (\(header.exchangeType))")
            }
        }
    }

    private func receivedResponse(_ header: Header, _ datagram: Datagram) {
        guard case .sent(let exchange, _, let messageID) = outgoing, header.messageID == messageID, header.exchangeType == exchange.type else { return }
        switch channel.open(header, datagram.bytes, now: now) {
        case .forged, .incomplete: return
        case .malformed(let error):
            sa.count(.invalid)
            outgoing = .idle
            giveUp(after: exchange, "it sent a malformed response (\(error))")
        case .payloads(let payloads):
            sa.countReceived(header)
            outgoing = .idle
            heard(from: datagram)
            answered(over: datagram)
            for payload in payloads {
                switch payload {
                //= RFC 7296 §2.5: what is critical and not understood makes the message one that we cannot act on.
                case .unknown(let type, critical: true, _): return giveUp(after: exchange, "its response has a critical payload of the unknown type \(type.rawValue)")
                //= RFC 7296 §2.21.3: INVALID_SYNTAX is fatal at both ends, without a Delete.
                case .notify(let notify) where notify.type == .invalidSyntax: return peerGaveUp(after: exchange)
                default: break
                }
            }
            switch exchange {
            case .createChild(let creation): childAnswered(creation, payloads)
            case .rekeyIKE(let rekey): ikeRekeyAnswered(rekey, payloads)
            case .deleteChild(let id, let requests): childDeleted(id, requests)
            case .deleteIKE(let requests, let reason): ikeDeleted(requests, reason)
            case .informational: compareMapping(payloads)
            case .updateAddresses(let update): addressesUpdated(update, payloads)
            }
        }
    }

    /// An authentic message came. RFC 7296 section 2.23: an end that is not behind a NAT follows a peer that is.
    private func heard(from datagram: Datagram) {
        lastInbound = now
        if datagram.remote.address == sa.remote.address { sa.proof.prove() }
        //= RFC 4555 §3.8: with MOBIKE it does not: a message without UPDATE_SA_ADDRESSES changes nothing, and may serve to try a path.
        guard sa.mobility == nil, sa.nat.remoteBehindNAT, !sa.nat.localBehindNAT, datagram.remote != sa.remote, datagram.marked == sa.marked else { return }
        moved(to: datagram.remote)
    }

    /// Between which addresses the peer's last request came.
    var requestEnds: AddressPair? { requestPath.map { AddressPair(local: $0.local, remote: $0.remote) } }
    var requestIsMarked: Bool { requestPath?.marked ?? sa.marked }

    // MARK: Sending

    func respond(_ exchange: ExchangeType, _ messageID: UInt32, _ payloads: [Payload]) {
        incoming = .idle
        guard let datagrams = try? channel.seal(sa.header(exchange, messageID: messageID, response: true), payloads) else {
            return end("a message could not be sealed")
        }
        window.store(response: datagrams)
        // IKE_AUTH is answered to an address that may have shown nothing.
        guard let path = requestPath else { return sa.transmit(datagrams) }
        for bytes in datagrams { context.emit(.transmit(Datagram(local: path.local, remote: path.remote, marked: path.marked, bytes: bytes))) }
    }

    //= RFC 7296 §2.21.3: INVALID_SYNTAX, and the SA is over, at both ends.
    func refuseAsInvalid(_ exchange: ExchangeType, _ messageID: UInt32, _ reason: String) {
        respond(exchange, messageID, [.notify(Notify(.invalidSyntax))])
        context.emit(.report(.failed(.badAnswer(reason, sa), connection: sa.connection.name, ikeSA: sa.status)))
        end("the peer sent what is no valid request")
    }

    /// The peer's response cannot be acted on, so the two ends may differ in what they hold: the SA is deleted.
    private func giveUp(after exchange: Exchange, _ reason: String) {
        let failure = Failure.badAnswer(reason, sa)
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        fail(exchange, failure)
        if case .deleteIKE = exchange { return end("the peer sent an invalid response") }
        enqueueFirst(.deleteIKE([], reason: "the peer sent an invalid response"))
    }

    /// The peer could not read our request, and has dropped the SA.
    private func peerGaveUp(after exchange: Exchange) {
        let failure = Failure(.peerRefused, "\(sa.remote.address) could not read our request (INVALID_SYNTAX), and has closed the IKE SA", evidence: [Wording.ends(sa)])
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        fail(exchange, failure)
        let wanted = wantedChildren(besides: exchange)
        end("the peer could not read our request")
        for policy in wanted { follow(policy.closeAction, policy, after: .seconds(1)) }
    }

    /// What the end of this SA takes away that nobody has asked to end: children in use, and those that were to come. `exchange`: one that has
    /// just been given up.
    func wantedChildren(besides exchange: Exchange? = nil) -> [ChildPolicy] {
        guard phase == .active, !isToBeDeleted else { return [] }
        var policies = children.filter { $0.isCurrent && !isToBeDeleted($0.id) }.map(\.policy)
        for case .createChild(let creation)? in [exchange, outgoing.exchange] where creation.replacing == nil { policies.append(creation.offer.policy) }
        if case .installing(_, let creation?) = outgoing, creation.replacing == nil { policies.append(creation.offer.policy) }
        for case .createChild(let policy, _) in queue + delayed.map(\.task) { policies.append(policy) }
        var names: Set<String> = []
        return policies.filter { names.insert($0.name).inserted }
    }

    func send(_ exchange: Exchange, _ payloads: [Payload]) {
        guard let messageID = window.takeRequestID() else {
            fail(exchange, Failure(.internalError, "The Message IDs of the IKE SA with \(sa.remote) are used up"))
            return end("its Message IDs are used up")
        }
        guard let datagrams = try? channel.seal(sa.header(exchange.type, messageID: messageID, response: false), payloads) else {
            fail(exchange, Failure(.internalError, "A message to \(sa.remote) could not be sealed"))
            return end("a message could not be sealed")
        }
        sa.transmit(datagrams)
        outgoing = .sent(exchange, Retransmission(datagrams, limits: context.limits, now: now), messageID: messageID)
    }

    func enqueue(_ task: Task) { queue.append(task) }
    func enqueueFirst(_ task: Task) { queue.insert(task, at: 0) }
    /// Tries again when the peer's own exchange is over: one to three seconds from now. RFC 7296 section 2.25.
    func postpone(_ task: Task) {
        postponedSince = postponedSince ?? now
        delayed.append((now + .seconds(1) + context.jitter(upTo: .seconds(2)), task))
    }
    /// Whether the peer has said "not now" for so long that it means "no".
    var isPutOff: Bool { postponedSince.map { $0 + context.limits.temporaryFailureTime <= now } ?? false }
    /// When the peer said "not now" first, in a row of such answers.
    var postponedSince: Instant?

    //= RFC 7296 §2.25: minutes of TEMPORARY_FAILURE mean that the two ends are out of step, and the IKE SA is closed.
    func closeOutOfStep() {
        let reason = "the peer has put everything off for \(context.limits.temporaryFailureTime)"
        if phase == .active, !replaceWhole(reason) { enqueueFirst(.deleteIKE([], reason: reason)) }
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
            //= RFC 7296 §1: nothing else before the answer to IKE_AUTH.
            if case .installing(_, .ikeAuth, _, _) = incoming { break }
            start(queue.removeFirst())
        }
        guard let next else { return .established(self) }
        return next
    }

    private func start(_ task: Task) {
        guard phase == .active else {
            if case .deleteIKE(let requests, let reason) = task { return startDelete(requests, reason) }
            if case .updateAddresses(.update) = task, maySpeakOfAddresses { return startUpdate(.update) }
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
        case .authLifetime(let seconds): send(.informational, [.authLifetime(seconds)])
        }
    }

    // MARK: Jobs and the data plane

    func jobFinished(_ job: JobID, _ result: JobResult) -> State {
        if let search = sa.mobility?.search, search.job == job {
            if case .pathsFound(let paths) = result { pathsFound(paths, search.purpose) } else { sa.mobility?.search = nil }
            return settled()
        }
        switch outgoing {
        case .preparing(job, .createChild(let creation)): childKeyGenerated(creation, result)
        case .preparing(job, .rekeyIKE(let rekey)): ikeKeyGenerated(rekey, result)
        case .agreeing(job, .createChild(let creation), let payloads): childAgreed(creation, payloads, result)
        case .agreeing(job, .rekeyIKE(let rekey), let payloads):
            ikeAgreed(rekey, payloads, result)
            if let overtaken { end(overtaken) }
        default:
            switch incoming {
            case .agreeingChild(job, let answer): childAgreed(answer, result)
            case .agreeingIKE(job, let answer): ikeAgreed(answer, result)
            default: break
            }
        }
        return settled()
    }

    func childSAInstalled(_ id: ChildSAID, failure: String?) -> State {
        if case .installing(id, let exchange, let messageID, let payloads) = incoming {
            childInstalled(id, exchange, messageID, payloads, failure: failure)
        } else if case .installing(id, let creation) = outgoing {
            outgoing = .idle
            childInstalled(id, creation, failure: failure)
        }
        return settled()
    }

    // MARK: Ending

    /// Ends the SA: children go, requests are answered, retransmissions of the peer's last request are answered for a while.
    func end(_ reason: String) {
        guard next == nil else { return }
        tearDown(Failure(.closed, "The IKE SA with \(sa.remote) was closed: \(reason)"))
        context.emit(.report(.ikeSAClosed(sa.status, reason: reason)))
        next = Closed.answering(sa, window)
    }

    /// For `IKESA.abandon`: as `end`, without an afterlife.
    func dismantle(_ failure: Failure) {
        tearDown(failure)
        context.emit(.report(.ikeSAClosed(sa.status, reason: failure.summary)))
    }

    private func tearDown(_ failure: Failure) {
        for child in children { drop(child) }
        children = []
        sa.giveBackAddresses()
        // What the peer's rekey made and nobody has taken over yet ends with it.
        if let pending = peerSuccessor?.sa {
            peerSuccessor = nil
            pending.established?.enqueueFirst(.deleteIKE([], reason: "the IKE SA that it replaces was closed"))
            pending.state = pending.established?.settled() ?? .dead
            context.adopt(pending)
        }
        stopOutgoing(failure)
        if case .agreeingChild(_, let answer) = incoming { context.releaseInboundSPI(answer.offer.inboundSPI) }
        incoming = .idle
        for task in takeTasks() { fail(task, failure) }
        answer(reauthRequests, .failure(failure))
        reauthRequests = []
        if let old = sa.replaces.take() { Established.current(old).established?.reauthenticationFailed() }
    }

    /// Gives up the exchange under way, whatever it waits for.
    private func stopOutgoing(_ failure: Failure) {
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

    private func fail(_ task: Task, _ failure: Failure) {
        switch task {
        case .createChild(_, let requests), .rekeyChild(_, let requests), .rekeyIKE(let requests): answer(requests, .failure(failure))
        case .deleteChild(_, let requests), .deleteIKE(let requests, _): answer(requests, .success("closed with the IKE SA"))
        case .liveness, .updateAddresses, .authLifetime: break
        }
    }

    func status(of state: IKESAState) -> IKESAStatus {
        var status = sa.baseStatus
        status.state = state
        status.established = since
        status.rekeyAt = rekeyAt
        status.reauthAt = reauthAt
        status.expiresAt = [expiresAt, authEndsAt].compactMap { $0 }.min()
        status.children = children.map(\.status)
        status.tasks = shownTasks
        return status
    }

    var shownState: IKESAState {
        switch phase {
        case .active:
            switch outgoing {
            case .preparing(_, .rekeyIKE), .sent(.rekeyIKE, _, _), .agreeing(_, .rekeyIKE, _): .rekeying
            default: .established
            }
        case .rekeyed, .redundant: .rekeyed
        case .deleting: .deleting
        }
    }
}
