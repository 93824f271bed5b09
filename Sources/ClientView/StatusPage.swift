// `martlet status`: a summary, what is up, what is not and why. A function of the status and the width.
import ViciWire

package struct StatusPage {
    package enum Form: Sendable {
        /// A block for each IKE SA while there are few and the terminal is narrow; else a line for each tunnel.
        case automatic, blocks, lines
    }
    /// From here on a line for each tunnel has room for all there is to say.
    static let wide = 150
    /// More than these do not fit on a screen as blocks.
    static let many = 10

    let status: GatewayStatus
    let width: Int
    let form: Form

    /// `width` in columns; below 20 it counts as 20.
    package init(_ status: GatewayStatus, width: Int, form: Form = .automatic) {
        self.status = status
        self.width = max(20, width)
        self.form = form
    }

    package var lines: [StyledText] {
        let tunnels = status.tunnels
        var lines = summary(tunnels)
        guard !tunnels.isEmpty else { return lines + notes(tunnels) }
        let isTable = form == .lines || (form == .automatic && (width >= Self.wide || tunnels.count > Self.many))
        if isTable {
            lines.append("")
            lines += TunnelTable(tunnels, width: width).lines
            lines += reasons(tunnels)
        } else {
            for block in StatusBlocks(status, tunnels, width: width).blocks { lines += [""] + block }
        }
        return lines + notes(tunnels)
    }

    /// `5 tunnels: 3 up, 1 connecting, 1 down; in 1.2 Mbit/s, out 0 bit/s`, and for how long the daemon has run.
    func summary(_ tunnels: [Tunnel]) -> [StyledText] {
        let daemon: StyledText = status.uptime.map { StyledText("martletd up \(duration($0))", .dim) } ?? ""
        guard !tunnels.isEmpty else {
            return spread("No connection is configured, and none is up.", daemon, width: width, indent: 2)
                + paragraph("martlet.conf(5) says how to write one; `systemctl reload martletd` reads it.", width: width, indent: 2)
        }
        let line = counts(tunnels)
        guard let total = status.rates?.total else { return spread(line, daemon, width: width, indent: 2) }
        let traffic = StyledText("in \(bitRate(total.inbound)), out \(bitRate(total.outbound))")
        if line.width + traffic.width + daemon.width + 4 <= width { return spread(line + "; " + traffic, daemon, width: width, indent: 2) }
        return flowed([line], width: width, indent: 2) + spread("  " + traffic, daemon, width: width, indent: 2)
    }

    /// `5 tunnels: 3 up, 1 connecting, 1 down (1 failed)`
    func counts(_ tunnels: [Tunnel]) -> StyledText {
        var line = StyledText(plural(tunnels.count, "tunnel"), .bold) + ": "
        var isFirst = true
        for state in Tunnel.State.allCases {
            let count = tunnels.count { $0.state == state }
            guard count > 0 || state == .up || state == .down else { continue }
            let failed = state == .down ? tunnels.count { $0.state == .down && $0.failure != nil } : 0
            let style: Style? = count == 0 || (state == .down && failed == 0) ? nil : state.style
            line += (isFirst ? "" : ", ") + StyledText("\(count) \(state.word)" + (failed > 0 ? " (\(failed) failed)" : ""), style)
            isFirst = false
        }
        return line
    }

    /// So many failures are shown with what to do.
    private static let advised = 5

    /// What is down, and why, under the table: those that nobody wants up together, then each failure.
    private func reasons(_ tunnels: [Tunnel]) -> [StyledText] {
        var lines: [StyledText] = []
        let down = Dictionary(grouping: tunnels.filter { $0.state == .down }, by: \.whyDown)
        for why in WhyDown.allCases where why != .failed {
            guard let group = down[why], let first = group.first else { continue }
            let names = group.prefix(Self.named).map { StyledText(printable($0.name), .bold) }
            if group.count == 1 {
                lines += paragraph(why.text(start: first.upWords), lead: StyledText(printable(first.name), .bold) + ": ", width: width, indent: 2)
            } else {
                let more = group.count - names.count
                lines += flowed(names + (more > 0 ? [StyledText("and \(more) more")] : []), separator: ", ", width: width, indent: 2)
                lines += paragraph(why.plural, lead: "  ", width: width, indent: 2)
            }
        }
        // One failure of a connection explains all of its children.
        var explained: Set<String> = []
        let failed = tunnels.compactMap { tunnel -> (name: String, failure: ViciMessage)? in
            guard let failure = tunnel.state == .down ? tunnel.failure : tunnel.configured?.lastFailure else { return nil }
            let name = tunnel.configuredChild?.lastFailure == nil ? tunnel.connection : tunnel.name
            return explained.insert(name).inserted ? (name, failure) : nil
        }
        for (name, failure) in failed {
            let lead = StyledText(printable(name), .bold) + ": "
            lines += failed.count > Self.advised ? FailureText(failure).headline(lead: lead, width: width, indent: 2) : FailureText(failure).short(lead: lead, width: width, indent: 2)
        }
        if failed.count > Self.advised { lines += paragraph("`martlet status NAME` says more about one, and what to do.", width: width, indent: 2) }
        return lines.isEmpty ? [] : [""] + lines
    }
    private static let named = 6

    /// Packets refused and dropped, pairs that are about to go.
    private func notes(_ tunnels: [Tunnel]) -> [StyledText] {
        var lines: [StyledText] = []
        for tunnel in tunnels {
            guard let refused = tunnel.childSA?.refused, !refused.isEmpty, form == .lines || width >= Self.wide || tunnels.count > Self.many else { continue }
            lines += flowed(
                refused.map { StyledText("\($0.packets) \($0.reason)") }, separator: ", ",
                lead: StyledText(printable(tunnel.name), .bold) + ": " + StyledText("packets refused: ", .yellow), width: width, indent: 2)
        }
        for item in status.expiring {
            let isExpired = item.boolean("expired"), what = item.boolean("authority") ? "The certificate of the authority" : "Our certificate"
            lines += paragraph(
                "\(printable(item["subject"] ?? "?")) \(isExpired ? "has expired on" : "expires on") \(printable(item["not-after"] ?? "?")) (\(printable(item["origin"] ?? "?"))).",
                lead: StyledText(what, isExpired ? .red : .yellow) + " ", width: width, indent: 2)
        }
        if let refusal = status.lastRefusal {
            lines += FailureText(refusal, word: "Refused a peer").short(width: width, indent: 2)
        }
        if !status.drops.isEmpty {
            lines += flowed(status.drops.map { StyledText("\(printable($0.reason)) \($0.count)") }, separator: ", ", lead: StyledText("Dropped packets: ", .yellow), width: width, indent: 2)
        }
        if status.replaced > 0 { lines.append(StyledText("Keys were just renewed: \(plural(status.replaced, "replaced SA")) will be gone in a few seconds.", .dim).clipped(to: width)) }
        return lines.isEmpty ? [] : [""] + lines
    }
}

/// A failure for people: when, what, its code, and what to do.
package struct FailureText {
    let failure: ViciMessage
    let word: String
    package init(_ failure: ViciMessage, word: String = "failed") {
        self.failure = failure
        self.word = word
    }

    var age: String { failure.integer("age", as: UInt64.self).map { " \(duration($0)) ago" } ?? "" }
    var summary: String { printable("\(failure["summary"] ?? "no reason was given") (\(failure["code"] ?? "unknown"))") }

    /// The sentence, and the first advice.
    package func short(lead: StyledText = "", width: Int, indent: Int) -> [StyledText] {
        headline(lead: lead, width: width, indent: indent) + advice(1, width: width, indent: indent)
    }

    /// All of it.
    package func full(lead: StyledText = "", width: Int, indent: Int) -> [StyledText] {
        let margin = StyledText(String(repeating: " ", count: indent))
        return headline(lead: lead, width: width, indent: indent)
            + (failure.list("evidence") ?? []).flatMap { paragraph(printable($0), lead: margin, width: width, indent: indent + 2) }
            + advice(.max, width: width, indent: indent)
    }

    func headline(lead: StyledText, width: Int, indent: Int) -> [StyledText] {
        paragraph(summary, lead: lead + StyledText("\(word)\(age):", .red) + " ", width: width, indent: indent)
    }
    private func advice(_ count: Int, width: Int, indent: Int) -> [StyledText] {
        let margin = StyledText(String(repeating: " ", count: indent))
        return (failure.list("advice") ?? []).prefix(count).flatMap { paragraph(printable($0), lead: margin + "-> ", width: width, indent: indent + 3) }
    }
}
