// IKE_SA_INIT requests of peers: a cookie first, or a half-open IKE SA.
// RFC 7296 sections 1.2, 2.6 and 2.7.

import IKECrypto
import IKEWire

extension Endpoint {
    func receivedInit(_ header: Header, _ datagram: Datagram) {
        let key = initiation(datagram)
        if let spi = initiations[key], let sa = sas[spi], sa.remoteSPI == header.initiatorSPI { return touch(sa) { sa.received(header, datagram) } }
        // It would have to be kept whole.
        guard !shuttingDown, sas.count < limits.ikeSAs, datagram.bytes.count <= limits.initBytes else { return counters.overLimit += 1 }
        let verdict = halfOpen.verdict(datagram.remote.address, now: context.now)
        if case .refused(let reason) = verdict { return refuse(reason) }
        guard let message = try? Message.parse(datagram.bytes.span) else { return countInvalid() }
        var proposals: [Proposal] = [], isOffer = false, value: KeyExchange?, nonce: [UInt8]?, cookie: [UInt8]?, takesFragments = false, hashes: [UInt16] = []
        for payload in message.payloads {
            switch payload {
            //= RFC 7296 §3.3.1: the SPI of a first proposal has no octets.
            case .securityAssociation(let association):
                isOffer = !association.proposals.isEmpty
                proposals = association.proposals.filter { $0.spi.isEmpty }
            case .keyExchange(let exchange): value = exchange
            case .nonce(let bytes): nonce = bytes
            case .notify(let notify) where notify.type == .cookie: cookie = notify.data
            case .notify(let notify) where notify.type == .fragmentationSupported: takesFragments = true
            case .notify(let notify) where notify.type == .signatureHashAlgorithms: hashes = SignatureHashes.parse(notify)
            case .unknown(let type, critical: true, _): return reply(header, datagram, [.notify(Notify(.unsupportedCriticalPayload, data: [type.rawValue]))])
            default: break
            }
        }
        //= RFC 7296 §3.10.1: INVALID_SYNTAX is said in a protected message alone, so that here there is no answer.
        guard let value, let nonce, (16...256).contains(nonce.count), isOffer, message.payloads.misplacedType == nil else { return countInvalid() }
        context.messages.count(.initRequestIn, nil)
        // A cookie that nobody asked for proves as much, if it is one of ours.
        let isProven = cookie.map { takesCookie($0, header, datagram, nonce) } ?? false
        // So many have been answered that nothing is kept of that the next answer would not go out. With a cookie it does.
        if !isProven, verdict != .open || unprovenReplies.isSpent(now: context.now) { return demandCookie(header, datagram, nonce) }
        func deny(_ type: NotifyType, _ data: [UInt8] = []) { reply(header, datagram, [.notify(Notify(type, data: data))], isUnlimited: isProven) }

        let candidates = ConnectionSelection.candidates(context.connections, local: datagram.local.address, remote: datagram.remote.address, names: context.names)
        if !context.names.isEmpty {
            let fit = ConnectionSelection.fit(candidates.first, to: datagram.remote.address, names: context.names)
            let (due, waits) = context.names.peerBegan(fit, now: context.now)
            if !due.isEmpty { context.emit(.lookUpNames(due)) }
            if waits { return }
        }
        let probe = candidates.first ?? Connection(name: "?", proposals: [])
        let sa = IKESA(
            context: context, connection: probe, isInitiator: false, localSPI: context.newIKESPI(), remoteSPI: header.initiatorSPI, local: datagram.local, remote: datagram.remote,
            marked: datagram.marked)
        guard !candidates.isEmpty else {
            context.reportUnproven(nil, nil) { .noConnection(sa) }
            return deny(.noProposalChosen)
        }
        var comparisons = 0, refused: Set<Accepted> = []
        for candidate in candidates {
            // Many connections share a list, which is compared once. What a stranger can make us compare has a limit; an address that answers has a
            // higher one, above which the other lists do not count as a match.
            guard refused.insert(Accepted(proposals: candidate.proposals, provider: candidate.provider)).inserted else { continue }
            comparisons += candidate.proposals.count * proposals.count
            if comparisons > limits.comparisons, !isProven { return demandCookie(header, datagram, nonce) }
            if comparisons > limits.comparisons * Limits.provenComparisons {
                counters.overLimit += 1
                break
            }
            guard let chosen = Negotiation.choose(configured: candidate.proposals, offered: proposals, protocolID: .ike, keyExchangeSent: value.method),
                let method = chosen.transform(.keyExchange), let suite = context.suite(chosen, provider: candidate.provider)
            else { continue }
            //= RFC 7296 §1.2: the method that we would take, and nothing is kept.
            guard method.id == value.method else { return deny(.invalidKEPayload, [UInt8(method.id >> 8), UInt8(method.id & 0xff)]) }
            // Nothing is kept, and nothing computed, for a value that cannot be one. RFC 6989 section 2.5 allows this word of it.
            guard value.data.count == suite.keyExchange.publicLength else { return deny(.invalidSyntax) }
            // Nobody who takes a quick method waits behind those who take a slow one; who does asks again.
            guard method.isQuickKeyExchange || halfOpen.agreeingSlowly < limits.share(of: limits.slowAgreementsAtOnce) else { return refuse(.agreements) }
            sa.connection = candidate
            sa.transforms = sa.context.shared(chosen.transforms)
            sa.takesFragments = takesFragments
            sa.announcesChildless = candidates.allSatisfy { $0.childless != .never }
            sa.peerHashes = hashes
            sa.vendorIDs = VendorIDs.texts(message.payloads)
            let nat = NATDetection.judge(message.payloads, initiatorSPI: header.initiatorSPI, responderSPI: .none, local: datagram.local, remote: datagram.remote)
            sa.nat = nat ?? NATDetection.Verdict()
            sa.peerDetectsNAT = nat != nil
            if isProven { sa.proof.prove() }
            sa.proof.receive(datagram.bytes.count)
            let requests = CertificatePayloads.requests(candidates, trusted: context.trustedAuthorities)
            let answer = Answering.payloads(
                sa, chosen, method, publicValue: [UInt8](repeating: 0, count: suite.keyExchange.publicLength), nonce: [UInt8](repeating: 0, count: 32), detectsNAT: nat != nil,
                requests: requests)
            // Three times what came in is the most that goes to an address that anybody may have written: above that, a cookie first.
            if !sa.proof.allows(Header.byteCount + Payload.serializeChain(answer).bytes.count) { return demandCookie(header, datagram, nonce) }
            if verdict == .full, !makeRoom() { return refuse(.all) }
            let job = context.run(.generateAndAgree(suite.keyExchange, peerValue: value.data, ofStranger: true), for: sa.localSPI)
            add(sa)
            initiations[key] = sa.localSPI
            sa.initiation = key
            touch(sa) {
                sa.state = .answering(
                    Answering(
                        job: job, suite: suite, chosen: chosen, initiatorNonce: nonce, request: datagram.bytes, detectsNAT: nat != nil, requests: requests, deadline: context.now + limits.jobTime))
            }
            return
        }
        context.reportUnproven(candidates.count == 1 ? probe.name : nil, nil) { .noCommonIKEProposal(offered: proposals, connections: Array(candidates.prefix(Wording.shown)), sa) }
        deny(.noProposalChosen)
    }

    /// What a connection takes.
    private struct Accepted: Hashable {
        let proposals: [Proposal]
        let provider: String?
    }

    private func makeRoom() -> Bool {
        switch halfOpen.makeRoom(now: context.now, holder: { sas[$0]?.placeHolder }) {
        case .made: return true
        case .none: return false
        case .ending(let spi):
            guard let sa = sas[spi] else { return false }
            counters.displaced += 1
            context.noteUnproven(.info, sa) { "\(sa.remote) has not gone on, and all places for unfinished IKE SAs are taken: another peer gets its own" }
            // It would count on.
            sa.wasCostly = false
            touch(sa) { sa.abandon(Failure(.closed, "Another peer has got its place")) }
            return true
        }
    }

    private func refuse(_ reason: HalfOpen.Reason) {
        switch reason {
        case .all: counters.overLimit += 1
        case .address: counters.addressOverLimit += 1
        case .network: counters.networkOverLimit += 1
        case .agreements: counters.agreementsOverLimit += 1
        }
    }

    // MARK: Cookies, RFC 7296 section 2.6

    private func freshCookies() -> CookieJar {
        var jar = cookies ?? CookieJar(secret: context.randomBytes(32), now: context.now)
        if jar.isStale(context.now) { jar.renew(secret: context.randomBytes(32), now: context.now) }
        cookies = jar
        return jar
    }

    private func takesCookie(_ cookie: [UInt8], _ header: Header, _ datagram: Datagram, _ nonce: [UInt8]) -> Bool {
        guard let prf = context.crypto.preferred.prfs.first, freshCookies().verify(cookie, prf: prf, nonce: nonce, remote: datagram.remote, initiatorSPI: header.initiatorSPI) else { return false }
        counters.cookiesTaken += 1
        return true
    }

    /// Asks for a cookie, and keeps nothing.
    private func demandCookie(_ header: Header, _ datagram: Datagram, _ nonce: [UInt8]) {
        counters.cookiesDemanded += 1
        guard let prf = context.crypto.preferred.prfs.first, let fresh = freshCookies().cookie(prf: prf, nonce: nonce, remote: datagram.remote, initiatorSPI: header.initiatorSPI) else { return }
        reply(header, datagram, [.notify(Notify(.cookie, data: fresh))], isUnlimited: true)
    }
}
