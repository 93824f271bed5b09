// XFRM interfaces (CONFIG_XFRM_INTERFACE) for the numbers that SAs have, made where the settings name a prefix for them. Without one they are the
// administrator's, and so are the addresses and routes of all of them.

import CXFRM
import Glibc
import PlaneKit
import PluginKit
import XFRMMessages

final class Interfaces {
    private let socket: NetlinkSocket
    private let prefix: String?
    private let host: Host
    private var uses: [UInt32: Int] = [:]
    /// Those that were not there before.
    private var made: [UInt32: String] = [:]

    init(prefix: String?, host: Host) throws(PlaneError) {
        socket = try NetlinkSocket(bus: NETLINK_ROUTE)
        self.prefix = prefix
        self.host = host
    }

    static let missing = "the kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE)"

    /// Whether the kernel can make one.
    static func areKnown() -> Bool {
        guard let socket = try? NetlinkSocket(bus: NETLINK_ROUTE) else { return false }
        return [-ERANGE, -EINVAL].contains(socket.request(InterfaceMessages.probe()))
    }

    /// Removes those of a daemon that was killed: their addresses and routes were for peers of its own, and their numbers are given to others now.
    func removeLeftovers() {
        let left = links().filter(\.isOurs)
        for link in left { remove(link) }
        if !left.isEmpty { host.log(.notice, "removed the interfaces that an earlier daemon has left: \(left.map(\.name).joined(separator: ", "))") }
    }

    /// One more SA has the number; `isExclusive` where it was chosen for its tunnel. Without its interface no packet would ever meet the SA.
    func claim(_ number: UInt32, isExclusive: Bool) throws(PlaneError) {
        uses[number, default: 0] += 1
        guard uses[number] == 1, let prefix else { return }
        let name = "\(prefix)\(number)"
        let result = socket.request(InterfaceMessages.add(name, number))
        switch result {
        case 0: made[number] = name
        case -EEXIST:
            if let reason = XFRMLink.whyNone(name, number, isExclusive: isExclusive, among: links()) { throw .system(reason) }
            return
        case -EOPNOTSUPP: throw .unsupported("\(Self.missing), which if_id \(number) needs")
        default: throw .system("cannot make the interface \(name): \(PlaneError.reason(result))")
        }
        let opened = socket.request(InterfaceMessages.open(name))
        guard opened == 0 else {
            removeMade(number)
            throw .system("cannot bring the interface \(name) up: \(PlaneError.reason(opened))")
        }
        host.log(.info, "made the interface \(name) for if_id \(number)")
    }

    func release(_ number: UInt32) {
        guard let count = uses[number] else { return }
        uses[number] = count > 1 ? count - 1 : nil
        if count == 1 { removeMade(number) }
    }

    func removeAll() {
        for number in made.keys { removeMade(number) }
        uses = [:]
    }

    private func links() -> [XFRMLink] {
        var links: [XFRMLink] = []
        let result = socket.exchange(InterfaceMessages.dump(), .dump) { if let link = XFRMLink($0) { links.append(link) } }
        if result != 0 { host.log(.error, "the interfaces cannot be read: \(PlaneError.reason(result))") }
        return links
    }

    /// Whoever has renamed it meanwhile still has our number.
    private func removeMade(_ number: UInt32) {
        guard let name = made.removeValue(forKey: number) else { return }
        for link in links() where link.number == number && (link.isOurs || link.name == name) { remove(link) }
    }

    private func remove(_ link: XFRMLink) {
        let result = socket.request(InterfaceMessages.remove(link.index))
        if result != 0 && result != -ENODEV { host.log(.error, "the interface \(link.name) stays: \(PlaneError.reason(result))") }
    }
}
