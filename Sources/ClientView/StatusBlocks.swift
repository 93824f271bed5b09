// The overview where there are few: a block for each IKE SA with its children, and one for each connection that is down.
import ViciWire

struct StatusBlocks {
    let status: GatewayStatus
    let tunnels: [Tunnel]
    let width: Int

    init(_ status: GatewayStatus, _ tunnels: [Tunnel], width: Int) {
        self.status = status
        self.tunnels = tunnels
        self.width = width
    }

    /// In the order in which their first tunnels stand.
    var blocks: [[StyledText]] {
        var groups: [(key: String, tunnels: [Tunnel])] = []
        for tunnel in tunnels {
            let key = tunnel.connection + "\u{0}" + (tunnel.sa?.uniqueID ?? "")
            if let index = groups.firstIndex(where: { $0.key == key }) { groups[index].tunnels.append(tunnel) } else { groups.append((key, [tunnel])) }
        }
        return groups.map { group in
            guard let first = group.tunnels.first else { return [] }
            return (first.sa.map { head($0, first) } ?? downHead(first)) + failure(first) + group.tunnels.flatMap(tunnelLines)
        }
    }

    private func head(_ sa: IKESA, _ tunnel: Tunnel) -> [StyledText] {
        let state: Tunnel.State = sa.isUp ? .up : ["CREATED", "CONNECTING"].contains(sa.state) ? .connecting : .closing
        var words = state.word
        // An IKE SA is as young as its keys; what it carries may be older.
        if let age = ([sa.body.integer("established")] + sa.children.map(\.tunnelSeconds)).compactMap(\.self).max() { words += " \(duration(age))" }
        if sa.state == "REKEYING" { words += ", renewing its keys" }
        let rekey = sa.body.integer("rekey-time", as: Int64.self).map { StyledText("rekey \(countdown($0))") } ?? ""
        return spread(StyledText(printable(sa.name), .bold) + ": " + StyledText(words, state.style), sa.isUp ? rekey : "", width: width, indent: 2)
            + fact("user", user(sa.body) ?? "") + fact("peer", end(sa.body, "remote", expected: tunnel.configured?.body.section("remote-1")?["id"])) + fact("here", end(sa.body, "local"))
            + fact("IKE", printable(sa.suite))
    }

    private func downHead(_ tunnel: Tunnel) -> [StyledText] {
        let connection = tunnel.configured
        let remotes = (connection?.remoteAddresses ?? []).map(printable)
        let identity = printable(connection?.body.section("remote-1")?["id"] ?? "%any")
        return flowed([StyledText(printable(tunnel.connection), .bold) + ": " + StyledText("down", tunnel.style)], width: width, indent: 2)
            + fact("peer", identity + " at " + (remotes.isEmpty ? "any address" : remotes.joined(separator: ", ")))
    }

    /// Of the whole connection.
    private func failure(_ tunnel: Tunnel) -> [StyledText] {
        guard let failure = tunnel.configured?.lastFailure else { return [] }
        let text = FailureText(failure)
        return tunnels.count > 3 ? text.short(lead: "  ", width: width, indent: 4) : text.full(lead: "  ", width: width, indent: 4)
    }

    private func tunnelLines(_ tunnel: Tunnel) -> [StyledText] {
        guard let child = tunnel.child else { return [] }
        let name = StyledText("  ") + StyledText(printable(child), .bold) + ": "
        guard let sa = tunnel.childSA else {
            var lines: [StyledText]
            if let failure = tunnel.configuredChild?.lastFailure {
                lines = FailureText(failure).short(lead: name, width: width, indent: 4)
            } else if tunnel.state == .down {
                let why = tunnel.failure == nil ? ", " + tunnel.whyDown.text(start: tunnel.upWords) : ""
                lines = paragraph(why, lead: name + StyledText("down", tunnel.style), width: width, indent: 4)
            } else {
                lines = flowed([StyledText(tunnel.state.word, tunnel.state.style)], separator: "", lead: name, width: width, indent: 4)
            }
            if let configured = tunnel.configuredChild { lines += selectors(configured.body.list("local-ts") ?? [], configured.body.list("remote-ts") ?? []) }
            return lines
        }
        return childLines(sa, tunnel, name)
    }

    private func childLines(_ child: ChildSA, _ tunnel: Tunnel, _ name: StyledText) -> [StyledText] {
        var words = tunnel.state.word
        if tunnel.state == .up, let seconds = child.tunnelSeconds { words += " \(duration(seconds))" }
        if tunnel.state == .up, let seconds: UInt64 = child.body.integer("install-time") { words += ", keys are \(duration(seconds)) old" }
        if child.state == "REKEYING" { words += " and being renewed" }
        let rekey = child.body.integer("rekey-time", as: Int64.self).map { StyledText("rekey \(countdown($0))") } ?? ""
        var lines = spread(name + StyledText(words, tunnel.state.style), rekey, width: width, indent: 4) + selectors(child.localSelectors, child.remoteSelectors)
        if child.body["bytes-in"] != nil { lines += flowed([traffic(child, .inbound, tunnel), traffic(child, .outbound, tunnel)], separator: "  ", lead: "    ", width: width, indent: 4) }
        if !child.suite.isEmpty { lines += paragraph(carrier(child), lead: "    ", width: width, indent: 6) }
        if !child.refused.isEmpty {
            lines += flowed(child.refused.map { StyledText("\($0.packets) \($0.reason)") }, separator: ", ", lead: "    " + StyledText("packets refused: ", .yellow), width: width, indent: 6)
        }
        return lines
    }

    private func traffic(_ child: ChildSA, _ direction: Direction, _ tunnel: Tunnel) -> StyledText {
        var text = "\(direction.rawValue) \(byteCount(child.totalBytes(direction)))"
        if let rate = tunnel.rate { text += ", \(bitRate(direction == .inbound ? rate.inbound : rate.outbound))" }
        text += child.idle(direction).map { ", last \(duration($0)) ago" } ?? (child.totalPackets(direction) == 0 ? ", nothing yet" : "")
        return StyledText(text).padded(to: direction == .inbound ? min(38, width / 2 - 2) : 0)
    }

    private func selectors(_ local: [String], _ remote: [String]) -> [StyledText] { selectorLines(local, remote, lead: "    ", width: width, indent: 6) }
    private func fact(_ label: String, _ text: String) -> [StyledText] { text.isEmpty ? [] : paragraph(text, lead: StyledText("  " + label.padding(to: 6)), width: width, indent: 8) }
}

/// `right@example.org at 198.51.100.7:4500, behind NAT`
/// Before the peer has shown who it is, `expected` stands for it.
func end(_ body: ViciMessage, _ side: String, expected: String? = nil) -> String {
    let shown = body["\(side)-id"].flatMap { $0 == "%any" ? nil : $0 } ?? expected ?? "%any"
    let text = "\(printable(shown)) at \(hostPort(body["\(side)-host"] ?? "?", body["\(side)-port"]))"
    return body.boolean("nat-\(side)") ? text + ", behind NAT" : text
}

/// `CORP\alice, alice in the directory`: who the peer has proven to be as a user, and how the directory writes that where it is otherwise. Nil for one who is none.
func user(_ body: ViciMessage) -> String? {
    let shown = body["remote-eap-id"], account = body["martlet-user"]
    guard let account, account != shown else { return shown.map(printable) }
    return (shown.map { printable($0) + ", " } ?? "") + printable(account) + " in the directory"
}

func hostPort(_ host: String, _ port: String?) -> String {
    let host = printable(host)
    guard let port else { return host }
    return host.contains(":") ? "[\(host)]:\(printable(port))" : "\(host):\(printable(port))"
}

/// `ESP in UDP, AES_GCM_16-128 / ESN`
func carrier(_ child: ChildSA) -> String {
    var text = printable(child.body["protocol"] ?? "ESP")
    if child.body["mode"].map({ $0 != "TUNNEL" }) ?? false { text = printable((child.body["mode"] ?? "").lowercased()) + " " + text }
    if child.body.boolean("encap") { text += " in UDP" }
    return text + ", " + printable(child.suite)
}

func selectorLines(_ local: [String], _ remote: [String], lead: StyledText, width: Int, indent: Int) -> [StyledText] {
    let left = local.isEmpty ? ["?"] : local.map(printable), right = remote.isEmpty ? ["?"] : remote.map(printable)
    var pieces = left.dropLast().map { StyledText($0 + ",") }
    pieces.append(StyledText((left.last ?? "?") + " ==="))
    pieces += right.dropLast().map { StyledText($0 + ",") }
    pieces.append(StyledText(right.last ?? "?"))
    return flowed(pieces, lead: lead, width: width, indent: indent)
}

extension String {
    /// Behind the text so many spaces that it takes `width` columns.
    func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - columns(self))) }
}
