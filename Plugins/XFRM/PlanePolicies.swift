// Which policies and routes follow from children, and those that have no SAs. RFC 4301 section 4.4.1.

import CLinux
import ESPCore
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import XFRMMessages

/// A trap, a bypass or a drop.
struct AlonePolicy {
    var reqid: UInt32?
    var routes = Routing.Wanted()
}

extension Plane {
    /// Tells the kernel which policies the children of a policy need now. Whether it took all.
    func claim(_ number: UInt64) -> Bool {
        var wanted: [(key: PolicyKey, claim: PolicyClaim)] = []
        if var policy = policies[number] {
            if let child = policy.active.flatMap({ children[$0] }), let sa = child.outbound {
                let template = PolicyTemplate(source: sa.path.source, destination: sa.path.destination, reqid: policy.reqid, spi: sa.spi, mode: child.mode, offload: sa.packetDevice)
                for selector in child.selectors { wanted.append((PolicyKey(.outbound, selector, sa.scope), PolicyClaim(.active, .protect(template)))) }
                policy.standing = (child.selectors, sa.path, child.mode, sa.scope)
                policies[number] = policy
            } else if let standing = policy.standing, policy.children.contains(where: { children[$0]?.isClosing == false }) {
                let template = PolicyTemplate(source: standing.path.source, destination: standing.path.destination, reqid: policy.reqid, mode: standing.mode)
                for selector in standing.selectors { wanted.append((PolicyKey(.outbound, selector, standing.scope), PolicyClaim(.standing, .protect(template)))) }
            }
            // A child that was closed, and not replaced, leaves its packets to whoever else takes them: to a wider one, or to the routes, which end them.
            let isClosed = policy.children.allSatisfy { children[$0]?.isClosing ?? true }
            let inbound = isClosed ? [] : policy.children.compactMap { children[$0] }.filter { $0.inbound != nil }
            // While SAs of one policy differ in their addresses, the reqid alone says what belongs to it.
            let paths = Set(inbound.compactMap { $0.inbound?.path }.map { OuterPath(source: $0.source, destination: $0.destination) })
            for child in inbound {
                guard let sa = child.inbound else { continue }
                let path = sa.path
                let none = IPAddress(family: path.source.family, value: 0)
                let isSame = child.mode == .tunnel && paths.count == 1
                let template = PolicyTemplate(source: isSame ? path.source : none, destination: isSame ? path.destination : none, reqid: policy.reqid, mode: child.mode, offload: sa.packetDevice)
                for selector in child.selectors {
                    // Nothing in transport mode is forwarded.
                    for direction in child.mode == .tunnel ? [PolicyDirection.inbound, .forward] : [.inbound] {
                        wanted.append((PolicyKey(direction, selector.reversed, sa.scope), PolicyClaim(.active, .protect(template))))
                    }
                }
                let outboundScope = child.outbound?.scope ?? policy.standing?.scope ?? PolicyScope()
                for own in inside(child.local, child.remote) {
                    let selector = KernelSelector(source: own, destination: own)
                    for direction in PolicyDirection.allCases {
                        wanted.append((PolicyKey(direction, selector, direction == .outbound ? outboundScope : sa.scope), PolicyClaim(.standing, .pass)))
                    }
                }
            }
        }
        return shared.table.withLock { $0.set(number, wanted, performing: perform) }
    }

    /// Networks of ours inside a larger one of the peer: what stays within them is not for the tunnel.
    private func inside(_ local: [TrafficSelector], _ remote: [TrafficSelector]) -> [Prefix] {
        local.filter { own in
            remote.contains { $0.start.family == own.start.family && $0.start.value <= own.start.value && own.end.value <= $0.end.value && ($0.start, $0.end) != (own.start, own.end) }
        }.flatMap { Prefix.covering(from: $0.start, to: $0.end, limit: 64) ?? [] }
    }

    /// Tells the kernel of them, many at once; behind the last ones of a change comes `farewell`. What it took.
    func perform(_ operations: [PolicyTable.Operation], isLast: Bool) -> [Bool] {
        var results: [Int32] = []
        var batch = NetlinkBatch()
        func message(_ operation: PolicyTable.Operation) -> NetlinkMessage {
            switch operation {
            case .add(let policy): PolicyMessages.set(policy, isNew: true)
            case .change(let policy): PolicyMessages.set(policy, isNew: false)
            case .remove(let policy): PolicyMessages.delete(index: policy.index, direction: policy.direction, scope: policy.scope)
            }
        }
        for operation in operations {
            if !batch.hasRoom {
                results += socket.request(batch)
                batch = NetlinkBatch()
            }
            _ = batch.append(message(operation))
        }
        if isLast, let sa = farewell.take() {
            if !batch.hasRoom {
                results += socket.request(batch)
                batch = NetlinkBatch()
            }
            _ = batch.append(SAMessages.delete(spi: sa.spi, destination: sa.path.destination, mark: sa.mark))
            results += socket.request(batch)
            noteRemoval(sa, results.popLast() ?? -ETIMEDOUT)
        } else {
            results += socket.request(batch)
        }
        return zip(operations, results).map { isTaken($0, $1) }
    }

    func noteRemoval(_ sa: SA, _ result: Int32) {
        if result != 0 && result != -ESRCH { host.log(.error, "SA \(hex(sa.spi)) stays in the kernel: \(PlaneError.reason(result))") }
    }

    /// What became of one, with a line for what did not become.
    private func isTaken(_ operation: PolicyTable.Operation, _ result: Int32) -> Bool {
        if result == 0 { return true }
        switch operation {
        case .add(let policy) where result == -EEXIST:
            host.log(.error, "the kernel has a policy of somebody else's from \(text(policy.selector.source)) to \(text(policy.selector.destination)), which is left as it is")
        case .add(let policy), .change(let policy):
            host.log(.error, "the kernel refuses a policy from \(text(policy.selector.source)) to \(text(policy.selector.destination)): \(PlaneError.reason(result))")
        case .remove where result == -ENOENT: return true
        case .remove(let policy): host.log(.error, "policy \(policy.index) stays in the kernel: \(PlaneError.reason(result))")
        }
        return false
    }

    private func text(_ prefix: Prefix) -> String { "\(IPAddress(family: prefix.family, value: prefix.value))/\(prefix.length)" }

    // MARK: Routes

    /// Brings the routes of a policy in line with the child that carries it.
    func route(_ number: UInt64, to child: Child) {
        guard var policy = policies[number] else { return }
        let before = policy.routes
        var routes = child.mode == .tunnel && child.outbound?.scope == PolicyScope() ? wantedRoutes(child.local, child.remote) : Routing.Wanted()
        if child.mode == .tunnel, let sa = child.outbound {
            let sizes = sizes(sa)
            clamp?.set(policy.reqid, sizes)
            if !routes.isEmpty { routes.sizes = sizes }
        }
        guard before != routes else { return }
        policy.routes = routes
        policies[number] = policy
        // The new routes are there before the old ones go, so that a rekey leaves no gap.
        routing.add(routes)
        routing.remove(before)
    }

    /// What such a route takes and no policy does goes nowhere. Where selectors leave some protocols or ports out, those belong to the routes
    /// that were there before, so that such a selector has a route only where it must choose an address that we were lent.
    private func wantedRoutes(_ local: [TrafficSelector], _ remote: [TrafficSelector]) -> Routing.Wanted {
        func isWhole(_ selector: TrafficSelector) -> Bool { selector.ipProtocol == 0 && selector.startPort == 0 && selector.endPort == UInt16.max }
        let isLent = local.contains { own in addresses.contains { own.start.family == $0.family && own.start.value <= $0.value && $0.value <= own.end.value } }
        if isLent { return routing.wanted(local: local, remote: remote) }
        guard local.contains(where: isWhole) else { return Routing.Wanted() }
        // From an address of this host to one other host: the packets find their way, and choose this address, without us. In transport mode they
        // need that way themselves, and whether a trap is for that nobody says.
        if local.allSatisfy({ $0.start == $0.end && routing.isOwn($0.start) }), remote.allSatisfy({ $0.start == $0.end }) { return Routing.Wanted() }
        return routing.wanted(local: local, remote: remote.filter(isWhole))
    }

    // MARK: Policies without SAs

    func set(_ policy: UnsafePointer<martlet_policy>) throws(PlaneError) {
        let description = policy.pointee
        guard description.struct_size >= UInt32(MemoryLayout<martlet_policy>.size), description.number >> 63 == 1 else {
            throw .invalid("a policy of \(description.struct_size) bytes with the number \(description.number)")
        }
        let name = "policy \(String(cString: description.name))"
        let (local, remote) = try selectors(description.local_ts, description.local_ts_count, description.remote_ts, description.remote_ts_count, of: name)
        let kernelSelectors = try outbound(local, remote, of: name)
        let before = alone[description.number]
        var after = AlonePolicy(reqid: before?.reqid)
        let content: PolicyContent, rank: PolicyRank
        switch UInt32(description.action) {
        case MARTLET_POLICY_TRAP.rawValue:
            guard let reqid = after.reqid ?? reqids.take() else { throw PlaneError(status: MARTLET_E_LIMIT, message: "\(name): there are too many policies") }
            after.reqid = reqid
            // Between which addresses an SA will be is not known; no SA ever has these, so that the packet is always reported.
            let nowhere = IPAddress(v4: 0x7fff_fff1)
            (content, rank) = (.protect(PolicyTemplate(source: nowhere, destination: nowhere, reqid: reqid)), .trap)
            after.routes = wantedRoutes(local, remote)
        case MARTLET_POLICY_PASS.rawValue:
            (content, rank) = (.pass, .pass)
            after.routes = routing.wanted(past: remote)
        case MARTLET_POLICY_DROP.rawValue: (content, rank) = (.drop, .drop)
        default: throw .unsupported("\(name): there is no action \(description.action)")
        }
        let scopes = (
            inbound: PolicyScope(mark: KernelMark(description.mark_in), interfaceID: description.interface_id_in),
            outbound: PolicyScope(mark: KernelMark(description.mark_out), interfaceID: description.interface_id_out)
        )
        // A route knows no mark and no interface: for packets that have them it is the administrator's.
        if scopes.outbound != PolicyScope() { after.routes = Routing.Wanted() }
        if let reqid = after.reqid { index.add(reqid: reqid, policy: description.number) }
        alone[description.number] = after
        let wanted = kernelSelectors.flatMap { selector in
            PolicyDirection.allCases.map { direction in
                (
                    key: direction == .outbound ? PolicyKey(direction, selector, scopes.outbound) : PolicyKey(direction, selector.reversed, scopes.inbound), claim: PolicyClaim(rank, content)
                )
            }
        }
        var isComplete = shared.table.withLock { $0.set(description.number, wanted, performing: perform) }
        let routesBefore = before?.routes ?? Routing.Wanted()
        if routesBefore != after.routes {
            if !routing.add(after.routes) { isComplete = false }
            routing.remove(routesBefore)
        }
        guard !isComplete else { return }
        if before == nil { try? removePolicy(description.number) }
        throw .system("\(name): not all of its policies and routes could be installed")
    }

    func removePolicy(_ number: UInt64) throws(PlaneError) {
        guard let policy = alone.removeValue(forKey: number) else { throw .notFound }
        _ = shared.table.withLock { $0.set(number, [], performing: perform) }
        if let reqid = policy.reqid {
            index.remove(reqid: reqid)
            reqids.give(back: reqid)
        }
        routing.remove(policy.routes)
    }

    /// Neighbour discovery, without which no IPv6 link works, is in clear whatever selectors say. RFC 4861 section 11.
    func exemptNeighbours() -> Bool {
        shared.table.withLock { $0.set(UInt64.max, NeighbourDiscovery.exemption, performing: perform) }
    }

    // MARK: Addresses

    func addAddress(_ address: martlet_address) throws(PlaneError) {
        guard let ip = SocketAddress(address)?.address else { throw .invalid("an inner address of the family \(address.family)") }
        var prefix = Prefix(family: ip.family, value: ip.value, length: ip.bitCount).contract
        let result = martlet_address_add(anchor.netlink, anchor.link, &prefix)
        guard result == 0 else { throw .system("cannot give \(settings.interface) the address \(ip): \(PlaneError.reason(result))") }
        addresses.insert(ip)
    }

    func removeAddress(_ address: martlet_address) throws(PlaneError) {
        guard let ip = SocketAddress(address)?.address, addresses.remove(ip) != nil else { throw .notFound }
        var prefix = Prefix(family: ip.family, value: ip.value, length: ip.bitCount).contract
        routing.leave(ip)
        let result = martlet_address_remove(anchor.netlink, anchor.link, &prefix)
        routing.restore(ip.family)
        guard result == 0 || result == -EADDRNOTAVAIL else { throw .system("cannot take the address \(ip) from \(settings.interface): \(PlaneError.reason(result))") }
    }
}
