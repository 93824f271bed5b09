// What a configuration may contain: the form of the table in `SchemaTable.swift`, and the check of a tree against it.
// Both a configuration file and vici end here.

/// What Martlet does with a known key.
enum KeyStatus: Sendable {
    case implemented
    /// Changes sizes, timers or cosmetics alone; without effect so far, which a warning says.
    case tunesOnly(String)
    /// Restricts who, what or how. Without it a peer could do more than was configured, so it is refused.
    case restricts(String)
}

/// The form of a value.
enum ValueKind: Sendable {
    case text
    case list
    case boolean
    case integer(ClosedRange<UInt64>)
    /// Seconds, or with s, m, h, d.
    case time
    /// Bytes, or with k, m, g.
    case bytes
    case choice([String])
    /// Kept in wiped memory.
    case secret
    /// Certificates or public keys: paths, or what a client sends in their place.
    case credentials
}

struct SchemaKey: Sendable {
    let name: String
    let kind: ValueKind
    let status: KeyStatus
    /// Values that ask for what Martlet does anyway.
    let inert: [String]
    /// The name goes on as it likes: `id-east`.
    let isPrefix: Bool

    init(_ name: String, _ kind: ValueKind, _ status: KeyStatus = .implemented, inert: [String] = [], isPrefix: Bool = false) {
        (self.name, self.kind, self.status, self.inert, self.isPrefix) = (name, kind, status, inert, isPrefix)
    }
}

extension SchemaKey {
    var isImplemented: Bool { if case .implemented = status { true } else { false } }
}

struct SchemaSection: Sendable {
    enum Name: Sendable {
        case exactly(String)
        /// `local`, `local-1`
        case prefix(String)
        /// The administrator's choice.
        case any

        func matches(_ name: String) -> Bool {
            switch self {
            case .exactly(let own): name == own
            case .prefix(let own): name.hasPrefix(own)
            case .any: true
            }
        }
        var spelling: String? {
            switch self {
            case .exactly(let own), .prefix(let own): own
            case .any: nil
            }
        }
    }
    let name: Name
    /// What it is called in a message: "a connection".
    let title: String
    let status: KeyStatus
    let keys: [SchemaKey]
    let sections: [SchemaSection]
    /// Whether other keys are somebody else's to know, as a plugin's options are.
    let takesAnyKey: Bool

    init(
        _ name: Name, _ title: String, status: KeyStatus = .implemented, keys: [SchemaKey] = [], sections: [SchemaSection] = [],
        takesAnyKey: Bool = false
    ) {
        (self.name, self.title, self.status, self.keys, self.sections, self.takesAnyKey) = (name, title, status, keys, sections, takesAnyKey)
    }

    func key(_ name: String) -> SchemaKey? {
        keys.first { $0.name == name } ?? keys.first { $0.isPrefix && name.hasPrefix($0.name) }
    }
    func section(_ name: String) -> SchemaSection? {
        sections.first { if case .exactly(name) = $0.name { true } else { false } } ?? sections.first { $0.name.matches(name) }
    }
}

extension SchemaSection {
    /// Checks names, types and statuses of everything in `section`.
    func check(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        for setting in section.settings where !diagnostics.isFull { check(setting, &diagnostics) }
        for inner in section.sections where !diagnostics.isFull {
            guard let schema = self.section(inner.name) else {
                if takesAnyKey { continue }
                diagnostics.error(at: inner.position, unknownSection(inner.name))
                continue
            }
            switch schema.status {
            case .implemented: break
            case .tunesOnly(let reason):
                diagnostics.warning(at: inner.position, "the section \(quoted(inner.name)) has no effect: \(reason)")
                continue
            case .restricts(let reason):
                diagnostics.error(at: inner.position, "the section \(quoted(inner.name)) is refused: \(reason)")
                continue
            }
            schema.check(inner, &diagnostics)
        }
    }

    private func check(_ setting: ConfigurationSetting, _ diagnostics: inout Diagnostics) {
        guard let key = key(setting.name) else {
            if !takesAnyKey { diagnostics.error(at: setting.position, unknownKey(setting.name)) }
            return
        }
        guard let value = setting.value else { return }
        if let complaint = key.kind.complaint(about: value) {
            return diagnostics.error(at: value.position, "\(quoted(setting.name)) \(complaint)")
        }
        if key.inert.contains(value.text.lowercased()) { return }
        switch key.status {
        case .implemented where value.isBinary && !key.kind.takesBinary: diagnostics.error(at: value.position, "\(quoted(setting.name)) is not text")
        case .implemented: break
        case .tunesOnly(let reason): diagnostics.warning(at: setting.position, "\(quoted(setting.name)) has no effect: \(reason)")
        case .restricts(let reason):
            diagnostics.error(
                at: setting.position, "\(quoted(setting.name)) restricts \(title) in a way that Martlet does not implement yet, so it is refused: \(reason)")
        }
    }

    private func unknownKey(_ name: String) -> String {
        if sections.contains(where: { $0.name.spelling == name }) { return "\(quoted(name)) is a section: write \(name) { ... }" }
        let here = nearest(to: name, among: keys.filter(\.isImplemented).map(\.name)) ?? nearest(to: name, among: keys.map(\.name))
        let elsewhere = nearest(to: name, among: SchemaTable.root.allKeys)
        // A word that is right in another place, or nearly so, is misplaced rather than misspelt.
        if let elsewhere, elsewhere != here, editDistance(name, elsewhere) < (here.map { editDistance(name, $0) } ?? Int.max),
            !(here?.hasSuffix("_" + name) ?? false), let place = SchemaTable.root.place(ofKey: elsewhere, path: [])
        {
            let word = elsewhere == name ? "it" : quoted(elsewhere)
            return "\(title) has no key \(quoted(name)); \(word) belongs in \(place)"
        }
        // The second line of a secret, perhaps: that is not repeated.
        if here == nil, title == "a secret" { return "\(title) has no such key; a value that goes over several lines stands in quotation marks" }
        return "\(title) has no key \(quoted(name))" + suggestion(here)
    }

    private func unknownSection(_ name: String) -> String {
        if keys.contains(where: { $0.name == name }) { return "\(quoted(name)) is a key: write \(name) = ..." }
        if let hint = nearest(to: name, among: sections.compactMap(\.name.spelling)) { return "\(title) has no section \(quoted(name))" + suggestion(hint) }
        return "\(title) has no section \(quoted(name))"
    }

    /// The names of the keys of this section and all inside it.
    private var allKeys: [String] { keys.map(\.name) + sections.flatMap(\.allKeys) }

    /// Where a key of that name would be right: `connections.NAME.children.NAME`.
    private func place(ofKey key: String, path: [String]) -> String? {
        if keys.contains(where: { $0.name == key }) { return path.isEmpty ? nil : "'" + path.joined(separator: ".") + "'" }
        for section in sections {
            if let place = section.place(ofKey: key, path: path + [section.name.spelling ?? "NAME"]) { return place }
        }
        return nil
    }
}

extension ValueKind {
    var takesBinary: Bool { if case .credentials = self { true } else { false } }

    /// What is wrong with a value, as the end of a sentence that begins with the key; nil if nothing is.
    func complaint(about value: ConfigurationValue) -> String? {
        let text = value.text
        if value.givenElements != nil {
            switch self {
            case .list, .credentials: return nil
            default: break
            }
            return "takes one value, not a list"
        }
        switch self {
        case .text, .list, .secret, .credentials: return nil
        case .boolean: return booleanValue(text) == nil ? "is 'yes' or 'no', not \(quoted(text))" : nil
        case .integer(let range):
            guard let number = integerValue(text) else { return "is a whole number, not \(quoted(text))" }
            return range.contains(number) ? nil : "is a number from \(range.lowerBound) to \(range.upperBound), not \(number)"
        case .time: return timeValue(text) == nil ? "is a time such as 30s, 10m, 4h or 1d (at most 10 years), not \(quoted(text))" : nil
        case .bytes: return byteValue(text) == nil ? "is a number of bytes such as 500000, 64k, 10m or 2g, not \(quoted(text))" : nil
        case .choice(let words):
            if words.contains(text.lowercased()) { return nil }
            return "is one of \(words.joined(separator: ", ")), not \(quoted(text))" + suggestion(nearest(to: text, among: words))
        }
    }
}
