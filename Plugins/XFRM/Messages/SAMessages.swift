// Requests about SAs: XFRM_MSG_NEWSA, DELSA, GETSA, ALLOCSPI.

import CXFRM
import ESPCore
import IKEWire

/// Where the outer packets go, and whether in UDP.
package struct OuterPath: Hashable, Sendable {
    package var source: IPAddress
    package var destination: IPAddress
    /// The ports of RFC 3948, nil for bare ESP.
    package var ports: Ports?

    package struct Ports: Hashable, Sendable {
        package var source: UInt16
        package var destination: UInt16
        package init(source: UInt16, destination: UInt16) {
            self.source = source
            self.destination = destination
        }
    }

    package init(source: IPAddress, destination: IPAddress, ports: Ports? = nil) {
        self.source = source
        self.destination = destination
        self.ports = ports
    }
}

/// Those bits of a packet's mark that the mask has. Mask 0: any.
package struct KernelMark: Hashable, Sendable {
    package var value: UInt32
    package var mask: UInt32
    package static let none = KernelMark(value: 0, mask: 0)
    package init(value: UInt32, mask: UInt32) {
        self.value = value
        self.mask = mask
    }
    package var contract: xfrm_mark { xfrm_mark(v: value, m: mask) }
}

/// The device whose hardware encrypts, or carries whole packets.
package struct OffloadDevice: Hashable, Sendable {
    package var index: Int32
    package var takesPackets: Bool
    package init(index: Int32, takesPackets: Bool) {
        self.index = index
        self.takesPackets = takesPackets
    }

    /// As `xfrm_user_offload`, with the bytes behind its fields, which a structure leaves to chance.
    package typealias Contract = (index: Int32, flags: UInt8, UInt8, UInt8, UInt8)
    package func contract(isInbound: Bool, isIPv6: Bool) -> Contract {
        var flags: UInt8 = 0
        if isIPv6 { flags |= 1 }  // XFRM_OFFLOAD_IPV6
        if isInbound { flags |= 2 }  // XFRM_OFFLOAD_INBOUND
        if takesPackets { flags |= 4 }  // XFRM_OFFLOAD_PACKET, of newer headers
        return (index, flags, 0, 0, 0)
    }
}

/// What encrypts and authenticates, with its keys borrowed for one call.
package enum KeyedAlgorithm {
    /// The key with the salt behind it.
    case aead(KernelAEAD, UnsafeRawBufferPointer)
    case separate(KernelCipher, UnsafeRawBufferPointer, KernelMAC?, UnsafeRawBufferPointer)
}

package struct SALimits: Hashable, Sendable {
    /// 0 for none.
    package var softBytes: UInt64 = 0, hardBytes: UInt64 = 0, softPackets: UInt64 = 0, hardPackets: UInt64 = 0
    /// From when the SA was added first, wherever it has moved since.
    package var hardSeconds: UInt64 = 0
    package init(softBytes: UInt64 = 0, hardBytes: UInt64 = 0, softPackets: UInt64 = 0, hardPackets: UInt64 = 0, hardSeconds: UInt64 = 0) {
        self.softBytes = softBytes
        self.hardBytes = hardBytes
        self.softPackets = softPackets
        self.hardPackets = hardPackets
        self.hardSeconds = hardSeconds
    }
}

package enum XFRMMode: UInt8, Sendable { case transport = 0, tunnel = 1 }

/// One SA, without its keys.
package struct SADescription: Sendable {
    package var spi: UInt32
    package var reqid: UInt32
    package var path: OuterPath
    package var mode = XFRMMode.tunnel
    package var isInbound: Bool
    package var hasExtendedSequence = false
    package var replayWindow: UInt32 = 0
    package var copiesDF = true
    package var carriesECN = true
    /// Outbound: from the inner header to the outer one; inbound: the other way.
    package var copiesDSCP: Bool
    package var limits = SALimits()
    /// Packets that leave the SA are marked with it.
    package var setMark = KernelMark.none
    /// Packets with this mark alone meet the SA.
    package var mark = KernelMark.none
    /// Packets of this XFRM interface alone; 0 for none.
    package var interfaceID: UInt32 = 0
    package var offload: OffloadDevice?

    package init(spi: UInt32, reqid: UInt32, path: OuterPath, isInbound: Bool) {
        self.spi = spi
        self.reqid = reqid
        self.path = path
        self.isInbound = isInbound
        copiesDSCP = !isInbound
    }
}

package enum SAMessages {
    /// IPPROTO_ESP.
    package static let esp: UInt8 = 50
    /// UDP_ENCAP_ESPINUDP.
    static let espInUDP: UInt16 = 2
    package static let largestReplayWindow: UInt32 = 4096

    package static func add(_ sa: SADescription, _ algorithm: KeyedAlgorithm) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_NEWSA), flags: UInt16(NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL))
        var info = base(sa.path, spi: sa.spi, reqid: sa.reqid, mode: sa.mode)
        info.lft.soft_byte_limit = limit(sa.limits.softBytes)
        info.lft.hard_byte_limit = limit(sa.limits.hardBytes)
        info.lft.soft_packet_limit = limit(sa.limits.softPackets)
        info.lft.hard_packet_limit = limit(sa.limits.hardPackets)
        info.lft.hard_add_expires_seconds = sa.limits.hardSeconds
        // In a tunnel of one family may be packets of the other.
        if sa.mode == .tunnel { info.flags |= UInt8(XFRM_STATE_AF_UNSPEC) }
        if !sa.copiesDF { info.flags |= UInt8(XFRM_STATE_NOPMTUDISC) }
        if !sa.carriesECN { info.flags |= UInt8(XFRM_STATE_NOECN) }
        if sa.copiesDSCP && sa.isInbound { info.flags |= UInt8(XFRM_STATE_DECAP_DSCP) }
        let window = min(sa.isInbound ? sa.replayWindow : 0, largestReplayWindow)
        if sa.hasExtendedSequence {
            info.flags |= UInt8(XFRM_STATE_ESN)
        } else if window <= 32 {
            info.replay_window = UInt8(window)
        }
        message.body(info)
        add(algorithm, to: &message)
        if let ports = sa.path.ports { message.attribute(XFRMA_ENCAP, encapsulation(ports)) }
        if sa.hasExtendedSequence || window > 32 { addReplay(sa, window, to: &message) }
        if !sa.copiesDSCP && !sa.isInbound { message.attribute(XFRMA_SA_EXTRA_FLAGS, UInt32(XFRM_SA_XFLAG_DONT_ENCAP_DSCP)) }
        if sa.mark.mask != 0 { message.attribute(XFRMA_MARK, sa.mark.contract) }
        if sa.setMark.mask != 0 {
            message.attribute(XFRMA_SET_MARK, sa.setMark.value)
            if sa.setMark.mask != .max { message.attribute(XFRMA_SET_MARK_MASK, sa.setMark.mask) }
        }
        if sa.interfaceID != 0 { message.attribute(XFRMA_IF_ID, sa.interfaceID) }
        if let offload = sa.offload { message.attribute(XFRMA_OFFLOAD_DEV, offload.contract(isInbound: sa.isInbound, isIPv6: sa.path.destination.family == .v6)) }
        return message
    }

    package static func delete(spi: UInt32, destination: IPAddress, mark: KernelMark = .none) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_DELSA), flags: UInt16(NLM_F_ACK), capacity: 128)
        message.body(identifier(spi: spi, destination: destination))
        if mark.mask != 0 { message.attribute(XFRMA_MARK, mark.contract) }
        return message
    }

    /// Its answer holds the keys.
    package static func query(spi: UInt32, destination: IPAddress, mark: KernelMark = .none) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_GETSA), flags: 0, capacity: 128)
        message.body(identifier(spi: spi, destination: destination))
        if mark.mask != 0 { message.attribute(XFRMA_MARK, mark.contract) }
        return message
    }

    /// All SAs of this network namespace. The kernel's answer holds their keys as well.
    package static func dump() -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_GETSA), flags: UInt16(NLM_F_DUMP), capacity: 64)
        message.attribute(XFRMA_PROTO, esp)
        return message
    }

    /// Gives the SA that an acquire left behind an SPI, so that it can be deleted: without one it has no name.
    package static func allocate(acquire sequence: UInt32, path: OuterPath, reqid: UInt32, mode: XFRMMode, scope: PolicyScope = PolicyScope()) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_ALLOCSPI), flags: 0, capacity: 512)
        var info = xfrm_userspi_info()
        info.info = base(path, spi: 0, reqid: reqid, mode: mode)
        info.info.seq = sequence
        info.min = 0x100
        info.max = UInt32.max
        message.body(info)
        scope.add(to: &message)
        return message
    }

    // MARK: Parts

    static func base(_ path: OuterPath, spi: UInt32, reqid: UInt32, mode: XFRMMode) -> xfrm_usersa_info {
        var info = xfrm_usersa_info()
        info.id.daddr = xfrm_address_t(path.destination)
        info.id.spi = spi.bigEndian
        info.id.proto = esp
        info.saddr = xfrm_address_t(path.source)
        info.lft.soft_byte_limit = unlimited
        info.lft.hard_byte_limit = unlimited
        info.lft.soft_packet_limit = unlimited
        info.lft.hard_packet_limit = unlimited
        info.reqid = reqid
        info.family = path.destination.family.kernel
        info.mode = mode.rawValue
        return info
    }

    private static func identifier(spi: UInt32, destination: IPAddress) -> xfrm_usersa_id {
        var id = xfrm_usersa_id()
        id.daddr = xfrm_address_t(destination)
        id.spi = spi.bigEndian
        id.family = destination.family.kernel
        id.proto = esp
        return id
    }

    private static func limit(_ value: UInt64) -> UInt64 { value == 0 ? unlimited : value }

    static func encapsulation(_ ports: OuterPath.Ports) -> xfrm_encap_tmpl {
        var encapsulation = xfrm_encap_tmpl()
        encapsulation.encap_type = espInUDP
        encapsulation.encap_sport = ports.source.bigEndian
        encapsulation.encap_dport = ports.destination.bigEndian
        return encapsulation
    }

    private static func addReplay(_ sa: SADescription, _ window: UInt32, to message: inout NetlinkMessage) {
        var replay = xfrm_replay_state_esn()
        // With extended sequence numbers the kernel insists on a window, in either direction.
        let size = max(window, 32)
        replay.bmp_len = (size + 31) / 32
        replay.replay_window = size
        let bitmap = [UInt32](repeating: 0, count: Int(replay.bmp_len))
        withUnsafeBytes(of: replay) { head in bitmap.withUnsafeBytes { message.attribute(XFRMA_REPLAY_ESN_VAL, head, $0) } }
    }

    private static func add(_ algorithm: KeyedAlgorithm, to message: inout NetlinkMessage) {
        switch algorithm {
        case .aead(let aead, let key):
            var head = xfrm_algo_aead()
            name(aead.name, &head.alg_name)
            head.alg_key_len = UInt32(key.count * 8)
            head.alg_icv_len = aead.tagBits
            withUnsafeBytes(of: head) { message.attribute(XFRMA_ALG_AEAD, $0, key) }
        case .separate(let cipher, let key, let mac, let integrityKey):
            var head = xfrm_algo()
            name(cipher.name, &head.alg_name)
            head.alg_key_len = UInt32(key.count * 8)
            withUnsafeBytes(of: head) { message.attribute(XFRMA_ALG_CRYPT, $0, key) }
            if let mac {
                // Without the length the kernel would truncate HMAC-SHA-256 to 96 bits, as an old draft did.
                var head = xfrm_algo_auth()
                name(mac.name, &head.alg_name)
                head.alg_key_len = UInt32(integrityKey.count * 8)
                head.alg_trunc_len = mac.tagBits
                withUnsafeBytes(of: head) { message.attribute(XFRMA_ALG_AUTH_TRUNC, $0, integrityKey) }
            }
        }
    }

    private static func name<T>(_ text: String, _ field: inout T) {
        withUnsafeMutableBytes(of: &field) { raw in
            for (index, byte) in text.utf8.enumerated() where index < raw.count - 1 { raw[index] = byte }
        }
    }
}
