// The tree that a configuration file, or a vici message, becomes: sections of settings and sections, each with its place.

import IKECrypto

/// A value: one text, whose list elements keep their own places; or, for a secret, bytes that are wiped.
package struct ConfigurationValue: Sendable {
    /// A run of `text` that stood in one piece in the file. `offset` counts UTF-8 bytes.
    struct Piece: Sendable {
        var offset: Int
        var position: SourcePosition
    }
    /// Empty where `secret` is set.
    package let text: String
    package let secret: SecretBox?
    let pieces: [Piece]
    /// The elements as the source had them, where it has lists of its own as vici does; else commas separate them.
    let givenElements: [String]?
    /// Bytes that are no text, such as a certificate; `text` then only says so.
    let isBinary: Bool
    /// Those bytes, one run for each element of a list.
    private(set) var blobs: [[UInt8]] = []
    package let position: SourcePosition

    init(text: String, pieces: [Piece], position: SourcePosition) {
        (self.text, self.secret, self.pieces, self.givenElements, self.isBinary, self.position) = (text, nil, pieces, nil, false, position)
    }
    package init(text: String, position: SourcePosition) { self.init(text: text, pieces: [], position: position) }
    package init(elements: [String], position: SourcePosition) {
        (self.text, self.secret, self.pieces, self.givenElements, self.isBinary, self.position) = (elements.joined(separator: ","), nil, [], elements, false, position)
    }
    package init(secret: SecretBox, position: SourcePosition) {
        (self.text, self.secret, self.pieces, self.givenElements, self.isBinary, self.position) = ("", secret, [], nil, false, position)
    }
    package init(blobs: [[UInt8]], position: SourcePosition) {
        let count = blobs.reduce(0) { $0 + $1.count }
        (self.text, self.secret, self.pieces, self.givenElements, self.isBinary, self.position) = ("(\(count) bytes)", nil, [], nil, true, position)
        self.blobs = blobs
    }

    /// One element of a list, without the spaces around it.
    package struct Element: Sendable {
        package var text: String
        package var position: SourcePosition
    }

    /// The elements between commas; empty ones are left out.
    package var elements: [Element] {
        if let givenElements { return givenElements.map { Element(text: $0, position: position) } }
        var result: [Element] = []
        let bytes = Array(text.utf8)
        var start = 0
        for end in 0...bytes.count where end == bytes.count || bytes[end] == UInt8(ascii: ",") {
            let element = bytes[start..<end].trimmed
            if !element.isEmpty { result.append(Element(text: String(decoding: element, as: UTF8.self), position: place(of: element.startIndex))) }
            start = end + 1
        }
        return result
    }

    private func place(of offset: Int) -> SourcePosition {
        guard let piece = pieces.last(where: { $0.offset <= offset }) else { return position }
        var place = piece.position
        place.column += offset - piece.offset
        return place
    }
}

extension ArraySlice<UInt8> {
    /// Without spaces, tabs and line ends around.
    var trimmed: ArraySlice<UInt8> {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
        guard let first = firstIndex(where: { !isSpace($0) }), let last = lastIndex(where: { !isSpace($0) }) else { return self[endIndex...] }
        return self[first...last]
    }
}

/// `name = value`; nil for `name =`, which clears what a referenced section would give.
package struct ConfigurationSetting: Sendable {
    package var name: String
    package var position: SourcePosition
    package var value: ConfigurationValue?
    package init(name: String, position: SourcePosition, value: ConfigurationValue?) {
        self.name = name
        self.position = position
        self.value = value
    }
}

/// `name { ... }` or `name : reference, reference { ... }`.
package struct ConfigurationSection: Sendable {
    package struct Reference: Sendable {
        /// The names from the root on.
        package var path: [String]
        package var position: SourcePosition
    }
    package var name: String
    package var position: SourcePosition
    package var references: [Reference] = []
    /// In the order of first appearance.
    package private(set) var settings: [ConfigurationSetting] = []
    package private(set) var sections: [ConfigurationSection] = []
    private var settingIndex: [String: Int] = [:]
    private var sectionIndex: [String: Int] = [:]

    package init(name: String, position: SourcePosition) {
        self.name = name
        self.position = position
    }

    package func setting(_ name: String) -> ConfigurationSetting? { settingIndex[name].map { settings[$0] } }
    package func section(_ name: String) -> ConfigurationSection? { sectionIndex[name].map { sections[$0] } }
    /// The value under `name`, unless it is absent or cleared.
    package func value(_ name: String) -> ConfigurationValue? { setting(name)?.value }

    /// A later setting of the same name replaces the earlier one.
    package mutating func set(_ setting: ConfigurationSetting) {
        if let index = settingIndex[setting.name] {
            settings[index] = setting
        } else {
            settingIndex[setting.name] = settings.count
            settings.append(setting)
        }
    }

    /// A later section of the same name extends the earlier one.
    package mutating func extend(with section: ConfigurationSection) {
        guard let index = sectionIndex[section.name] else {
            sectionIndex[section.name] = sections.count
            sections.append(section)
            return
        }
        for setting in section.settings { sections[index].set(setting) }
        for inner in section.sections { sections[index].extend(with: inner) }
        for reference in section.references where !sections[index].references.contains(where: { $0.path == reference.path }) {
            sections[index].references.append(reference)
        }
    }
}
