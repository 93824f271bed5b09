// The interface that the plane's routes lead to and that holds inner addresses. No packet ever leaves by it: policies take them before. What
// no policy takes is gone there, and not in clear on the network.

import CLinux
import Glibc
import PlaneKit

struct Anchor {
    let descriptor: Int32
    let link: Int32
    let netlink: Int32

    /// Of the largest packets there are: what a path carries is the outer route's to say.
    private static let mtu: UInt32 = 65_535

    /// A TUN interface that nobody reads. It goes with the process, however that ends, and with it its addresses and routes.
    init(_ name: String, netlink: Int32) throws(PlaneError) {
        self.netlink = netlink
        descriptor = martlet_tun_open(name, false)
        guard descriptor >= 0 else { throw .system("cannot create interface \(name): \(PlaneError.reason(descriptor))") }
        link = martlet_link_index(name)
        let up = link > 0 ? martlet_link_up(netlink, link, Self.mtu, 1) : link
        guard up == 0 else {
            Glibc.close(descriptor)
            throw .system("cannot bring \(name) up: \(PlaneError.reason(up))")
        }
    }

    func close() { Glibc.close(descriptor) }
}
