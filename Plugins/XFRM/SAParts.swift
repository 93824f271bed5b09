// From the contract's description of an SA to its parts: selectors, path, limits, algorithms.

import ESPCore
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import XFRMMessages

extension XFRMMode {
    init?(contract: UInt8) {
        switch UInt32(contract) {
        case MARTLET_TUNNEL.rawValue: self = .tunnel
        case MARTLET_TRANSPORT.rawValue: self = .transport
        default: return nil
        }
    }
}

extension Plane {
    /// What the arrays hold; they live until the call that is under way returns.
    func selectors(
        _ local: UnsafePointer<martlet_selector>, _ localCount: Int, _ remote: UnsafePointer<martlet_selector>, _ remoteCount: Int, of owner: String
    ) throws(PlaneError) -> (local: [TrafficSelector], remote: [TrafficSelector]) {
        guard localCount <= Self.maximumSelectors, remoteCount <= Self.maximumSelectors else { throw .invalid("\(owner): more than \(Self.maximumSelectors) selectors") }
        let localTS = (0..<localCount).compactMap { TrafficSelector(local[$0]) }, remoteTS = (0..<remoteCount).compactMap { TrafficSelector(remote[$0]) }
        guard localTS.count == localCount, remoteTS.count == remoteCount, !localTS.isEmpty, !remoteTS.isEmpty else { throw .invalid("\(owner): no selectors, or of an unknown family") }
        return (localTS, remoteTS)
    }

    func outbound(_ local: [TrafficSelector], _ remote: [TrafficSelector], of owner: String) throws(PlaneError) -> [KernelSelector] {
        do throws(SelectorDefect) {
            let selectors = try KernelSelector.outbound(local: local, remote: remote)
            guard !selectors.isEmpty else { throw SelectorDefect.notExpressible("selectors that no packet matches") }
            return selectors
        } catch {
            switch error {
            case .tooMany: throw PlaneError(status: MARTLET_E_LIMIT, message: "\(owner): its selectors would be more than \(KernelSelector.limit) policies of the kernel")
            case .notExpressible(let what): throw .unsupported("\(owner): the kernel has no policy for \(what)")
            }
        }
    }

    static func path(_ local: SocketAddress, _ remote: SocketAddress, isEncapsulated: Bool, isInbound: Bool) -> OuterPath {
        let (from, to) = isInbound ? (remote, local) : (local, remote)
        return OuterPath(source: from.address, destination: to.address, ports: isEncapsulated ? OuterPath.Ports(source: from.port, destination: to.port) : nil)
    }

    /// The configured limits, and for 32-bit sequence numbers the end of the sequence with room left to rekey. RFC 4303 section 3.3.3. The
    /// kernel itself sends nothing beyond it, but says so to nobody.
    static func limits(_ sa: martlet_sa) -> SALimits {
        var limits = SALimits(softBytes: sa.soft_bytes, hardBytes: sa.hard_bytes, softPackets: sa.soft_packets, hardPackets: sa.hard_packets, hardSeconds: sa.hard_seconds)
        if UInt32(sa.direction) == MARTLET_OUTBOUND.rawValue {
            (limits.softPackets, limits.hardPackets) = PacketLimits.outbound(
                soft: sa.soft_packets, hard: sa.hard_packets, extended: UInt32(sa.flags) & MARTLET_SA_ESN.rawValue != 0)
        }
        return limits
    }

    /// Borrows the keys, which live until the call that is under way returns.
    func algorithm(_ sa: martlet_sa, _ name: String) throws(PlaneError) -> KeyedAlgorithm {
        let key = UnsafeRawBufferPointer(start: sa.key.data, count: sa.key.data == nil ? 0 : sa.key.size)
        let integrityKey = UnsafeRawBufferPointer(start: sa.integrity_key.data, count: sa.integrity_key.data == nil ? 0 : sa.integrity_key.size)
        func fits(_ isRight: Bool) throws(PlaneError) { if !isRight { throw .invalid("\(name): the key does not fit the algorithm") } }
        if let aead = KernelAlgorithms.aead(sa.encryption_id, bits: sa.encryption_bits) {
            try fits(key.count == aead.keyBytes + aead.saltBytes && integrityKey.isEmpty && sa.integrity_id == 0)
            return .aead(aead, key)
        }
        guard let cipher = KernelAlgorithms.cipher(sa.encryption_id, bits: sa.encryption_bits), let mac = KernelAlgorithms.mac(sa.integrity_id) else {
            throw .unsupported("\(name): the kernel has no encryption \(sa.encryption_id) of \(sa.encryption_bits) bits with integrity \(sa.integrity_id)")
        }
        try fits(key.count == cipher.keyBytes + cipher.nonceBytes && integrityKey.count == mac.keyBytes)
        return .separate(cipher, key, mac, integrityKey)
    }

    func refusal(_ result: Int32, _ name: String, _ sa: martlet_sa) -> PlaneError {
        switch result {
        case -EEXIST: .system("\(name): the kernel has another SA of this number for this address already")
        case -ENOSYS, -ENOENT: .unsupported("\(name): the kernel lacks an algorithm (encryption \(sa.encryption_id) of \(sa.encryption_bits) bits, integrity \(sa.integrity_id))")
        case -EPROTONOSUPPORT: .unsupported("\(name): the kernel has no ESP for this family")
        default: .system("\(name): the kernel refuses it: \(PlaneError.reason(result))")
        }
    }
}

extension KernelMark {
    init(_ mark: martlet_mark) { self.init(value: mark.value & mark.mask, mask: mark.mask) }
}
