// What we offer for a child, and the check of the answer.
// RFC 7296 sections 1.2, 1.3.1, 2.9, 2.9.2 and 2.23.1.

import IKECrypto
import IKEWire

struct ChildOffer {
    let policy: ChildPolicy
    let inboundSPI: UInt32
    let proposals: [Proposal]
    var localTS: [TrafficSelector]
    var remoteTS: [TrafficSelector]
    /// Asked for one pair of addresses alone, since the responder takes no more.
    private(set) var isSinglePair = false

    /// `old`: the pair that is rekeyed.
    init(_ policy: ChildPolicy, sa: IKESA, replacing old: ChildSA? = nil, withoutKeyExchange: Bool) {
        self.policy = policy
        inboundSPI = sa.context.newInboundSPI()
        //= RFC 7296 §1.2: no key exchange transform in IKE_AUTH, where there is no KE payload.
        proposals = Negotiation.offer(policy.proposals, spi: inboundSPI.bytes, withoutKeyExchange: withoutKeyExchange)
        (localTS, remoteTS) = policy.selectors(sa)
        if let old {
            //= RFC 7296 §2.9.2: what the old pair carries, or more; a packet's selectors have no place here.
            let before = old.selectors(at: sa)
            if !TrafficSelectors.cover(localTS, before.local) { localTS = Array((before.local + localTS).prefix(TrafficSelectors.limit)) }
            if !TrafficSelectors.cover(remoteTS, before.remote) { remoteTS = Array((before.remote + remoteTS).prefix(TrafficSelectors.limit)) }
        } else if let packet = policy.trigger, TrafficSelectors.within([packet.source], localTS), TrafficSelectors.within([packet.destination], remoteTS) {
            //= RFC 7296 §2.9: the packet that asks for the child comes first, so that a responder that narrows keeps it.
            localTS = Array(([packet.source] + localTS).prefix(TrafficSelectors.limit))
            remoteTS = Array(([packet.destination] + remoteTS).prefix(TrafficSelectors.limit))
        }
    }

    /// Why there is nothing to offer, if that is so.
    func defect(_ sa: IKESA) -> Failure? { localTS.isEmpty || remoteTS.isEmpty ? .nothingToOffer(self, sa) : nil }

    /// The same for the one pair of addresses that is needed now; nil where no pair is known.
    //= RFC 7296 §2.9: after SINGLE_PAIR_REQUIRED, the specific traffic alone.
    func singlePair(_ sa: IKESA, replacing old: ChildSA?) -> ChildOffer? {
        guard !isSinglePair else { return nil }
        var offer = self
        offer.isSinglePair = true
        if let old {
            (offer.localTS, offer.remoteTS) = old.selectors(at: sa)
        } else {
            guard let packet = policy.trigger, TrafficSelectors.within([packet.source], localTS), TrafficSelectors.within([packet.destination], remoteTS) else { return nil }
            offer.localTS = TrafficSelectors.narrow(configured: localTS, offered: [TrafficSelector(host: packet.source.start)])
            offer.remoteTS = TrafficSelectors.narrow(configured: remoteTS, offered: [TrafficSelector(host: packet.destination.start)])
        }
        return offer
    }

    /// What stands before the proposals of a request.
    var notifications: [Payload] {
        //= RFC 7296 §1.3.1: tunnel mode is what nobody has to ask for.
        policy.mode == .transport ? [.notify(Notify(.useTransportMode))] : []
    }

    /// SA, TSi and TSr of IKE_AUTH, with what stands before them.
    var payloads: [Payload] {
        notifications + [.securityAssociation(SecurityAssociation(proposals: proposals)), .trafficSelectorInitiator(localTS), .trafficSelectorResponder(remoteTS)]
    }

    struct Agreement {
        let chosen: Proposal
        let outboundSPI: UInt32
        let localTS: [TrafficSelector]
        let remoteTS: [TrafficSelector]
        /// In transport mode behind a NAT.
        var originals: OriginalAddresses?
        /// More of what was asked for would be allowed, in another child.
        var leavesMore = false
    }

    /// What the responder agreed to, or why it does not count. `old`: the pair that is rekeyed.
    func agreement(_ payloads: [Payload], _ sa: IKESA, replacing old: ChildSA? = nil) throws(Failure) -> Agreement {
        var proposals: [Proposal] = [], initiatorTS: [TrafficSelector] = [], responderTS: [TrafficSelector] = []
        var isTransport = false, leavesMore = false
        for payload in payloads {
            switch payload {
            case .securityAssociation(let value): proposals = value.proposals
            case .trafficSelectorInitiator(let value): initiatorTS = value
            case .trafficSelectorResponder(let value): responderTS = value
            case .notify(let notify) where notify.type.isError: throw .refusedChild(notify, self, sa)
            case .notify(let notify) where notify.type == .useTransportMode: isTransport = true
            //= RFC 7296 §2.22: compression that nobody proposed is not taken: the peer's packets would be read by nobody.
            case .notify(let notify) where notify.type == .ipcompSupported: throw .badAnswer("it compresses for \(policy.name) (IPCOMP_SUPPORTED), which was not offered", sa)
            case .notify(let notify) where notify.type == .additionalTSPossible: leavesMore = true
            default: break
            }
        }
        guard !proposals.isEmpty else { throw .badAnswer("it chose no ESP algorithms for \(policy.name), and gave no reason", sa) }
        guard !initiatorTS.isEmpty, !responderTS.isEmpty else { throw .badAnswer("it sent no traffic selectors for \(policy.name)", sa) }
        guard let chosen = Negotiation.verify(answer: proposals, offered: self.proposals, protocolID: .esp) else {
            throw .badAnswer("it chose ESP algorithms for \(policy.name) that were not offered", sa)
        }
        guard let outboundSPI = UInt32(bytes: chosen.spi), outboundSPI > 255 else {
            //= RFC 4303 §2.1: up to 255 an SPI is none.
            throw .badAnswer("its SPI for \(policy.name) is none", sa)
        }
        var originals: OriginalAddresses?
        switch (policy.mode == .transport, isTransport) {
        //= RFC 7296 §1.3.1: a tunnel, where that will not do, is deleted.
        case (true, false): throw .transportDeclined(policy, sa)
        case (false, true): throw .badAnswer("it answers with transport mode for \(policy.name), which was not asked for", sa)
        case (false, false): break
        case (true, true):
            guard let placed = TransportMode.substitute(local: initiatorTS, remote: responderTS, sa) else {
                throw .badAnswer("its traffic selectors for \(policy.name) are not those of one address at each end, as transport mode has them", sa)
            }
            (initiatorTS, responderTS, originals) = (placed.local, placed.remote, placed.originals)
        }
        guard TrafficSelectors.within(initiatorTS, localTS), TrafficSelectors.within(responderTS, remoteTS) else {
            throw .badAnswer("its traffic selectors for \(policy.name) go beyond what was offered", sa)
        }
        // Offered before the inner address was known: now only that one counts.
        let ours = sa.localVirtual.isEmpty ? initiatorTS : TrafficSelectors.narrow(configured: policy.localTS.flatMap { $0.resolved(sa.localEnds) }, offered: initiatorTS)
        guard !ours.isEmpty else { throw .badAnswer("its traffic selectors for \(policy.name) leave out the address that it lends us", sa) }
        if let old {
            let before = old.selectors(at: sa)
            //= RFC 7296 §2.9.2: never narrower than the pair that it replaces.
            guard TrafficSelectors.cover(ours, before.local), TrafficSelectors.cover(responderTS, before.remote) else {
                throw .narrowedRekey(local: ours, remote: responderTS, old, sa)
            }
        }
        return Agreement(chosen: chosen, outboundSPI: outboundSPI, localTS: ours, remoteTS: responderTS, originals: originals, leavesMore: leavesMore)
    }
}

extension ChildPolicy {
    /// The selectors as they stand between the two ends now. Empty where transport mode has none that holds an end's address.
    func selectors(_ sa: IKESA) -> (local: [TrafficSelector], remote: [TrafficSelector]) {
        let local = self.localTS.flatMap { $0.resolved(sa.localEnds) }, remote = self.remoteTS.flatMap { $0.resolved(sa.remoteEnds) }
        guard self.mode == .transport else { return (local, remote) }
        //= RFC 7296 §2.23.1: one address each, the source and the destination of the IKE SA.
        return (
            TrafficSelectors.narrow(configured: local, offered: [TrafficSelector(host: sa.local.address)]),
            TrafficSelectors.narrow(configured: remote, offered: [TrafficSelector(host: sa.remote.address)])
        )
    }
}

extension ChildSA {
    /// What the pair carries. In transport mode between the addresses of the IKE SA as they are now.
    func selectors(at sa: IKESA) -> (local: [TrafficSelector], remote: [TrafficSelector]) {
        policy.mode == .transport ? (localTS.placed(at: sa.local.address), remoteTS.placed(at: sa.remote.address)) : (localTS, remoteTS)
    }
}
