// How large packets may be that go into a tunnel: the routes say so, so that senders cut theirs to fit, and TCP's peers hear of it (MSS). RFC 4301
// section 8.2.2, RFC 6691. The kernel knows the size of the tunnel's packets itself, and what TCP tells its peers it takes from the outer way.

import CLinux
import CXFRM
import ESPCore
import IKEWire
import PlaneKit
import PluginABI
import XFRMMessages

extension KeyedAlgorithm {
    /// The bytes that it adds to a packet. RFC 4303 section 2.
    var layout: PacketLayout {
        switch self {
        case .aead(let aead, _): PacketLayout(ivLength: 8, icvLength: Int(aead.tagBits) / 8, blockLength: 4)
        case .separate(let cipher, _, let mac, _): PacketLayout(ivLength: cipher.ivBytes, icvLength: Int(mac?.tagBits ?? 0) / 8, blockLength: cipher.blockBytes)
        }
    }
}

extension Plane {
    /// What the way of an outgoing SA leaves for inner packets now; what happens to the way later, packets that are too large will tell.
    func sizes(_ sa: SA) -> [IPAddress.Family: Routing.Sizes] {
        guard settings.mtu != .no || settings.clampsSegmentSize else { return [:] }
        let family = sa.path.destination.family
        var destination = SocketAddress(address: sa.path.destination, port: 4500).outer(withPort: true)
        let inner: Int
        switch settings.mtu {
        case .fixed(let mtu): inner = mtu
        case .automatic, .no:
            let path = martlet_path_mtu(&destination, mark)
            guard path > 0 else { return [:] }
            inner = sa.layout.innerMTU(pathMTU: Int(path), sa.path.ports == nil ? .bare : .udp, family)
        }
        var sizes: [IPAddress.Family: Routing.Sizes] = [:]
        for (family, smallest, headers) in [(.v4, 576, 40), (.v6, 1280, 60)] as [(IPAddress.Family, Int, Int)] {
            // IPv6 has no smaller packets: what is too large for the way is then cut outside.
            let mtu = min(max(inner, smallest), 65_535)
            sizes[family] = Routing.Sizes(mtu: settings.mtu == .no ? 0 : UInt32(mtu), segment: settings.clampsSegmentSize ? UInt32(mtu - headers) : 0)
        }
        return sizes
    }
}
