// New child SAs and rekeyed ones, as the initiator of the exchange.
// RFC 7296 sections 1.3.1, 1.3.3, 2.8, 2.8.1 and 2.17.

import IKECrypto
import IKEWire

/// One CREATE_CHILD_SA exchange of ours for a child.
struct ChildCreation {
    var offer: ChildOffer
    var nonce: [UInt8]
    let replacing: ChildSAID?
    /// The same, which may be gone when the answer comes: then it still tells of the peer's rekey.
    var replaced: ChildSA?
    let requests: [RequestID]
    /// With PFS: the method, and our half once it is made.
    var method: Transform?
    var key: (any KeyExchangeKey)?
    /// How often the responder asked for another method.
    var detours = 0
    /// The lowest nonce of the exchange, once the responder's is here.
    var lowestNonce: [UInt8] = []
}

extension Established {
    /// An operator, or the start of the connection, wants a child.
    func createChild(_ policy: ChildPolicy, requests: [RequestID]) {
        if let child = standing(for: policy) { return answer(requests, .success("\(policy.name) is already up (SPIs \(child.inboundSPI.hex) and \(child.outboundSPI.hex))")) }
        enqueue(.createChild(policy, requests))
    }

    /// A child that does what is asked for.
    private func standing(for policy: ChildPolicy) -> ChildSA? {
        children.first { child in child.policy.name == policy.name && child.isCurrent && !isToBeDeleted(child.id) && policy.trigger.map { child.covers($0) } != false }
    }

    func startChild(_ policy: ChildPolicy, replacing old: ChildSA?, _ requests: [RequestID]) {
        if old == nil, let child = standing(for: policy) {
            return answer(requests, .success("\(policy.name) is already up (SPIs \(child.inboundSPI.hex) and \(child.outboundSPI.hex))"))
        }
        guard children.count < context.limits.childSAs else {
            return answer(requests, .failure(Failure(.limit, "The IKE SA with \(sa.remote) has \(children.count) child SAs, which is the limit")))
        }
        let offer = ChildOffer(policy, sa: sa, replacing: old, withoutKeyExchange: false)
        if let failure = offer.defect(sa) {
            context.releaseInboundSPI(offer.inboundSPI)
            context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
            return answer(requests, .failure(failure))
        }
        old?.state = .rekeying
        //= RFC 7296 §1.3: of a group that the peer is expected to take: the one that it took last time.
        let methods = policy.proposals.keyExchangeMethods, before = old?.transforms.first { $0.type == .keyExchange }
        let creation = ChildCreation(
            offer: offer, nonce: context.randomBytes(32), replacing: old?.id, replaced: old, requests: requests, method: methods.first { $0 == before } ?? methods.first)
        prepare(creation)
    }

    private func prepare(_ creation: ChildCreation) {
        guard let method = creation.method else { return sendChild(creation) }
        guard let algorithm = sa.registry.keyExchange(method) else {
            return childFailed(creation, Failure(.internalError, "No loaded plugin provides the key exchange \(method) of \(creation.offer.policy.name)"))
        }
        outgoing = .preparing(context.run(.generateKey(algorithm), for: sa.localSPI), .createChild(creation))
    }

    func childKeyGenerated(_ creation: ChildCreation, _ result: JobResult) {
        outgoing = .idle
        guard case .keyGenerated(let key) = result else { return childFailed(creation, .job(result, "generating a key", sa)) }
        var creation = creation
        creation.key = key
        sendChild(creation)
    }

    private func sendChild(_ creation: ChildCreation) {
        // The child may have gone, or been rekeyed by the peer, while the key was made.
        if let id = creation.replacing {
            let old = children.first { $0.id == id }
            guard let old, old.isCurrent, old.peerRekey == nil else {
                if let old { stopRekeying(old) }
                context.releaseInboundSPI(creation.offer.inboundSPI)
                return answer(creation.requests, .success("the peer rekeyed it at the same time"))
            }
            old.state = .rekeying
        }
        var payloads: [Payload] = []
        if let old = children.first(where: { $0.id == creation.replacing }) {
            //= RFC 7296 §1.3.3: the SPI is the one that the sender expects in inbound packets.
            payloads.append(.notify(Notify(.rekeySA, protocolID: .esp, spi: old.inboundSPI.bytes)))
        }
        payloads += creation.offer.notifications + [.securityAssociation(SecurityAssociation(proposals: creation.offer.proposals)), .nonce(creation.nonce)]
        if let key = creation.key, let method = creation.method { payloads.append(.keyExchange(KeyExchange(method: method.id, data: key.publicValue))) }
        payloads += [.trafficSelectorInitiator(creation.offer.localTS), .trafficSelectorResponder(creation.offer.remoteTS)]
        send(.createChild(creation), payloads)
    }

    func childAnswered(_ creation: ChildCreation, _ payloads: [Payload]) {
        for case .notify(let notify) in payloads {
            switch notify.type {
            case .temporaryFailure:
                guard isPutOff else { return childPostponed(creation) }
                childFailed(creation, .refusedChild(notify, creation.offer, sa))
                return closeOutOfStep()
            case .childSANotFound: return childNotFound(creation, .refusedChild(notify, creation.offer, sa))
            case .noAdditionalSAs: return noRoom(creation, .refusedChild(notify, creation.offer, sa))
            case .singlePairRequired:
                guard creation.detours < 3, let offer = creation.offer.singlePair(sa, replacing: children.first { $0.id == creation.replacing }) else {
                    return childFailed(creation, .refusedChild(notify, creation.offer, sa))
                }
                var again = creation
                again.offer = offer
                again.key = nil
                again.nonce = context.randomBytes(32)
                again.detours += 1
                return prepare(again)
            case .invalidKEPayload:
                //= RFC 7296 §1.3: again, with the method that the responder names, if we offered it.
                guard notify.data.count == 2, creation.detours < 3,
                    let method = creation.offer.proposals.keyExchangeMethods.first(where: { $0.id == UInt16(notify.data[0]) << 8 | UInt16(notify.data[1]) }), method != creation.method
                else { return childFailed(creation, .refusedChild(notify, creation.offer, sa)) }
                var again = creation
                again.method = method
                again.key = nil
                //= RFC 7296 §3.9: a nonce serves once.
                again.nonce = context.randomBytes(32)
                again.detours += 1
                return prepare(again)
            default: break
            }
        }
        postponedSince = nil
        var creation = creation
        var peerValue: KeyExchange?
        for payload in payloads {
            if case .nonce(let nonce) = payload { creation.lowestNonce = lowest(creation.nonce, nonce) }
            if case .keyExchange(let value) = payload { peerValue = value }
        }
        guard let key = creation.key, let peerValue, peerValue.method == creation.method?.id else { return childCompleted(creation, payloads, nil) }
        outgoing = .agreeing(context.run(.agree(key, peerValue: peerValue.data), for: sa.localSPI), .createChild(creation), payloads: payloads)
    }

    func childAgreed(_ creation: ChildCreation, _ payloads: [Payload], _ result: JobResult) {
        outgoing = .idle
        guard case .agreed(let secret) = result else {
            childRefused(creation, payloads, .job(result, "agreeing on a key", sa))
            return closeOnInvalidValue(result)
        }
        childCompleted(creation, payloads, secret)
    }

    private func childCompleted(_ creation: ChildCreation, _ payloads: [Payload], _ secret: SecretBox?) {
        let agreement: ChildOffer.Agreement
        let old = children.first { $0.id == creation.replacing }
        do throws(Failure) { agreement = try creation.offer.agreement(payloads, sa, replacing: old) } catch {
            return payloads.hasError ? childFailed(creation, error) : childRefused(creation, payloads, error)
        }
        guard let nonce = payloads.nonce, (16...256).contains(nonce.count) else { return childRefused(creation, payloads, .badAnswer("its answer has no nonce", sa)) }
        //= RFC 7296 §1.3.1: a key exchange was chosen exactly when there is a shared secret.
        guard agreement.chosen.transform(.keyExchange).map({ $0 == creation.method && secret != nil }) ?? (secret == nil) else {
            return childRefused(creation, payloads, .badAnswer("its answer chooses a key exchange that was not made", sa))
        }
        guard let child = install(creation.offer, agreement, replacing: old, nonces: (creation.nonce, nonce), secret: secret, asInitiator: true) else {
            return childRefused(creation, payloads, Failure(.internalError, "The keys of \(creation.offer.policy.name) could not be derived"))
        }
        outgoing = .installing(child.id, creation)
        noteNarrowing(creation.offer, agreement)
        if earlyDeletes.contains(child.outboundSPI) { _ = peerDeleted(child) }
        earlyDeletes = []
    }

    /// The data plane has answered for a child of ours.
    func childInstalled(_ id: ChildSAID, _ creation: ChildCreation?, failure: String?) {
        guard let child = children.first(where: { $0.id == id }), child.removeAt == nil else {
            guard let creation else { return }
            if let old = children.first(where: { $0.id == creation.replacing }) { rekeyLater(old) } else { follow(creation.offer.policy.closeAction, creation.offer.policy, after: .seconds(1)) }
            return answer(creation.requests, .failure(Failure(.closed, "The peer closed the child at once")))
        }
        if let failure {
            let explained = Failure(.dataPlane, "The data plane refused the child \(child.policy.name): \(failure)")
            context.emit(.report(.failed(explained, connection: sa.connection.name, ikeSA: sa.status)))
            answer(creation?.requests ?? [], .failure(explained))
            if let old = children.first(where: { $0.id == creation?.replacing }) { rekeyLater(old) } else if !child.beginsAnew { tryAgain(child.policy) }
            if child.beginsAnew { beginAnew(child) }
            child.beginsAnew = false
            // It was never up: nobody is told that it goes.
            child.state = .deleted
            return enqueue(.deleteChild(id, []))
        }
        child.state = .installed
        child.beginsAnew = false
        let old = children.first { $0.id == creation?.replacing }
        // Where the answer took longer than the old pair was kept, the peer has deleted that for its own, which it may have rekeyed again.
        if let creation, let peer = (old ?? creation.replaced)?.peerRekey, old == nil || children.contains(where: { $0.id == peer.replacement }) {
            //= RFC 7296 §2.8.1: of two simultaneous rekeys the one with the lowest of the four nonces is redundant.
            if isLower(creation.lowestNonce, than: peer.lowestNonce) {
                answer(creation.requests, .success("the peer rekeyed it at the same time"))
                return enqueueFirst(.deleteChild(id, []))
            }
        }
        if let creation, let packet = creation.offer.policy.trigger, !child.covers(packet), children.contains(where: { $0 !== child && $0.policy.name == child.policy.name && $0.isCurrent }) {
            // The peer narrows the packet away. Kept, such pairs would heap up, one for each try.
            let failure = Failure.packetLeftOut(packet, child, sa)
            context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
            answer(creation.requests, .failure(failure))
            return enqueueFirst(.deleteChild(id, []))
        }
        context.emit(.activateChildSA(id))
        // The configuration may have changed meanwhile.
        adopt(child)
        if let old {
            sa.count(.childRekeyed)
            context.emit(.report(.childSARekeyed(sa.status, previous: old.status, current: child.status)))
            old.state = .rekeyed
            old.isReplaced = true
            old.peerRekey?.isRedundant = true
            enqueueFirst(.deleteChild(old.id, []))
            answer(creation?.requests ?? [], .success("rekeyed \(child.policy.name): SPIs \(child.inboundSPI.hex) and \(child.outboundSPI.hex)"))
            endUnwanted(child, replacing: old.id)
        } else {
            context.emit(.report(.childSAUp(sa.status, child.status)))
            answer(creation?.requests ?? [], .success("\(child.policy.name) is up (SPIs \(child.inboundSPI.hex) and \(child.outboundSPI.hex))"))
        }
    }

    /// What the responder left out, for whoever wonders where packets go.
    private func noteNarrowing(_ offer: ChildOffer, _ agreement: ChildOffer.Agreement) {
        guard agreement.leavesMore else { return }
        context.note(
            .notice,
            "\(sa.remote.address) took \(Wording.pair(local: agreement.localTS, remote: agreement.remoteTS)) of \(offer.policy.name), and would take more in another child (ADDITIONAL_TS_POSSIBLE)", sa
        )
    }

    // MARK: IKE_AUTH

    /// The child negotiated in IKE_AUTH, as the initiator.
    func completeFirstChild(_ offer: ChildOffer, _ payloads: [Payload], requests: [RequestID]) {
        defer { channel.nonces = ([], []) }
        let creation = ChildCreation(offer: offer, nonce: [], replacing: nil, requests: requests)
        do throws(Failure) {
            try takeAddresses(payloads)
            let agreement = try offer.agreement(payloads, sa)
            guard let child = install(offer, agreement, replacing: nil, nonces: channel.nonces, secret: nil, asInitiator: true) else {
                throw Failure(.internalError, "The keys of \(offer.policy.name) could not be derived")
            }
            outgoing = .installing(child.id, creation)
            noteNarrowing(offer, agreement)
        } catch {
            if payloads.notifies(.singlePairRequired), offer.singlePair(sa, replacing: nil) != nil {
                // In an exchange of its own, for the packet's addresses alone.
                context.releaseInboundSPI(offer.inboundSPI)
                return enqueue(.createChild(offer.policy, requests))
            }
            context.emit(.report(.failed(error, connection: sa.connection.name, ikeSA: sa.status)))
            fail(.createChild(creation), error)
            //= RFC 7296 §1.3.1: the IKE SA stays, for another child, or another try. Without an inner address it is of no use.
            if error.code == .address { enqueue(.deleteIKE([], reason: "no inner address came with it")) }
            // The other end has made a child that we cannot use: tell it so.
            let isMade = !payloads.hasError && payloads.contains { $0.type == .securityAssociation }
            if isMade, error.code != .address { send(.informational, [.delete(Delete(protocolID: .esp, spis: [offer.inboundSPI]))]) }
            tryAgain(offer.policy)
        }
    }

    // MARK: Both roles

    /// Derives the keys of a child and hands them to the data plane.
    func install(_ offer: ChildOffer, _ agreement: ChildOffer.Agreement, replacing old: ChildSA?, nonces: (initiator: [UInt8], responder: [UInt8]), secret: SecretBox?, asInitiator: Bool) -> ChildSA? {
        guard let lengths = sa.registry.espKeyLengths(agreement.chosen), let encryption = agreement.chosen.transform(.encryption) else { return nil }
        let count = 2 * (lengths.encryption + lengths.integrity)
        guard
            let material = try? KeySchedule.childKeyMaterial(
                prf: channel.suite.prf, d: channel.d, sharedSecret: secret, initiatorNonce: nonces.initiator, responderNonce: nonces.responder, count: count)
        else { return nil }
        //= RFC 7296 §2.17: first the keys for packets from the initiator; encryption before integrity.
        let half = lengths.encryption + lengths.integrity
        let initiatorKey = SecretBox(material.slice(0, lengths.encryption))
        let initiatorIntegrity = SecretBox(material.slice(lengths.encryption, lengths.integrity))
        let responderKey = SecretBox(material.slice(half, lengths.encryption))
        let responderIntegrity = SecretBox(material.slice(half + lengths.encryption, lengths.integrity))
        var policy = offer.policy
        // Not touched without need: it is the connection's own, shared by all its children.
        if policy.trigger != nil { policy.trigger = nil }
        let esn = agreement.chosen.transform(.extendedSequenceNumbers)?.id == 1
        let carriage = policy.carriage.needsNumberOfIKESA ? policy.carriage.written(sa.uniqueNumber()) : policy.carriage
        let instance =
            old?.instance.retained()
            ?? context.instance(connection: sa.connection.name, child: policy.name, localTS: agreement.localTS, remoteTS: agreement.remoteTS, isShared: !policy.carriage.isUnique)
        let child = ChildSA(
            id: context.newChildID(for: sa.localSPI), policy: policy, instance: instance, carriage: carriage, inboundSPI: offer.inboundSPI, outboundSPI: agreement.outboundSPI,
            transforms: context.shared(agreement.chosen.transforms), localTS: agreement.localTS, remoteTS: agreement.remoteTS, originals: agreement.originals, path: sa.espPath,
            installed: now)
        child.isUnwanted = old?.isUnwanted ?? false
        let life = policy.lifetime
        if life.rekeyTime > .zero {
            child.rekeyAt = Instant(nanoseconds: (now + life.rekeyTime).nanoseconds - context.jitter(upTo: min(life.randTime, life.rekeyTime)).wholeNanoseconds)
        }
        if life.lifeTime > .zero { child.expiresAt = now + life.lifeTime }
        children.append(child)
        context.exportKeys(
            child, sa, encryption: encryption, integrity: agreement.chosen.transform(.integrity), asInitiator ? (responderKey, responderIntegrity) : (initiatorKey, initiatorIntegrity),
            asInitiator ? (initiatorKey, initiatorIntegrity) : (responderKey, responderIntegrity))
        context.emit(
            .installChildSA(
                ChildSAParameters(
                    id: child.id, ikeSA: sa.id, reqid: child.reqid, name: policy.name, inboundSPI: child.inboundSPI, outboundSPI: child.outboundSPI, encryption: encryption,
                    integrity: agreement.chosen.transform(.integrity), extendedSequenceNumbers: esn, isTransport: policy.mode == .transport, localTS: child.localTS, remoteTS: child.remoteTS,
                    originalLocal: child.originals?.local,
                    originalRemote: child.originals?.remote, local: child.path.ends.local, remote: child.path.ends.remote,
                    encapsulated: child.encapsulated, replayWindow: policy.replayWindow, carriage: carriage,
                    softBytes: soft(life.rekeyBytes, life.randBytes), hardBytes: life.lifeBytes, softPackets: soft(life.rekeyPackets, life.randPackets), hardPackets: life.lifePackets,
                    hardSeconds: life.lifeTime > .zero ? UInt64(clamping: (life.lifeTime + context.limits.planeMargin).components.seconds) : 0,
                    provider: sa.connection.provider, peer: sa.remoteEAPIdentity ?? sa.remoteIdentity,
                    sharesKey: sa.connection.remote.method == "psk", activates: old == nil, yields: old == nil && !asInitiator, replaces: old?.id,
                    inboundKey: asInitiator ? responderKey : initiatorKey, inboundIntegrityKey: asInitiator ? responderIntegrity : initiatorIntegrity,
                    outboundKey: asInitiator ? initiatorKey : responderKey, outboundIntegrityKey: asInitiator ? initiatorIntegrity : responderIntegrity)))
        return child
    }

    private func soft(_ limit: UInt64, _ random: UInt64) -> UInt64 { limit == 0 ? 0 : max(1, limit - context.jitter(upTo: min(random, limit - 1))) }
}

/// The lower of two nonces, as byte strings; a prefix is lower. RFC 7296 section 2.8.1.
func lowest(_ a: [UInt8], _ b: [UInt8]) -> [UInt8] { isLower(a, than: b) ? a : b }
func isLower(_ a: [UInt8], than b: [UInt8]) -> Bool { a.lexicographicallyPrecedes(b) }

extension [Payload] {
    func notifies(_ type: NotifyType) -> Bool { contains { if case .notify(let notify) = $0 { notify.type == type } else { false } } }
    /// Says that what was asked for is refused.
    var hasError: Bool { firstError != nil }

    var nonce: [UInt8]? {
        for case .nonce(let nonce) in self { return nonce }
        return nil
    }
}

extension UInt32 {
    /// Eight hexadecimal digits.
    package var hex: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
