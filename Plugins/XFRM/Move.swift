// New addresses for the SAs of a child: MOBIKE, and NATs that change their mind. RFC 4555 section 3.5.

import CXFRM
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import PluginKit
import XFRMMessages

extension Plane {
    private enum Outcome {
        case moved
        /// It is where it was, and why.
        case stays(String)
        /// It is nowhere.
        case lost(String)
    }

    func update(_ number: UInt64, local: martlet_address, remote: martlet_address, encapsulation: UInt8) throws(PlaneError) {
        guard var child = children[number], let policy = policies[child.policy] else { throw .notFound }
        guard let local = SocketAddress(local), let remote = SocketAddress(remote), local.address.family == remote.address.family, encapsulation <= 1 else {
            throw .invalid("child \(number): addresses or encapsulation cannot be")
        }
        let isEncapsulated = encapsulation == MARTLET_ESP_IN_UDP.rawValue
        var failure: PlaneError?
        for isInbound in [true, false] {
            guard var sa = isInbound ? child.inbound : child.outbound else { continue }
            let path = Self.path(local, remote, isEncapsulated: isEncapsulated, isInbound: isInbound)
            guard path != sa.path else { continue }
            let before = sa.id
            switch move(sa, to: path, reqid: policy.reqid, isInbound: isInbound) {
            case .moved:
                sa.path = path
                index.move(before, to: sa.id, remote: isInbound && isEncapsulated ? remote : nil)
                if isInbound { child.inbound = sa } else { child.outbound = sa }
            case .stays(let reason):
                failure = .system("SA \(hex(sa.spi)) stays where it was, \(reason): new keys are asked for, which will be at the new addresses")
                listener.report(before, reqid: policy.reqid, isHard: false)
            case .lost(let reason):
                failure = .system("SA \(hex(sa.spi)) is lost, \(reason)")
                listener.report(before, reqid: policy.reqid, isHard: true)
            }
        }
        children[number] = child
        if !claim(child.policy) { failure = failure ?? .system("child \(number): not all of its policies could be changed") }
        // Another way may take other sizes.
        if policy.active == number { route(child.policy, to: child) }
        if let failure { throw failure }
    }

    /// Where ports alone change the kernel can do it. Else nothing that the SA has counted is lost: what it was in its last moment is in the kernel's
    /// announcement that it is gone.
    private func move(_ sa: SA, to path: OuterPath, reqid: UInt32, isInbound: Bool) -> Outcome {
        let changesPorts = path.source == sa.path.source && path.destination == sa.path.destination && path.ports != nil && sa.path.ports != nil
        var moved: NetlinkMessage?, restored: NetlinkMessage?, hidesKeys = false
        let read = socket.exchange(SAMessages.query(spi: sa.spi, destination: sa.path.destination, mark: sa.mark), .single) { answer in
            hidesKeys = SAMessages.hidesKeys(answer)
            moved = SAMessages.moved(answer, to: path, replaces: changesPorts)
            restored = SAMessages.moved(answer, to: sa.path)
        }
        if read == -ESRCH { return .lost("the kernel has none of this number any more") }
        guard read == 0, var again = moved.take(), var back = restored.take() else { return .stays("it cannot be read: \(PlaneError.reason(read))") }
        if changesPorts {
            let changed = socket.request(again)
            return changed == 0 ? .moved : .stays("the kernel refuses its new ports: \(PlaneError.reason(changed))")
        }
        // Added again they would be keys that everybody knows.
        if hidesKeys { return .stays("the kernel does not show its keys") }
        var announcements: NetlinkSocket?
        do throws(PlaneError) { announcements = try NetlinkSocket(groups: UInt32(XFRMGRP_SA), eventBuffer: 1 << 20) } catch { announcements = nil }
        let removed = socket.request(SAMessages.delete(spi: sa.spi, destination: sa.path.destination, mark: sa.mark))
        if removed == -ESRCH { return .lost("it has reached its end meanwhile") }
        guard removed == 0 else { return .stays("the kernel does not remove it: \(PlaneError.reason(removed))") }
        // The kernel announces before it acknowledges.
        var last: LastState?
        if let announcements {
            while last == nil, announcements.receive({ if let state = LastState($0), state.id == sa.id { last = state } }) == nil {}
        }
        let isComplete = last.map { $0.complete(&again) && $0.complete(&back) } ?? false
        if !isComplete {
            host.log(.notice, "what SA \(hex(sa.spi)) did in its last moment before it moved is not known")
            if !isInbound {
                SAMessages.skip(&again)
                SAMessages.skip(&back)
            }
        }
        let added = put(&again, SAIdentifier(destination: path.destination, spi: sa.spi), mark: sa.mark, reqid: reqid)
        if added == 0 { return .moved }
        let reason = "the kernel refuses its new addresses: \(PlaneError.reason(added))"
        return put(&back, sa.id, mark: sa.mark, reqid: reqid) == 0 ? .stays(reason) : .lost(reason)
    }

    /// Adds the SA. A packet that came while there was none has left a placeholder of the same number, because the policy names it: that is replaced.
    private func put(_ message: inout NetlinkMessage, _ id: SAIdentifier, mark: KernelMark, reqid: UInt32) -> Int32 {
        var result: Int32 = 0
        for _ in 0..<8 {
            message.setType(UInt16(XFRM_MSG_NEWSA))
            result = socket.repeatable(&message)
            guard result == -EEXIST else { return result }
            var isPlaceholder = false
            let read = socket.exchange(SAMessages.query(spi: id.spi, destination: id.destination, mark: mark), .single) { answer in
                if let report = SAReport(answer) { isPlaceholder = report.awaiting != nil && report.reqid == reqid }
            }
            guard isPlaceholder else {
                // Somebody else's; or the placeholder was gone already.
                if read == -ESRCH { continue }
                return result
            }
            message.setType(UInt16(XFRM_MSG_UPDSA))
            result = socket.repeatable(&message)
            guard result == -ESRCH else { return result }
        }
        return result
    }
}
