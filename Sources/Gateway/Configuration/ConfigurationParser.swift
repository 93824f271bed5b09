// Reads a configuration file and what it includes into a tree: the syntax of strongswan.conf(5), which swanctl.conf shares.
// Goes on after a mistake, so that one run shows them all. Nothing in a file can make it trap or run without bound.

import IKECrypto

/// What a configuration may grow to.
package struct ConfigurationLimits: Sendable {
    package var fileBytes = 4 << 20
    /// All files together.
    package var totalBytes = 16 << 20
    package var includedFiles = 1024
    package var includeDepth = 16
    package var sectionDepth = 16
    package var valueBytes = 65_536
    /// Sections and settings, also after references are followed.
    package var items = 500_000
    package var syntaxErrors = 50
    package init() {}
}

/// What parsing leaves: the tree, the files it came from, and what was wrong.
struct ParsedFiles {
    struct File {
        var path: String
        var isReadableByOthers: Bool
    }
    var root: ConfigurationSection
    var files: [File] = []
    var diagnostics = Diagnostics()
}

struct ConfigurationParser {
    private let reader: any FileReader
    private let limits: ConfigurationLimits
    private var parsed: ParsedFiles
    private var totalBytes = 0
    private var items = 0
    private var syntaxErrors = 0
    /// The files being read, from the main one to the one included last.
    private var open: [String] = []

    static func parse(_ path: String, reader: any FileReader, limits: ConfigurationLimits) -> ParsedFiles {
        let start = SourcePosition(file: path, line: 1, column: 1)
        var parser = ConfigurationParser(reader: reader, limits: limits, parsed: ParsedFiles(root: ConfigurationSection(name: "", position: start)))
        var root = parser.parsed.root
        parser.readFile(path, includedAt: nil, into: &root, names: [])
        parser.parsed.root = root
        return parser.parsed
    }

    private init(reader: any FileReader, limits: ConfigurationLimits, parsed: ParsedFiles) {
        self.reader = reader
        self.limits = limits
        self.parsed = parsed
    }

    /// Whether so much is wrong, or there is so much of it, that reading on is of no use.
    private var hasGivenUp: Bool { syntaxErrors >= limits.syntaxErrors || items >= limits.items }

    private mutating func complain(at position: SourcePosition, _ message: String) {
        syntaxErrors += 1
        parsed.diagnostics.error(at: position, message)
        if syntaxErrors == limits.syntaxErrors { parsed.diagnostics.error(at: position, "too many mistakes: the rest is not read") }
    }

    /// Counts what was read; false when it is too much.
    private mutating func count(at position: SourcePosition) -> Bool {
        items += 1
        if items == limits.items { parsed.diagnostics.error(at: position, "more than \(limits.items) sections and settings: the rest is not read") }
        return items < limits.items
    }

    // MARK: Files

    private mutating func readFile(_ path: String, includedAt: SourcePosition?, into section: inout ConfigurationSection, names: [String]) {
        let position = includedAt ?? SourcePosition(file: path, line: 1, column: 1)
        let content: FileContent
        do throws(FileFailure) {
            content = try reader.read(path, limit: min(limits.fileBytes, limits.totalBytes - totalBytes))
        } catch {
            return complain(at: position, includedAt == nil ? "cannot read the file: \(error)" : "cannot read \(quoted(path)): \(error)")
        }
        guard !open.contains(content.identity) else { return complain(at: position, "\(quoted(path)) includes itself") }
        totalBytes += content.bytes.count
        open.append(content.identity)
        defer { open.removeLast() }
        parsed.files.append(ParsedFiles.File(path: path, isReadableByOthers: content.isReadableByOthers))
        if content.bytes.contains(0) { return complain(at: position, "\(quoted(path)) is not a text file") }
        readContent(content, path, into: &section, names: names)
    }

    /// Apart, so that the cursor's hold on the bytes ends before `content` wipes them.
    @inline(never)
    private mutating func readContent(_ content: FileContent, _ path: String, into section: inout ConfigurationSection, names: [String]) {
        var cursor = ConfigurationCursor(bytes: content.bytes, file: path)
        readBody(&cursor, into: &section, names: names, opened: nil)
    }

    private mutating func include(_ pattern: String, at position: SourcePosition, into section: inout ConfigurationSection, names: [String]) {
        guard !pattern.isEmpty else { return complain(at: position, "a file name is missing after 'include'") }
        guard open.count < limits.includeDepth else { return complain(at: position, "files include each other more than \(limits.includeDepth) deep") }
        let path = resolve(path: pattern, in: position.file)
        // A pattern may match nothing, as an empty conf.d does; a name must be there.
        let isPattern = path.utf8.contains { [UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "[")].contains($0) }
        for file in isPattern ? reader.files(matching: path) : [path] {
            guard !hasGivenUp else { return }
            guard parsed.files.count <= limits.includedFiles else {
                return complain(at: position, "more than \(limits.includedFiles) files are included")
            }
            readFile(file, includedAt: position, into: &section, names: names)
        }
    }

    // MARK: Sections

    /// Statements up to the end of the file or, when `opened` says where a section began, up to its closing brace.
    private mutating func readBody(
        _ cursor: inout ConfigurationCursor, into section: inout ConfigurationSection, names: [String], opened: SourcePosition?
    ) {
        while !hasGivenUp {
            cursor.skipSpace()
            let position = cursor.position
            guard let byte = cursor.peek else {
                if let opened { complain(at: opened, "the section \(quoted(names.last ?? "")) is never closed: a '}' is missing") }
                return
            }
            if byte == UInt8(ascii: "}") {
                cursor.next()
                if opened != nil { return }
                complain(at: position, "this '}' closes nothing")
            } else if isNameByte(byte) {
                readStatement(&cursor, into: &section, names: names)
            } else {
                complain(at: position, "a name is expected here, not \(quoted(String(UnicodeScalar(byte))))")
                cursor.skipLine()
            }
        }
    }

    /// `name = value`, `name { ... }`, `name : references { ... }` or `include pattern`.
    private mutating func readStatement(_ cursor: inout ConfigurationCursor, into section: inout ConfigurationSection, names: [String]) {
        let position = cursor.position
        let name = String(decoding: cursor.take(while: isNameByte), as: UTF8.self)
        if name == "include", let byte = cursor.peek, byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") {
            cursor.skipBlanks()
            if cursor.peek != UInt8(ascii: "=") && cursor.peek != UInt8(ascii: "{") {
                let pattern = readPattern(&cursor)
                return include(pattern, at: position, into: &section, names: names)
            }
        }
        let line = cursor.currentLine
        cursor.skipSpace()
        switch cursor.peek {
        case UInt8(ascii: "="):
            cursor.next()
            // A plugin's options are handed to it as text.
            let isOption = names.first == "plugins"
            let isSecret = (name == "secret" || name == "pin") && !isOption
            guard let value = readValue(&cursor, name: name, isSecret: isSecret, isOption: isOption) else { return }
            guard count(at: position) else { return }
            section.set(ConfigurationSetting(name: name, position: position, value: value.value))
        case UInt8(ascii: "{"), UInt8(ascii: ":"):
            var inner = ConfigurationSection(name: name, position: position)
            if cursor.peek == UInt8(ascii: ":") {
                cursor.next()
                guard let references = readReferences(&cursor) else { return }
                inner.references = references
            }
            cursor.next()
            guard count(at: position) else { return }
            guard names.count < limits.sectionDepth else {
                complain(at: position, "sections are nested more than \(limits.sectionDepth) deep")
                syntaxErrors = limits.syntaxErrors
                return
            }
            readBody(&cursor, into: &inner, names: names + [name], opened: position)
            section.extend(with: inner)
        case UInt8(ascii: "."):
            complain(at: position, "a name has no dots: write the sections around it, \(name) { ... }")
            cursor.skipLine()
        default:
            // It may be a piece of a secret: that is not repeated.
            let isInSecret = names.first == "secrets" && names.count > 1
            complain(at: position, isInSecret ? "this is no setting: a value that goes over several lines stands in quotation marks" : "after \(quoted(name)) a '=' or a '{' is expected")
            if cursor.currentLine == line { cursor.skipLine() }
        }
    }

    /// The names after the colon; the cursor is left at the brace. Nil if they are wrong.
    private mutating func readReferences(_ cursor: inout ConfigurationCursor) -> [ConfigurationSection.Reference]? {
        var references: [ConfigurationSection.Reference] = []
        while true {
            cursor.skipSpace()
            let position = cursor.position
            let bytes = cursor.take { isNameByte($0) || $0 == UInt8(ascii: ".") }
            let path = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
            guard !path.contains(""), references.count < 64, path.count <= limits.sectionDepth else {
                complain(at: position, "the name of a section is expected here, from the outermost on: name.name")
                cursor.skipLine()
                return nil
            }
            references.append(ConfigurationSection.Reference(path: path, position: position))
            cursor.skipSpace()
            switch cursor.peek {
            case UInt8(ascii: ","): cursor.next()
            case UInt8(ascii: "{"): return references
            default:
                complain(at: cursor.position, "after the name of a section a ',' or a '{' is expected")
                cursor.skipLine()
                return nil
            }
        }
    }

    // MARK: Values

    private struct ReadValue {
        /// Nil for `name =`.
        var value: ConfigurationValue?
    }

    /// Everything up to the end of the line, a comment or a closing brace: words and quoted strings, one space between two of them.
    /// Nil if it is wrong.
    private mutating func readValue(_ cursor: inout ConfigurationCursor, name: String, isSecret: Bool, isOption: Bool) -> ReadValue? {
        var bytes: [UInt8] = []
        // A secret is not left behind in memory that was outgrown.
        if isSecret { bytes.reserveCapacity(2048) }
        defer { if isSecret { wipe(&bytes) } }
        var pieces: [ConfigurationValue.Piece] = []
        var inQuotes: [Range<Int>] = []
        cursor.skipBlanks()
        let start = cursor.position
        value: while let byte = cursor.peek {
            let position = cursor.position
            switch byte {
            case UInt8(ascii: "\n"), UInt8(ascii: "}"): break value
            case UInt8(ascii: "#"):
                if pieces.isEmpty == false, !cursor.isAfterSpace {
                    parsed.diagnostics.warning(
                        at: position, "the value of \(quoted(name)) ends at this '#': put the value in quotation marks if it belongs to it")
                }
                break value
            case UInt8(ascii: "\""):
                cursor.next()
                if !pieces.isEmpty { bytes.append(UInt8(ascii: " ")) }
                pieces.append(ConfigurationValue.Piece(offset: bytes.count, position: cursor.position))
                let offset = bytes.count
                guard readQuoted(&cursor, opened: position, into: &bytes) else { return nil }
                inQuotes.append(offset..<bytes.count)
            default:
                if !pieces.isEmpty { bytes.append(UInt8(ascii: " ")) }
                pieces.append(ConfigurationValue.Piece(offset: bytes.count, position: position))
                while let byte = cursor.peek, isValueByte(byte) {
                    bytes.append(byte)
                    cursor.next()
                }
            }
            guard bytes.count <= limits.valueBytes else {
                complain(at: start, "the value of \(quoted(name)) is longer than \(limits.valueBytes) bytes")
                cursor.skipLine()
                return nil
            }
            cursor.skipBlanks()
        }
        guard let first = pieces.first else { return ReadValue(value: nil) }
        if let offset = FurtherSetting.offset(in: bytes, quoted: inQuotes, spaced: isSecret || isOption, or: isSecret ? "id" : nil) {
            // In the midst of a piece only behind a comma.
            complain(at: (pieces.last { $0.offset <= offset } ?? first).position, FurtherSetting.complaint)
            return nil
        }
        if isSecret { return ReadValue(value: ConfigurationValue(secret: SecretBox(SecretBytes(copying: bytes.span)), position: first.position)) }
        return ReadValue(value: ConfigurationValue(text: String(decoding: bytes, as: UTF8.self), pieces: pieces, position: start))
    }

    /// The rest of a quoted string, which may go over several lines. False if its end is missing.
    private mutating func readQuoted(_ cursor: inout ConfigurationCursor, opened: SourcePosition, into bytes: inout [UInt8]) -> Bool {
        while let byte = cursor.next() {
            switch byte {
            case UInt8(ascii: "\""): return true
            case UInt8(ascii: "\r"): break
            case UInt8(ascii: "\\"):
                switch cursor.next() {
                case nil: break
                case UInt8(ascii: "n"): bytes.append(UInt8(ascii: "\n"))
                case UInt8(ascii: "r"): bytes.append(UInt8(ascii: "\r"))
                case UInt8(ascii: "t"): bytes.append(UInt8(ascii: "\t"))
                // A line end behind a backslash joins two lines.
                case UInt8(ascii: "\n"): break
                case UInt8(ascii: "\r"): if cursor.peek == UInt8(ascii: "\n") { cursor.next() }
                case .some(let escaped): bytes.append(escaped)
                }
            default: bytes.append(byte)
            }
            if bytes.count > limits.valueBytes {
                complain(at: opened, "the string that begins here is longer than \(limits.valueBytes) bytes: is its closing '\"' missing?")
                syntaxErrors = limits.syntaxErrors
                return false
            }
        }
        complain(at: opened, "the string that begins here has no closing '\"'")
        // It took the rest of the file with it.
        syntaxErrors = limits.syntaxErrors
        return false
    }

    /// The file name after `include`: up to a space, a comment or a brace; a backslash or quotation marks keep those.
    private mutating func readPattern(_ cursor: inout ConfigurationCursor) -> String {
        var bytes: [UInt8] = []
        let opened = cursor.position
        if cursor.peek == UInt8(ascii: "\"") {
            cursor.next()
            return readQuoted(&cursor, opened: opened, into: &bytes) ? String(decoding: bytes, as: UTF8.self) : ""
        }
        while let byte = cursor.peek, !isSpace(byte), byte != UInt8(ascii: "#"), byte != UInt8(ascii: "}"), bytes.count < 4096 {
            cursor.next()
            if byte == UInt8(ascii: "\\"), let escaped = cursor.peek, [UInt8(ascii: "\""), UInt8(ascii: "#"), UInt8(ascii: "}"), UInt8(ascii: " ")].contains(escaped) {
                bytes.append(escaped)
                cursor.next()
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d }

/// What the names of sections and settings are made of.
private func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0...0x20, 0x7f, UInt8(ascii: "#"), UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: ":"), UInt8(ascii: "."), UInt8(ascii: ","),
        UInt8(ascii: "="), UInt8(ascii: "\""):
        false
    default: true
    }
}

private func isValueByte(_ byte: UInt8) -> Bool {
    !isSpace(byte) && byte != UInt8(ascii: "#") && byte != UInt8(ascii: "}") && byte != UInt8(ascii: "\"")
}
