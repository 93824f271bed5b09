// TCP connections of others that this host forwards through its tunnels: the segments that their ends tell each other of are made to fit. In a table of
// nf_tables that is ours; nothing else there is touched, and the rules see the packets of our SAs alone.

import CXFRM
import Glibc
import IKEWire
import PlaneKit
import PluginKit
import XFRMMessages

final class SegmentClamp {
    private let host: Host
    private let socket: NetlinkSocket
    /// Which sizes the kernel has, by reqid.
    private var installed: [UInt32: [IPAddress.Family: UInt16]] = [:]

    /// Nil where the kernel cannot do it, with a line that says so.
    init?(host: Host) {
        self.host = host
        do throws(PlaneError) { socket = try NetlinkSocket(bus: NETLINK_NETFILTER) } catch {
            host.log(.notice, "TCP connections that are forwarded keep their segment size: \(Self.missing(-EPROTONOSUPPORT))")
            return nil
        }
        // A kernel that does not remove the table with its owner has one of a daemon that was killed.
        let left = Self.change(socket) { $0(SegmentTable.remove()) }
        if left == 0 { host.log(.notice, "removed the table \(SegmentTable.name) that an earlier daemon has left in nf_tables") }
        var result = left == -EPERM ? left : -EOPNOTSUPP
        for isOwned in [true, false] where [-EOPNOTSUPP, -EINVAL].contains(result) {
            result = Self.change(socket) { add in SegmentTable.create(isOwned: isOwned) { add($0) } }
        }
        guard result == 0 else {
            host.log(.notice, "TCP connections that are forwarded keep their segment size: \(Self.missing(result))")
            return nil
        }
    }

    /// Why the kernel cannot do it, or nil: a table that is made and removed in one step, so that nobody ever sees it.
    static func whyNot() -> String? {
        let socket: NetlinkSocket
        do throws(PlaneError) { socket = try NetlinkSocket(bus: NETLINK_NETFILTER) } catch { return missing(-EPROTONOSUPPORT) }
        let name = "martlet-probe"
        let result = change(socket) { add in
            SegmentTable.create(name, isOwned: false) { add($0) }
            add(SegmentTable.remove(name))
        }
        return result == 0 ? nil : missing(result)
    }

    private static func missing(_ result: Int32) -> String {
        switch result {
        case -EPROTONOSUPPORT, -EOPNOTSUPP: "the kernel has no nf_tables (CONFIG_NF_TABLES_INET)"
        case -ENOENT: "the kernel's nf_tables cannot tell which tunnel a packet is of (CONFIG_NFT_XFRM)"
        case -EPERM: "another process has the table \(SegmentTable.name) of nf_tables, or this one may not change it (CAP_NET_ADMIN)"
        default: "nf_tables refuses the table \(SegmentTable.name): \(PlaneError.reason(result))"
        }
    }

    /// What fits through the tunnel of a policy; nothing where nobody knows.
    func set(_ reqid: UInt32, _ sizes: [IPAddress.Family: Routing.Sizes]) {
        let wanted = sizes.compactMapValues { $0.segment > 0 ? UInt16(exactly: $0.segment) : nil }, before = installed[reqid] ?? [:]
        guard wanted != before else { return }
        let result = Self.change(socket) { add in
            for family in [IPAddress.Family.v4, .v6] where wanted[family] != before[family] {
                if before[family] != nil { add(SegmentTable.remove(reqid, family)) }
                if let segment = wanted[family] { add(SegmentTable.add(reqid, segment, family)) }
            }
        }
        guard result == 0 else { return host.log(.warning, "the segment size of a tunnel cannot be changed in nf_tables: \(PlaneError.reason(result))") }
        installed[reqid] = wanted.isEmpty ? nil : wanted
    }

    func stop() {
        let result = Self.change(socket) { $0(SegmentTable.remove()) }
        if result != 0 && result != -ENOENT { host.log(.error, "the table \(SegmentTable.name) stays in nf_tables: \(PlaneError.reason(result))") }
        installed = [:]
    }

    /// All or nothing.
    private static func change(_ socket: NetlinkSocket, _ body: ((consuming NetlinkMessage) -> Void) -> Void) -> Int32 {
        var batch = NetlinkBatch()
        _ = batch.append(SegmentTable.begin())
        body { _ = batch.append($0) }
        _ = batch.append(SegmentTable.end())
        return socket.transaction(batch)
    }
}
