// Lines from pieces: wrapping, both ends of a line, tables.

/// `left` and, flush with the right edge where there is room, `right`; else on a line of its own, indented.
func spread(_ left: StyledText, _ right: StyledText, width: Int, indent: Int) -> [StyledText] {
    guard !right.isEmpty else { return flowed([left], width: width, indent: indent) }
    let gap = width - left.width - right.width
    guard gap < 2 else { return [left + StyledText(String(repeating: " ", count: gap)) + right] }
    return flowed([left], width: width, indent: indent) + flowed([right], lead: StyledText(String(repeating: " ", count: indent)), width: width, indent: indent)
}

/// Pieces one after another behind `lead`, on a new line with `indent` spaces where one does not fit. A piece wider than a line is cut into
/// lines itself.
package func flowed(_ pieces: [StyledText], separator: String = " ", lead: StyledText = "", width: Int, indent: Int) -> [StyledText] {
    let margin = StyledText(String(repeating: " ", count: indent))
    var lines: [StyledText] = []
    var line = lead
    while line.width > width {
        let (head, tail) = line.split(at: width)
        lines.append(head)
        line = margin.width < width ? margin + tail : tail
    }
    var isFresh = true
    for (index, piece) in pieces.enumerated() {
        let piece = index < pieces.count - 1 ? piece + StyledText(separator.trimmedEnd) : piece
        let gap = isFresh ? "" : StyledText(separator.hasSuffix(" ") ? " " : "")
        if line.width + gap.width + piece.width <= width {
            line += gap + piece
            isFresh = false
            continue
        }
        if !isFresh || (line.width > indent && piece.width <= width - indent) {
            lines.append(line)
            line = margin
        }
        var rest = piece
        while line.width + rest.width > width {
            let (head, tail) = rest.split(at: max(1, width - line.width))
            lines.append(line + head)
            line = margin
            rest = tail
            if margin.width >= width { break }
        }
        line += rest
        isFresh = false
    }
    return lines + [line]
}

/// Words of a sentence, wrapped; the first line begins with `lead`.
package func paragraph(_ text: String, _ style: Style? = nil, lead: StyledText = "", width: Int, indent: Int) -> [StyledText] {
    flowed(text.split(separator: " ").map { StyledText(String($0), style) }, lead: lead, width: width, indent: indent)
}

extension StyledText {
    /// At least one character goes into the head.
    fileprivate func split(at width: Int) -> (StyledText, StyledText) {
        var head = StyledText(""), tail = StyledText("")
        var column = 0, isFull = false
        for run in runs {
            var a = "", b = ""
            for character in run.text {
                let next = columns(String(character))
                if !isFull, column + next <= width || column == 0 {
                    a.append(character)
                    column += next
                } else {
                    isFull = true
                    b.append(character)
                }
            }
            head += StyledText(a, run.style)
            tail += StyledText(b, run.style)
        }
        return (head, tail)
    }
}

/// Columns with two spaces between them; the last is not padded.
package func table(_ rows: [[StyledText]]) -> [StyledText] {
    let count = rows.map(\.count).max() ?? 0
    let widths = (0..<count).map { column in rows.map { column < $0.count ? $0[column].width : 0 }.max() ?? 0 }
    return rows.map { row in
        row.enumerated().reduce(StyledText("")) { line, cell in
            line + (cell.offset > 0 ? "  " : "") + (cell.offset == row.count - 1 ? cell.element : cell.element.padded(to: widths[cell.offset]))
        }
    }
}
