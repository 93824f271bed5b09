// Initiator: we prove who we are by EAP. The gateway has proven itself first, or the method proves both ends; then each request of EAP is answered
// in an IKE_AUTH exchange of its own; after EAP-Success both ends send AUTH.
// RFC 7296 section 2.16, RFC 5998.

import IKECrypto
import IKEWire

struct AnsweringEAP {
    private enum Phase {
        /// A job checks the gateway's AUTH; its first message of EAP waits.
        case verifying(JobID, [UInt8])
        /// A job of the method works on the gateway's last message.
        case method(JobID)
        /// Our answer is on its way.
        case answered(Retransmission)
        /// Our AUTH, made with this key, is on its way.
        case proving(Retransmission, SecretBox?)
    }
    private var phase: Phase
    private(set) var work: Initiation
    private let channel: SecureChannel
    private let offer: ChildOffer?
    private let exchange: InitExchange
    private var layer: EAPPeer
    private var gatewayIsProven: Bool
    private var rounds = 0, octets = 0
    /// For all of it.
    private let end: Instant

    /// The answer to our IKE_AUTH request without AUTH.
    static func begin(_ sa: IKESA, _ sent: AuthSent, _ exchange: InitExchange, _ payloads: [Payload], identity: Identification) -> State {
        sa.remoteIdentity = identity
        guard sa.connection.remote.identity.matches(identity) else { return sent.refuse(.wrongPeerIdentity(identity, sa), sa) }
        guard let message = payloads.eapMessage else { return sent.refuse(.badAnswer("its answer to IKE_AUTH has no EAP, and we have not proven who we are", sa), sa) }
        let methods = sa.connection.local.eapMethods(sa.context.crypto.eapMethods, asServer: false)
        guard let own = sa.localIdentity else { return .dead }
        var state = AnsweringEAP(
            phase: .verifying(JobID(rawValue: 0), []), work: sent.work, channel: sent.channel, offer: sent.offer, exchange: exchange,
            layer: EAPPeer(identity: sa.connection.local.ownEAPIdentity ?? own.eapIdentity, methods: sa.connection.remote.isEAP ? methods.filter { $0.isMutual && $0.givesKey } : methods),
            gatewayIsProven: false, end: sa.now + sa.context.limits.eapTime)
        state.work.deadline = min(state.end, sa.now + sa.context.limits.jobTime)
        guard let authentication = payloads.authentication else {
            //= RFC 5998 §3: where we have not said that EAP alone will do, the responder's AUTH comes first.
            guard sa.connection.remote.isEAP else { return sent.refuse(.gatewayUnproven(sa), sa) }
            return state.received(message, sa)
        }
        // It proves itself although it need not: one that we could not check is no proof, and the method has to give it.
        guard !sa.connection.remote.isEAP else { return state.received(message, sa) }
        do throws(CryptoError) {
            let ask = try sa.authenticationRequest(exchange, sent.channel, method: sa.connection.remote.method, ofInitiator: false)
            state.phase = .verifying(sa.context.run(.verify(sa.withCertificates(ask, of: sa.connection, from: payloads), authentication), for: sa.localSPI), message)
            return .answeringEAP(state)
        } catch {
            state.work.fail(.crypto(error, "checking the peer's proof of identity", sa), sa, retry: false)
            return .dead
        }
    }

    /// The one under way.
    var job: JobID? {
        switch phase {
        case .verifying(let job, _), .method(let job): job
        case .answered, .proving: nil
        }
    }

    // MARK: Events

    func received(_ header: Header, _ datagram: Datagram, _ sa: IKESA) -> State {
        guard header.exchangeType == .ikeAuth, header.isResponse, !header.isFromInitiator, header.messageID == sa.authMessageID else { return .answeringEAP(self) }
        let key: SecretBox?, isProving: Bool
        switch phase {
        case .answered: (key, isProving) = (nil, false)
        case .proving(_, let made): (key, isProving) = (made, true)
        case .verifying, .method: return .answeringEAP(self)
        }
        let payloads: [Payload]
        switch channel.open(header, datagram.bytes, now: sa.now) {
        case .forged, .incomplete: return .answeringEAP(self)
        case .malformed(let error): return refuse(.badAnswer("its answer to IKE_AUTH is malformed: \(error.words)", sa), sa)
        case .payloads(let opened): payloads = opened
        }
        sa.countReceived(header)
        var next = self
        next.rounds += 1
        next.octets += channel.openedByteCount
        next.work.deadline = min(end, sa.now + sa.context.limits.jobTime)
        if let type = payloads.criticalUnknown { return refuse(.badAnswer("its answer to IKE_AUTH has a critical payload of the unknown type \(type.rawValue)", sa), sa) }
        if isProving { return next.establish(payloads, key, sa) }
        guard let message = payloads.eapMessage else {
            guard let error = payloads.firstError else { return refuse(.badAnswer("its answer to IKE_AUTH has no EAP in the middle of it", sa), sa) }
            next.work.fail(.refusedAuth(error, sa), sa, retry: false)
            return .dead
        }
        //= RFC 7296 §3.10.1: the whole request has failed, whatever stands beside the error; a failure of EAP says more of why.
        if message.first != EAPPacket.Code.failure.rawValue, let error = payloads.fatalError { return next.refuse(.refusedAuth(error, sa), sa) }
        guard next.rounds <= sa.context.limits.eapRounds, next.octets <= sa.context.limits.eapBytes else {
            return refuse(.badAnswer("it goes on with EAP beyond \(sa.context.limits.eapRounds) messages or \(sa.context.limits.eapBytes) octets", sa), sa)
        }
        return next.received(message, sa)
    }

    func jobFinished(_ job: JobID, _ result: JobResult, _ sa: IKESA) -> State {
        var next = self
        switch phase {
        case .verifying(job, let message):
            guard case .verified = result else {
                work.fail(.job(result, "checking the peer's proof of identity", sa), sa, retry: false)
                return Closed.refusing(sa, channel)
            }
            next.gatewayIsProven = true
            return next.received(message, sa)
        case .method(job):
            guard case .eap(let conversation, let outcome) = result else {
                work.fail(.job(result, "answering EAP", sa), sa, retry: false)
                return Closed.refusing(sa, channel)
            }
            return next.proceed(next.layer.finished(conversation, outcome), sa)
        case .verifying, .method, .answered, .proving: return .answeringEAP(self)
        }
    }

    var nextDeadline: Instant {
        switch phase {
        case .verifying, .method: work.deadline
        case .answered(let retransmission), .proving(let retransmission, _): min(retransmission.deadline, end)
        }
    }

    func deadlineReached(_ sa: IKESA) -> State {
        var retransmission: Retransmission
        switch phase {
        case .verifying, .method: return work.deadlineReached(sa) ? .dead : .answeringEAP(self)
        case .answered(let value), .proving(let value, _): retransmission = value
        }
        guard end > sa.now else {
            work.fail(.eapTookTooLong(sa), sa, retry: true)
            return .dead
        }
        guard retransmission.deadline <= sa.now else { return .answeringEAP(self) }
        switch retransmission.fire(now: sa.now) {
        case .sendAgain:
            sa.context.note(.info, "no answer from \(sa.remote), sending IKE_AUTH again (\(retransmission.sent))", sa)
            sa.transmit(retransmission.datagrams)
            var next = self
            if case .proving(_, let key) = phase { next.phase = .proving(retransmission, key) } else { next.phase = .answered(retransmission) }
            return .answeringEAP(next)
        case .giveUp:
            work.fail(.noAnswer(exchange: "IKE_AUTH", sent: retransmission.sent, sa), sa, retry: true)
            return .dead
        }
    }

    mutating func add(_ child: ChildPolicy, _ request: RequestID?) { work.add(child, request) }

    // MARK: EAP

    private mutating func received(_ message: [UInt8], _ sa: IKESA) -> State { proceed(layer.received(message), sa) }

    private mutating func proceed(_ move: EAPPeer.Move, _ sa: IKESA) -> State {
        switch move {
        case .sendAfterNotice(let packet, let text):
            sa.context.note(.notice, "\(sa.remote) wants to be heard: \(text)", sa)
            return send([.eap(packet.bytes)], sa) { .answered($0) }
        case .send(let packet): return send([.eap(packet.bytes)], sa) { .answered($0) }
        case .run(let method, let conversation, let identifier, let message):
            guard let own = sa.localIdentity, let peer = sa.remoteIdentity else { return .dead }
            let step = EAPStep(
                method: method, isServer: false, connection: sa.connection.name, identity: sa.connection.local.ownEAPIdentity ?? own.eapIdentity, local: own, remote: peer,
                serverName: sa.connection.local.serverName ?? peer, localCertificates: sa.connection.local.certificates, remoteCertificates: serverCertificates(sa),
                conversation: conversation, identifier: identifier, message: message)
            phase = .method(sa.context.run(.eap(step), for: sa.localSPI))
            return .answeringEAP(self)
        case .succeed(let method, let key):
            //= RFC 5998 §4: EAP alone will do only with a method that proves both ends and gives a key.
            guard gatewayIsProven || (method.isMutual && key != nil) else { return refuse(.gatewayUnproven(sa), sa) }
            return prove(key, sa)
        case .fail(let refusal):
            work.fail(.eapFailed(refusal, sa), sa, retry: false)
            // One that has refused us holds nothing.
            return refusal.kind == .byPeer ? .dead : Closed.refusing(sa, channel)
        }
    }

    /// What `remote` says of the gateway's certificates, unless `aaa_id` makes the server somebody else.
    private func serverCertificates(_ sa: IKESA) -> CertificatePolicy { sa.connection.local.serverName == nil ? sa.connection.remote.certificates : CertificatePolicy() }

    private mutating func prove(_ key: SecretBox?, _ sa: IKESA) -> State {
        do throws(CryptoError) {
            let ours = try sa.authenticationRequest(exchange, channel, method: sa.connection.local.method, ofInitiator: true)
            let proof = Authentication(method: .sharedKey, data: try channel.eapProof(ours, key: key, ofInitiator: true))
            return send([.authentication(proof)], sa) { .proving($0, key) }
        } catch {
            work.fail(.crypto(error, "computing our proof of identity", sa), sa, retry: false)
            return .dead
        }
    }

    private mutating func send(_ payloads: [Payload], _ sa: IKESA, _ next: (Retransmission) -> Phase) -> State {
        do throws(CryptoError) {
            sa.authMessageID &+= 1
            let datagrams = try channel.seal(sa.header(.ikeAuth, messageID: sa.authMessageID, response: false), payloads)
            sa.transmit(datagrams)
            phase = next(Retransmission(datagrams, limits: sa.context.limits, now: sa.now))
            return .answeringEAP(self)
        } catch {
            work.fail(.crypto(error, "sealing IKE_AUTH", sa), sa, retry: false)
            return .dead
        }
    }

    // MARK: AUTH

    private func establish(_ payloads: [Payload], _ key: SecretBox?, _ sa: IKESA) -> State {
        guard let authentication = payloads.authentication else {
            guard let error = payloads.firstError else { return refuse(.badAnswer("its answer to our AUTH after EAP has no AUTH payload", sa), sa) }
            if error.type == .authenticationFailed, let anew = work.begunAnew(sa) { return anew }
            work.fail(.refusedAuth(error, sa), sa, retry: false)
            return .dead
        }
        if let error = payloads.fatalError { return refuse(.refusedAuth(error, sa), sa) }
        do throws(CryptoError) {
            let theirs = try sa.authenticationRequest(exchange, channel, method: sa.connection.local.method, ofInitiator: false)
            //= RFC 7296 §2.16: the responder's AUTH after EAP is made with the same key.
            guard try channel.verifyEAPProof(authentication, theirs, key: key) else { return refuse(.eapProofWrong(sa), sa) }
        } catch {
            work.fail(.crypto(error, "checking the peer's proof of identity", sa), sa, retry: false)
            return .dead
        }
        return VerifyingResponder.establish(sa, channel, work, offer, payloads)
    }

    /// The responder holds an SA that we do not accept: fail, and tell it. RFC 7296 section 2.21.2.
    private func refuse(_ failure: Failure, _ sa: IKESA) -> State {
        work.fail(failure, sa, retry: false)
        return Closed.refusing(sa, channel)
    }
}

extension AnsweringEAP {
    private init(
        phase: Phase, work: Initiation, channel: SecureChannel, offer: ChildOffer?, exchange: InitExchange, layer: EAPPeer, gatewayIsProven: Bool, end: Instant
    ) {
        (self.phase, self.work, self.channel, self.offer, self.exchange, self.layer, self.gatewayIsProven, self.end) = (phase, work, channel, offer, exchange, layer, gatewayIsProven, end)
    }
}
