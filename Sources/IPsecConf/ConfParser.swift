// Reads ipsec.conf and what it includes: sections that begin in the first column, indented parameters, comments, quoted strings.
// The syntax is that of ipsec.conf(5) as strongSwan and libreswan share it.

struct ConfParser {
    private enum Current { case none, setup, conn(Int), authority(Int) }

    private let files: any ImportFiles
    private var parsed = ParsedConf()
    private var current = Current.none
    private var places: [String: Int] = [:]
    private var authorityPlaces: [String: Int] = [:]
    private var open: [String] = []
    private var fileCount = 0
    private var items = 0

    static func parse(_ path: String, _ files: any ImportFiles) -> ParsedConf {
        var parser = ConfParser(files: files)
        parser.read(path, from: nil)
        return parser.parsed
    }

    private init(files: any ImportFiles) { self.files = files }

    private var hasGivenUp: Bool { parsed.problems.count >= ImportLimits.syntaxErrors || items > ImportLimits.items }

    private mutating func complain(_ origin: Origin, _ reason: String) {
        if !hasGivenUp { parsed.problems.append(ParsedConf.Problem(origin: origin, reason: reason)) }
    }

    // MARK: Files

    private mutating func read(_ path: String, from include: Origin?) {
        let origin = include ?? Origin(file: path, line: 1)
        fileCount += 1
        guard fileCount <= ImportLimits.files else { return complain(origin, "more than \(ImportLimits.files) files are included") }
        guard open.count < ImportLimits.includeDepth, !open.contains(path) else { return complain(origin, "\(path) includes itself, or files include each other too deep") }
        let bytes: [UInt8]
        do throws(FileProblem) {
            bytes = try files.read(path, limit: ImportLimits.fileBytes)
        } catch {
            // Both daemons go on without a file that an include names and that is not there.
            if error.isMissing, include != nil { return parsed.findings.add(.notCarried, at: origin, "\(path) is not there; what stood in it is missing here too") }
            return complain(origin, "cannot read \(path): \(error.reason)")
        }
        guard !bytes.contains(0) else { return complain(origin, "\(path) is not a text file") }
        open.append(path)
        defer { open.removeLast() }
        var cursor = Cursor(bytes: bytes, file: path)
        while !cursor.isAtEnd, !hasGivenUp { readLine(&cursor) }
    }

    private mutating func include(_ pattern: String, _ origin: Origin) {
        guard !pattern.isEmpty else { return complain(origin, "a file name is missing after 'include'") }
        let path = resolved(pattern, in: origin.file)
        for file in isPattern(path) ? files.files(matching: path) : [path] where !hasGivenUp { read(file, from: origin) }
    }

    // MARK: Lines

    private mutating func readLine(_ cursor: inout Cursor) {
        let isIndented = cursor.skipBlanks()
        let origin = cursor.origin
        if cursor.isAtLineEnd { return cursor.endLine() }
        items += 1
        if items > ImportLimits.items {
            parsed.problems.append(ParsedConf.Problem(origin: origin, reason: "more than \(ImportLimits.items) lines: the rest is not read"))
            return
        }
        let word = cursor.word()
        let isSpaced = cursor.skipBlanks()
        if word == "include", isSpaced, cursor.peek != UInt8(ascii: "=") {
            let pattern = readValue(&cursor, origin)
            return include(pattern ?? "", origin)
        }
        if isIndented { return readSetting(word, &cursor, origin) }
        if word == "version" { return cursor.endLine() }
        let rest = readValue(&cursor, origin) ?? ""
        switch word {
        case "config":
            current = .setup
            if rest != "setup" { complain(origin, "'config setup' is expected, not 'config \(rest)'") }
        case "conn", "ca":
            guard !rest.isEmpty, !rest.utf8.contains(UInt8(ascii: " ")) else {
                current = .none
                return complain(origin, "'\(word)' needs one name")
            }
            if word == "conn" { openConn(rest, origin) } else { openAuthority(rest, origin) }
        default:
            complain(origin, "'\(word)' begins no section: 'config setup', 'conn NAME' and 'ca NAME' do, and a parameter is indented")
        }
    }

    private mutating func openConn(_ name: String, _ origin: Origin) {
        let place = places[name, default: parsed.conns.count]
        if place == parsed.conns.count {
            places[name] = place
            parsed.conns.append(Section(name: name, origin: origin))
        }
        current = .conn(place)
    }

    private mutating func openAuthority(_ name: String, _ origin: Origin) {
        let place = authorityPlaces[name, default: parsed.authorities.count]
        if place == parsed.authorities.count {
            authorityPlaces[name] = place
            parsed.authorities.append(Section(name: name, origin: origin))
        }
        current = .authority(place)
    }

    private mutating func readSetting(_ word: String, _ cursor: inout Cursor, _ origin: Origin) {
        guard !word.isEmpty, cursor.peek == UInt8(ascii: "=") else {
            cursor.endLine()
            return complain(origin, "'parameter=value' is expected")
        }
        cursor.next()
        guard let value = readValue(&cursor, origin) else { return }
        let setting = Setting(spelling: word, value: value, origin: origin)
        switch current {
        case .none: complain(origin, "this parameter stands before every section")
        case .setup: parsed.setup[setting.name] = setting
        case .conn(let place): parsed.conns[place].set(setting)
        case .authority(let place): parsed.authorities[place].set(setting)
        }
    }

    /// Words and quoted strings up to the end of the line, one space between two of them. Nil, and a complaint, if that is wrong.
    private mutating func readValue(_ cursor: inout Cursor, _ origin: Origin) -> String? {
        var value: [UInt8] = []
        var isFirst = true
        cursor.skipBlanks()
        while !cursor.isAtLineEnd {
            if !isFirst { value.append(UInt8(ascii: " ")) }
            isFirst = false
            if cursor.peek == UInt8(ascii: "\"") {
                guard cursor.quoted(into: &value) else {
                    complain(origin, "the string that begins here has no closing '\"'")
                    return nil
                }
            } else {
                cursor.bare(into: &value)
            }
            guard value.count <= ImportLimits.valueBytes else {
                cursor.endLine()
                complain(origin, "the value is longer than \(ImportLimits.valueBytes) bytes")
                return nil
            }
            cursor.skipBlanks()
        }
        cursor.endLine()
        return String(decoding: value, as: UTF8.self)
    }
}

/// A place in a file's bytes.
struct Cursor {
    private let bytes: [UInt8]
    private var index = 0
    private let file: String
    private var line = 1

    init(bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
    }

    var origin: Origin { Origin(file: file, line: line) }
    var isAtEnd: Bool { index >= bytes.count }
    var peek: UInt8? { index < bytes.count ? bytes[index] : nil }
    /// At the end of the line, the file, or where a comment begins.
    var isAtLineEnd: Bool { peek == nil || peek == UInt8(ascii: "\n") || peek == UInt8(ascii: "#") }

    @discardableResult mutating func next() -> UInt8? {
        guard let byte = peek else { return nil }
        index += 1
        if byte == UInt8(ascii: "\n") { line += 1 }
        return byte
    }

    /// Whether there were any.
    @discardableResult mutating func skipBlanks() -> Bool {
        let start = index
        while let byte = peek, isBlank(byte) { index += 1 }
        return index > start
    }

    /// Skips what is left of the line, and the line's end.
    mutating func endLine() {
        while let byte = next(), byte != UInt8(ascii: "\n") {}
    }

    /// Up to a blank, an equals sign, a quotation mark or a comment.
    mutating func word() -> String {
        let start = index
        while let byte = peek, !isBlank(byte), !"\n=\"#".utf8.contains(byte) { index += 1 }
        // Something must be read for a reader to get on.
        if index == start, peek != UInt8(ascii: "=") { next() }
        return String(decoding: bytes[start..<index], as: UTF8.self)
    }

    /// Up to a blank, a quotation mark or a comment; `@#` begins an identity.
    mutating func bare(into value: inout [UInt8]) {
        let start = index
        if peek == UInt8(ascii: "@"), index + 1 < bytes.count, bytes[index + 1] == UInt8(ascii: "#") { index += 2 }
        while let byte = peek, !isBlank(byte), !"\n\"#".utf8.contains(byte) { index += 1 }
        value += bytes[start..<index]
    }

    /// A quoted string, which may go over several lines. False if it does not end.
    mutating func quoted(into value: inout [UInt8]) -> Bool {
        next()
        while let byte = next() {
            switch byte {
            case UInt8(ascii: "\""): return true
            case UInt8(ascii: "\\"):
                guard let escaped = next() else { return false }
                switch escaped {
                case UInt8(ascii: "\n"): break
                case UInt8(ascii: "n"): value.append(UInt8(ascii: "\n"))
                case UInt8(ascii: "r"): value.append(UInt8(ascii: "\r"))
                case UInt8(ascii: "t"): value.append(UInt8(ascii: "\t"))
                default: value.append(escaped)
                }
            default: value.append(byte)
            }
            if value.count > ImportLimits.valueBytes { return true }
        }
        return false
    }

    private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
}
