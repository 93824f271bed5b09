// Lines for a terminal: runs of text with a style each, whose width is known whether they are coloured or not.

/// The SGR parameter of ECMA-48 section 8.3.117.
package enum Style: String, Sendable {
    case bold = "1"
    case dim = "2"
    case reverse = "7"
    case red = "31"
    case green = "32"
    case yellow = "33"
}

/// One line, or a part of one. Its text has gone through `printable`.
package struct StyledText: Hashable, Sendable, ExpressibleByStringLiteral {
    struct Run: Hashable, Sendable {
        var text: String
        var style: Style?
    }
    var runs: [Run]

    package init(_ text: String, _ style: Style? = nil) { runs = text.isEmpty ? [] : [Run(text: text, style: style)] }
    package init(stringLiteral text: String) { self.init(text) }

    package static func + (a: Self, b: Self) -> Self {
        var sum = a
        sum.runs += b.runs
        return sum
    }
    package static func += (a: inout Self, b: Self) { a.runs += b.runs }

    package var plain: String { runs.map(\.text).joined() }
    package var width: Int { runs.reduce(0) { $0 + columns($1.text) } }
    package var isEmpty: Bool { runs.isEmpty }

    package func padded(to width: Int, right: Bool = false) -> StyledText {
        let gap = StyledText(String(repeating: " ", count: max(0, width - self.width)))
        return right ? gap + self : self + gap
    }

    package func clipped(to width: Int) -> StyledText {
        guard self.width > width else { return self }
        var rest = width
        var out = StyledText("")
        for run in runs {
            let next = columns(run.text)
            // What follows needs room too, at least for its dots.
            if next <= rest - 2 || (next <= rest && run == runs.last) {
                out.runs.append(run)
                rest -= next
            } else {
                out.runs.append(Run(text: ClientView.clipped(run.text + "...", to: rest), style: run.style))
                break
            }
        }
        return out
    }

    /// As it is written: without spaces at its end, and with escape sequences where `colour` allows them.
    package func rendered(colour: Bool) -> String {
        var runs = runs
        while let last = runs.last {
            let text = last.text.trimmedEnd
            if !text.isEmpty {
                runs[runs.count - 1].text = text
                break
            }
            runs.removeLast()
        }
        return runs.map { run in
            guard colour, let style = run.style else { return run.text }
            return "\u{1b}[\(style.rawValue)m\(run.text)\u{1b}[0m"
        }.joined()
    }
}

extension [StyledText] {
    /// Lines, without a line end after the last.
    package func rendered(colour: Bool) -> String { map { $0.rendered(colour: colour) }.joined(separator: "\n") }
}

extension String {
    package var trimmedEnd: String {
        var copy = self
        while copy.last == " " { copy.removeLast() }
        return copy
    }
}
