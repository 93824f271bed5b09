// XFRM interfaces (CONFIG_XFRM_INTERFACE) for the numbers that SAs have, made where the settings name a prefix for them. Without one they are the
// administrator's, and so are the addresses and routes of all of them.

import CLinux
import Glibc
import PlaneKit
import PluginKit

final class Interfaces {
    private let netlink: Int32
    private let prefix: String?
    private let host: Host
    private var uses: [UInt32: Int] = [:]
    /// Those that were not there before.
    private var made: [UInt32: String] = [:]

    init(netlink: Int32, prefix: String?, host: Host) {
        self.netlink = netlink
        self.prefix = prefix
        self.host = host
    }

    /// Why the kernel cannot make one, or nil. It is asked for one that cannot be, and says first whether it knows the kind.
    var missing: String? { martlet_xfrm_interface_known(netlink) ? nil : "the kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE)" }

    /// One more SA has the number. Without its interface no packet would ever meet the SA.
    func claim(_ number: UInt32) throws(PlaneError) {
        uses[number, default: 0] += 1
        guard uses[number] == 1, let prefix else { return }
        let name = "\(prefix)\(number)"
        let result = martlet_xfrm_interface_add(netlink, name, number)
        switch result {
        case 0:
            made[number] = name
            host.log(.info, "made the interface \(name) for if_id \(number)")
        case -EEXIST where martlet_link_index(name) > 0: break
        case -EEXIST: throw .system("there is an interface for if_id \(number) already, and not with the name \(name)")
        case -EOPNOTSUPP: throw .unsupported("the kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE), which if_id \(number) needs")
        default: throw .system("cannot make the interface \(name): \(PlaneError.reason(result))")
        }
    }

    func release(_ number: UInt32) {
        guard let count = uses[number] else { return }
        uses[number] = count > 1 ? count - 1 : nil
        if count == 1, let name = made.removeValue(forKey: number) { remove(name) }
    }

    func removeAll() {
        for name in made.values { remove(name) }
        made = [:]
        uses = [:]
    }

    private func remove(_ name: String) {
        let link = martlet_link_index(name)
        guard link > 0 else { return }
        let result = martlet_link_remove(netlink, link)
        if result != 0 { host.log(.error, "the interface \(name) stays: \(PlaneError.reason(result))") }
    }
}
