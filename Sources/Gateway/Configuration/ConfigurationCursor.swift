// Walks over the bytes of one file and knows the line and the column.

struct ConfigurationCursor {
    private let bytes: [UInt8]
    private let file: String
    private var offset = 0
    private var line = 1
    private var column = 1

    init(bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
        // A byte order mark is no text.
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { offset = 3 }
    }

    var position: SourcePosition { SourcePosition(file: file, line: line, column: column) }
    var currentLine: Int { line }

    var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    /// Whether the byte before the next one is a space, a tab or a line end.
    var isAfterSpace: Bool { offset > 0 && offset <= bytes.count && [0x20, 0x09, 0x0a, 0x0d].contains(bytes[offset - 1]) }

    /// Takes the next byte.
    @discardableResult
    mutating func next() -> UInt8? {
        guard offset < bytes.count else { return nil }
        let byte = bytes[offset]
        offset += 1
        if byte == UInt8(ascii: "\n") {
            line += 1
            column = 1
        } else if byte & 0xc0 != 0x80 {
            // The bytes after the first of a UTF-8 character do not count.
            column += 1
        }
        return byte
    }

    /// Passes spaces and tabs, not line ends.
    mutating func skipBlanks() {
        while let byte = peek, byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r") { next() }
    }

    /// Passes everything up to the end of the line.
    mutating func skipLine() {
        while let byte = peek, byte != UInt8(ascii: "\n") { next() }
    }

    /// Passes spaces, line ends and comments.
    mutating func skipSpace() {
        while let byte = peek {
            switch byte {
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), UInt8(ascii: "\n"): next()
            case UInt8(ascii: "#"): skipLine()
            default: return
            }
        }
    }

    /// Takes bytes while `condition` holds.
    mutating func take(while condition: (UInt8) -> Bool) -> [UInt8] {
        let start = offset
        while let byte = peek, condition(byte) { next() }
        return Array(bytes[start..<offset])
    }
}
