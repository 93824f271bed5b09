// One pair of ESP SAs with the selectors it was negotiated for.
// RFC 7296 section 2.17, RFC 4301 section 4.4.2.

import IKECrypto
import IKEWire

final class ChildSA {
    let id: ChildSAID
    /// As configured now.
    var policy: ChildPolicy
    /// Whose number is the reqid.
    let instance: PolicyInstance
    let inboundSPI: UInt32
    let outboundSPI: UInt32
    let transforms: [Transform]
    let localTS: [TrafficSelector]
    let remoteTS: [TrafficSelector]
    /// In transport mode behind a NAT.
    let originals: OriginalAddresses?
    /// The way of its packets, as the data plane knows it.
    var path: OuterPath
    var encapsulated: Bool { path.encapsulated }
    let installed: Instant
    /// When keys are renewed, and when the pair goes if they were not.
    var rekeyAt: Instant?
    var expiresAt: Instant?
    var state = ChildSAState.installing
    /// When a rekeyed or deleted pair's inbound SA goes for good.
    var removeAt: Instant?
    /// Until then an INVALID_SPI of the peer's is not acted on again.
    var doubtedUntil: Instant?
    /// As the data plane was told of it.
    let carriage: Carriage
    /// Made by a rekey of the peer's.
    var replacesOther = false
    /// The exchange in which the peer rekeyed this pair. RFC 7296 section 2.8.1.
    var peerRekey: PeerRekey?
    /// Another pair carries its packets now.
    var isReplaced = false
    /// Somebody has ended it: what comes of a rekey under way goes with it.
    var isUnwanted = false
    /// The peer would not rekey this pair with us.
    var rekeyFailed = false
    /// Its lifetime is over before its keys were renewed: when it is deleted another takes its place.
    var beginsAnew = false

    struct PeerRekey {
        let lowestNonce: [UInt8]
        let replacement: ChildSAID
        /// Ours has won: what the peer has made is the peer's to delete, and carries nothing.
        var isRedundant = false
    }

    init(
        id: ChildSAID, policy: ChildPolicy, instance: PolicyInstance, carriage: Carriage, inboundSPI: UInt32, outboundSPI: UInt32, transforms: [Transform], localTS: [TrafficSelector],
        remoteTS: [TrafficSelector],
        originals: OriginalAddresses?, path: OuterPath, installed: Instant
    ) {
        self.id = id
        self.policy = policy
        self.carriage = carriage
        self.instance = instance
        self.inboundSPI = inboundSPI
        self.outboundSPI = outboundSPI
        self.transforms = transforms
        self.localTS = localTS
        self.remoteTS = remoteTS
        self.originals = originals
        self.path = path
        self.installed = installed
    }

    /// Whether the pair carries packets like this one.
    func covers(_ packet: TriggeringPacket) -> Bool { TrafficSelectors.within([packet.source], localTS) && TrafficSelectors.within([packet.destination], remoteTS) }

    var reqid: UInt32 { instance.number }

    /// On its way out, and another is to come in its place.
    var isToBegin: Bool { beginsAnew && !isUnwanted && removeAt == nil }

    /// In use: neither replaced nor on its way out.
    var isCurrent: Bool { state == .installed || state == .rekeying }

    var nextDeadline: Instant? {
        if let removeAt { return removeAt }
        guard state != .deleting else { return nil }
        return [state == .installed ? rekeyAt : nil, expiresAt].compactMap { $0 }.min()
    }

    var status: ChildSAStatus {
        ChildSAStatus(
            id: id, name: policy.name, mode: policy.mode, reqid: reqid, state: state, inboundSPI: inboundSPI, outboundSPI: outboundSPI, encapsulated: encapsulated, transforms: transforms,
            localTS: localTS, remoteTS: remoteTS, installed: installed, rekeyAt: rekeyAt, expiresAt: expiresAt,
            carriage: carriage)
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
