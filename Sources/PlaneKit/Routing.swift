// Routes and rules: what goes into the tunnel, and what stays out.
//
// Three rules, in order of priority:
//   P      packets without our mark: the tunnel's table, its default routes aside
//   P + 1  the main table, its default routes aside
//   P + 2  packets without our mark: the tunnel's table
// So a tunnel to a network wins over the main table, a tunnel to everywhere does not take the local networks, and the host's own
// marked packets, IKE and ESP, never enter a tunnel. What passes all tunnels has a `throw` route in the tunnel's table.

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
    /// What was carried goes nowhere then, and not by the main table.
    private var hasInterfaceGone = false

    /// A route, with those who want it. What passes wins over what is carried, which wins over what merely stays out.
    private struct Installed {
        var carrying = 0
        var throwing = 0
        var passing = 0
        var source: IPAddress?
        var sizes = Sizes()
        /// As it is in the table; nil where it is not.
        var kind: martlet_route_kind?

        var wanted: martlet_route_kind? {
            if passing > 0 { return MARTLET_ROUTE_THROW }
            return carrying > 0 ? MARTLET_ROUTE_UNICAST : throwing > 0 ? MARTLET_ROUTE_THROW : nil
        }
    }

    /// Prefixes that one selector may become; a range with ugly ends needs at most 62 for IPv4.
    static let maximumPrefixes = 256

    package init(netlink: Int32, link: Int32, settings: RoutingSettings, mark: UInt32, host: Host) {
        self.netlink = netlink
        self.link = link
        self.settings = settings
        self.mark = mark
        self.host = host
        let kept = martlet_address_keep(netlink, link)
        if kept != 0 { host.log(.warning, "the interface has no address of its own: routes go for a moment when one that a gateway has lent goes (error \(-kept))") }
    }

    /// The largest packet that a route takes, and the largest segment that TCP is told of; 0 leaves it to the kernel.
    package struct Sizes: Hashable {
        package var mtu: UInt32 = 0
        package var segment: UInt32 = 0
        package init(mtu: UInt32 = 0, segment: UInt32 = 0) {
            self.mtu = mtu
            self.segment = segment
        }
    }

    /// What a policy wants in the table.
    package struct Wanted: Hashable {
        package var unicast: Set<Prefix> = []
        /// Networks of ours inside a larger one of the peer: these stay out.
        package var throwing: Set<Prefix> = []
        /// Networks that are no tunnel's.
        package var passing: Set<Prefix> = []
        package var source: [IPAddress.Family: IPAddress] = [:]
        /// Of what is carried.
        package var sizes: [IPAddress.Family: Sizes] = [:]
        package init() {}
        var all: Set<Prefix> { unicast.union(throwing).union(passing) }
        package var isEmpty: Bool { unicast.isEmpty && throwing.isEmpty && passing.isEmpty }
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

    /// The routes of a policy that lets packets past all tunnels.
    package func wanted(past remote: [TrafficSelector]) -> Wanted {
        var wanted = Wanted()
        guard settings.installRoutes else { return wanted }
        for selector in remote {
            guard let prefixes = Prefix.covering(from: selector.start, to: selector.end, limit: Self.maximumPrefixes) else {
                host.log(.warning, "\(selector.start)-\(selector.end) is too ragged a range to route; no route made")
                continue
            }
            wanted.passing.formUnion(prefixes)
        }
        return wanted
    }

    /// Routes for one more user of each prefix.
    /// Whether all of them are there.
    @discardableResult
    package func add(_ wanted: Wanted) -> Bool {
        let isRuled = wanted.isEmpty || hasRules || addRules()
        change(wanted, by: 1)
        return isRuled && wanted.all.allSatisfy { installed[$0]?.kind != nil }
    }

    package func remove(_ wanted: Wanted) {
        change(wanted, by: -1)
        if installed.isEmpty && hasRules { removeRules() }
    }

    // MARK: Addresses of this host that go

    /// Before one does: the kernel takes the routes along that name it. Whoever still wants them has them without it.
    package func leave(_ address: IPAddress) {
        for (prefix, route) in installed where route.source == address {
            installed[prefix]?.source = nil
            if route.kind == MARTLET_ROUTE_UNICAST { _ = make(prefix, MARTLET_ROUTE_UNICAST, nil, route.sizes, replaces: true) }
        }
    }

    /// Afterwards: what has gone all the same is put back, so that nothing that is wanted in a tunnel, or nowhere, goes by the main table.
    package func restore(_ family: IPAddress.Family) {
        let count = putBack { $0.family == family }
        if count > 0 { host.log(.notice, "put \(count) routes back that went with an address") }
    }

    // MARK: What others take away

    /// What `martlet_route_events_read` asks for.
    package var table: UInt32 { settings.table }

    /// Somebody has taken away routes, rules or addresses: what is missing is there again.
    package func restore() {
        if !hasInterfaceGone { _ = martlet_address_keep(netlink, link) }
        // Those that are there stay, whatever becomes of the others.
        if hasRules, let failed = makeRules() {
            host.log(.error, "not all routing rules of table \(settings.table) are there, and one for IPv\(failed.family) cannot be put back: error \(-failed.error)")
        }
        let count = putBack { _ in true }
        if count > 0 { host.log(.warning, "somebody has taken \(count) routes of this daemon's out of table \(settings.table): they are there again") }
    }

    /// The interface is no more: what was carried is dropped until the daemon begins anew.
    /// False where that is known.
    package func interfaceHasGone() -> Bool {
        guard !hasInterfaceGone else { return false }
        hasInterfaceGone = true
        _ = putBack { _ in true }
        return true
    }

    /// How many were missing.
    private func putBack(_ isMeant: (Prefix) -> Bool) -> Int {
        var count = 0
        for (prefix, route) in installed where isMeant(prefix) {
            guard let kind = route.kind else { continue }
            if add(prefix, kind, kind == MARTLET_ROUTE_UNICAST ? route.source : nil, route.sizes, replaces: false) == 0 { count += 1 }
        }
        return count
    }

    /// As the kernel gets it.
    private func actual(_ kind: martlet_route_kind) -> martlet_route_kind { hasInterfaceGone && kind == MARTLET_ROUTE_UNICAST ? MARTLET_ROUTE_BLACKHOLE : kind }

    private func change(_ wanted: Wanted, by count: Int) {
        for prefix in wanted.passing { change(prefix) { $0.passing += count } }
        for prefix in wanted.throwing { change(prefix) { $0.throwing += count } }
        for prefix in wanted.unicast {
            change(prefix) { route in
                if route.carrying == 0 { route.source = wanted.source[prefix.family] }
                route.carrying += count
                let sizes = wanted.sizes[prefix.family] ?? Sizes()
                // Who came last says how large packets may be.
                guard count > 0, sizes != route.sizes else { return }
                route.sizes = sizes
                if route.kind == MARTLET_ROUTE_UNICAST { _ = make(prefix, MARTLET_ROUTE_UNICAST, route.source, sizes, replaces: true) }
            }
        }
    }

    /// Counts, and brings the table in line.
    private func change(_ prefix: Prefix, _ body: (inout Installed) -> Void) {
        var route = installed[prefix] ?? Installed()
        body(&route)
        if let old = route.kind, route.wanted != old {
            var contract = prefix.contract
            let result = martlet_route_remove(netlink, settings.table, &contract, actual(old))
            if result != 0 { host.log(.warning, "cannot remove the route to \(Self.text(prefix)): error \(-result)") }
            route.kind = nil
        }
        if let kind = route.wanted, route.kind == nil, make(prefix, kind, kind == MARTLET_ROUTE_UNICAST ? route.source : nil, route.sizes) { route.kind = kind }
        installed[prefix] = route.kind == nil ? nil : route
    }

    /// What a dead predecessor has left in the table and the rules.
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

    /// Whether the route is there.
    private func make(_ prefix: Prefix, _ kind: martlet_route_kind, _ source: IPAddress?, _ sizes: Sizes, replaces: Bool = false) -> Bool {
        let result = add(prefix, kind, source, sizes, replaces: replaces)
        switch result {
        case 0: break
        case -EEXIST: host.log(.error, "table \(settings.table) has a route to \(Self.text(prefix)) of somebody else's, which is left as it is: nothing goes there through the tunnel")
        default: host.log(.error, "cannot install the route to \(Self.text(prefix)) in table \(settings.table): error \(-result)")
        }
        return result == 0
    }

    /// 0 or a negative errno.
    private func add(_ prefix: Prefix, _ kind: martlet_route_kind, _ source: IPAddress?, _ sizes: Sizes, replaces: Bool) -> Int32 {
        var contract = prefix.contract
        func add(_ hint: UnsafePointer<martlet_prefix>?) -> Int32 { martlet_route_add(netlink, settings.table, &contract, actual(kind), link, hint, sizes.mtu, sizes.segment, replaces) }
        var result: Int32 = -EINVAL
        if let source {
            var hint = Prefix(family: source.family, value: source.value, length: source.bitCount).contract
            result = add(&hint)
        }
        // An address that is not usable as a source (yet) is only a hint lost.
        return result != 0 && result != -EEXIST ? add(nil) : result
    }

    /// Whether all of them are there: without them nobody looks into the table, and the next policy tries again.
    private func addRules() -> Bool {
        hasRules = true
        guard let failed = makeRules() else { return true }
        host.log(.error, "cannot install the routing rules for IPv\(failed.family): error \(-failed.error)")
        removeRules()
        return false
    }

    /// The first that could not be made; those that are there already are as good.
    private func makeRules() -> (family: UInt8, error: Int32)? {
        let main: UInt32 = 254
        for family in [4, 6] as [UInt8] {
            let results = [
                martlet_rule_add(netlink, family, settings.rulePriority, settings.table, mark, 0),
                martlet_rule_add(netlink, family, settings.rulePriority + 1, main, 0, 0),
                martlet_rule_add(netlink, family, settings.rulePriority + 2, settings.table, mark, -1),
            ]
            // A kernel without IPv6 has no IPv6 rules either.
            if let failed = results.first(where: { $0 != 0 && !(family == 6 && ($0 == -EAFNOSUPPORT || $0 == -EOPNOTSUPP)) }) { return (family, failed) }
        }
        return nil
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
