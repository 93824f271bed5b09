// One pair of ESP SAs with the selectors it was negotiated for.
// RFC 7296 section 2.17, RFC 4301 section 4.4.2.

import IKECrypto
import IKEWire

final class ChildSA {
    let id: ChildSAID
    /// As configured now.
    var policy: ChildPolicy
    let reqid: UInt32
    let inboundSPI: UInt32
    let outboundSPI: UInt32
    let transforms: [Transform]
    let localTS: [TrafficSelector]
    let remoteTS: [TrafficSelector]
    let encapsulated: Bool
    let installed: Instant
    /// When keys are renewed, and when the pair goes if they were not.
    var rekeyAt: Instant?
    var expiresAt: Instant?
    var state = ChildSAState.installing
    /// When a rekeyed or deleted pair's inbound SA goes for good.
    var removeAt: Instant?
    /// The exchange in which the peer rekeyed this pair while ours was under way. RFC 7296 section 2.8.1.
    var peerRekey: PeerRekey?

    /// Whether the peer's rekey replaced this pair, so that the peer's Delete is awaited.
    var isSuperseded = false

    struct PeerRekey {
        let lowestNonce: [UInt8]
        let replacement: ChildSAID
    }

    init(
        id: ChildSAID, policy: ChildPolicy, reqid: UInt32, inboundSPI: UInt32, outboundSPI: UInt32, transforms: [Transform], localTS: [TrafficSelector], remoteTS: [TrafficSelector],
        encapsulated: Bool, installed: Instant
    ) {
        self.id = id
        self.policy = policy
        self.reqid = reqid
        self.inboundSPI = inboundSPI
        self.outboundSPI = outboundSPI
        self.transforms = transforms
        self.localTS = localTS
        self.remoteTS = remoteTS
        self.encapsulated = encapsulated
        self.installed = installed
    }

    /// Whether the pair carries packets like this one.
    func covers(_ packet: TriggeringPacket) -> Bool { TrafficSelectors.within([packet.source], localTS) && TrafficSelectors.within([packet.destination], remoteTS) }

    /// In use: neither replaced nor on its way out.
    var isCurrent: Bool { state == .installed || state == .rekeying }

    var nextDeadline: Instant? {
        if let removeAt { return removeAt }
        guard state != .deleting else { return nil }
        return [state == .installed ? rekeyAt : nil, expiresAt].compactMap { $0 }.min()
    }

    var status: ChildSAStatus {
        ChildSAStatus(
            id: id, name: policy.name, reqid: reqid, state: state, inboundSPI: inboundSPI, outboundSPI: outboundSPI, encapsulated: encapsulated, transforms: transforms,
            localTS: localTS, remoteTS: remoteTS, installed: installed, rekeyAt: rekeyAt, expiresAt: expiresAt)
    }
}

/// What we offer for a child, and the check of the answer. RFC 7296 sections 1.2, 1.3.1 and 2.9.
struct ChildOffer {
    let policy: ChildPolicy
    let inboundSPI: UInt32
    let proposals: [Proposal]
    let localTS: [TrafficSelector]
    let remoteTS: [TrafficSelector]

    init(_ policy: ChildPolicy, sa: IKESA, withoutKeyExchange: Bool) {
        self.policy = policy
        inboundSPI = sa.context.newInboundSPI()
        //= RFC 7296 §1.2: no key exchange transform in IKE_AUTH, where there is no KE payload.
        proposals = Negotiation.offer(policy.proposals, spi: inboundSPI.bytes, withoutKeyExchange: withoutKeyExchange)
        let local = policy.localTS.flatMap { $0.resolved(sa.localEnds) }, remote = policy.remoteTS.flatMap { $0.resolved(sa.remoteEnds) }
        if let packet = policy.trigger, TrafficSelectors.within([packet.source], local), TrafficSelectors.within([packet.destination], remote) {
            //= RFC 7296 §2.9: the packet that asks for the child comes first, so that a responder that narrows keeps it.
            localTS = Array(([packet.source] + local).prefix(TrafficSelectors.limit))
            remoteTS = Array(([packet.destination] + remote).prefix(TrafficSelectors.limit))
        } else {
            localTS = local
            remoteTS = remote
        }
    }

    /// SA, TSi and TSr, for the initiator of the exchange.
    var payloads: [Payload] {
        [.securityAssociation(SecurityAssociation(proposals: proposals)), .trafficSelectorInitiator(localTS), .trafficSelectorResponder(remoteTS)]
    }

    struct Agreement {
        let chosen: Proposal
        let outboundSPI: UInt32
        let localTS: [TrafficSelector]
        let remoteTS: [TrafficSelector]
    }

    /// What the responder agreed to, or why it does not count.
    func agreement(_ payloads: [Payload], _ sa: IKESA) throws(Failure) -> Agreement {
        var proposals: [Proposal] = [], initiatorTS: [TrafficSelector] = [], responderTS: [TrafficSelector] = []
        for payload in payloads {
            switch payload {
            case .securityAssociation(let value): proposals = value.proposals
            case .trafficSelectorInitiator(let value): initiatorTS = value
            case .trafficSelectorResponder(let value): responderTS = value
            case .notify(let notify) where notify.type.isError: throw .refusedChild(notify, self, sa)
            default: break
            }
        }
        guard let chosen = Negotiation.verify(answer: proposals, offered: self.proposals, protocolID: .esp), let outboundSPI = UInt32(bytes: chosen.spi), outboundSPI > 255 else {
            throw .badAnswer("it chose ESP algorithms for \(policy.name) that were not offered", sa)
        }
        guard TrafficSelectors.within(initiatorTS, localTS), TrafficSelectors.within(responderTS, remoteTS) else {
            throw .badAnswer("its traffic selectors for \(policy.name) go beyond what was offered", sa)
        }
        // Offered before the inner address was known: now only that one counts.
        let ours = sa.localVirtual.isEmpty ? initiatorTS : TrafficSelectors.narrow(configured: policy.localTS.flatMap { $0.resolved(sa.localEnds) }, offered: initiatorTS)
        guard !ours.isEmpty else { throw .badAnswer("its traffic selectors for \(policy.name) leave out the address that it lends us", sa) }
        return Agreement(chosen: chosen, outboundSPI: outboundSPI, localTS: ours, remoteTS: responderTS)
    }
}

extension UInt32 {
    /// Four bytes, most significant first.
    var bytes: [UInt8] { [UInt8(truncatingIfNeeded: self >> 24), UInt8(truncatingIfNeeded: self >> 16), UInt8(truncatingIfNeeded: self >> 8), UInt8(truncatingIfNeeded: self)] }

    init?(bytes: [UInt8]) {
        guard bytes.count == 4 else { return nil }
        self = bytes.reduce(0) { $0 << 8 | UInt32($1) }
    }
}

extension IKESPI {
    /// Eight bytes, most significant first.
    var bytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: rawValue >> UInt64(56 - $0 * 8)) } }

    init?(bytes: [UInt8]) {
        guard bytes.count == 8 else { return nil }
        self.init(rawValue: bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }
}
