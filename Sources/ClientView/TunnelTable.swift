// A line for each tunnel, with the columns that the width has room for.
import ViciWire

package struct TunnelTable {
    struct Column {
        var title: String
        /// What goes first where room is short; 0 never goes.
        var rank: Int
        /// How far it may be cut. Nil: not at all.
        var least: Int?
        /// In a view that changes all the time: how wide it is at any rate, so that nothing jumps, and its rank there.
        var steady = 0
        var liveRank: Int?
        var isNumber = false
        var cell: (Tunnel) -> StyledText
    }

    private let tunnels: [Tunnel]
    private let width: Int
    private let isLive: Bool

    /// `isLive` gives rates room before totals, and keeps the columns where they are while numbers change.
    package init(_ tunnels: [Tunnel], width: Int, isLive: Bool = false) {
        self.tunnels = tunnels
        self.width = width
        self.isLive = isLive
    }

    private static var columns: [Column] {
        [
            Column(title: "TUNNEL", rank: 0, least: 10) { StyledText(printable($0.name), .bold) },
            Column(title: "STATE", rank: 0) { StyledText($0.state.word, $0.style) },
            Column(title: "FOR", rank: 3, steady: 7, isNumber: true) { StyledText($0.state == .down ? "" : $0.age.map(duration) ?? "") },
            Column(title: "PEER", rank: 4, least: 20) { StyledText($0.peerIdentity) },
            Column(title: "FROM", rank: 1, least: 15) { StyledText($0.peerAddress) },
            Column(title: "NAT", rank: 6) { StyledText($0.nat) },
            Column(title: "NETWORKS HERE", rank: 8, least: 13) { StyledText($0.networks("local")) },
            Column(title: "NETWORKS THERE", rank: 7, least: 14) { StyledText($0.networks("remote")) },
            Column(title: "IN", rank: 2, steady: 7, liveRank: 5, isNumber: true) { StyledText($0.traffic(.inbound)) },
            Column(title: "IN/s", rank: 5, steady: 11, liveRank: 1, isNumber: true) { StyledText($0.rate.map { bitRate($0.inbound) } ?? "") },
            Column(title: "OUT", rank: 2, steady: 7, liveRank: 5, isNumber: true) { StyledText($0.traffic(.outbound)) },
            Column(title: "OUT/s", rank: 5, steady: 11, liveRank: 1, isNumber: true) { StyledText($0.rate.map { bitRate($0.outbound) } ?? "") },
            Column(title: "REKEY IN", rank: 3, liveRank: 4, isNumber: true) { StyledText($0.childSA?.body.integer("rekey-time", as: Int64.self).map(remaining) ?? "") },
            Column(title: "ESP", rank: 9, least: 14) { StyledText($0.childSA.map { printable($0.suite) } ?? "") },
            Column(title: "IKE", rank: 10, least: 14) { StyledText($0.sa.map { printable($0.suite) } ?? "") },
        ]
    }

    /// The heading and one line for each.
    package var lines: [StyledText] {
        let columns = Self.columns.map { column in
            var column = column
            if isLive { column.rank = column.liveRank ?? column.rank } else { column.steady = 0 }
            return column
        }
        var shown = columns.map { column in (column: column, cells: tunnels.map { column.cell($0) }) }.filter { entry in
            entry.column.rank == 0 || (isLive && entry.column.steady > 0) || entry.cells.contains { !$0.isEmpty }
        }
        func natural(_ entry: (column: Column, cells: [StyledText])) -> Int { max(entry.column.title.utf8.count, entry.column.steady, entry.cells.map(\.width).max() ?? 0) }
        func least(_ entry: (column: Column, cells: [StyledText])) -> Int { min(natural(entry), entry.column.least ?? .max) }
        func gaps(_ count: Int) -> Int { 2 * max(0, count - 1) }
        while shown.reduce(gaps(shown.count), { $0 + least($1) }) > width, let worst = shown.max(by: { $0.column.rank < $1.column.rank }), worst.column.rank > 0 {
            shown.removeAll { $0.column.rank == worst.column.rank }
        }
        // What room is left goes to the columns that were cut, the first ones first.
        var widths = shown.map(least)
        var room = width - widths.reduce(gaps(shown.count), +)
        for index in shown.indices where room > 0 {
            let more = min(room, natural(shown[index]) - widths[index])
            widths[index] += more
            room -= more
        }
        func line(_ cell: (Int) -> StyledText) -> StyledText {
            shown.indices.reduce(StyledText("")) { line, index in
                line + (index > 0 ? "  " : "") + cell(index).clipped(to: widths[index]).padded(to: widths[index], right: shown[index].column.isNumber)
            }
        }
        let heading = line { StyledText(shown[$0].column.title, .dim) }
        return ([heading] + tunnels.indices.map { row in line { shown[$0].cells[row] } }).map { $0.clipped(to: width) }
    }
}

extension Tunnel {
    var peerIdentity: String {
        // A device's identity is often an address of no meaning; who uses it counts.
        if let user = sa.flatMap({ user($0.body) }) { return user }
        let shown = sa?.body["remote-id"].flatMap { $0 == "%any" ? nil : $0 }
        return printable(shown ?? configured?.body.section("remote-1")?["id"] ?? "%any")
    }
    /// The port where it is none of the usual two.
    var peerAddress: String {
        if let sa, let host = sa.body["remote-host"] {
            let port = sa.body["remote-port"] ?? ""
            return ["500", "4500"].contains(port) ? printable(host) : hostPort(host, port)
        }
        return (configured?.remoteAddresses ?? []).map(printable).joined(separator: ", ")
    }
    /// Who is behind one.
    var nat: String {
        guard let sa else { return "" }
        return switch (sa.body.boolean("nat-local"), sa.body.boolean("nat-remote")) {
        case (true, true): "both"
        case (true, false): "here"
        case (false, true): "peer"
        case (false, false): "no"
        }
    }
    func networks(_ side: String) -> String {
        let list = side == "local" ? childSA?.localSelectors : childSA?.remoteSelectors
        return (list ?? configuredChild?.body.list(side + "-ts") ?? []).map(printable).joined(separator: ", ")
    }
    func traffic(_ direction: Direction) -> String {
        guard let childSA, childSA.body["bytes-in"] != nil else { return "" }
        return byteCount(childSA.totalBytes(direction))
    }
}
