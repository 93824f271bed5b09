// What the plane holds beside SAs: policies that wait for traffic, and inner addresses.
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
        guard UInt32(description.action) == MARTLET_POLICY_TRAP.rawValue else {
            throw PlaneError(status: MARTLET_E_UNSUPPORTED, message: "policy \(String(cString: description.name)): only traps are there")
        }
        let (local, remote) = try selectors(description.local_ts, description.local_ts_count, description.remote_ts, description.remote_ts_count) {
            "policy \(String(cString: description.name))"
        }
        let before = traps[description.number]?.routes
        let routes = routing.wanted(local: local, remote: remote)
        if before == nil { trapOrder.append(description.number) }
        traps[description.number] = (Selectors(local: local, remote: remote), routes)
        publish()
        guard before != routes else { return }
        let isRouted = routing.add(routes)
        if let before { routing.remove(before) }
        // Without its routes the packets go elsewhere, and in clear.
        guard isRouted else {
            if before == nil { try removePolicy(description.number) }
            throw .system("policy \(String(cString: description.name)): not all of its routes could be installed")
        }
    }

    func removePolicy(_ number: UInt64) throws(PlaneError) {
        guard let trap = traps.removeValue(forKey: number) else { throw .notFound }
        trapOrder.removeAll { $0 == number }
        publish()
        routing.remove(trap.routes)
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
        let result = martlet_address_remove(netlink, link, &prefix)
        guard result == 0 || result == -EADDRNOTAVAIL else { throw .system("cannot take the address \(ip) from \(settings.interface): \(PlaneError.reason(result))") }
    }
}
