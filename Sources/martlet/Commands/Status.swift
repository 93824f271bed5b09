// `martlet status`: what is up, what is down, and why.
import ArgumentParser
import ViciWire

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show IKE SAs, their children and traffic, and why what is down is down.",
        discussion: "Example: martlet status\nExample: martlet status --json | jq '.ike_sas[].children[].inbound.bytes'")

    @OptionGroup var options: GlobalOptions

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            let sas = try daemon.listSAs()
            let connections = try daemon.listConnections()
            let stats = try daemon.call("stats")
            print(options.json ? json(sas, connections, stats).text : text(sas, connections, stats))
        }
    }

    /// Names of the children of a connection that carry traffic.
    private func childrenUp(_ connection: String, _ sas: [IKESA]) -> Set<String> {
        Set(sas.filter { $0.name == connection }.flatMap(\.children).filter { ["INSTALLED", "REKEYING"].contains($0.state) }.map(\.name))
    }

    private func isUp(_ connection: String, _ sas: [IKESA]) -> Bool {
        sas.contains { $0.name == connection && ["ESTABLISHED", "REKEYING"].contains($0.state) }
    }

    func json(_ sas: [IKESA], _ connections: [ConfiguredConnection], _ stats: ViciMessage) -> JSON {
        .object([
            ("ike_sas", .array(sas.map(\.json))),
            (
                "connections",
                .array(connections.map { $0.json(isUp: isUp($0.name, sas), childrenUp: childrenUp($0.name, sas)) })
            ),
            (
                "drops",
                .object(
                    (stats.section("martlet-drops")?.elements ?? []).map { element in
                        (element.name, .integer(stats.section("martlet-drops")?[element.name]))
                    })
            ),
        ])
    }

    func text(_ sas: [IKESA], _ connections: [ConfiguredConnection], _ stats: ViciMessage) -> String {
        var blocks = sas.map { sa in
            ([ikeLines(sa)] + sa.children.map(childLines)
                + idleChildren(sa, connections.first { $0.name == sa.name }, sas).map { [$0] }).flatMap(\.self).joined(separator: "\n")
        }
        blocks += connections.filter { connection in !sas.contains { $0.name == connection.name } }.map {
            downLines($0).joined(separator: "\n")
        }
        if blocks.isEmpty { return "No connection is configured." }
        let drops = (stats.section("martlet-drops")?.elements ?? []).compactMap { element -> String? in
            guard let count: UInt64 = stats.section("martlet-drops")?.integer(element.name), count > 0 else { return nil }
            return "\(printable(element.name)) \(count)"
        }
        if !drops.isEmpty { blocks.append("Dropped packets: " + wrapped(drops, firstColumn: 17, indent: 17)) }
        return blocks.joined(separator: "\n\n")
    }

    // MARK: What is up

    private func ikeLines(_ sa: IKESA) -> [String] {
        let body = sa.body
        let name = printable(sa.name)
        var head = sa.state.lowercased()
        if let seconds: UInt64 = body.integer("established") { head += " " + duration(seconds) }
        head += ", IKEv2 " + (body.boolean("initiator") ? "initiator" : "responder") + ", #\(printable(sa.uniqueID))"
        let rekey = body.integer("rekey-time", as: Int64.self).map { "rekey " + countdown($0) } ?? ""
        let left = "\(name): \(head)"
        let good = ["ESTABLISHED", "REKEYING", "REKEYED"].contains(sa.state)
        var lines = [
            spread(styled(name, .bold) + ": " + styled(head, good ? .green : .yellow), leftWidth: left.count, rekey)
        ]
        for side in ["local", "remote"] {
            var text = "\(hostPort(body["\(side)-host"] ?? "?", body["\(side)-port"])) as \(printable(body["\(side)-id"] ?? "%any"))"
            if body.boolean("nat-\(side)") { text += ", behind NAT" }
            lines.append("  " + side.padded(to: 8) + text)
        }
        if !sa.suite.isEmpty { lines.append("  " + "cipher".padded(to: 8) + sa.suite) }
        let tasks = ["tasks-active", "tasks-passive", "tasks-queued"].flatMap { body.list($0) ?? [] }
        if !tasks.isEmpty { lines.append("  " + "tasks".padded(to: 8) + wrapped(tasks.map(printable), firstColumn: 10, indent: 10)) }
        return lines
    }

    private func childLines(_ child: ChildSA) -> [String] {
        let body = child.body
        let name = printable(child.name)
        var head = child.state.lowercased()
        if let seconds: UInt64 = body.integer("install-time") { head += " " + duration(seconds) }
        if let carrier = body["protocol"] {
            head += ", \(printable((body["mode"] ?? "").lowercased())) \(printable(carrier))" + (body.boolean("encap") ? " in UDP" : "")
        }
        let rekey = body.integer("rekey-time", as: Int64.self).map { "rekey " + countdown($0) } ?? ""
        let left = "  \(name): \(head)"
        let good = ["INSTALLED", "REKEYING", "REKEYED"].contains(child.state)
        var lines = [
            spread("  " + styled(name, .bold) + ": " + styled(head, good ? .green : .yellow), leftWidth: left.count, rekey)
        ]
        lines.append("    " + selectors(child.localSelectors, child.remoteSelectors, column: 4))
        if !child.suite.isEmpty { lines.append("    " + child.suite) }
        if body["bytes-in"] != nil {
            lines.append("    " + traffic("in", body).padded(to: 36) + "  " + traffic("out", body))
        }
        if !child.refused.isEmpty {
            lines.append(
                "    " + styled("refused: ", .yellow)
                    + wrapped(child.refused.map { "\($0.packets) \($0.reason)" }, firstColumn: 13, indent: 13))
        }
        return lines
    }

    private func traffic(_ side: String, _ body: ViciMessage) -> String {
        var text = "\(side) \(byteCount(body.integer("bytes-\(side)") ?? 0)), \(plural(body.integer("packets-\(side)") ?? 0, "packet"))"
        if let idle: UInt64 = body.integer("use-\(side)") { text += ", \(duration(idle)) ago" }
        return text
    }

    /// Configured children of an SA that have no Child SA.
    private func idleChildren(_ sa: IKESA, _ connection: ConfiguredConnection?, _ sas: [IKESA]) -> [String] {
        guard let connection else { return [] }
        let present = Set(sas.filter { $0.name == sa.name }.flatMap(\.children).map(\.name))
        return connection.children.filter { !present.contains($0.name) }.flatMap { downChild($0.name, $0.body) }
    }

    // MARK: What is down

    private func downLines(_ connection: ConfiguredConnection) -> [String] {
        var lines = [styled(printable(connection.name), .bold) + ": " + styled("down", .red)]
        let remotes = connection.body.list("remote_addrs") ?? []
        lines.append(
            "  " + "remote".padded(to: 8) + wrapped(remotes.map(printable), firstColumn: 10, indent: 10)
                + " as \(printable(connection.body.section("remote-1")?["id"] ?? "%any"))")
        if let failure = connection.lastFailure { lines += failureLines(failure, indent: 2) }
        for child in connection.children { lines += downChild(child.name, child.body) }
        return lines
    }

    private func downChild(_ name: String, _ body: ViciMessage) -> [String] {
        var lines = ["  " + styled(printable(name), .bold) + ": " + styled("down", .red)]
        lines.append("    " + selectors(body.list("local-ts") ?? [], body.list("remote-ts") ?? [], column: 4))
        if let failure = body.section("martlet-last-failure") { lines += failureLines(failure, indent: 4) }
        return lines
    }

    private func failureLines(_ failure: ViciMessage, indent: Int) -> [String] {
        let margin = String(repeating: " ", count: indent)
        let age = failure.integer("age", as: UInt64.self).map { " " + duration($0) + " ago" } ?? ""
        let title = "failed\(age): "
        var lines = [
            margin + styled(title, .red)
                + paragraph(
                    printable("\(failure["summary"] ?? "") (\(failure["code"] ?? "unknown"))"), firstColumn: indent + title.count,
                    indent: indent + 2)
        ]
        for line in failure.list("evidence") ?? [] {
            lines.append(margin + "  " + paragraph(printable(line), firstColumn: indent + 2, indent: indent + 4))
        }
        for line in failure.list("advice") ?? [] {
            lines.append(margin + "  -> " + paragraph(printable(line), firstColumn: indent + 5, indent: indent + 5))
        }
        return lines
    }

    private func selectors(_ local: [String], _ remote: [String], column: Int) -> String {
        let left = local.map(printable)
        let right = remote.map(printable)
        return wrapped(
            Array(left.dropLast().map { $0 + "," }) + [(left.last ?? "?") + " ==="]
                + (right.isEmpty ? ["?"] : right.dropLast().map { $0 + "," } + right.suffix(1)), firstColumn: column, indent: column + 2,
            separator: " ")
    }

    private func hostPort(_ host: String, _ port: String?) -> String {
        let host = printable(host)
        guard let port else { return host }
        return host.contains(":") ? "[\(host)]:\(printable(port))" : "\(host):\(printable(port))"
    }
}
