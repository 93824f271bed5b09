// What the plane holds beside SAs: policies that wait for traffic, pass it or drop it, and inner addresses.
// RFC 4301 section 4.4.1.

import CLinux
import ESPCore
import Glibc
import IKEWire
import PlaneKit
import PluginABI

extension Plane {
    // MARK: Policies

    func set(_ policy: UnsafePointer<martlet_policy>) throws(PlaneError) {
        let description = policy.pointee
        guard description.struct_size >= UInt32(MemoryLayout<martlet_policy>.size), description.number >> 63 == 1 else {
            throw .invalid("a policy of \(description.struct_size) bytes with the number \(description.number)")
        }
        guard let action = StandingPolicy.Action(rawValue: UInt32(description.action)) else {
            throw PlaneError(status: MARTLET_E_UNSUPPORTED, message: "policy \(String(cString: description.name)): there is no action \(description.action)")
        }
        let (local, remote) = try selectors(description.local_ts, description.local_ts_count, description.remote_ts, description.remote_ts_count) {
            "policy \(String(cString: description.name))"
        }
        if action == .pass, let reason = Self.unpassable(local: local, remote: remote) {
            throw PlaneError(status: MARTLET_E_UNSUPPORTED, message: "policy \(String(cString: description.name)): \(reason)")
        }
        let old = standing[description.number], before = old?.routes
        let routes = action == .pass ? routing.wanted(past: remote) : routing.wanted(local: local, remote: remote)
        if before == nil { standingOrder.append(description.number) }
        standing[description.number] = StandingPolicy(action: action, selectors: Selectors(local: local, remote: remote), routes: routes)
        publish()
        guard before != routes else { return }
        // Without its routes the packets go elsewhere, and in clear: then what stood before stands on.
        guard routing.add(routes) else {
            if let old {
                standing[description.number] = old
                publish()
                routing.remove(routes)
            } else {
                try removePolicy(description.number)
            }
            throw .system("policy \(String(cString: description.name)): not all of its routes could be installed")
        }
        if let before { routing.remove(before) }
    }

    func removePolicy(_ number: UInt64) throws(PlaneError) {
        guard let policy = standing.removeValue(forKey: number) else { throw .notFound }
        standingOrder.removeAll { $0 == number }
        publish()
        routing.remove(policy.routes)
    }

    /// Packets pass the interface by, which routes see to: these know a destination and no more. What would let other packets out in clear
    /// as well is refused.
    private static func unpassable(local: [TrafficSelector], remote: [TrafficSelector]) -> String? {
        guard (local + remote).allSatisfy({ $0.ipProtocol == 0 && $0.startPort == 0 && $0.endPort == 65535 }) else {
            return "routes cannot tell protocols and ports apart, so that all packets to these networks would pass"
        }
        func isEvery(_ selector: TrafficSelector) -> Bool { selector.start.value == 0 && selector.end.value == (selector.start.family == .v4 ? 0xffff_ffff : .max) }
        for there in remote where !local.contains(where: { $0.start.family == there.start.family && isEvery($0) }) {
            return "routes cannot tell senders apart, so that packets of others to these networks would pass as well: leave local_ts out, which lets all pass, or take plane = xfrm"
        }
        return nil
    }

    // MARK: Addresses

    func addAddress(_ address: martlet_address) throws(PlaneError) {
        guard let ip = SocketAddress(address)?.address else { throw .invalid("an inner address of the family \(address.family)") }
        var prefix = Prefix(family: ip.family, value: ip.value, length: ip.bitCount).contract
        let result = martlet_address_add(netlink, link, &prefix)
        guard result == 0 else { throw .system("cannot give \(settings.interface) the address \(ip): \(PlaneError.reason(result))") }
        addresses.insert(ip)
    }

    func removeAddress(_ address: martlet_address) throws(PlaneError) {
        guard let ip = SocketAddress(address)?.address, addresses.remove(ip) != nil else { throw .notFound }
        var prefix = Prefix(family: ip.family, value: ip.value, length: ip.bitCount).contract
        routing.leave(ip)
        let result = martlet_address_remove(netlink, link, &prefix)
        routing.restore(ip.family)
        guard result == 0 || result == -EADDRNOTAVAIL else { throw .system("cannot take the address \(ip) from \(settings.interface): \(PlaneError.reason(result))") }
    }
}
