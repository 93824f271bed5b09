// One line of the overview: a configured child and what became of it, or an SA that is none's.
import ViciWire

package struct Tunnel {
    package enum State: Int, CaseIterable, Comparable, Sendable {
        case up, connecting, closing, down
        package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
        package var word: String {
            switch self {
            case .up: "up"
            case .connecting: "connecting"
            case .closing: "closing"
            case .down: "down"
            }
        }
        var style: Style {
            switch self {
            case .up: .green
            case .connecting, .closing: .yellow
            case .down: .red
            }
        }
    }

    package var connection: String
    /// Nil where it is not known which child it will be, or there is none.
    package var child: String?
    package var state: State
    var sa: IKESA?
    var childSA: ChildSA?
    var configured: ConfiguredConnection?
    var configuredChild: ConfiguredChild?
    var rate: TrafficRates.Rate?
    /// Whether another connection has a child of that name.
    var sharesName = false

    /// `gw` where connection and child have one name, else `gw/net`.
    package var name: String { child.map { $0 == connection ? connection : connection + "/" + $0 } ?? connection }
    /// Seconds since it came up.
    package var age: UInt64? { childSA?.tunnelSeconds ?? sa?.body.integer("established") }
    package var bytes: UInt64 { (childSA?.totalBytes(.inbound) ?? 0) &+ (childSA?.totalBytes(.outbound) ?? 0) }
}

extension GatewayStatus {
    /// One for each pair that carries traffic, one for each SA that comes or goes, one for each configured child that is down. Pairs and SAs
    /// that others have replaced are left out.
    package var tunnels: [Tunnel] {
        var tunnels: [Tunnel] = []
        let byName = Dictionary(connections.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var present: [String: Set<String>] = [:]
        var busy: Set<String> = []
        for sa in sas {
            let connection = byName[sa.name]
            func tunnel(_ child: String?, _ state: Tunnel.State, _ childSA: ChildSA? = nil) -> Tunnel {
                Tunnel(
                    connection: sa.name, child: child, state: state, sa: sa, childSA: childSA, configured: connection,
                    configuredChild: connection?.children.first { $0.name == child }, rate: childSA.flatMap { rates?[TunnelKey(sa, $0)] })
            }
            let live = sa.children.filter { !$0.isLeaving }
            for child in live { tunnels.append(tunnel(child.name, sa.state == "DELETING" ? .closing : child.isUp ? .up : .connecting, child)) }
            present[sa.name, default: []].formUnion(live.map(\.name))
            if ["CREATED", "CONNECTING"].contains(sa.state) {
                busy.insert(sa.name)
                let only = connection.flatMap { $0.children.count == 1 ? $0.children.first?.name : nil }
                if live.isEmpty { tunnels.append(tunnel(only, .connecting)) }
            } else if live.isEmpty, !sa.isReplaced, sa.state == "DELETING" || (connection?.children ?? []).isEmpty {
                tunnels.append(tunnel(nil, sa.isUp ? .up : .closing))
            }
        }
        let upByName = Dictionary(sas.filter(\.isUp).map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let known = Set(sas.filter { !$0.isReplaced }.map(\.name))
        let holders = Dictionary(connections.flatMap { $0.children.map { ($0.name, 1) } }, uniquingKeysWith: +)
        for connection in connections {
            let up = upByName[connection.name]
            // What is on its way may become any of the children.
            if up == nil, busy.contains(connection.name) { continue }
            for child in connection.children where child.isTunnel && !(present[connection.name]?.contains(child.name) ?? false) {
                tunnels.append(
                    Tunnel(connection: connection.name, child: child.name, state: .down, sa: up, configured: connection, configuredChild: child, sharesName: holders[child.name, default: 0] > 1))
            }
            if connection.children.isEmpty, !known.contains(connection.name) {
                tunnels.append(Tunnel(connection: connection.name, child: nil, state: .down, configured: connection))
            }
        }
        return tunnels.enumerated().sorted { a, b in
            if a.element.state != b.element.state { return a.element.state < b.element.state }
            if a.element.name != b.element.name { return naturallyPrecedes(a.element.name, b.element.name) }
            return a.offset < b.offset
        }.map(\.element)
    }

    /// How many pairs and SAs wait to go, because others have taken their places.
    var replaced: Int { sas.reduce(0) { $0 + ($1.isReplaced ? 1 : 0) + $1.children.count { $0.state == "REKEYED" } } }
}

extension Tunnel {
    /// What is down because nobody wanted it up is no alarm.
    var style: Style { state == .down && failure == nil ? .dim : state.style }

    var failure: ViciMessage? { configuredChild?.lastFailure ?? configured?.lastFailure }

    /// Why it is down; the failure, where there was one, is shown beside it.
    var whyDown: WhyDown {
        if failure != nil { return .failed }
        if configured?.children.isEmpty ?? true { return .noChildren }
        let actions = Set((configuredChild?.startAction ?? "").split(separator: "|"))
        if actions.contains("trap") { return .trap }
        if actions.contains("start") { return .ended }
        return configured?.canBegin ?? false ? .idle : .waits
    }

    /// `martlet up`'s arguments.
    var upWords: String { (sharesName ? "--connection \(printable(connection)) " : "") + printable(child ?? connection) }
}

enum WhyDown: Int, CaseIterable {
    case noChildren, trap, waits, idle, ended, failed

    /// In a sentence about one; `start` are the words behind `martlet up`.
    func text(start: String) -> String {
        switch self {
        case .failed: "failed"
        case .noChildren: "has no children, so that it carries no traffic"
        case .trap: "comes up with the first packet for it"
        case .waits: "waits for the peer: there is no single address to call"
        case .idle: "waits to be started: by `martlet up \(start)`, or by the peer"
        case .ended: "should be up, and no failure was noted: `martlet log` shows more"
        }
    }

    /// About several.
    var plural: String {
        switch self {
        case .failed: "failed"
        case .noChildren: "have no children, so that they carry no traffic"
        case .trap: "come up with the first packets for them"
        case .waits: "wait for their peers: there is no single address to call"
        case .idle: "wait to be started: by `martlet up`, or by their peers"
        case .ended: "should be up, and no failure was noted: `martlet log` shows more"
        }
    }
}
