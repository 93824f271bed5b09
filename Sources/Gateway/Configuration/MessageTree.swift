// A vici message as the tree that a file would give. What a place is in a file, the names on the way there are here.
// Source: strongSwan's src/libcharon/plugins/vici/README.md, "Message format" and "load-conn".

import ViciWire

/// Why a message is no configuration.
package struct MessageTreeProblem: Error, Hashable, Sendable {
    package let position: SourcePosition
    package let reason: String
}

package enum MessageTree {
    /// Sections in one another, as a configuration has them: a connection, `children`, a child, and one more to be refused by its name.
    private static let depth = 4

    /// A root section that holds `connections` with what a `load-conn` says: one section, the connection.
    package static func connection(_ message: ViciMessage) throws(MessageTreeProblem) -> (name: String, root: ConfigurationSection) {
        try root("connections", message, whose: "connection")
    }

    /// The same with `pools` and a `load-pool`.
    package static func pool(_ message: ViciMessage) throws(MessageTreeProblem) -> (name: String, root: ConfigurationSection) {
        try root("pools", message, whose: "pool")
    }

    /// The same with `authorities` and a `load-authority`.
    package static func authority(_ message: ViciMessage) throws(MessageTreeProblem) -> (name: String, root: ConfigurationSection) {
        try root("authorities", message, whose: "authority")
    }

    private static func root(_ place: String, _ message: ViciMessage, whose: String) throws(MessageTreeProblem) -> (name: String, root: ConfigurationSection) {
        guard message.elements.count == 1, case .section(let name, let body) = message.elements[0] else {
            throw MessageTreeProblem(position: SourcePosition(path: place), reason: "the message is one section, of the \(whose)'s name")
        }
        var outer = ConfigurationSection(name: place, position: SourcePosition(path: place))
        outer.extend(with: try section(name, body, around: ""))
        var root = ConfigurationSection(name: "", position: SourcePosition(path: ""))
        root.extend(with: outer)
        return (name, root)
    }

    private static func section(_ name: String, _ message: ViciMessage, around path: String, depth: Int = 1) throws(MessageTreeProblem) -> ConfigurationSection {
        var section = ConfigurationSection(name: name, position: try place(of: name, in: path))
        guard !message.elements.isEmpty else { return section }
        guard depth <= Self.depth else { throw MessageTreeProblem(position: section.position, reason: "a configuration has no sections this deep in one another") }
        // One text for all keys: a message has thousands of them.
        let path = path.isEmpty ? name : path + "." + name
        for element in message.elements {
            let place = try place(of: element.name, in: path)
            // A file's later setting replaces the earlier one, as an administrator may have meant it; a program means one of them.
            guard section.setting(element.name) == nil, section.section(element.name) == nil else {
                throw MessageTreeProblem(position: place, reason: "\(quoted(element.name)) stands there twice")
            }
            switch element {
            case .section(let name, let body): section.extend(with: try self.section(name, body, around: path, depth: depth + 1))
            case .value(let name, let bytes): section.set(ConfigurationSetting(name: name, position: place, value: value(bytes, at: place)))
            case .list(let name, let items): section.set(ConfigurationSetting(name: name, position: place, value: list(items, at: place)))
            }
        }
        return section
    }

    private static func place(of name: String, in path: String) throws(MessageTreeProblem) -> SourcePosition {
        // A name goes into logs and onto terminals.
        guard !name.isEmpty, name.unicodeScalars.allSatisfy({ $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) }) else {
            throw MessageTreeProblem(position: SourcePosition(path: path.isEmpty ? "the message" : path), reason: "\(quoted(name)) is no name")
        }
        return SourcePosition(path: path, key: name)
    }

    private static func value(_ bytes: [UInt8], at place: SourcePosition) -> ConfigurationValue {
        guard let text = String(validating: bytes, as: UTF8.self) else { return ConfigurationValue(blobs: [bytes], position: place) }
        return ConfigurationValue(text: text, position: place)
    }

    /// An empty list is as good as none.
    private static func list(_ items: [[UInt8]], at place: SourcePosition) -> ConfigurationValue? {
        guard !items.isEmpty else { return nil }
        var elements: [String] = []
        for item in items {
            guard let text = String(validating: item, as: UTF8.self) else {
                return ConfigurationValue(blobs: items, position: place)
            }
            elements.append(text)
        }
        return ConfigurationValue(elements: elements, position: place)
    }
}
