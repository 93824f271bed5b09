// The responder's choice for a child: which policy of ours, in which mode, with which selectors and algorithms.
// RFC 7296 sections 1.3.1, 2.7, 2.9, 2.9.2 and 2.23.1.

import IKECrypto
import IKEWire

/// Why a request for a child is refused: what the peer is told, and what our side is told.
struct ChildRefusal: Error {
    let notify: Notify
    let failure: Failure?
    init(_ notify: Notify, _ failure: Failure? = nil) {
        self.notify = notify
        self.failure = failure
    }
}

extension Established {
    /// One policy of ours that takes some of what the peer asks for.
    private struct Fit {
        let policy: ChildPolicy
        let localTS: [TrafficSelector]
        let remoteTS: [TrafficSelector]
        let originals: OriginalAddresses?
        let rank: Int
    }

    /// The child of ours that fits the peer's selectors, mode and proposals best: the one that has just these selectors, then one that takes all of them, then the first.
    /// `old`: the pair that the peer rekeys.
    func negotiate(_ payloads: [Payload], _ proposals: [Proposal], replacing old: ChildSA?, withoutKeyExchange: Bool) throws(ChildRefusal) -> (ChildOffer, ChildOffer.Agreement) {
        var offeredTheirs: [TrafficSelector]?, offeredOurs: [TrafficSelector]?, sent: UInt16?
        for payload in payloads {
            switch payload {
            case .trafficSelectorInitiator(let value): offeredTheirs = value
            case .trafficSelectorResponder(let value): offeredOurs = value
            case .keyExchange(let value): sent = value.method
            default: break
            }
        }
        // A list may be empty because none of its selectors is of a kind that we know: then nothing below fits.
        guard let theirs = offeredTheirs, let ours = offeredOurs, !proposals.isEmpty else {
            throw ChildRefusal(Notify(.invalidSyntax), .badAnswer("its request for a child has no proposals or no traffic selectors", sa))
        }
        let policies = old.map { [$0.policy] } ?? sa.connection.children.filter(\.mode.isNegotiated)
        let asksForTransport = payloads.asksForTransport
        let fits = policies.compactMap { fit($0, replacing: old, theirs: theirs, ours: ours, asksForTransport: asksForTransport) }
        guard !fits.isEmpty else { throw refusal(policies, replacing: old, theirs: theirs, ours: ours, asksForTransport: asksForTransport) }
        for fit in fits.enumerated().sorted(by: { ($0.element.rank, $0.offset) < ($1.element.rank, $1.offset) }).map(\.element) {
            guard let chosen = Negotiation.choose(configured: fit.policy.proposals, offered: proposals, protocolID: .esp, keyExchangeSent: sent, withoutKeyExchange: withoutKeyExchange),
                let outboundSPI = UInt32(bytes: chosen.spi), outboundSPI > 255
            else { continue }
            //= RFC 7296 §2.9: what another policy takes beside this one, the peer may ask for in another child.
            let leavesMore = old == nil && fits.contains { !TrafficSelectors.cover(fit.localTS, $0.localTS) || !TrafficSelectors.cover(fit.remoteTS, $0.remoteTS) }
            return (
                ChildOffer(fit.policy, sa: sa, withoutKeyExchange: withoutKeyExchange),
                ChildOffer.Agreement(chosen: chosen, outboundSPI: outboundSPI, localTS: fit.localTS, remoteTS: fit.remoteTS, originals: fit.originals, leavesMore: leavesMore)
            )
        }
        throw ChildRefusal(Notify(.noProposalChosen), .noCommonESPProposal(offered: proposals, policies: fits.map(\.policy), sa))
    }

    private func fit(_ policy: ChildPolicy, replacing old: ChildSA?, theirs: [TrafficSelector], ours: [TrafficSelector], asksForTransport: Bool) -> Fit? {
        var (theirs, ours) = (theirs, ours)
        var originals: OriginalAddresses?
        if policy.mode == .transport {
            guard asksForTransport, let placed = TransportMode.substitute(local: ours, remote: theirs, sa) else { return nil }
            (ours, theirs, originals) = (placed.local, placed.remote, placed.originals)
        }
        var configured = policy.selectors(sa)
        if let old {
            // What was allowed once and is still up: `dynamic` may be another address now.
            let before = old.selectors(at: sa)
            configured = (configured.local + before.local, configured.remote + before.remote)
        }
        let localTS = TrafficSelectors.narrow(configured: configured.local, offered: ours)
        let remoteTS = TrafficSelectors.narrow(configured: configured.remote, offered: theirs)
        guard !localTS.isEmpty, !remoteTS.isEmpty else { return nil }
        if let old {
            let before = old.selectors(at: sa)
            //= RFC 7296 §2.9.2: a rekeyed pair is not narrower than the one before.
            guard TrafficSelectors.cover(localTS, before.local), TrafficSelectors.cover(remoteTS, before.remote) else { return nil }
        }
        //= RFC 7296 §2.9: what takes all comes first; then what takes the first selectors, which are the packet's that asks.
        // Of those that take all, the one that is for just this traffic is meant, wherever it stands among wider ones.
        let isExact = TrafficSelectors.within(configured.local, ours) && TrafficSelectors.within(configured.remote, theirs)
        let isComplete = TrafficSelectors.within(ours, localTS) && TrafficSelectors.within(theirs, remoteTS)
        let takesFirst = TrafficSelectors.within(Array(ours.prefix(1)), localTS) && TrafficSelectors.within(Array(theirs.prefix(1)), remoteTS)
        //= RFC 7296 §2.23.1: where no policy has transport mode, the request is one for a tunnel.
        let isAsFallback = asksForTransport && policy.mode == .tunnel
        return Fit(policy: policy, localTS: localTS, remoteTS: remoteTS, originals: originals, rank: (isComplete ? isExact ? 0 : 1 : takesFirst ? 2 : 3) + (isAsFallback ? 4 : 0))
    }

    /// No policy fits: the mode, where that is all that keeps one from it, else the selectors.
    private func refusal(_ policies: [ChildPolicy], replacing old: ChildSA?, theirs: [TrafficSelector], ours: [TrafficSelector], asksForTransport: Bool) -> ChildRefusal {
        if !asksForTransport {
            let transport = policies.filter { policy in
                let configured = policy.selectors(sa)
                return policy.mode == .transport && !TrafficSelectors.narrow(configured: configured.local, offered: ours).isEmpty
                    && !TrafficSelectors.narrow(configured: configured.remote, offered: theirs).isEmpty
            }
            if let policy = transport.first { return ChildRefusal(Notify(.noProposalChosen), .tunnelRefused(policy, sa)) }
        }
        if let old {
            let allowed = TrafficSelectors.narrow(configured: old.localTS, offered: ours), asked = TrafficSelectors.narrow(configured: old.remoteTS, offered: theirs)
            return ChildRefusal(Notify(.tsUnacceptable), .narrowedRekey(local: allowed, remote: asked, old, sa))
        }
        return ChildRefusal(Notify(.tsUnacceptable), .selectorsUnacceptable(theirs: theirs, ours: ours, policies: policies, transport: asksForTransport, sa))
    }
}

extension [Payload] {
    //= RFC 7296 §1.3.1
    fileprivate var asksForTransport: Bool { contains { if case .notify(let notify) = $0 { notify.type == .useTransportMode } else { false } } }
}
