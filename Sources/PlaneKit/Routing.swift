// Routes and rules: what goes into the tunnel, and what stays out.
//
// Three rules, in order of priority:
//   P      packets without our mark: the tunnel's table, its default routes aside
//   P + 1  the main table, its default routes aside
//   P + 2  packets without our mark: the tunnel's table
// So a tunnel to a network wins over the main table, a tunnel to everywhere does not take the local networks, and the host's own
// marked packets, IKE and ESP, never enter a tunnel.

import CLinux
import ESPCore
import Glibc
import IKEWire
import PluginABI
import PluginKit

/// What the configuration of a plane says of its routes.
package struct RoutingSettings: Sendable {
    package var table: UInt32 = 52100
    /// The first of three rules.
    package var rulePriority: UInt32 = 5210
    package var installRoutes = true
    package init() {}
}

package final class Routing {
    private let netlink: Int32
    private let link: Int32
    private let settings: RoutingSettings
    private let mark: UInt32
    private let host: Host
    private var installed: [Prefix: Installed] = [:]
    private var hasRules = false

    private struct Installed {
        var users: Int
        var kind: martlet_route_kind
    }

    /// Prefixes that one selector may become; a range with ugly ends needs at most 62 for IPv4.
    static let maximumPrefixes = 256

    package init(netlink: Int32, link: Int32, settings: RoutingSettings, mark: UInt32, host: Host) {
        self.netlink = netlink
        self.link = link
        self.settings = settings
        self.mark = mark
        self.host = host
    }

    /// What a policy wants in the table.
    package struct Wanted: Hashable {
        package var unicast: Set<Prefix> = []
        /// Networks of ours inside a larger one of the peer: these stay out.
        package var throwing: Set<Prefix> = []
        package var source: [IPAddress.Family: IPAddress] = [:]
        package init() {}
        package var isEmpty: Bool { unicast.isEmpty && throwing.isEmpty }
    }

    /// The routes of a policy. A selector's ports and protocol play no part here: what the route takes and the policy does not is
    /// dropped and counted.
    package func wanted(local: [TrafficSelector], remote: [TrafficSelector]) -> Wanted {
        var wanted = Wanted()
        guard settings.installRoutes else { return wanted }
        for selector in remote {
            guard let prefixes = Prefix.covering(from: selector.start, to: selector.end, limit: Self.maximumPrefixes) else {
                host.log(.warning, "\(selector.start)-\(selector.end) is too ragged a range to route; no route made")
                continue
            }
            wanted.unicast.formUnion(prefixes)
        }
        for own in local {
            let inside = remote.contains {
                $0.start.family == own.start.family && $0.start.value <= own.start.value && own.end.value <= $0.end.value
                    && ($0.start.value, $0.end.value) != (own.start.value, own.end.value)
            }
            if inside, let prefixes = Prefix.covering(from: own.start, to: own.end, limit: Self.maximumPrefixes) {
                wanted.throwing.formUnion(prefixes.filter { !wanted.unicast.contains($0) })
            }
        }
        for family in [IPAddress.Family.v4, .v6] where remote.contains(where: { $0.start.family == family }) {
            wanted.source[family] = ownAddress(family, inside: local)
        }
        return wanted
    }

    /// Routes for one more user of each prefix.
    /// Whether all of them are there.
    @discardableResult
    package func add(_ wanted: Wanted) -> Bool {
        if !hasRules && !(wanted.unicast.isEmpty && wanted.throwing.isEmpty) { addRules() }
        for prefix in wanted.throwing { add(prefix, MARTLET_ROUTE_THROW, nil) }
        for prefix in wanted.unicast { add(prefix, MARTLET_ROUTE_UNICAST, wanted.source[prefix.family]) }
        return wanted.unicast.union(wanted.throwing).allSatisfy { installed[$0] != nil }
    }

    package func remove(_ wanted: Wanted) {
        for prefix in wanted.unicast.union(wanted.throwing) {
            guard var route = installed[prefix] else { continue }
            route.users -= 1
            if route.users > 0 {
                installed[prefix] = route
                continue
            }
            installed[prefix] = nil
            var contract = prefix.contract
            let result = martlet_route_remove(netlink, settings.table, &contract, route.kind)
            if result != 0 { host.log(.warning, "cannot remove the route to \(Self.text(prefix)): error \(-result)") }
        }
        if installed.isEmpty && hasRules { removeRules() }
    }

    /// Everything in the table and the rules, ours or a dead predecessor's.
    package func clean() {
        let routes = martlet_route_flush(netlink, settings.table)
        let rules = removeRules()
        if routes > 0 || rules > 0 { host.log(.notice, "removed \(routes) routes and \(rules) rules left in table \(settings.table)") }
        installed.removeAll()
    }

    /// At the end: in silence.
    package func removeAll() {
        martlet_route_flush(netlink, settings.table)
        removeRules()
        installed.removeAll()
    }

    private func add(_ prefix: Prefix, _ kind: martlet_route_kind, _ source: IPAddress?) {
        if var route = installed[prefix] {
            route.users += 1
            installed[prefix] = route
            return
        }
        var contract = prefix.contract
        var result: Int32
        if let source {
            var hint = Prefix(family: source.family, value: source.value, length: source.bitCount).contract
            result = martlet_route_add(netlink, settings.table, &contract, kind, link, &hint, 0)
            // An address that is not usable as a source (yet) is only a hint lost.
            if result != 0 { result = martlet_route_add(netlink, settings.table, &contract, kind, link, nil, 0) }
        } else {
            result = martlet_route_add(netlink, settings.table, &contract, kind, link, nil, 0)
        }
        if result == 0 {
            installed[prefix] = Installed(users: 1, kind: kind)
        } else {
            host.log(.error, "cannot install the route to \(Self.text(prefix)) in table \(settings.table): error \(-result)")
        }
    }

    private func addRules() {
        hasRules = true
        let main: UInt32 = 254
        for family in [4, 6] as [UInt8] {
            let results = [
                martlet_rule_add(netlink, family, settings.rulePriority, settings.table, mark, 0),
                martlet_rule_add(netlink, family, settings.rulePriority + 1, main, 0, 0),
                martlet_rule_add(netlink, family, settings.rulePriority + 2, settings.table, mark, -1),
            ]
            // A kernel without IPv6 has no IPv6 rules either.
            if let failed = results.first(where: { $0 != 0 && !(family == 6 && ($0 == -EAFNOSUPPORT || $0 == -EOPNOTSUPP)) }) {
                host.log(.error, "cannot install the routing rules for IPv\(family): error \(-failed)")
            }
        }
    }

    @discardableResult
    private func removeRules() -> Int {
        hasRules = false
        var removed = 0
        for family in [4, 6] as [UInt8] {
            for (offset, table) in [(0, settings.table), (1, 254), (2, settings.table)] as [(UInt32, UInt32)] {
                removed += Int(max(0, martlet_rule_remove(netlink, family, settings.rulePriority + offset, table)))
            }
        }
        return removed
    }

    /// Whether this host has the address.
    package func isOwn(_ address: IPAddress) -> Bool {
        ownAddress(address.family, inside: [TrafficSelector(ipProtocol: 0, startPort: 0, endPort: UInt16.max, start: address, end: address)]) != nil
    }

    /// An address of this host that the peer expects packets from.
    private func ownAddress(_ family: IPAddress.Family, inside local: [TrafficSelector]) -> IPAddress? {
        final class Search {
            let ranges: [ClosedRange<UInt128>]
            let family: IPAddress.Family
            var found: IPAddress?
            init(_ ranges: [ClosedRange<UInt128>], _ family: IPAddress.Family) {
                self.ranges = ranges
                self.family = family
            }
        }
        // Where everything is inside, the kernel's own choice is as good.
        let whole: UInt128 = family == .v4 ? 0xffff_ffff : .max
        let ranges = local.filter { $0.start.family == family && $0.start.value <= $0.end.value }.map { $0.start.value...$0.end.value }
        if ranges.isEmpty || ranges.contains(0...whole) { return nil }
        let search = Search(ranges, family)
        _ = martlet_addresses(
            netlink, family.rawValue,
            { context, address in
                guard let context, let address else { return }
                let search = Unmanaged<Search>.fromOpaque(context).takeUnretainedValue()
                guard search.found == nil, let ip = IPAddress(family: address.pointee.family, bytes: address.pointee.bytes) else { return }
                if search.ranges.contains(where: { $0.contains(ip.value) }) { search.found = ip }
            }, Unmanaged.passUnretained(search).toOpaque())
        return search.found
    }

    private static func text(_ prefix: Prefix) -> String { "\(IPAddress(family: prefix.family, value: prefix.value))/\(prefix.length)" }
}
