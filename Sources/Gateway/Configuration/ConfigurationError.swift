// What is wrong with a configuration, and where: one value for an error or a warning, printed as compilers print theirs.

/// A place in a configuration file. Lines and columns count from 1; a column counts characters. In a message there are no lines: line 0,
/// `file` is the names of the sections on the way there, `site.children.net`, which all keys of a section share, and `key` is `mode`.
package struct SourcePosition: Hashable, Sendable, Comparable, CustomStringConvertible {
    package var file: String
    package var line: Int
    package var column: Int
    package var key = ""
    package init(file: String, line: Int, column: Int) {
        self.file = file
        self.line = line
        self.column = column
    }
    package var description: String { line > 0 ? "\(file):\(line):\(column)" : file.isEmpty || key.isEmpty ? file + key : "\(file).\(key)" }

    package init(path: String, key: String = "") {
        self.init(file: path, line: 0, column: 0)
        self.key = key
    }
    package static func < (a: Self, b: Self) -> Bool { (a.file, a.line, a.column, a.key) < (b.file, b.line, b.column, b.key) }
}

/// One complaint about a configuration. Never carries a secret.
package struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Severity: String, Hashable, Sendable {
        /// The configuration is not used.
        case error
        /// It is used, and differs from what its author may expect.
        case warning
    }
    package var severity: Severity
    package var position: SourcePosition
    package var message: String

    package init(_ severity: Severity = .error, at position: SourcePosition, _ message: String) {
        self.severity = severity
        self.position = position
        self.message = message
    }

    package var file: String { position.file }
    package var line: Int { position.line }
    package var column: Int { position.column }
    /// `FILE:LINE:COL: error: message`.
    package var description: String { "\(position): \(severity.rawValue): \(message)" }
    /// `FILE:LINE:COL: message`, for one who knows that it failed.
    package var text: String { "\(position): \(message)" }
}

/// Collects complaints in the order they arise, each once, and stops at a cap.
struct Diagnostics {
    static let cap = 200
    private(set) var items: [ConfigurationError] = []
    private var seen: Set<ConfigurationError> = []
    private(set) var hasErrors = false

    mutating func error(at position: SourcePosition, _ message: String) { add(ConfigurationError(.error, at: position, message)) }
    mutating func warning(at position: SourcePosition, _ message: String) { add(ConfigurationError(.warning, at: position, message)) }

    /// Set where text could not be read or a reference leads nowhere: then what seems to be missing may only be unread.
    var isIncomplete = false
    mutating func missing(_ severity: ConfigurationError.Severity = .error, at position: SourcePosition, _ message: String) {
        if !isIncomplete { add(ConfigurationError(severity, at: position, message)) }
    }

    /// Whether more complaints would be left out: then nobody needs to look for their words.
    var isFull: Bool { items.count >= 2 * Self.cap }

    mutating func add(_ item: ConfigurationError) {
        if item.severity == .error { hasErrors = true }
        // An error must not be crowded out by warnings.
        guard items.count < Self.cap || (item.severity == .error && items.count < 2 * Self.cap), seen.insert(item).inserted else { return }
        items.append(item)
    }
}

/// Text from a file or a client as it may stand in a message: in quotation marks, without control characters, not too long, and no further
/// than to what looks like another setting, which may be a secret.
func quoted(_ text: String) -> String {
    var result = "'"
    let further = FurtherSetting.offset(in: text.utf8)
    let shown = further.map { String(decoding: text.utf8.prefix($0), as: UTF8.self) + "..." } ?? text
    for (index, scalar) in shown.unicodeScalars.enumerated() {
        if index == 80 {
            result += "..."
            break
        }
        if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) {
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        } else {
            result.unicodeScalars.append(scalar)
        }
    }
    return result + "'"
}
