// The ordered tree that every vici request, response and event carries.
// Source: strongSwan's src/libcharon/plugins/vici/README.md, "Message format".

/// Sections, key/values and lists in the order in which they stand on the wire.
///
/// Values are bytes; the protocol's own are text, and numbers are text in decimal. A key that stands twice is kept twice and read as
/// its first.
package struct ViciMessage: Hashable, Sendable {
    package indirect enum Element: Hashable, Sendable {
        case section(String, ViciMessage)
        case value(String, [UInt8])
        case list(String, [[UInt8]])

        package var name: String {
            switch self {
            case .section(let name, _), .value(let name, _), .list(let name, _): name
            }
        }
    }

    package var elements: [Element]

    package init(_ elements: [Element] = []) { self.elements = elements }

    package var isEmpty: Bool { elements.isEmpty }
}

// MARK: Reading

extension ViciMessage {
    /// The bytes of the first value of that name.
    package func bytes(_ name: String) -> [UInt8]? {
        for case .value(name, let bytes) in elements { return bytes }
        return nil
    }

    /// The first value of that name as text; bytes that are not UTF-8 become U+FFFD.
    package subscript(_ name: String) -> String? {
        bytes(name).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The first value of that name as a decimal number; nil where it is none.
    package func integer<Number: FixedWidthInteger>(_ name: String, as _: Number.Type = Number.self) -> Number? {
        self[name].flatMap { Number($0) }
    }

    /// `yes`, `true`, `enabled` and `1` are true, in any case; what vici clients send.
    package func boolean(_ name: String) -> Bool {
        switch self[name]?.lowercased() {
        case "yes", "true", "enabled", "1": true
        default: false
        }
    }

    package func section(_ name: String) -> ViciMessage? {
        for case .section(name, let message) in elements { return message }
        return nil
    }

    package func list(_ name: String) -> [String]? {
        for case .list(name, let items) in elements { return items.map { String(decoding: $0, as: UTF8.self) } }
        return nil
    }

    /// All sections, in order.
    package var sections: [(name: String, body: ViciMessage)] {
        elements.compactMap { element in
            if case .section(let name, let body) = element { (name, body) } else { nil }
        }
    }
}

// MARK: Writing

extension ViciMessage {
    /// Octets that are no text.
    package mutating func add(_ name: String, bytes: [UInt8]) { elements.append(.value(name, bytes)) }

    package mutating func add(_ name: String, _ text: String) {
        elements.append(.value(name, Array(text.utf8)))
    }

    package mutating func add(_ name: String, _ number: some BinaryInteger) {
        add(name, String(number))
    }

    /// Adds nothing for nil: vici leaves out what does not apply.
    package mutating func add(_ name: String, _ text: String?) {
        if let text { add(name, text) }
    }

    package mutating func add(_ name: String, _ number: (some BinaryInteger)?) {
        if let number { add(name, String(number)) }
    }

    /// Adds `name = yes`, or nothing.
    package mutating func add(_ name: String, ifTrue condition: Bool) {
        if condition { add(name, "yes") }
    }

    package mutating func add(_ name: String, list items: [String]) {
        elements.append(.list(name, items.map { Array($0.utf8) }))
    }

    package mutating func add(_ name: String, section body: ViciMessage) {
        elements.append(.section(name, body))
    }
}
