// Initiator: IKE_SA_INIT is on its way.
// RFC 7296 sections 1.2, 2.6 (COOKIE), 2.7 and 3.10.1 (INVALID_KE_PAYLOAD).

import IKECrypto
import IKEWire

struct InitSent {
    var work: Initiation
    let key: any KeyExchangeKey
    let method: Transform
    let cookie: [UInt8]?
    let detours: Int
    let offered: [Proposal]
    /// The requests before this one, the last at the end: what sent us back was not authentic, and the peer's own answer to one of them may be on its way.
    let earlier: [InitSent]
    var retransmission: Retransmission
    /// What wants to send us back, where we wait whether anything else comes.
    private var detourAsked: Notify?
    /// What an answer that nobody signed said against going on, and how often the request had been sent by then.
    private var refusal: (failure: Failure, sent: Int)?
    /// Answers with a public value that fails its checks.
    private var badValues = 0
    /// How often a responder may send us back before we give up.
    private static let detourLimit = 5
    /// What a peer that refuses a second time leaves its own answer to come in, if the refusals are not its own.
    private static let doubt = Duration.milliseconds(500)

    static func send(_ sa: IKESA, _ work: Initiation, key: any KeyExchangeKey, method: Transform, cookie: [UInt8]?, detours: Int, earlier: [InitSent]) -> State {
        let offered = Negotiation.offer(sa.connection.proposals, spi: [])
        var payloads: [Payload] = []
        //= RFC 7296 §2.6: the cookie comes first, everything else is as before.
        if let cookie { payloads.append(.notify(Notify(.cookie, data: cookie))) }
        payloads += [
            .securityAssociation(SecurityAssociation(proposals: offered)),
            .keyExchange(KeyExchange(method: method.id, data: key.publicValue)),
            .nonce(work.nonce),
        ]
        payloads += NATDetection.notifications(initiatorSPI: sa.localSPI, responderSPI: .none, local: sa.local, remote: sa.remote, hidden: sa.connection.encap)
        //= RFC 7383 §2.3
        if sa.connection.fragmentation != .no { payloads.append(.notify(Notify(.fragmentationSupported))) }
        payloads += SignatureHashes.payloads(sa.context.crypto)
        let bytes = Message(header: sa.header(.ikeSAInit, messageID: 0, response: false), payloads: payloads).serialized()
        sa.transmit(bytes)
        return .initSent(
            InitSent(
                work: work, key: key, method: method, cookie: cookie, detours: detours, offered: offered, earlier: earlier,
                retransmission: Retransmission([bytes], limits: sa.context.limits, now: sa.now)))
    }

    /// `isSuperseded`: the next request is being made, and nothing but what goes on with this one counts.
    func received(_ header: Header, _ datagram: Datagram, _ sa: IKESA, isSuperseded: Bool = false) -> State {
        guard header.exchangeType == .ikeSAInit, header.isResponse, !header.isFromInitiator, header.messageID == 0 else { return .initSent(self) }
        // Nothing here is authentic yet: what cannot be read is as good as lost, and the request goes on being sent.
        guard let message = try? Message.parse(datagram.bytes.span), message.payloads.misplacedType == nil else { return .initSent(self) }
        sa.countReceived(header)
        var securityAssociation: SecurityAssociation?, keyExchange: KeyExchange?, nonce: [UInt8]?, error: Notify?, takesFragments = false, takesChildless = false, hashes: [UInt16] = []
        for payload in message.payloads {
            switch payload {
            case .securityAssociation(let value): securityAssociation = value
            case .keyExchange(let value): keyExchange = value
            case .nonce(let value): nonce = value
            case .notify(let notify) where notify.type == .cookie || notify.type == .invalidKEPayload: return isSuperseded ? .initSent(self) : sentBack(notify, sa)
            case .notify(let notify) where notify.type == .fragmentationSupported: takesFragments = true
            case .notify(let notify) where notify.type == .childlessSupported: takesChildless = true
            case .notify(let notify) where notify.type == .signatureHashAlgorithms: hashes = SignatureHashes.parse(notify)
            case .notify(let notify) where notify.type.isError: error = error ?? notify
            case .unknown(_, critical: true, _): return .initSent(self)
            default: break
            }
        }
        if let error { return isSuperseded ? .initSent(self) : doubted(.refusedInit(error, offered: offered, sa), sa) }
        guard let securityAssociation, let keyExchange, let nonce, header.responderSPI != .none else { return .initSent(self) }
        // The method shows which request is answered, where a forged INVALID_KE_PAYLOAD has made us ask again.
        let asked = keyExchange.method == method.id ? self : earlier.last { $0.method.id == keyExchange.method } ?? self
        guard let chosen = Negotiation.verify(answer: securityAssociation.proposals, offered: offered, protocolID: .ike), let suite = sa.context.suite(chosen, provider: sa.connection.provider),
            //= RFC 7296 §3.3.1: the SPI of a first proposal has no octets, in an answer as in the offer.
            chosen.spi.isEmpty, keyExchange.method == asked.method.id, chosen.transform(.keyExchange) == asked.method, (16...256).contains(nonce.count)
        else {
            return doubted(.badAnswer("its answer to IKE_SA_INIT chooses what was not offered", sa), sa)
        }
        let nat = NATDetection.judge(message.payloads, initiatorSPI: sa.localSPI, responderSPI: header.responderSPI, local: sa.local, remote: sa.remote)
        let answer = InitAnswer(
            bytes: datagram.bytes, responderSPI: header.responderSPI, transforms: chosen.transforms, suite: suite, nonce: nonce, takesFragments: takesFragments, takesChildless: takesChildless,
            hashes: hashes, requests: message.payloads.certificateRequests, vendorIDs: VendorIDs.texts(message.payloads), nat: nat)
        var next = work
        next.deadline = sa.now + sa.context.limits.jobTime
        return .agreeing(
            Agreeing(
                job: sa.context.run(.agree(asked.key, peerValue: keyExchange.data), for: sa.localSPI), work: next, sent: self, request: asked.retransmission.datagrams.first ?? [], answer: answer))
    }

    /// The public value of an answer fails its checks: the answer is as good as lost, as often as it may be.
    //= RFC 6989 §2.5: the message is dropped. It may be a forged one, and the peer's own be on its way.
    /// `work`: with what was asked for while the value was being tried.
    func passingOverBadValue(_ work: Initiation) -> State? {
        guard badValues < InitSent.detourLimit else { return nil }
        var next = self
        next.work = work
        next.badValues += 1
        return .initSent(next)
    }

    /// A COOKIE or an INVALID_KE_PAYLOAD, which anybody could have sent. `isOverdue`: nothing else has come meanwhile.
    private func sentBack(_ notify: Notify, _ sa: IKESA, isOverdue: Bool = false) -> State {
        notify.type == .cookie ? withCookie(notify, sa, isOverdue: isOverdue) : anotherMethod(notify, sa, isOverdue: isOverdue)
    }

    private func withCookie(_ notify: Notify, _ sa: IKESA, isOverdue: Bool) -> State {
        // Another cookie while the request with one is on its way for the first time answers an older request, and the answer to this one may be under way.
        guard cookie == nil || retransmission.sent > 1 else { return .initSent(self) }
        //= RFC 7296 §2.6: 1 to 64 bytes.
        guard (1...64).contains(notify.data.count) else { return .initSent(self) }
        return detour(notify, sa, isOverdue: isOverdue) { retry in
            var work = work
            work.wasGivenCookie = true
            return InitSent.send(sa, work, key: key, method: method, cookie: notify.data, detours: retry, earlier: earlier + [self])
        }
    }

    private func anotherMethod(_ notify: Notify, _ sa: IKESA, isOverdue: Bool) -> State {
        guard notify.data.count == 2 else { return .initSent(self) }
        let wanted = UInt16(notify.data[0]) << 8 | UInt16(notify.data[1])
        // It answers an older request.
        guard wanted != method.id else { return .initSent(self) }
        //= RFC 7296 §2.7: the method must be one that we offered, else somebody is talking us down.
        guard let transform = sa.connection.proposals.keyExchangeMethods.first(where: { $0.id == wanted }) else {
            return doubted(.refusedInit(notify, offered: offered, sa), sa)
        }
        return detour(notify, sa, isOverdue: isOverdue) { retry in
            sa.context.note(.info, "\(sa.remote) wants the key exchange \(transform), trying again", sa)
            // Back to a method that was asked for: with the same key, so that it does not matter which of the two requests is answered.
            if let old = earlier.last(where: { $0.method == transform }) {
                return InitSent.send(sa, work, key: old.key, method: transform, cookie: cookie, detours: retry, earlier: earlier + [self])
            }
            return GeneratingKey.begin(sa, work, method: transform, cookie: cookie, detours: retry, earlier: earlier + [self])
        }
    }

    private func detour(_ notify: Notify, _ sa: IKESA, isOverdue: Bool, _ retry: (Int) -> State) -> State {
        if work.isWary, !isOverdue {
            var next = self
            next.detourAsked = notify
            return .initSent(next)
        }
        guard detours < InitSent.detourLimit else {
            work.fail(.badAnswer("it goes on sending us back with cookies or other key exchange methods", sa), sa, retry: true)
            return .dead
        }
        return retry(detours + 1)
    }

    /// An error that anybody could have sent: it counts only if nothing else answers the request when it is sent once more.
    //= RFC 7296 §2.21.1: the recipient does not act at once on an unauthenticated error, and goes on trying.
    private func doubted(_ failure: Failure, _ sa: IKESA) -> State {
        var next = self
        if let refusal, refusal.sent < retransmission.sent { next.retransmission.wait(atMost: InitSent.doubt, now: sa.now) }
        next.refusal = refusal ?? (failure, retransmission.sent)
        return .initSent(next)
    }

    func deadlineReached(_ sa: IKESA) -> State {
        guard retransmission.deadline <= sa.now else { return .initSent(self) }
        var next = self
        let outcome = next.retransmission.fire(now: sa.now)
        next.detourAsked = nil
        if let notify = detourAsked, outcome == .sendAgain { return next.sentBack(notify, sa, isOverdue: true) }
        if let refusal, refusal.sent < retransmission.sent || outcome == .giveUp {
            work.fail(refusal.failure, sa, retry: false)
            return .dead
        }
        switch outcome {
        case .sendAgain:
            sa.context.note(.info, "no answer from \(sa.remote), sending IKE_SA_INIT again (\(next.retransmission.sent))", sa)
            sa.transmit(retransmission.datagrams)
            return .initSent(next)
        case .giveUp:
            // Each of the peer's addresses once, whatever `keyingtries` says.
            work.fail(.noAnswer(exchange: "IKE_SA_INIT", sent: retransmission.sent, sa), sa, retry: true, atLeast: sa.connection.remotePlaces)
            return .dead
        }
    }
}
