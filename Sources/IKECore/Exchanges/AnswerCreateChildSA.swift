// CREATE_CHILD_SA as the responder: new children and rekeyed ones; a rekey of the IKE SA goes to RekeyIKESA.swift.
// RFC 7296 sections 1.3.1, 1.3.3, 2.8 and 2.25.

import IKECrypto
import IKEWire

/// One CREATE_CHILD_SA exchange of the peer's, accepted, while a job runs.
struct ChildAnswer {
    let messageID: UInt32
    let offer: ChildOffer
    let agreement: ChildOffer.Agreement
    let initiatorNonce: [UInt8]
    let replacing: ChildSAID?
    /// The Configuration payload that stands before the SA payload.
    let configuration: [Payload]
}

extension Established {
    func answerCreateChildSA(_ messageID: UInt32, _ payloads: [Payload]) {
        func refuse(_ type: NotifyType) { respond(.createChildSA, messageID, [.notify(Notify(type))]) }
        guard case .securityAssociation(let association)? = payloads.first(where: { $0.type == .securityAssociation }), let nonce = payloads.nonce, (16...256).contains(nonce.count) else {
            return refuseAsInvalid(.createChildSA, messageID, "its CREATE_CHILD_SA request has no proposals or no nonce")
        }
        //= RFC 7296 §2.25.2: no new exchange on an SA that is closing or replaced.
        guard phase == .active else { return refuse(.temporaryFailure) }
        if association.proposals.first?.protocolID == .ike { return answerIKERekey(messageID, payloads, association.proposals, nonce) }
        switch outgoing {
        case .preparing(_, .rekeyIKE), .sent(.rekeyIKE, _, _), .agreeing(_, .rekeyIKE, _), .sent(.deleteIKE, _, _): return refuse(.temporaryFailure)
        default: break
        }
        guard peerSuccessor == nil else { return refuse(.temporaryFailure) }

        var old: ChildSA?
        let named = payloads.compactMap { payload -> Notify? in if case .notify(let notify) = payload, notify.type == .rekeySA { notify } else { nil } }
        if let notify = named.first {
            //= RFC 7296 §3.10: one pair is replaced, named by the four octets of its SPI; anything else has a length or a value that cannot be.
            guard named.count == 1, notify.protocolID == .esp || notify.protocolID == .ah, let spi = UInt32(bytes: notify.spi) else {
                return refuseAsInvalid(.createChildSA, messageID, "its request to rekey a child does not name one SPI of four octets")
            }
            //= RFC 7296 §2.25: an SA that is not there cannot be rekeyed; one that is being deleted, not now.
            guard notify.protocolID == .esp, let child = children.first(where: { $0.outboundSPI == spi && $0.removeAt == nil }) else {
                // It may be the one that our own exchange is making: the peer has answered, and the answer is on its way.
                if notify.protocolID == .esp, isCreatingChild { return refuse(.temporaryFailure) }
                return respond(.createChildSA, messageID, [.notify(Notify(.childSANotFound, protocolID: notify.protocolID, spi: notify.spi))])
            }
            guard child.isCurrent, child.peerRekey == nil, !isToBeDeleted(child.id) else { return refuse(.temporaryFailure) }
            old = child
        }
        guard children.count < (old == nil ? context.limits.childSAs : 2 * context.limits.childSAs) else { return refuse(.noAdditionalSAs) }
        do throws(ChildRefusal) {
            let configuration = try old == nil ? answerConfigurationOfChild(payloads) : answerConfiguration(payloads)
            let (offer, agreement) = try negotiate(payloads, association.proposals, replacing: old, withoutKeyExchange: false)
            if case .preparing(_, .createChild(let creation)) = outgoing, creation.replacing != nil, creation.replacing == old?.id {
                // Ours was not sent yet: the peer's does for both.
                outgoing = .idle
                if let old { stopRekeying(old) }
                context.releaseInboundSPI(creation.offer.inboundSPI)
                self.answer(creation.requests, .success("the peer rekeyed it at the same time"))
            }
            guard let method = agreement.chosen.transform(.keyExchange) else {
                let answer = ChildAnswer(messageID: messageID, offer: offer, agreement: agreement, initiatorNonce: nonce, replacing: old?.id, configuration: configuration)
                return installAnswer(answer, secret: nil, publicValue: nil)
            }
            guard case .keyExchange(let value)? = payloads.first(where: { $0.type == .keyExchange }), value.method == method.id, let algorithm = sa.registry.keyExchange(method) else {
                context.releaseInboundSPI(offer.inboundSPI)
                //= RFC 7296 §1.3: the method that we would take.
                throw ChildRefusal(Notify(.invalidKEPayload, data: [UInt8(method.id >> 8), UInt8(method.id & 0xff)]))
            }
            let answer = ChildAnswer(messageID: messageID, offer: offer, agreement: agreement, initiatorNonce: nonce, replacing: old?.id, configuration: configuration)
            incoming = .agreeingChild(context.run(.generateAndAgree(algorithm, peerValue: value.data, ofStranger: false), for: sa.localSPI), answer)
        } catch {
            if error.notify.type == .invalidSyntax { return refuseAsInvalid(.createChildSA, messageID, "its request for a child has no proposals or no traffic selectors") }
            if let failure = error.failure { context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status))) }
            respond(.createChildSA, messageID, [.notify(error.notify)])
        }
    }

    func childAgreed(_ answer: ChildAnswer, _ result: JobResult) {
        incoming = .idle
        guard case .generatedAndAgreed(let publicValue, let secret) = result else {
            context.releaseInboundSPI(answer.offer.inboundSPI)
            //= RFC 6989 §2.5: a public value that fails its checks ends the IKE SA.
            if case .failed(.crypto(.invalid)) = result { return refuseAsInvalid(.createChildSA, answer.messageID, "its public value fails the checks of RFC 6989") }
            context.emit(.report(.failed(.job(result, "agreeing on a key", sa), connection: sa.connection.name, ikeSA: sa.status)))
            return respond(.createChildSA, answer.messageID, [.notify(Notify(.temporaryFailure))])
        }
        installAnswer(answer, secret: secret, publicValue: publicValue)
    }

    private func installAnswer(_ answer: ChildAnswer, secret: SecretBox?, publicValue: [UInt8]?) {
        let nonce = context.randomBytes(32)
        let old = children.first { $0.id == answer.replacing }
        guard answer.replacing == nil || old?.isCurrent == true,
            let child = install(answer.offer, answer.agreement, replacing: old, nonces: (answer.initiatorNonce, nonce), secret: secret, asInitiator: false)
        else {
            context.releaseInboundSPI(answer.offer.inboundSPI)
            return respond(.createChildSA, answer.messageID, [.notify(Notify(.temporaryFailure))])
        }
        child.replacesOther = answer.replacing != nil
        old?.peerRekey = ChildSA.PeerRekey(lowestNonce: lowest(answer.initiatorNonce, nonce), replacement: child.id)
        var payloads: [Payload] = answer.offer.notifications + answer.configuration + [.securityAssociation(SecurityAssociation(proposals: [answered(answer.offer, answer.agreement)])), .nonce(nonce)]
        if let publicValue, let method = answer.agreement.chosen.transform(.keyExchange) { payloads.append(.keyExchange(KeyExchange(method: method.id, data: publicValue))) }
        payloads += selectors(answer.agreement)
        incoming = .installing(child.id, .createChildSA, answer.messageID, payloads: payloads)
    }

    /// The child of IKE_AUTH, as the responder. `head`: our identity and AUTH payload.
    func answerFirstChild(_ payloads: [Payload], head: [Payload]) {
        var proposals: [Proposal] = []
        for case .securityAssociation(let association) in payloads { proposals = association.proposals }
        var head = head
        do throws(ChildRefusal) {
            head += try answerConfigurationOfChild(payloads)
            //= RFC 6023 §3: a request without a child is answered without one.
            guard payloads.contains(where: { $0.type == .securityAssociation }) else {
                respond(.ikeAuth, sa.authMessageID, head)
                return channel.nonces = ([], [])
            }
            guard sa.connection.childless != .force else { throw ChildRefusal(Notify(.noAdditionalSAs), .childNotTakenInAuth(sa)) }
            let (offer, agreement) = try negotiate(payloads, proposals, replacing: nil, withoutKeyExchange: true)
            guard let child = install(offer, agreement, replacing: nil, nonces: channel.nonces, secret: nil, asInitiator: false) else {
                context.releaseInboundSPI(offer.inboundSPI)
                throw ChildRefusal(Notify(.noProposalChosen), Failure(.internalError, "The keys of \(offer.policy.name) could not be derived"))
            }
            //= RFC 7296 §1.3.1: USE_TRANSPORT_MODE in the answer where it is taken, and only there.
            let tail: [Payload] = offer.notifications + [.securityAssociation(SecurityAssociation(proposals: [answered(offer, agreement)]))] + selectors(agreement)
            incoming = .installing(child.id, .ikeAuth, sa.authMessageID, payloads: head + tail)
        } catch {
            //= RFC 7296 §1.2: the IKE SA stands without the child.
            if let failure = error.failure { context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status))) }
            //= RFC 7296 §2.21.2: INVALID_SYNTAX is alone.
            respond(.ikeAuth, sa.authMessageID, (error.notify.type == .invalidSyntax ? [] : head) + [.notify(error.notify)])
            if error.notify.type == .invalidSyntax { end("the peer sent what is no valid request") }
        }
        channel.nonces = ([], [])
    }

    /// The data plane has answered for a child of the peer's: now the exchange is answered.
    func childInstalled(_ id: ChildSAID, _ exchange: ExchangeType, _ messageID: UInt32, _ payloads: [Payload], failure: String?) {
        guard let child = children.first(where: { $0.id == id }) else { return incoming = .idle }
        let old = children.first { $0.peerRekey?.replacement == id }
        if let failure {
            let explained = Failure(.dataPlane, "The data plane refused the child \(child.policy.name): \(failure)")
            context.emit(.report(.failed(explained, connection: sa.connection.name, ikeSA: sa.status)))
            children.removeAll { $0.id == id }
            drop(child)
            old?.peerRekey = nil
            if child.beginsAnew { beginAnew(child) }
            let head = payloads.filter { [.identificationResponder, .authentication, .configuration].contains($0.type) || $0.isAboutMobility }
            return respond(exchange, messageID, head + [.notify(Notify(.noProposalChosen))])
        }
        child.state = .installed
        child.beginsAnew = false
        if let old {
            // Our own packets stay on the old SA until the peer deletes it: it may not have the new one yet. RFC 7296 section 2.8.
            if old.state == .installed { supersede(old) }
            // One that has ended meanwhile by itself sends no more, and the peer deletes it no more.
            if old.removeAt != nil || old.state == .deleting, old.peerRekey?.isRedundant != true { carry(id) }
            sa.count(.childRekeyed)
            context.emit(.report(.childSARekeyed(sa.status, previous: old.status, current: child.status)))
        } else {
            // One whose predecessor went meanwhile; a new child carries traffic already.
            if child.replacesOther { carry(id) }
            context.emit(.report(.childSAUp(sa.status, child.status)))
        }
        respond(exchange, messageID, payloads)
        // The configuration may have changed meanwhile.
        adopt(child)
        endUnwanted(child, replacing: old?.id)
    }

    /// The selectors agreed on, and whether there could be more.
    private func selectors(_ agreement: ChildOffer.Agreement) -> [Payload] {
        let both: [Payload] = [.trafficSelectorInitiator(agreement.remoteTS), .trafficSelectorResponder(agreement.localTS)]
        return agreement.leavesMore ? both + [.notify(Notify(.additionalTSPossible))] : both
    }

    private func answered(_ offer: ChildOffer, _ agreement: ChildOffer.Agreement) -> Proposal {
        Proposal(number: agreement.chosen.number, protocolID: .esp, spi: offer.inboundSPI.bytes, transforms: agreement.chosen.transforms)
    }
}
