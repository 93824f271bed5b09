// From the contract's description of an SA to its parts: limits, ciphers, the way its packets take.

import CLinux
import ESPCore
import Glibc
import IKECrypto
import IKEWire
import PlaneKit
import PluginABI
import PluginCrypto
import PluginKit

extension Plane {
    /// The configured limits, and for 32-bit sequence numbers the end of the sequence with room left to rekey. RFC 4303 section 3.3.3.
    static func limits(_ sa: martlet_sa) -> SACounters.Limits {
        var limits = SACounters.Limits(
            softBytes: sa.soft_bytes, hardBytes: sa.hard_bytes, softPackets: sa.soft_packets, hardPackets: sa.hard_packets)
        if UInt32(sa.direction) == MARTLET_OUTBOUND.rawValue {
            (limits.softPackets, limits.hardPackets) = PacketLimits.outbound(
                soft: sa.soft_packets, hard: sa.hard_packets, extended: UInt32(sa.flags) & MARTLET_SA_ESN.rawValue != 0)
        }
        return limits
    }

    func suite(_ sa: martlet_sa) throws(PlaneError) -> Host.Suite {
        let provider = sa.provider.map { String(cString: $0) }
        do throws(Host.Missing) {
            return try host.suite(encryption: sa.encryption_id, bits: sa.encryption_bits, integrity: sa.integrity_id, provider: provider)
        } catch {
            throw PlaneError(status: MARTLET_E_UNSUPPORTED, message: "SA \(hex(sa.spi)): \(error.description)")
        }
    }

    func makeOpener(_ sa: martlet_sa, _ suite: Host.Suite) throws(PlaneError) -> Opener {
        let window = ReplayWindow(size: Int(min(sa.replay_window, 1 << 20)), extended: UInt32(sa.flags) & MARTLET_SA_ESN.rawValue != 0)
        do throws(CryptoError) {
            switch suite {
            case .aead(let aead): return try Opener(window: window, aead: aead, keyMaterial: Self.span(sa.key))
            case .separate(let cipher, let mac, _):
                return try Opener(window: window, cipher: cipher, key: Self.span(sa.key), mac: mac, integrityKey: Self.span(sa.integrity_key))
            }
        } catch { throw .invalid("SA \(hex(sa.spi)): the key does not fit the algorithm (\(error))") }
    }

    func makeSealer(_ sa: martlet_sa, _ suite: Host.Suite) throws(PlaneError) -> Sealer {
        let extended = UInt32(sa.flags) & MARTLET_SA_ESN.rawValue != 0
        do throws(CryptoError) {
            switch suite {
            case .aead(let aead): return try Sealer(spi: sa.spi, extended: extended, aead: aead, keyMaterial: Self.span(sa.key))
            case .separate(let cipher, let mac, let random):
                return try Sealer(
                    spi: sa.spi, extended: extended, cipher: cipher, key: Self.span(sa.key), mac: mac, integrityKey: Self.span(sa.integrity_key),
                    random: random)
            }
        } catch { throw .invalid("SA \(hex(sa.spi)): the key does not fit the algorithm (\(error))") }
    }

    func makePath(
        _ layout: PacketLayout, _ encapsulation: Encapsulation, _ local: SocketAddress, _ remote: SocketAddress
    ) throws(PlaneError) -> OutboundPath {
        let family = UInt16(remote.address.family == .v4 ? AF_INET : AF_INET6)
        let kind =
            switch (encapsulation, remote.address.family) {
            case (.udp, _): MARTLET_SOCKET_UDP_ENCAP
            case (.bare, .v4): MARTLET_SOCKET_ESP4
            case (.bare, .v6): MARTLET_SOCKET_ESP6
            }
        // As the sending worker numbers them: its own, in order.
        let own = sockets.filter { $0.worker == 0 }
        let fitting = own.indices.filter { own[$0].kind == UInt32(kind.rawValue) && own[$0].family == family }
        guard let socket = fitting.first(where: { encapsulation == .bare || own[$0].port == local.port }) ?? fitting.first else {
            throw .invalid("no socket for \(encapsulation == .udp ? "ESP in UDP" : "ESP") over IPv\(remote.address.family.rawValue)")
        }
        return OutboundPath(
            encapsulation: encapsulation, from: local.outer(withPort: false), to: remote.outer(withPort: encapsulation == .udp), socket: socket,
            layout: layout, pathMTU: settings.pathMTU, smallest: Settings.mtuRange.lowerBound)
    }

    func innerMTU(_ layout: PacketLayout, _ encapsulation: Encapsulation, _ remote: SocketAddress) -> Int {
        // Below 1280 IPv6 does not work; the outer packets then go in fragments.
        max(layout.innerMTU(pathMTU: settings.pathMTU, encapsulation, remote.address.family), Settings.mtuRange.lowerBound)
    }

    /// The host's memory, which lives until the call that is under way returns.
    @_lifetime(immortal)
    static func span(_ bytes: martlet_bytes) -> Span<UInt8> {
        let span = Span(_unsafeElements: UnsafeBufferPointer(start: bytes.data, count: bytes.data == nil ? 0 : bytes.size))
        return _overrideLifetime(span, copying: ())
    }
}
