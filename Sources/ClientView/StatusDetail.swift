// `martlet status NAME`: everything about one connection.
import ViciWire

package struct StatusDetail {
    let status: GatewayStatus
    let width: Int

    package init(_ status: GatewayStatus, width: Int) {
        self.status = status
        self.width = max(20, width)
    }

    /// Nil where no connection and no child has that name.
    package func lines(_ name: String) -> [StyledText]? {
        guard let only = status.about(name) else { return nil }
        let names = Set(only.sas.map(\.name) + only.connections.map(\.name)).sorted(by: naturallyPrecedes)
        return Array(names.map(connection).joined(separator: [""]))
    }

    private func connection(_ name: String) -> [StyledText] {
        let tunnels = status.tunnels.filter { $0.connection == name }
        let counts = Tunnel.State.allCases.compactMap { state -> StyledText? in
            let count = tunnels.count { $0.state == state }
            return count == 0 ? nil : StyledText("\(count) \(state.word)", state.style)
        }
        var lines = flowed(counts, separator: ", ", lead: StyledText(printable(name), .bold) + ": ", width: width, indent: 2)
        if let configured = status.connections.first(where: { $0.name == name }) {
            lines += configuration(configured)
        } else {
            lines += paragraph("is no longer in the configuration", lead: "  ", width: width, indent: 2)
        }
        for sa in status.sas where sa.name == name { lines += [""] + ike(sa) }
        for tunnel in tunnels where tunnel.childSA == nil && tunnel.child != nil { lines += [""] + missing(tunnel) }
        return lines
    }

    private func configuration(_ connection: ConfiguredConnection) -> [StyledText] {
        let body = connection.body
        var lines: [StyledText] = []
        lines += fact("configured in", body["martlet-origin"], 2)
        for (label, side, addresses, port) in [("here", "local-1", "local_addrs", "local_port"), ("peer", "remote-1", "remote_addrs", "remote_port")] {
            let round = body.section(side)
            let places = (body.list(addresses) ?? []).joined(separator: ", ")
            lines += fact(label, "\(round?["id"] ?? "%any") at \(places.isEmpty ? "%any" : places), UDP port \(body[port] ?? "500"), \(round?["class"] ?? "no authentication")", 2)
        }
        lines += fact("rekey after", body.integer("rekey_time", as: UInt64.self).map { $0 == 0 ? "never" : duration($0) }, 2)
        lines += fact("peer checked", body.integer("dpd_delay", as: UInt64.self).map { "after \(duration($0)) of silence" } ?? "never (dpd_delay is not set)", 2)
        if let failure = connection.lastFailure { lines += FailureText(failure).full(lead: "  ", width: width, indent: 4) }
        return lines
    }

    private func ike(_ sa: IKESA) -> [StyledText] {
        let body = sa.body
        var head = StyledText("  IKE SA #\(printable(sa.uniqueID)): ", .bold) + StyledText(sa.isReplaced ? "replaced, gone in a few seconds" : sa.state.lowercased(), sa.isUp ? .green : .yellow)
        head += StyledText(", IKEv\(printable(body["version"] ?? "2")), " + (body.boolean("initiator") ? "begun by us" : "begun by the peer"))
        var lines = flowed([head], width: width, indent: 4)
        lines += fact("user", user(body), 4)
        lines += fact("here", end(body, "local"), 4) + fact("peer", end(body, "remote"), 4)
        lines += fact("algorithms", sa.suite, 4) + fact("provider", body["martlet-provider"], 4)
        lines += fact("SPIs", "initiator \(body["initiator-spi"] ?? "?"), responder \(body["responder-spi"] ?? "?")", 4)
        lines += fact("up for", seconds(body, "established"), 4)
        lines += fact("rekey in", seconds(body, "rekey-time"), 4) + fact("ends in", seconds(body, "martlet-life-time"), 4)
        for (label, key) in [("exchanges", "tasks-active"), ("answering", "tasks-passive"), ("waiting", "tasks-queued")] {
            lines += fact(label, body.list(key)?.joined(separator: ", "), 4)
        }
        lines += fact("moves", body.boolean("martlet-mobike") ? "to other addresses (MOBIKE)" : nil, 4)
        lines += fact("moved from", body.list("martlet-moved-from")?.joined(separator: " and "), 4)
        lines += fact("shard", body["martlet-shard"], 4)
        for child in sa.children { lines += [""] + self.child(child, sa) }
        return lines
    }

    private func child(_ child: ChildSA, _ sa: IKESA) -> [StyledText] {
        let body = child.body
        let state = child.state == "REKEYED" ? "replaced, gone in a few seconds" : child.state.lowercased()
        var lines = flowed(
            [StyledText("    " + printable(child.name), .bold) + StyledText(" #\(printable(body["uniqueid"] ?? "?")): ") + StyledText(state, child.isUp ? .green : .yellow)], width: width, indent: 6)
        lines += fact("networks here", child.localSelectors.joined(separator: ", "), 6) + fact("there", child.remoteSelectors.joined(separator: ", "), 6)
        guard body["bytes-in"] != nil else { return lines }
        let rate = status.rates?[TunnelKey(sa, child)]
        lines += fact("up for", child.tunnelSeconds.map(duration), 6)
        for direction in [Direction.inbound, .outbound] {
            var text = "\(byteCount(child.totalBytes(direction))) in \(plural(child.totalPackets(direction), "packet"))"
            if child.totalPackets(direction) != child.packets(direction) { text += " (\(byteCount(child.bytes(direction))) in \(plural(child.packets(direction), "packet")) with these keys)" }
            if let rate { text += ", \(bitRate(direction == .inbound ? rate.inbound : rate.outbound))" }
            text += child.idle(direction).map { ", the last \(duration($0)) ago" } ?? ""
            lines += fact(direction.rawValue, text, 6)
        }
        for (reason, packets) in child.refused { lines += fact("refused", "\(plural(packets, "packet")) \(reason)", 6) }
        lines += fact("algorithms", carrier(child), 6) + fact("provider", body["martlet-provider"], 6)
        lines += fact("SPIs", "in \(body["spi-in"] ?? "?"), out \(body["spi-out"] ?? "?")", 6)
        lines += fact("policy", body["reqid"], 6)
        lines += fact("keys are", seconds(body, "install-time").map { $0 + " old" }, 6) + fact("rekey in", seconds(body, "rekey-time"), 6) + fact("ends in", seconds(body, "life-time"), 6)
        return lines
    }

    private func missing(_ tunnel: Tunnel) -> [StyledText] {
        let name = StyledText("  " + printable(tunnel.child ?? ""), .bold) + ": "
        var lines = tunnel.configuredChild?.lastFailure.map { FailureText($0).full(lead: name, width: width, indent: 4) } ?? []
        if lines.isEmpty {
            lines =
                tunnel.state == .down
                ? paragraph(tunnel.failure == nil ? ", " + tunnel.whyDown.text(start: tunnel.upWords) : "", lead: name + StyledText("down", tunnel.style), width: width, indent: 4)
                : flowed([StyledText(tunnel.state.word, tunnel.state.style)], lead: name, width: width, indent: 4)
        }
        guard let body = tunnel.configuredChild?.body else { return lines }
        lines += fact("networks here", body.list("local-ts")?.joined(separator: ", "), 4) + fact("there", body.list("remote-ts")?.joined(separator: ", "), 4)
        lines += fact("start_action", body["martlet-start-action"], 4)
        return lines
    }

    private func seconds(_ body: ViciMessage, _ key: String) -> String? { body.integer(key, as: Int64.self).map(remaining) }

    private func fact(_ label: String, _ text: String?, _ indent: Int) -> [StyledText] {
        guard let text, !text.isEmpty else { return [] }
        return paragraph(printable(text), lead: StyledText(String(repeating: " ", count: indent) + label.padding(to: 15)), width: width, indent: indent + 15)
    }
}
