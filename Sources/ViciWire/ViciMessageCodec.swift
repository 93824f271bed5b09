// A vici message as bytes and back.
// Source: strongSwan's src/libcharon/plugins/vici/README.md, "Message format".
//
//     SECTION_START 1 | name                  name:  8-bit length, bytes
//     SECTION_END   2                         value: 16-bit length, bytes
//     KEY_VALUE     3 | name | value
//     LIST_START    4 | name
//     LIST_ITEM     5 | value
//     LIST_END      6

package enum ViciElementType: UInt8, Sendable {
    case sectionStart = 1
    case sectionEnd = 2
    case keyValue = 3
    case listStart = 4
    case listItem = 5
    case listEnd = 6
}

extension ViciMessage {
    /// Reads a whole message: `bytes` holds one and nothing else. No bytes are an empty message.
    package init(decoding bytes: ArraySlice<UInt8>) throws(ViciError) { self = try Self.decode(bytes, withholding: []).message }

    /// The same, but values of the names `secret` outside all sections are left empty. Where they stand in `bytes` comes back instead, in
    /// order, so that a secret is not copied on the way to the one who takes it.
    static func decode(_ bytes: ArraySlice<UInt8>, withholding secret: Set<String>) throws(ViciError) -> (message: ViciMessage, secrets: [Range<Int>]) {
        var reader = ViciReader(bytes)
        var secrets: [Range<Int>] = []
        // The sections that are open, outermost first, each with its name; the root has none.
        var names: [String] = []
        var bodies: [ViciMessage] = []
        var current = ViciMessage()
        var openList: (name: String, items: [[UInt8]])?
        var count = 0

        while !reader.isAtEnd {
            let code = try reader.byte()
            guard let type = ViciElementType(rawValue: code) else { throw .unknownElementType(code) }
            count += 1
            guard count <= ViciLimits.elements else { throw .tooManyElements }

            if var list = openList {
                switch type {
                case .listItem:
                    openList = nil  // so that the items have one owner and grow in place
                    list.items.append(Array(bytes[try reader.value()]))
                    openList = list
                case .listEnd:
                    current.elements.append(.list(list.name, list.items))
                    openList = nil
                case .sectionStart, .sectionEnd, .keyValue, .listStart:
                    throw .misplacedElement(type)
                }
                continue
            }
            switch type {
            case .sectionStart:
                guard names.count < ViciLimits.depth else { throw .tooDeep }
                names.append(try reader.name())
                bodies.append(current)
                current = ViciMessage()
            case .sectionEnd:
                guard let name = names.popLast(), var outer = bodies.popLast() else { throw .misplacedElement(type) }
                outer.elements.append(.section(name, current))
                current = outer
            case .keyValue:
                let name = try reader.name()
                let place = try reader.value()
                if names.isEmpty, secret.contains(name) {
                    secrets.append(place)
                    current.elements.append(.value(name, []))
                } else {
                    current.elements.append(.value(name, Array(bytes[place])))
                }
            case .listStart:
                openList = (try reader.name(), [])
            case .listItem, .listEnd:
                throw .misplacedElement(type)
            }
        }
        guard names.isEmpty, openList == nil else { throw .unterminated(sections: names.count, inList: openList != nil) }
        return (current, secrets)
    }

    /// The message as bytes. Throws `nameTooLong`, `valueTooLong` or `tooDeep`.
    package func encoded() throws(ViciError) -> [UInt8] {
        var out: [UInt8] = []
        try encode(into: &out, depth: 0)
        return out
    }

    func encode(into out: inout [UInt8], depth: Int) throws(ViciError) {
        guard depth <= ViciLimits.depth else { throw .tooDeep }
        for element in elements {
            switch element {
            case .section(let name, let body):
                out.append(ViciElementType.sectionStart.rawValue)
                try out.appendViciName(name)
                try body.encode(into: &out, depth: depth + 1)
                out.append(ViciElementType.sectionEnd.rawValue)
            case .value(let name, let bytes):
                out.append(ViciElementType.keyValue.rawValue)
                try out.appendViciName(name)
                try out.appendViciValue(bytes)
            case .list(let name, let items):
                out.append(ViciElementType.listStart.rawValue)
                try out.appendViciName(name)
                for item in items {
                    out.append(ViciElementType.listItem.rawValue)
                    try out.appendViciValue(item)
                }
                out.append(ViciElementType.listEnd.rawValue)
            }
        }
    }
}

/// Takes fields off the front of a packet; every length is checked against what is left.
struct ViciReader {
    private let bytes: ArraySlice<UInt8>
    private var offset: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        offset = bytes.startIndex
    }

    var isAtEnd: Bool { offset == bytes.endIndex }
    var rest: ArraySlice<UInt8> { bytes[offset...] }

    mutating func byte() throws(ViciError) -> UInt8 {
        guard offset < bytes.endIndex else { throw .truncated(need: 1, have: 0) }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func name() throws(ViciError) -> String {
        let length = Int(try byte())
        let start = offset - bytes.startIndex
        let raw = try take(length)
        guard let name = String(validating: bytes[raw], as: UTF8.self) else { throw .malformedName(offset: start) }
        return name
    }

    /// Where the value stands.
    mutating func value() throws(ViciError) -> Range<Int> {
        let high = try byte()
        let low = try byte()
        return try take(Int(high) << 8 | Int(low))
    }

    private mutating func take(_ count: Int) throws(ViciError) -> Range<Int> {
        let left = bytes.endIndex - offset
        guard count <= left else { throw .truncated(need: count, have: left) }
        defer { offset += count }
        return offset..<offset + count
    }
}

extension [UInt8] {
    mutating func appendViciName(_ name: String) throws(ViciError) {
        let utf8 = name.utf8
        guard let length = UInt8(exactly: utf8.count) else { throw .nameTooLong(utf8.count) }
        append(length)
        append(contentsOf: utf8)
    }

    mutating func appendViciValue(_ value: [UInt8]) throws(ViciError) {
        guard let length = UInt16(exactly: value.count) else { throw .valueTooLong(value.count) }
        append(UInt8(length >> 8))
        append(UInt8(truncatingIfNeeded: length))
        append(contentsOf: value)
    }
}
