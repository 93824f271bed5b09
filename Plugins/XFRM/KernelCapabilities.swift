// What the running kernel can do, found by asking it: an SA is added with a key of no worth, for an address that no packet has, and removed.

import CLinux
import CXFRM
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import Synchronization
import XFRMMessages

/// Any thread.
final class KernelCapabilities: @unchecked Sendable {
    private let socket: NetlinkSocket
    private var known: [Question: Bool] = [:]
    private var found: UInt32?
    /// Held while `socket` and `known` are used.
    private let lock = Mutex(())

    private enum Question: Hashable {
        case encryption(UInt16, UInt16)
        case integrity(UInt16)
    }

    init() throws(PlaneError) { socket = try NetlinkSocket() }

    /// Why the kernel cannot carry ESP of this family, or nil.
    func missing(_ family: IPAddress.Family) -> String? { lock.withLock { _ in look(for: family) } }

    private func look(for family: IPAddress.Family) -> String? {
        let result = attempt(family, encryption: 20, bits: 128, integrity: nil)
        // ENOSYS is of the algorithm: ESP itself may be there.
        let last = result == -ENOSYS ? attempt(family, encryption: 11, bits: 0, integrity: 12) : result
        switch last {
        case 0: return nil
        case -EPROTONOSUPPORT: return "the kernel has no ESP for IPv\(family.rawValue) (CONFIG_INET\(family == .v4 ? "" : "6")_ESP)"
        case -EAFNOSUPPORT: return "the kernel has no IPv\(family.rawValue)"
        case -EPERM: return "the kernel's SAs may not be changed (CAP_NET_ADMIN is missing)"
        default: return "the kernel refuses an SA of ESP for IPv\(family.rawValue): \(PlaneError.reason(last))"
        }
    }

    /// Either may be 0 for what is not asked.
    func has(encryption: UInt16, bits: UInt16, integrity: UInt16) -> Bool {
        lock.withLock { _ in (encryption == 0 || ask(.encryption(encryption, bits))) && (integrity == 0 || ask(.integrity(integrity))) }
    }

    /// Bits of enum martlet_plane_feature. Marks and DSCP are as old as what else is needed here.
    var features: UInt32 {
        lock.withLock { _ in
            if let found { return found }
            var features = MARTLET_PLANE_MARKS.rawValue | MARTLET_PLANE_DSCP_IN.rawValue | MARTLET_PLANE_PASSES_EXACTLY.rawValue
            // What a kernel does not know it leaves out of its answer: Linux 4.19 came with these.
            let address = IPAddress(v4: 0x7fff_fff1), mark = KernelMark(value: 1, mask: 0xff)
            var description = SADescription(spi: 0x4d52_fffd, reqid: Reqids.mark, path: OuterPath(source: address, destination: address), isInbound: false)
            (description.interfaceID, description.setMark) = (1, mark)
            let key = (0..<32).map { UInt8($0 * 3 + 1) }
            let result = key.withUnsafeBytes { key -> Int32 in
                guard let null = KernelAlgorithms.cipher(11, bits: 0), let mac = KernelAlgorithms.mac(12) else { return -ENOSYS }
                return socket.request(SAMessages.add(description, .separate(null, UnsafeRawBufferPointer(start: nil, count: 0), mac, key)))
            }
            if result == 0 {
                _ = socket.exchange(SAMessages.query(spi: description.spi, destination: address), .single) { answer in
                    guard let report = SAReport(answer) else { return }
                    if report.interfaceID == 1 { features |= MARTLET_PLANE_INTERFACES.rawValue }
                    if report.setMarkMask == 0xff { features |= MARTLET_PLANE_SET_MARKS.rawValue | MARTLET_PLANE_OFFLOAD.rawValue }
                }
                _ = socket.request(SAMessages.delete(spi: description.spi, destination: address))
            }
            if SegmentClamp.whyNot() == nil { features |= MARTLET_PLANE_SEGMENTS.rawValue }
            if Interfaces.areKnown() { features |= MARTLET_PLANE_MAKES_INTERFACES.rawValue }
            found = features
            return features
        }
    }

    private func ask(_ question: Question) -> Bool {
        if let answer = known[question] { return answer }
        let result =
            switch question {
            case .encryption(let id, let bits): attempt(.v4, encryption: id, bits: bits, integrity: nil)
            case .integrity(let id): attempt(.v4, encryption: 11, bits: 0, integrity: id)
            }
        known[question] = result == 0
        return result == 0
    }

    /// 0 or a negative errno.
    private func attempt(_ family: IPAddress.Family, encryption: UInt16, bits: UInt16, integrity: UInt16?) -> Int32 {
        // Of the loopback networks, so that no packet from outside ever has it.
        let address = family == .v4 ? IPAddress(v4: 0x7fff_fff1) : IPAddress(family: .v6, value: 1)
        let spi: UInt32 = 0x4d52_fffe
        let description = SADescription(spi: spi, reqid: Reqids.mark, path: OuterPath(source: address, destination: address), isInbound: false)
        // Some ciphers refuse a key that is all alike.
        let bytes = (0..<64).map { UInt8($0 * 3 + 1) }
        let result = bytes.withUnsafeBytes { key in
            bytes.withUnsafeBytes { other -> Int32 in
                let algorithm: KeyedAlgorithm
                if let aead = KernelAlgorithms.aead(encryption, bits: bits) {
                    algorithm = .aead(aead, UnsafeRawBufferPointer(rebasing: key[..<(aead.keyBytes + aead.saltBytes)]))
                } else if let cipher = KernelAlgorithms.cipher(encryption, bits: bits) {
                    let mac = integrity.flatMap { KernelAlgorithms.mac($0) }
                    if integrity != nil && mac == nil { return -ENOSYS }
                    algorithm = .separate(
                        cipher, UnsafeRawBufferPointer(rebasing: key[..<(cipher.keyBytes + cipher.nonceBytes)]), mac, UnsafeRawBufferPointer(rebasing: other[..<(mac?.keyBytes ?? 0)]))
                } else {
                    return -ENOSYS
                }
                return socket.request(SAMessages.add(description, algorithm))
            }
        }
        if result == 0 { _ = socket.request(SAMessages.delete(spi: spi, destination: address)) }
        // Somebody else is trying at this moment: then it can.
        return result == -EEXIST ? 0 : result
    }
}

/// The numbers that tie SAs to policies. Ours have a mark, by which a later start finds what a crash left.
struct Reqids {
    static let mark: UInt32 = 0x4d00_0000
    static func isOurs(_ reqid: UInt32) -> Bool { reqid & 0xff00_0000 == mark }

    private var last: UInt32 = 0
    private var used: Set<UInt32> = []

    /// Nil where all are taken.
    mutating func take() -> UInt32? {
        guard used.count < 0xff_ff00 else { return nil }
        repeat { last = last >= 0xff_fff0 ? 1 : last + 1 } while used.contains(last)
        used.insert(last)
        return Self.mark | last
    }
    mutating func give(back reqid: UInt32) { used.remove(reqid & ~Self.mark) }
}
