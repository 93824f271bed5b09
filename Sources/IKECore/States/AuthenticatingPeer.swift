// Responder: the initiator proves who it is by EAP. We prove ourselves first; then a request of EAP goes out in each answer to IKE_AUTH, and a job of
// the method looks at what comes back; after EAP-Success both ends send AUTH.
// RFC 7296 section 2.16, RFC 5998.

import IKECrypto
import IKEWire

struct AuthenticatingPeer {
    private enum Phase {
        /// A job makes our own AUTH.
        case signing(JobID)
        /// A job of the method works on the peer's last message; it began the conversation where `isFirst`.
        case method(JobID, isFirst: Bool)
        /// The method is content, and a job asks the directory about the user.
        case account(JobID, any EAPConversation, EAPOutcome, isFirst: Bool)
        /// A request of EAP is out.
        case asked
        /// EAP-Success is out: the peer's AUTH is due, made with this key.
        case succeeded(SecretBox?)
    }
    private var phase: Phase
    private let channel: SecureChannel
    private var window: MessageWindow
    /// The first request's: what the initiator wants when it is in.
    private let payloads: [Payload]
    private let exchange: InitExchange
    private let claim: ConnectionSelection.Claim
    private var layer: EAPAuthenticator
    /// What goes before EAP in the answer that is being made: our identity and its proof, once.
    private var head: [Payload]
    private var forgeries = Forgeries()
    /// The address that IKE_SA_INIT was answered at: the one that is proven. Failures count for it, wherever a later message seems to come from.
    private let origin: IPAddress
    /// The try that is under way.
    private var flight: Flight?
    /// Why the peer is refused has been told.
    private var isReported = false
    /// Messages and their octets so far.
    private var rounds = 0, octets = 0
    /// For all of it, and for the peer's next message or the job under way.
    private let end: Instant
    private(set) var deadline: Instant

    /// The first request of IKE_AUTH has no AUTH, as the connection wants it. `window` has accepted it.
    static func begin(_ sa: IKESA, _ channel: SecureChannel, _ window: MessageWindow, _ payloads: [Payload], _ exchange: InitExchange, _ claim: ConnectionSelection.Claim) -> State {
        var window = window
        if VerifyingInitiator.forbidsPath(payloads, sa) { return AwaitingAuth.refuse(sa, channel, &window, .natForbidden(sa), Notify(.unexpectedNATDetected)) }
        guard let own = sa.localIdentity else { return .dead }
        let layer = EAPAuthenticator(identifier: UInt8(truncatingIfNeeded: sa.context.randomNumber()))
        var state = AuthenticatingPeer(
            phase: .asked, channel: channel, window: window, payloads: payloads.needed, exchange: exchange, claim: claim, layer: layer, head: [.identificationResponder(own)],
            octets: channel.openedByteCount, origin: sa.countedAddress ?? sa.remote.address, end: sa.now + sa.context.limits.eapTime, deadline: sa.now + sa.context.limits.jobTime)
        //= RFC 5998 §3: no AUTH of ours goes out first where the initiator has said that it can do without, and the method proves both ends.
        if sa.connection.local.isEAP {
            guard payloads.firstNotify(.eapOnlyAuthentication) != nil else { return state.refuse(sa, .eapOnlyNotOffered(sa)) }
            return state.start(sa)
        }
        do throws(CryptoError) {
            let ask = try sa.authenticationRequest(exchange, channel, method: sa.connection.local.method, ofInitiator: false)
            state.phase = .signing(sa.context.run(.sign(sa.withCertificates(ask, of: sa.connection)), for: sa.localSPI))
            return .authenticatingPeer(state)
        } catch {
            return state.refuse(sa, .crypto(error, "computing our proof of identity", sa))
        }
    }

    /// The one under way.
    var job: JobID? {
        switch phase {
        case .signing(let job), .method(let job, _), .account(let job, _, _, _): job
        case .asked, .succeeded: nil
        }
    }

    // MARK: Events

    func received(_ header: Header, _ datagram: Datagram, _ sa: IKESA) -> State {
        guard !header.isResponse, header.isFromInitiator, header.exchangeType == .ikeAuth || header.exchangeType == .informational else { return .authenticatingPeer(self) }
        switch window.judge(request: header.messageID, bytes: datagram.bytes) {
        case .fresh: break
        case .duplicate:
            sa.repeatAnswer(window.storedResponse ?? [], to: datagram)
            return .authenticatingPeer(self)
        case .outside:
            if window.isCutAnew(header, datagram.bytes, channel) { sa.repeatAnswer(window.storedResponse ?? [], to: datagram) }
            return .authenticatingPeer(self)
        }
        // While a job runs nothing is due.
        switch phase {
        case .asked, .succeeded: break
        case .signing, .method, .account: return .authenticatingPeer(self)
        }
        let isInformational = header.exchangeType == .informational
        // What is opened counts, whatever comes of it.
        guard forgeries.allow(sa.now), !isInformational || rounds < sa.context.limits.eapRounds else {
            sa.context.counters.authNotTried += 1
            return .authenticatingPeer(self)
        }
        var next = self
        let opened: [Payload]
        switch channel.open(header, datagram.bytes, now: sa.now) {
        case .forged:
            next.forgeries.count(sa)
            return .authenticatingPeer(next)
        case .incomplete: return .authenticatingPeer(self)
        case .malformed where isInformational:
            next.rounds += 1
            return .authenticatingPeer(next)
        case .malformed(let error):
            next.accept(header, datagram, sa)
            return next.refuse(sa, .badAnswer("its IKE_AUTH request is malformed: \(error.words)", sa), .notify(Notify(.invalidSyntax)))
        case .payloads(let payloads): opened = payloads
        }
        next.octets += channel.openedByteCount
        next.rounds += 1
        if isInformational { return next.received(informational: opened, header, datagram, sa) }
        sa.countReceived(header)
        next.accept(header, datagram, sa)
        if let type = opened.criticalUnknown {
            return next.refuse(
                sa, .badAnswer("its IKE_AUTH request has a critical payload of the unknown type \(type.rawValue)", sa), .notify(Notify(.unsupportedCriticalPayload, data: [type.rawValue])))
        }
        guard next.rounds <= sa.context.limits.eapRounds, next.octets <= sa.context.limits.eapBytes else {
            return next.end(sa, next.layer.fail(EAPRefusal(.misbehaved, "goes on with EAP beyond \(sa.context.limits.eapRounds) messages or \(sa.context.limits.eapBytes) octets")))
        }
        if case .succeeded(let key) = phase { return next.verify(opened, key, sa) }
        //= RFC 7296 §2.16: AUTH comes after EAP has succeeded, not before.
        guard opened.authentication == nil, let message = opened.eapMessage else {
            let what = opened.authentication == nil ? "sent an IKE_AUTH request without EAP in the middle of it" : "sent AUTH before EAP was done"
            return next.end(sa, next.layer.fail(.misbehaved(what)))
        }
        return next.end(sa, next.layer.received(message))
    }

    /// Nothing of it counts but the end: the initiator has the keys of this SA, whoever it is.
    private mutating func received(informational payloads: [Payload], _ header: Header, _ datagram: Datagram, _ sa: IKESA) -> State {
        //= RFC 7296 §2.21.2: an initiator that does not go on says so in an INFORMATIONAL exchange.
        let refuses = payloads.firstNotify(.authenticationFailed) != nil
        guard refuses || payloads.contains(where: { if case .delete(let delete) = $0 { delete.protocolID == .ike } else { false } }) else { return .authenticatingPeer(self) }
        sa.countReceived(header)
        accept(header, datagram, sa)
        if !isReported { sa.context.reportUnproven(sa.connection.name, sa) { .loginEnded(byRefusal: refuses, sa) } }
        guard let datagrams = try? channel.seal(sa.header(.informational, messageID: header.messageID, response: true), []) else { return .dead }
        window.store(response: datagrams)
        sa.transmit(datagrams)
        sa.userSession = nil
        return Closed.answering(sa, window, channel, proven: false)
    }

    func jobFinished(_ job: JobID, _ result: JobResult, _ sa: IKESA) -> State {
        var next = self
        switch phase {
        case .signing(job):
            sa.peerRequests = []
            guard case .signed(let authentication, let certificates) = result else { return next.refuse(sa, .job(result, "computing our proof of identity", sa)) }
            next.head += certificates.map(Payload.certificate) + [.authentication(authentication)]
            return next.start(sa)
        case .method(job, let isFirst):
            guard case .eap(let conversation, let outcome) = result else {
                return next.end(sa, next.layer.fail(EAPRefusal(.unavailable, "could not be asked by EAP: \(Failure.job(result, "authenticating by EAP", sa).summary)")))
            }
            // A method that asked no directory leaves that to us; a password that is one of `secrets` is no user of the directory's, whoever has the same name there.
            if case .succeeded = outcome, conversation.groups == nil, layer.method?.proof.password == false, Admission.needsLookUp(claim, sa) {
                let user = conversation.account ?? (sa.remoteEAPIdentity?.eapIdentity ?? sa.remoteIdentity?.accountName ?? [])
                next.phase = .account(sa.context.run(.lookUp(user: user, directory: sa.connection.remote.directory), for: sa.localSPI), conversation, outcome, isFirst: isFirst)
                next.deadline = min(next.end, sa.now + sa.context.limits.jobTime)
                return .authenticatingPeer(next)
            }
            if let refusal = next.known(conversation, outcome, sa) { return next.end(sa, next.layer.fail(refusal)) }
            return next.end(sa, next.layer.finished(conversation, outcome, isFirst: isFirst))
        case .account(job, let conversation, let outcome, let isFirst):
            switch result {
            case .account(let account):
                sa.account = Identification(eap: account.name)
                if let refusal = next.known(conversation, outcome, groups: account.groups, sa) { return next.end(sa, next.layer.fail(refusal)) }
                return next.end(sa, next.layer.finished(conversation, outcome, isFirst: isFirst))
            case .failed(.account(let refusal)): return next.end(sa, next.layer.fail(refusal))
            default: return next.end(sa, next.layer.fail(EAPRefusal(.unavailable, "could not be looked up: \(Failure.job(result, "looking a user up", sa).summary)")))
            }
        case .signing, .method, .account, .asked, .succeeded: return .authenticatingPeer(self)
        }
    }

    func deadlineReached(_ sa: IKESA) -> State {
        guard deadline <= sa.now else { return .authenticatingPeer(self) }
        if isReported { return .dead }
        let who = Wording.user(sa)
        switch phase {
        case .asked, .succeeded: sa.context.reportUnproven(sa.connection.name, sa) { .eapNotContinued(sa) }
        case .signing, .method, .account: sa.context.noteUnproven(.info, sa) { "the time for authenticating \(sa.remote) (\(who)) by EAP is over" }
        }
        return .dead
    }

    // MARK: EAP

    /// The first request of EAP.
    private mutating func start(_ sa: IKESA) -> State {
        let fitting = ConnectionSelection.fitting(sa.context.connections, claim).filter { $0.isSameServer(as: sa.connection) }
        //= RFC 7296 §2.16: the identity of IKE stands, unless the policy wants to know the one of EAP.
        guard fitting.contains(where: \.asksEAPIdentity) || Set(fitting.map(\.remote.eapIdentity)).count > 1 else {
            if case .exactly(let identity) = sa.connection.remote.eapIdentity { sa.remoteEAPIdentity = identity }
            return beginMethod(sa)
        }
        return end(sa, layer.askIdentity())
    }

    private mutating func beginMethod(_ sa: IKESA) -> State {
        if let wait = wait(sa.eapUser, sa) {
            return end(sa, layer.fail(wait))
        }
        flight = Flight(sa.context.users, sa.eapUser, origin)
        guard flight != nil else { return end(sa, layer.fail(EAPRefusal(.tooMany, "is logging in too often at once from \(origin)"))) }
        var methods = sa.connection.remote.eapMethods(sa.context.crypto.eapMethods, asServer: true)
        // Alone it must prove both ends.
        if sa.connection.local.isEAP { methods = methods.filter { $0.isMutual && $0.givesKey } }
        return end(sa, layer.begin(methods))
    }

    /// The connection of those that are alike which the EAP identity means.
    private mutating func identified(_ bytes: [UInt8], _ sa: IKESA) -> State {
        let identity = Identification(eap: bytes)
        sa.remoteEAPIdentity = identity
        guard let connection = ConnectionSelection.choose(sa.context.connections, claim, eap: identity, like: sa.connection) else {
            return end(sa, layer.fail(EAPRefusal(.unknownUser, "fits no `eap_id`")))
        }
        sa.connection = connection
        return beginMethod(sa)
    }

    private func wait(_ user: Identification, _ sa: IKESA) -> EAPRefusal? {
        let now = sa.now, origin = origin
        return sa.context.users.change { $0.guesses.wait(user, origin, now: now) }.map {
            EAPRefusal(.tooMany, "has guessed wrong too often from \(origin): the next try counts in \($0.components.seconds + 1) s")
        }
    }

    /// What a step of the method has told of the user; a refusal where that keeps the user out.
    private func known(_ conversation: any EAPConversation, _ outcome: EAPOutcome, groups: [String]? = nil, _ sa: IKESA) -> EAPRefusal? {
        if let name = conversation.account, !name.isEmpty { sa.account = Identification(eap: name) }
        // Who has guessed under one name does not go on under another: right or wrong, in the middle of a method or at its end, nothing of it shows, and wrong counts.
        if let account = sa.account, account != sa.eapUser, let refusal = wait(account, sa) {
            if case .failed(let wrong) = outcome { countFailure(wrong, sa) }
            return refusal
        }
        guard case .succeeded = outcome else { return nil }
        return Admission.refusal(groups ?? conversation.groups, claim, payloads, sa)
    }

    /// Does what the layer wants, and ends this event.
    private mutating func end(_ sa: IKESA, _ move: EAPAuthenticator.Move) -> State {
        switch move {
        case .send(let packet):
            phase = .asked
            return answer(sa, [.eap(packet.bytes)])
        case .sendRefusal(let packet, let refusal):
            // Many a client goes away without a word on it: the reason is told now.
            sa.context.reportUnproven(sa.connection.name, sa) { .eapRefused(refusal, sa) }
            countFailure(refusal, sa)
            isReported = true
            phase = .asked
            return answer(sa, [.eap(packet.bytes)])
        case .identified(let identity): return identified(identity, sa)
        case .run(let method, let conversation, let identifier, let message):
            guard let own = sa.localIdentity, let peer = sa.remoteIdentity else { return .dead }
            var step = EAPStep(
                method: method, isServer: true, connection: sa.connection.name, directory: sa.connection.remote.directory, identity: (sa.remoteEAPIdentity ?? peer).eapIdentity, local: own,
                remote: peer,
                localCertificates: sa.connection.local.certificates, remoteCertificates: sa.connection.remote.certificates, conversation: conversation,
                identifier: identifier, message: message)
            step.looksUp = !sa.connection.remote.looksUpNobody
            phase = .method(sa.context.run(.eap(step), for: sa.localSPI), isFirst: conversation == nil)
            deadline = min(end, sa.now + sa.context.limits.jobTime)
            return .authenticatingPeer(self)
        case .succeed(let packet, let key):
            phase = .succeeded(key)
            return answer(sa, [.eap(packet.bytes)])
        case .fail(let packet, let refusal):
            if !isReported { countFailure(refusal, sa) }
            //= RFC 7296 §2.21: what ends with an EAP Failure has no AUTHENTICATION_FAILED beside it.
            return refuse(sa, isReported ? nil : .eapRefused(refusal, sa), .eap(packet.bytes))
        }
    }

    private func countFailure(_ refusal: EAPRefusal, _ sa: IKESA) {
        // Nobody guesses a certificate.
        guard flight != nil, layer.method?.proof.password != false, refusal.kind == .wrong || refusal.kind == .unknownUser else { return }
        let user = sa.eapUser, account = sa.account, origin = origin, now = sa.now
        sa.context.users.change { $0.guesses.failed(user, origin, account: account, now: now) }
    }

    // MARK: AUTH

    private mutating func verify(_ opened: [Payload], _ key: SecretBox?, _ sa: IKESA) -> State {
        guard let authentication = opened.authentication else { return refuse(sa, .badAnswer("its IKE_AUTH request after EAP has no AUTH payload", sa), .notify(Notify(.invalidSyntax))) }
        do throws(CryptoError) {
            let theirs = try sa.authenticationRequest(exchange, channel, method: sa.connection.remote.method, ofInitiator: true)
            //= RFC 7296 §2.16: the AUTH that follows EAP proves that both ends have the same key: without it nobody is in.
            guard try channel.verifyEAPProof(authentication, theirs, key: key) else { return refuse(sa, .eapProofWrong(sa)) }
            let ours = try sa.authenticationRequest(exchange, channel, method: sa.connection.remote.method, ofInitiator: false)
            let proof = try channel.eapProof(ours, key: key, ofInitiator: false)
            let user = sa.eapUser, account = sa.account, origin = origin
            sa.context.users.change { $0.guesses.succeeded(user, origin, account: account) }
            sa.context.note(.info, "\(sa.remote) has proven by EAP that it is \(Wording.user(sa))", sa)
            return SigningAnswer.establish(sa, channel, window, payloads, head: [.authentication(Authentication(method: .sharedKey, data: proof))])
        } catch {
            return refuse(sa, .crypto(error, "checking the peer's proof of identity", sa))
        }
    }

    // MARK: Answers

    /// The request is the peer's, and the next in order.
    private mutating func accept(_ header: Header, _ datagram: Datagram, _ sa: IKESA) {
        sa.authMessageID = header.messageID
        window.accept(bytes: channel.takeOpenedDatagram())
        AwaitingAuth.move(sa, datagram, channel)
    }

    private mutating func answer(_ sa: IKESA, _ payloads: [Payload]) -> State {
        guard let datagrams = try? channel.seal(sa.header(.ikeAuth, messageID: sa.authMessageID, response: true), head + payloads) else { return .dead }
        head = []
        window.store(response: datagrams)
        sa.transmit(datagrams)
        // Somebody may be typing a password, or looking for the telephone that shows it. Not in the handshake of a tunnel, where nobody types.
        let isTyped = if case .asked = phase, let proof = layer.method?.proof { !isReported && proof.password && !proof.server } else { false }
        deadline = isTyped ? end : min(end, sa.now + sa.context.limits.halfOpenTime)
        return .authenticatingPeer(self)
    }

    private mutating func refuse(_ sa: IKESA, _ failure: Failure?, _ answer: Payload = .notify(Notify(.authenticationFailed))) -> State {
        AwaitingAuth.refuse(sa, channel, &window, failure, answer: answer)
    }
}

/// Requests on a half-open SA that were none of the peer's: somebody who saw the SPIs makes us open what he sends.
struct Forgeries {
    private var number = 0
    /// Until when no further one is tried.
    private var quietUntil: Instant?

    func allow(_ now: Instant) -> Bool { quietUntil.map { $0 <= now } ?? true }

    /// He gets so many tries at once, and then ten a second, and the peer's own may be that one.
    mutating func count(_ sa: IKESA) {
        number += 1
        if number >= sa.context.limits.forgeries { quietUntil = sa.now + .milliseconds(100) }
    }
}

extension AuthenticatingPeer {
    private init(
        phase: Phase, channel: SecureChannel, window: MessageWindow, payloads: [Payload], exchange: InitExchange, claim: ConnectionSelection.Claim, layer: EAPAuthenticator, head: [Payload],
        octets: Int, origin: IPAddress, end: Instant, deadline: Instant
    ) {
        (self.phase, self.channel, self.window, self.payloads, self.exchange, self.claim, self.layer, self.head, self.octets, self.origin, self.end, self.deadline) =
            (phase, channel, window, payloads, exchange, claim, layer, head, octets, origin, end, deadline)
    }
}

extension [Payload] {
    /// What of the first request counts when the initiator is in: what it wants, and a few words beside. All else goes, for it is held while somebody types.
    fileprivate var needed: [Payload] {
        var notifications = 0
        return filter { payload in
            switch payload {
            case .securityAssociation, .trafficSelectorInitiator, .trafficSelectorResponder, .configuration: return true
            case .notify(let notify):
                notifications += 1
                return notifications <= 32 && notify.data.count <= 64
            default: return false
            }
        }
    }
}
