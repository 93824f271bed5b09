// Reads ipsec.secrets: the preshared keys, and the names of what else stands there. No text of a secret leaves this file but in `PresharedKey`.

struct PresharedKey: Sendable {
    var identities: [Identity]
    var secret: [UInt8]
    var origin: Origin
}

struct ParsedSecrets: Sendable {
    var keys: [PresharedKey] = []
    var findings = Findings()
    var problems: [ParsedConf.Problem] = []
    /// Nil where the file could be read.
    var missing: FileProblem?
}

struct SecretsParser {
    private let files: any ImportFiles
    private let dialect: Dialect
    private var parsed = ParsedSecrets()
    private var open: [String] = []
    private var fileCount = 0
    private var items = 0

    static func parse(_ path: String, _ files: any ImportFiles, _ dialect: Dialect) -> ParsedSecrets {
        var parser = SecretsParser(files: files, dialect: dialect)
        parser.read(path, from: nil)
        return parser.parsed
    }

    private init(files: any ImportFiles, dialect: Dialect) {
        self.files = files
        self.dialect = dialect
    }

    private mutating func complain(_ origin: Origin, _ reason: String) {
        if parsed.problems.count < ImportLimits.syntaxErrors { parsed.problems.append(ParsedConf.Problem(origin: origin, reason: reason)) }
    }

    private mutating func read(_ path: String, from include: Origin?) {
        let origin = include ?? Origin(file: path, line: 1)
        fileCount += 1
        guard fileCount <= ImportLimits.files else { return complain(origin, "more than \(ImportLimits.files) files are included") }
        guard open.count < ImportLimits.includeDepth, !open.contains(path) else { return complain(origin, "\(path) includes itself, or files include each other too deep") }
        let bytes: [UInt8]
        do throws(FileProblem) {
            bytes = try files.read(path, limit: ImportLimits.fileBytes)
        } catch {
            if include == nil { parsed.missing = error } else { parsed.findings.add(.notCarried, at: origin, "cannot read \(path): \(error.reason)") }
            return
        }
        open.append(path)
        defer { open.removeLast() }
        var entry: [Word] = []
        var start = 0
        var line = 0
        for text in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            line += 1
            let words = Self.words(text)
            guard !words.isEmpty else { continue }
            items += 1
            guard items <= ImportLimits.items else { return complain(Origin(file: path, line: line), "too many lines") }
            // An indented line goes on with an entry that has no secret yet.
            let continues = !entry.isEmpty && (text.first == UInt8(ascii: " ") || text.first == UInt8(ascii: "\t")) && !Self.isComplete(entry)
            if !continues {
                read(entry, Origin(file: path, line: start))
                (entry, start) = ([], line)
            }
            entry += words
        }
        read(entry, Origin(file: path, line: start))
    }

    // MARK: Words

    private struct Word {
        var bytes: [UInt8]
        var isQuoted: Bool
        /// Whether its closing quotation mark is there.
        var isClosed = true
        var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    private static func words(_ line: ArraySlice<UInt8>) -> [Word] {
        var words: [Word] = []
        var rest = line
        while true {
            rest = rest.drop { $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }
            guard let first = rest.first, first != UInt8(ascii: "#") else { return words }
            if first == UInt8(ascii: "\"") || first == UInt8(ascii: "'") {
                rest = rest.dropFirst()
                let text = rest.prefix { $0 != first }
                rest = rest.dropFirst(text.count)
                words.append(Word(bytes: Array(text), isQuoted: true, isClosed: !rest.isEmpty))
                rest = rest.dropFirst()
            } else {
                let text = rest.prefix { $0 != 0x20 && $0 != 0x09 && $0 != 0x0d }
                rest = rest.dropFirst(text.count)
                words.append(Word(bytes: Array(text), isQuoted: false))
            }
        }
    }

    private static let kinds: [String: String?] = [
        "PSK": nil,
        "RSA": "private keys are not carried over yet", "ECDSA": "private keys are not carried over yet", "PKCS8": "private keys are not carried over yet",
        "BLISS": "private keys are not carried over yet", "P12": "private keys and certificates are not carried over yet", "PIN": "smart cards are not there yet",
        "EAP": "EAP is not there yet", "NTLM": "EAP is not there yet", "XAUTH": "XAUTH is for IKEv1, which Martlet does not speak",
        "PPK": "postquantum preshared keys are not there yet", "PPKS": "postquantum preshared keys are not there yet",
    ]

    /// Where the colon stands, and what kind of secret follows it.
    private static func separator(_ entry: [Word]) -> (index: Int, kind: String, next: Int)? {
        for (index, word) in entry.enumerated() where !word.isQuoted && word.bytes.last == UInt8(ascii: ":") {
            guard index + 1 < entry.count else { return nil }
            let following = entry[index + 1]
            if !following.isQuoted, kinds[following.text.uppercased()] != nil { return (index, following.text.uppercased(), index + 2) }
            // Without a word for its kind a quoted secret is a preshared key.
            if word.bytes.count == 1, following.isQuoted { return (index, "PSK", index + 1) }
        }
        return nil
    }

    private static func isComplete(_ entry: [Word]) -> Bool { separator(entry).map { $0.next < entry.count } ?? (entry.first?.text == "include" && entry.count > 1) }

    // MARK: Entries

    private mutating func read(_ entry: [Word], _ origin: Origin) {
        guard let first = entry.first else { return }
        if first.text == "include", !first.isQuoted, entry.count > 1 {
            let path = resolved(entry[1].text, in: origin.file)
            for file in isPattern(path) ? files.files(matching: path) : [path] { read(file, from: origin) }
            return
        }
        guard let (index, kind, next) = Self.separator(entry) else {
            return complain(origin, "this is no secret: IDENTITIES : PSK \"...\" is expected (its text is not shown)")
        }
        if let reason = Self.kinds[kind] ?? nil { return parsed.findings.add(.leftOut, at: origin, "the \(kind) secret is not carried over: \(reason)") }
        guard next < entry.count, let secret = decode(entry[next]), !secret.isEmpty else {
            return complain(origin, "the secret is missing, or not the hexadecimal digits or Base64 that it begins as (its text is not shown)")
        }
        var identities: [Identity] = []
        var names = entry[..<index].map(\.text)
        if entry[index].bytes.count > 1 { names.append(String(entry[index].text.dropLast())) }
        for name in names.flatMap({ elements($0) }) {
            do throws(Untranslatable) {
                identities.append(try Identity(name, dialect))
            } catch {
                return parsed.findings.add(.leftOut, at: origin, "the preshared key for '\(name)' is not carried over: \(error.reason)")
            }
        }
        if identities.allSatisfy({ $0.value == .any }) { identities = [] }
        parsed.keys.append(PresharedKey(identities: identities, secret: secret, origin: origin))
    }

    /// Text in quotes as it is; else hexadecimal behind `0x`, Base64 behind `0s`, text behind libreswan's `0t`.
    private func decode(_ word: Word) -> [UInt8]? {
        guard !word.isQuoted else { return word.isClosed ? word.bytes : nil }
        guard word.bytes.count > 2, word.bytes[0] == UInt8(ascii: "0") else { return word.bytes }
        let rest = word.bytes.dropFirst(2)
        switch word.bytes[1] | 0x20 {
        case UInt8(ascii: "x"): return hexadecimal(rest)
        case UInt8(ascii: "s"): return base64(rest)
        case UInt8(ascii: "t") where dialect == .libreswan: return Array(rest)
        default: return word.bytes
        }
    }
}

/// Two digits a byte; underscores and colons between them are allowed.
private func hexadecimal(_ text: ArraySlice<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var high: UInt8?
    for character in text where character != UInt8(ascii: "_") && character != UInt8(ascii: ":") {
        guard let digit = UInt8(String(UnicodeScalar(character)), radix: 16) else { return nil }
        if let first = high {
            bytes.append(first << 4 | digit)
            high = nil
        } else {
            high = digit
        }
    }
    return high == nil ? bytes : nil
}

/// RFC 4648 section 4, the padding optional.
private func base64(_ text: ArraySlice<UInt8>) -> [UInt8]? {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    let unpadded = text.prefix { $0 != UInt8(ascii: "=") }
    guard text.dropFirst(unpadded.count).allSatisfy({ $0 == UInt8(ascii: "=") }), text.count - unpadded.count <= 2, unpadded.count % 4 != 1 else { return nil }
    var bytes: [UInt8] = []
    var buffer: UInt32 = 0
    var bits: UInt32 = 0
    for character in unpadded {
        guard let value = digits.firstIndex(of: character) else { return nil }
        buffer = (buffer & 0xff_ffff) << 6 | UInt32(value)
        bits += 6
        if bits >= 8 {
            bits -= 8
            bytes.append(UInt8(truncatingIfNeeded: buffer >> bits))
        }
    }
    return bytes
}
