// `martlet top`: what a frame holds at every size, and what keys do.
import Testing

@testable import ClientView

@Suite struct TopTests {
    private func page(_ status: GatewayStatus, _ columns: Int, _ rows: Int, _ choice: TopChoice = TopChoice(), trouble: String? = nil) -> TopPage {
        TopPage(status, columns: columns, rows: rows, choice: choice, interval: "1s", trouble: trouble)
    }

    @Test func isWhatItWas() throws {
        try Golden.expect(page(Sample.office(), 80, 24).lines, width: 80, "top-office-80x24")
        try Golden.expect(page(Sample.hundred(), 80, 24).lines, width: 80, "top-hundred-80x24")
        try Golden.expect(page(Sample.hundred(), 200, 30).lines, colour: true, width: 200, "top-hundred-200x30-colour")
        try Golden.expect(page(Sample.office(), 80, 24, trouble: "trying again: martletd is not running: there is no socket at /run/martlet/vici.sock").lines, width: 80, "top-trouble-80x24")
    }

    @Test func everySizeHolds() {
        for status in [Sample.office(), Sample.hundred(), Sample.hostile(), Sample.status([], []), .none] {
            for columns in [1, 2, 10, 20, 40, 79, 80, 132, 300] {
                for rows in [1, 2, 3, 5, 9, 10, 11, 24, 200] {
                    let lines = page(status, columns, rows).lines
                    #expect(lines.count <= rows && !lines.isEmpty)
                    for line in lines { #expect(line.width <= columns, "\(columns)x\(rows): \(line.plain)") }
                }
            }
        }
    }

    @Test func columnsStayWhereTheyAre() throws {
        let status = Sample.hundred()
        var quiet = status
        quiet.rates = nil
        let headings = [status, quiet].map { page($0, 120, 24).lines.map(\.plain).first { $0.hasPrefix("TUNNEL") } }
        #expect(headings[0] == headings[1])
    }

    @Test func sortsAsAsked() throws {
        func first(_ choice: TopChoice) throws -> String { try #require(page(Sample.hundred(), 80, 24, choice).lines.map(\.plain).first { $0.hasPrefix("site") }) }
        #expect(try first(TopChoice(order: .traffic)).hasPrefix("site100/"))
        #expect(try first(TopChoice(order: .name)).hasPrefix("site1/"))
        var choice = TopChoice(order: .name)
        choice.isReversed = true
        #expect(try first(choice).hasPrefix("site100/"))
        choice = TopChoice(order: .name)
        choice.scroll = 98
        #expect(try first(choice).hasPrefix("site83/"))
    }

    @Test func keysAreRead() {
        var bytes = Array("qtna r\u{1b}[A\u{1b}OB\u{1b}[5~\u{1b}[6~\u{1b}[1;5C\u{3}x\u{1b}[".utf8)
        #expect(
            TopKey.read(&bytes) == [.quit, .order(.traffic), .order(.name), .order(.age), .refresh, .reverse, .up, .down, .pageUp, .pageDown, .quit])
        #expect(bytes == [0x1b, 0x5b])
        bytes += [0x42]
        #expect(TopKey.read(&bytes) == [.down] && bytes.isEmpty)
        bytes = [0x1b, 0x5b] + [UInt8](repeating: 0x31, count: 100)
        #expect(TopKey.read(&bytes).isEmpty && bytes.isEmpty)
    }

    @Test func scrollingStaysWithinWhatThereIs() {
        var choice = TopChoice()
        for (key, scroll) in [(TopKey.up, 0), (.down, 1), (.pageDown, 19), (.pageDown, 30), (.down, 30), (.pageUp, 12), (.top, 0), (.pageDown, 18), (.order(.name), 0)] {
            choice.apply(key, page: 18, count: 48)
            #expect(choice.scroll == scroll, "\(key)")
        }
    }
}
