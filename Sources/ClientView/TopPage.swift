// `martlet top`: one frame. A function of the status, the size, and what was typed.

/// What the tunnels are sorted by.
package enum TopOrder: String, CaseIterable, Sendable {
    case traffic, name, age
}

/// What the person at the keyboard has chosen so far.
package struct TopChoice: Sendable, Equatable {
    package var order: TopOrder
    package var isReversed = false
    /// How many tunnels are above the first line.
    package var scroll = 0

    package init(order: TopOrder = .traffic) { self.order = order }

    /// Does what a key means. `page` is how many of `count` tunnels a frame shows.
    package mutating func apply(_ key: TopKey, page: Int, count: Int) {
        switch key {
        case .order(let order):
            (self.order, scroll) = (order, 0)
        case .reverse: isReversed.toggle()
        case .up: scroll -= 1
        case .down: scroll += 1
        case .pageUp: scroll -= page
        case .pageDown: scroll += page
        case .top: scroll = 0
        case .refresh, .quit: break
        }
        scroll = max(0, min(scroll, count - page))
    }
}

package struct TopPage {
    let status: GatewayStatus
    let columns: Int
    let rows: Int
    let choice: TopChoice
    /// In place of what the daemon says, where it says nothing.
    let trouble: String?
    let interval: String

    package init(_ status: GatewayStatus, columns: Int, rows: Int, choice: TopChoice, interval: String, trouble: String? = nil) {
        self.status = status
        self.columns = max(1, columns)
        self.rows = max(1, rows)
        self.choice = choice
        self.interval = interval
        self.trouble = trouble
    }

    private static let help = "q quit  t traffic  n name  a age  r reverse  up/down scroll"
    /// The summary, the order, a blank line, the table's heading, and below it a blank line and the help.
    private var hasHelp: Bool { rows >= 10 }
    /// How many tunnels there is room for.
    package var page: Int { max(1, rows - (hasHelp ? 6 : 3)) }

    /// At most `rows` lines of at most `columns` columns.
    package var lines: [StyledText] {
        let tunnels = sorted(status.tunnels)
        let first = min(choice.scroll, max(0, tunnels.count - page))
        let shown = Array(tunnels[first..<min(tunnels.count, first + page)])
        var lines = [headline(tunnels), trouble.map { StyledText(printable($0), .red) } ?? order(tunnels.count, first, shown.count)]
        if hasHelp { lines.append("") }
        if !tunnels.isEmpty { lines += TunnelTable(shown, width: max(20, columns), isLive: true).lines }
        if hasHelp {
            while lines.count < rows - 1 { lines.append("") }
            lines.append(StyledText(Self.help, .dim))
        }
        return lines.prefix(rows).map { $0.clipped(to: columns) }
    }

    private func headline(_ tunnels: [Tunnel]) -> StyledText {
        let daemon = StyledText(status.uptime.map { "martletd up \(duration($0))" } ?? "", .dim)
        guard !tunnels.isEmpty else { return trouble == nil ? "No connection is configured, and none is up." : "" }
        let page = StatusPage(status, width: columns)
        var line = page.counts(tunnels)
        if let total = status.rates?.total { line += StyledText("; in \(bitRate(total.inbound)), out \(bitRate(total.outbound))") }
        let gap = columns - line.width - daemon.width
        return gap < 2 ? line : line + StyledText(String(repeating: " ", count: gap)) + daemon
    }

    private func order(_ count: Int, _ first: Int, _ shown: Int) -> StyledText {
        var text = "by \(choice.order.rawValue)\(choice.isReversed ? ", reversed" : ""), every \(interval)"
        if shown < count { text += "; \(first + 1) to \(first + shown) of \(count)" }
        return StyledText(text, .dim)
    }

    private func sorted(_ tunnels: [Tunnel]) -> [Tunnel] {
        // They come by state and name; what is alike stays so.
        let sorted = tunnels.enumerated().sorted { a, b in
            let (x, y) = (a.element, b.element)
            switch choice.order {
            case .traffic:
                let (p, q) = ((x.rate?.inbound ?? 0) + (x.rate?.outbound ?? 0), (y.rate?.inbound ?? 0) + (y.rate?.outbound ?? 0))
                if p != q { return p > q }
                if x.bytes != y.bytes { return x.bytes > y.bytes }
            case .name: if x.name != y.name { return naturallyPrecedes(x.name, y.name) }
            case .age: if (x.age ?? .max) != (y.age ?? .max) { return (x.age ?? .max) < (y.age ?? .max) }
            }
            return a.offset < b.offset
        }.map(\.element)
        return choice.isReversed ? sorted.reversed() : sorted
    }
}

/// What was typed, as far as it means anything.
package enum TopKey: Hashable, Sendable {
    case quit, refresh, reverse
    case order(TopOrder)
    case up, down, pageUp, pageDown, top

    /// The keys in what a terminal sent. What is left in `bytes` is the beginning of one.
    package static func read(_ bytes: inout [UInt8]) -> [TopKey] {
        var keys: [TopKey] = []
        var rest = bytes[...]
        while let byte = rest.first {
            guard byte == 0x1b else {
                rest = rest.dropFirst()
                if let key = plain(byte) { keys.append(key) }
                continue
            }
            // ECMA-48 section 5.4: ESC [ parameters final. Some terminals send ESC O for arrows.
            guard rest.count > 1 else { break }
            let second = rest[rest.startIndex + 1]
            guard second == UInt8(ascii: "[") || second == UInt8(ascii: "O") else {
                rest = rest.dropFirst()
                continue
            }
            let body = rest.dropFirst(2)
            guard let end = body.firstIndex(where: { (0x40...0x7e).contains($0) }) else {
                // No key is that long.
                rest = rest.count > 16 ? [] : rest
                break
            }
            if let key = sequence(Array(body[...end])) { keys.append(key) }
            rest = rest[(end + 1)...]
        }
        bytes = Array(rest)
        return keys
    }

    private static func plain(_ byte: UInt8) -> TopKey? {
        switch byte {
        case UInt8(ascii: "q"), UInt8(ascii: "Q"), 0x03, 0x04: .quit
        case UInt8(ascii: "t"): .order(.traffic)
        case UInt8(ascii: "n"): .order(.name)
        case UInt8(ascii: "a"): .order(.age)
        case UInt8(ascii: "r"): .reverse
        case UInt8(ascii: "k"): .up
        case UInt8(ascii: "j"): .down
        case UInt8(ascii: "g"): .top
        case UInt8(ascii: " "): .refresh
        default: nil
        }
    }

    private static func sequence(_ body: [UInt8]) -> TopKey? {
        switch String(decoding: body, as: UTF8.self) {
        case "A": .up
        case "B": .down
        case "5~": .pageUp
        case "6~": .pageDown
        case "H", "1~": .top
        default: nil
        }
    }
}
