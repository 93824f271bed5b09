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

/// What encrypts and authenticates, with its keys borrowed for one call.
package enum KeyedAlgorithm {
    /// The key with the salt behind it.
    case aead(KernelAEAD, UnsafeRawBufferPointer)
    case separate(KernelCipher, UnsafeRawBufferPointer, KernelMAC?, UnsafeRawBufferPointer)
}

package struct SALimits: Hashable, Sendable {
    /// 0 for none.
    package var softBytes: UInt64 = 0, hardBytes: UInt64 = 0, softPackets: UInt64 = 0, hardPackets: UInt64 = 0
    package init(softBytes: UInt64 = 0, hardBytes: UInt64 = 0, softPackets: UInt64 = 0, hardPackets: UInt64 = 0) {
        self.softBytes = softBytes
        self.hardBytes = hardBytes
        self.softPackets = softPackets
        self.hardPackets = hardPackets
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
    package var copiesDSCP = true
    package var limits = SALimits()
    /// What the outer packets are marked with on their way out; 0 for nothing.
    package var outputMark: UInt32 = 0

    package init(spi: UInt32, reqid: UInt32, path: OuterPath, isInbound: Bool) {
        self.spi = spi
        self.reqid = reqid
        self.path = path
        self.isInbound = isInbound
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
        // In a tunnel of one family may be packets of the other.
        if sa.mode == .tunnel { info.flags |= UInt8(XFRM_STATE_AF_UNSPEC) }
        if !sa.copiesDF { info.flags |= UInt8(XFRM_STATE_NOPMTUDISC) }
        if !sa.carriesECN { info.flags |= UInt8(XFRM_STATE_NOECN) }
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
        if sa.outputMark != 0 && !sa.isInbound { message.attribute(XFRMA_SET_MARK, sa.outputMark) }
        return message
    }

    package static func delete(spi: UInt32, destination: IPAddress) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_DELSA), flags: UInt16(NLM_F_ACK), capacity: 128)
        message.body(identifier(spi: spi, destination: destination))
        return message
    }

    /// Its answer holds the keys.
    package static func query(spi: UInt32, destination: IPAddress) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_GETSA), flags: 0, capacity: 128)
        message.body(identifier(spi: spi, destination: destination))
        return message
    }

    /// All SAs of this network namespace. The kernel's answer holds their keys as well.
    package static func dump() -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_GETSA), flags: UInt16(NLM_F_DUMP), capacity: 64)
        message.attribute(XFRMA_PROTO, esp)
        return message
    }

    /// Gives the SA that an acquire left behind an SPI, so that it can be deleted: without one it has no name.
    package static func allocate(acquire sequence: UInt32, path: OuterPath, reqid: UInt32, mode: XFRMMode) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_ALLOCSPI), flags: 0, capacity: 512)
        var info = xfrm_userspi_info()
        info.info = base(path, spi: 0, reqid: reqid, mode: mode)
        info.info.seq = sequence
        info.min = 0x100
        info.max = UInt32.max
        message.body(info)
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
