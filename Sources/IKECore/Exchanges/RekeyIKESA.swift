// New keys for the IKE SA itself: a new SA takes over the children, and the old one is deleted.
// RFC 7296 sections 1.3.2, 2.8, 2.8.2, 2.18 and 2.25.2.

import IKECrypto
import IKEWire

/// Our rekey of the IKE SA.
struct IKERekey {
    /// Our SPI of the new SA.
    let spi: IKESPI
    var nonce: [UInt8]
    let offered: [Proposal]
    let requests: [RequestID]
    var method: Transform
    var key: (any KeyExchangeKey)?
    var detours = 0
}

/// The peer's rekey of the IKE SA, accepted, while a job runs.
struct IKERekeyAnswer {
    let messageID: UInt32
    let suite: IKESuite
    let chosen: Proposal
    let peerSPI: IKESPI
    let initiatorNonce: [UInt8]
    /// The Configuration payload that stands before the SA payload.
    let configuration: [Payload]
}

extension Established {
    // MARK: Ours

    func startIKERekey(_ requests: [RequestID]) {
        guard peerSuccessor == nil else { return answer(requests, .success("the peer is rekeying it")) }
        guard let method = sa.connection.proposals.keyExchangeMethods.first else { return answer(requests, .failure(Failure(.internalError, "The connection has no key exchange method"))) }
        let spi = context.newIKESPI()
        // The method in use now is the one that the peer is known to take.
        let current = sa.transforms.first { $0.type == .keyExchange } ?? method
        prepare(IKERekey(spi: spi, nonce: context.randomBytes(32), offered: Negotiation.offer(sa.connection.proposals, spi: spi.bytes), requests: requests, method: current))
    }

    private func prepare(_ rekey: IKERekey) {
        guard let algorithm = sa.registry.keyExchange(rekey.method) else { return rekeyFailed(rekey, Failure(.internalError, "No loaded plugin provides the key exchange \(rekey.method)")) }
        outgoing = .preparing(context.run(.generateKey(algorithm), for: sa.localSPI), .rekeyIKE(rekey))
    }

    func ikeKeyGenerated(_ rekey: IKERekey, _ result: JobResult) {
        outgoing = .idle
        guard case .keyGenerated(let key) = result else { return rekeyFailed(rekey, .job(result, "generating a key", sa)) }
        var rekey = rekey
        rekey.key = key
        send(
            .rekeyIKE(rekey),
            [
                .securityAssociation(SecurityAssociation(proposals: rekey.offered)), .nonce(rekey.nonce), .keyExchange(KeyExchange(method: rekey.method.id, data: key.publicValue)),
            ])
    }

    func ikeRekeyAnswered(_ rekey: IKERekey, _ payloads: [Payload]) {
        for case .notify(let notify) in payloads where notify.type.isError {
            if notify.type == .invalidKEPayload, notify.data.count == 2, rekey.detours < 3,
                let method = rekey.offered.keyExchangeMethods.first(where: { $0.id == UInt16(notify.data[0]) << 8 | UInt16(notify.data[1]) }), method != rekey.method
            {
                var again = rekey
                again.method = method
                //= RFC 7296 §3.9: a nonce serves once.
                again.nonce = context.randomBytes(32)
                again.detours += 1
                return prepare(again)
            }
            if notify.type == .temporaryFailure {
                if let successor = peerSuccessor { return resolve(rekey, lost: successor) }
                guard phase == .active else { return self.answer(rekey.requests, .success("the peer rekeyed it at the same time")) }
                guard isPutOff else { return postpone(.rekeyIKE(rekey.requests)) }
                rekeyFailed(rekey, .refusedRekey(notify, sa))
                return closeOutOfStep()
            }
            if notify.type == .noAdditionalSAs, peerSuccessor == nil, replaceWhole("the peer renews no keys on it") {
                let failure = Failure.renewsNoKeys("the IKE SA", sa)
                context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
                return self.answer(rekey.requests, .failure(failure))
            }
            return rekeyFailed(rekey, .refusedRekey(notify, sa))
        }
        postponedSince = nil
        var answer: [Proposal] = [], value: KeyExchange?
        for payload in payloads {
            if case .securityAssociation(let association) = payload { answer = association.proposals }
            if case .keyExchange(let exchange) = payload { value = exchange }
        }
        guard let chosen = Negotiation.verify(answer: answer, offered: rekey.offered, protocolID: .ike), let peerSPI = IKESPI(bytes: chosen.spi), peerSPI != .none,
            let value, value.method == rekey.method.id, chosen.transform(.keyExchange) == rekey.method, let key = rekey.key, sa.context.suite(chosen, provider: sa.connection.provider) != nil,
            let nonce = payloads.nonce, (16...256).contains(nonce.count)
        else { return rekeyFailed(rekey, .badAnswer("its answer to the rekey of the IKE SA chooses what was not offered", sa)) }
        outgoing = .agreeing(context.run(.agree(key, peerValue: value.data), for: sa.localSPI), .rekeyIKE(rekey), payloads: payloads)
    }

    func ikeAgreed(_ rekey: IKERekey, _ payloads: [Payload], _ result: JobResult) {
        outgoing = .idle
        guard case .agreed(let box) = result, let secret = box.take() else {
            rekeyFailed(rekey, .job(result, "agreeing on a key", sa))
            return closeOnInvalidValue(result)
        }
        var answer: [Proposal] = []
        for case .securityAssociation(let association) in payloads { answer = association.proposals }
        guard let chosen = Negotiation.verify(answer: answer, offered: rekey.offered, protocolID: .ike), let peerSPI = IKESPI(bytes: chosen.spi),
            let suite = sa.context.suite(chosen, provider: sa.connection.provider),
            let nonce = payloads.nonce, let successor = makeSuccessor(suite, chosen, secret, localSPI: rekey.spi, peerSPI: peerSPI, nonces: (rekey.nonce, nonce), asInitiator: true)
        else { return rekeyFailed(rekey, Failure(.internalError, "The keys of the new IKE SA could not be derived")) }
        context.adopt(successor)
        guard phase == .active else {
            // The peer's rekey has taken over meanwhile.
            self.answer(rekey.requests, .success("the peer rekeyed it at the same time"))
            successor.established?.enqueue(.deleteIKE([], reason: ClosingReason(.replaced, "the peer's simultaneous rekey takes its place")))
            successor.state = successor.established?.settled() ?? .dead
            return
        }
        if let peer = peerSuccessor, isLower(lowest(rekey.nonce, nonce), than: peer.lowestNonce) {
            //= RFC 7296 §2.8.2: the SA made with the lowest of the four nonces is redundant, and its maker deletes it.
            successor.established?.enqueue(.deleteIKE([], reason: ClosingReason(.replaced, "the peer's simultaneous rekey takes its place")))
            successor.state = successor.established?.settled() ?? .dead
            return resolve(rekey, lost: peer)
        }
        if let peer = peerSuccessor {
            peer.sa.established?.phase = .redundant(until: now + context.limits.rekeyedTime)
            // Its deadline is another one now.
            context.adopt(peer.sa)
        }
        peerSuccessor = nil
        self.answer(rekey.requests, .success("rekeyed the IKE SA: SPIs \(successor.initiatorSPI) and \(successor.responderSPI)"))
        succeed(by: successor)
        enqueue(.deleteIKE([], reason: ClosingReason(.replaced, "it was rekeyed")))
    }

    /// Our rekey lost against the peer's, or failed while the peer's went through.
    private func resolve(_ rekey: IKERekey, lost peer: PeerSuccessor) {
        peerSuccessor = nil
        answer(rekey.requests, .success("the peer rekeyed it at the same time"))
        succeed(by: peer.sa)
    }

    private func rekeyFailed(_ rekey: IKERekey, _ failure: Failure) {
        guard phase == .active else { return answer(rekey.requests, .success("the peer rekeyed it at the same time")) }
        if let peer = peerSuccessor { return resolve(rekey, lost: peer) }
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        answer(rekey.requests, .failure(failure))
        if let end = expiresAt { rekeyAt = now + halfWay(to: end) }
    }

    // MARK: The peer's

    func answerIKERekey(_ messageID: UInt32, _ payloads: [Payload], _ proposals: [Proposal], _ nonce: [UInt8]) {
        func refuse(_ notify: Notify) { respond(.createChildSA, messageID, [.notify(notify)]) }
        switch outgoing {
        case .idle, .sent(.rekeyIKE, _, _), .agreeing(_, .rekeyIKE, _), .sent(.informational, _, _), .sent(.updateAddresses, _, _): break
        case .preparing(_, .rekeyIKE(let rekey)):
            // Ours was not sent yet: the peer's does for both.
            outgoing = .idle
            answer(rekey.requests, .success("the peer rekeyed it at the same time"))
        //= RFC 7296 §2.25.2: not while a child is being made, rekeyed or deleted.
        default: return refuse(Notify(.temporaryFailure))
        }
        guard peerSuccessor == nil else { return refuse(Notify(.temporaryFailure)) }
        // Whoever rekeys deletes the old SA. A peer that does not must not make us keep SA after SA.
        guard sa.livingAncestors < context.limits.replacedIKESAs else {
            context.counters.overLimit += 1
            return refuse(Notify(.temporaryFailure))
        }
        guard case .keyExchange(let value)? = payloads.first(where: { $0.type == .keyExchange }) else {
            return refuseAsInvalid(.createChildSA, messageID, "its rekey of the IKE SA has no public value")
        }
        guard let chosen = Negotiation.choose(configured: sa.connection.proposals, offered: proposals, protocolID: .ike, keyExchangeSent: value.method),
            let peerSPI = IKESPI(bytes: chosen.spi), peerSPI != .none, let suite = sa.context.suite(chosen, provider: sa.connection.provider), let method = chosen.transform(.keyExchange)
        else {
            context.emit(.report(.failed(.noCommonIKEProposal(offered: proposals, connections: [sa.connection], sa), connection: sa.connection.name, ikeSA: sa.status)))
            return refuse(Notify(.noProposalChosen))
        }
        guard method.id == value.method else { return refuse(Notify(.invalidKEPayload, data: [UInt8(method.id >> 8), UInt8(method.id & 0xff)])) }
        let answer = IKERekeyAnswer(
            messageID: messageID, suite: suite, chosen: chosen, peerSPI: peerSPI, initiatorNonce: nonce, configuration: configurationAnswer(payloads).filter { $0.type == .configuration })
        incoming = .agreeingIKE(context.run(.generateAndAgree(suite.keyExchange, peerValue: value.data, ofStranger: false), for: sa.localSPI), answer)
    }

    func ikeAgreed(_ answer: IKERekeyAnswer, _ result: JobResult) {
        incoming = .idle
        let spi = context.newIKESPI()
        let nonce = context.randomBytes(32)
        guard phase == .active, case .generatedAndAgreed(let publicValue, let box) = result, let secret = box.take(), let method = answer.chosen.transform(.keyExchange),
            let successor = makeSuccessor(answer.suite, answer.chosen, secret, localSPI: spi, peerSPI: answer.peerSPI, nonces: (answer.initiatorNonce, nonce), asInitiator: false)
        else {
            //= RFC 6989 §2.5: a public value that fails its checks ends the IKE SA.
            if case .failed(.crypto(.invalid)) = result { return refuseAsInvalid(.createChildSA, answer.messageID, "its public value fails the checks of RFC 6989") }
            return respond(.createChildSA, answer.messageID, [.notify(Notify(.temporaryFailure))])
        }
        context.adopt(successor)
        let chosen = Proposal(number: answer.chosen.number, protocolID: .ike, spi: spi.bytes, transforms: answer.chosen.transforms)
        respond(
            .createChildSA, answer.messageID,
            answer.configuration + [
                .securityAssociation(SecurityAssociation(proposals: [chosen])), .nonce(nonce), .keyExchange(KeyExchange(method: method.id, data: publicValue)),
            ])
        switch outgoing {
        case .sent(.rekeyIKE, _, _), .agreeing(_, .rekeyIKE, _):
            // Both rekey at once: which one stays shows when the answer to ours is here.
            peerSuccessor = PeerSuccessor(sa: successor, lowestNonce: lowest(answer.initiatorNonce, nonce))
            successor.established?.predecessor = self
        default: succeed(by: successor)
        }
    }

    /// A request on an SA whose collision is not decided here: unless it closes the SA, the peer has decided for it.
    func adoptEarly(_ payloads: [Payload]) {
        guard let old = predecessor, let pending = old.peerSuccessor, pending.sa === sa else { return predecessor = nil }
        for case .delete(let delete) in payloads where delete.protocolID == .ike { return }
        predecessor = nil
        old.peerSuccessor = nil
        old.succeed(by: sa)
    }

    // MARK: The new SA

    private func makeSuccessor(
        _ suite: IKESuite, _ chosen: Proposal, _ secret: borrowing SecretBytes, localSPI: IKESPI, peerSPI: IKESPI, nonces: (initiator: [UInt8], responder: [UInt8]), asInitiator: Bool
    ) -> IKESA? {
        let successor = IKESA(
            context: context, connection: sa.connection, isInitiator: asInitiator, localSPI: localSPI, remoteSPI: peerSPI, local: sa.local, remote: sa.remote, marked: sa.marked)
        sa.handPath(to: successor)
        successor.localIdentity = sa.localIdentity
        successor.remoteIdentity = sa.remoteIdentity
        successor.remoteEAPIdentity = sa.remoteEAPIdentity
        successor.account = sa.account
        successor.userSession = sa.userSession
        successor.keptPlace = sa.keptPlace
        successor.takesFragments = sa.takesFragments
        successor.transforms = context.shared(chosen.transforms)
        do throws(CryptoError) {
            let keys = try KeySchedule.rekeyed(
                suite: suite, oldPRF: channel.suite.prf, oldD: channel.d, sharedSecret: secret, initiatorNonce: nonces.initiator, responderNonce: nonces.responder,
                initiatorSPI: successor.initiatorSPI, responderSPI: successor.responderSPI)
            let channel = try SecureChannel(suite: suite, keys: keys, isInitiator: asInitiator, random: sa.registry.random)
            channel.fragmentLimit = successor.fragmentLimit
            successor.exportKeys(channel)
            let heir = Established(successor, channel, window: MessageWindow())
            // New keys prove nobody's identity.
            heir.reauthAt = reauthAt
            heir.authEndsAt = authEndsAt
            successor.beganAuthentication = sa.beganAuthentication
            successor.state = .established(heir)
            return successor
        } catch { return nil }
    }

    /// Hands the children and all that waits to the new SA. RFC 7296 section 1.3.2.
    func succeed(by successor: IKESA) {
        guard let heir = successor.established else { return }
        let previous = status(of: .rekeyed)
        // What was looked for on either of the two was to move what goes on.
        let isSearching = sa.mobility?.search?.purpose == .reconsider || successor.mobility?.search?.purpose == .reconsider
        sa.handAddresses(to: successor)
        successor.userSession?.rekeyed(successor.id)
        // The addresses may have changed since it was made.
        sa.handPath(to: successor)
        heir.armKeepalive()
        if isSearching { heir.search(.reconsider) }
        if case .sent(.updateAddresses(let update), _, _) = outgoing { heir.enqueueUpdate(update.kind) }
        sa.successor = successor
        if successor.isInitiator { heir.renewed = self }
        sa.bequeath(to: successor)
        sa.handLinks(to: successor)
        successor.replaces = sa.replaces.take()
        if let old = successor.replaces { Established.current(old).replacement = successor }
        heir.reauthRequests += reauthRequests
        reauthRequests = []
        // The peer may have made children on the new SA already.
        heir.children += children
        children = []
        for child in heir.children { context.moveChild(child.id, to: successor.localSPI) }
        // A Delete that has its time, keeps it.
        let later = delayed.filter { if case .deleteIKE = $0.task { true } else { false } }
        delayed.removeAll { if case .deleteIKE = $0.task { true } else { false } }
        heir.delayed += later
        for task in takeTasks() {
            switch task {
            case .rekeyIKE(let requests): answer(requests, .success("it has just been rekeyed"))
            // Who wants the SA gone means what replaces it as well; its age alone does not.
            case .deleteIKE(_, Established.lifetimeOver): break
            case .deleteIKE: heir.enqueueFirst(task)
            default: heir.enqueue(task)
            }
        }
        phase = .rekeyed(until: now + context.limits.rekeyedTime)
        livenessAt = now + context.limits.rekeyedTime / 2
        rekeyAt = nil
        expiresAt = nil
        sa.count(successor.isInitiator ? .ikeRekeyInitiated : .ikeRekeyAnswered)
        context.emit(.report(.ikeSARekeyed(previous: previous, current: heir.status(of: .established))))
        successor.state = heir.settled()
        context.adopt(successor)
    }
}
