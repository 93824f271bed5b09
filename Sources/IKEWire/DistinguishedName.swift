// Distinguished names: from DER and from text, compared by value, and as people read them.
// RFC 5280 sections 4.1.2.4 and 7.1, RFC 7296 section 3.5 (ID_DER_ASN1_DN); X.690 for the encoding.

package struct DistinguishedName: Hashable, Sendable {
    package struct Attribute: Hashable, Sendable {
        /// The content of the OBJECT IDENTIFIER.
        var type: [UInt8]
        /// The value's tag and content.
        var tag: UInt8
        var value: [UInt8]
    }
    /// Most names have one attribute in each.
    package private(set) var names: [[Attribute]]

    /// A name with more is none of those that certificates have.
    private static let lengthLimit = 8192, nameLimit = 64

    /// Nil where it is not a name, whole and alone.
    package init?(der: [UInt8]) {
        guard der.count <= Self.lengthLimit, let (outer, rest) = Self.element(der[...], 0x30), rest.isEmpty else { return nil }
        var names: [[Attribute]] = [], left = outer, count = 0
        while !left.isEmpty {
            guard let (set, after) = Self.element(left, 0x31), !set.isEmpty else { return nil }
            left = after
            var attributes: [Attribute] = [], inner = set
            while !inner.isEmpty {
                guard let (pair, afterPair) = Self.element(inner, 0x30), let (type, body) = Self.element(pair, 0x06), !type.isEmpty, let tag = body.first,
                    let (value, tail) = Self.element(body, tag), tail.isEmpty
                else { return nil }
                inner = afterPair
                count += 1
                guard count <= Self.nameLimit else { return nil }
                attributes.append(Attribute(type: Array(type), tag: tag, value: Array(value)))
            }
            names.append(attributes)
        }
        self.names = names
    }

    /// The last common name (2.5.4.3) in it: of a person, or of a host.
    package var commonName: [UInt8]? { names.joined().last { $0.type == [0x55, 0x04, 0x03] }?.value }

    /// The content of the element that `bytes` begins with, and what comes after it. Lengths have one form: X.690 section 10.1.
    private static func element(_ bytes: ArraySlice<UInt8>, _ tag: UInt8) -> (ArraySlice<UInt8>, ArraySlice<UInt8>)? {
        guard bytes.count >= 2, bytes.first == tag, tag & 0x1f != 0x1f else { return nil }
        let first = bytes[bytes.startIndex + 1]
        var start = bytes.startIndex + 2, length = Int(first)
        if first >= 0x80 {
            let octets = Int(first & 0x7f)
            guard (1...2).contains(octets), bytes.endIndex - start >= octets else { return nil }
            length = bytes[start..<start + octets].reduce(0) { $0 << 8 | Int($1) }
            guard length >= (octets == 1 ? 0x80 : 0x100) else { return nil }
            start += octets
        }
        guard bytes.endIndex - start >= length else { return nil }
        return (bytes[start..<start + length], bytes[(start + length)...])
    }

    private static func encoded(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        let count = content.count
        let length: [UInt8] =
            count < 0x80 ? [UInt8(count)] : count < 0x100 ? [0x81, UInt8(count)] : [0x82, UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)]
        return [tag] + length + content
    }

    package var der: [UInt8] {
        Self.encoded(
            0x30,
            names.flatMap { attributes in
                Self.encoded(0x31, attributes.flatMap { Self.encoded(0x30, Self.encoded(0x06, $0.type) + Self.encoded($0.tag, $0.value)) })
            })
    }

    // MARK: Text

    /// The first of a type is how it is written. Source of the abbreviations: RFC 4519, and strongSwan's `identification.h` for those that differ.
    private static let types: [(word: String, type: [UInt8])] = [
        ("CN", [0x55, 4, 3]), ("S", [0x55, 4, 4]), ("serialNumber", [0x55, 4, 5]), ("SN", [0x55, 4, 5]), ("C", [0x55, 4, 6]), ("L", [0x55, 4, 7]), ("ST", [0x55, 4, 8]),
        ("STREET", [0x55, 4, 9]), ("O", [0x55, 4, 10]), ("OU", [0x55, 4, 11]), ("T", [0x55, 4, 12]), ("D", [0x55, 4, 13]), ("postalCode", [0x55, 4, 17]), ("N", [0x55, 4, 41]),
        ("G", [0x55, 4, 42]), ("I", [0x55, 4, 43]), ("ID", [0x55, 4, 45]), ("dnQualifier", [0x55, 4, 46]), ("pseudonym", [0x55, 4, 65]),
        ("E", [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), ("email", [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), ("emailAddress", [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]),
        ("UID", [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1]), ("DC", [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25]),
        ("unstructuredName", [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2]),
    ]

    /// `C=CH, O=Example, CN=gw.example`, or `/C=CH/O=Example`; a comma in a value is written `\,`, and two attributes in one place are joined by `+`.
    package init?(text: String) {
        var separator: Character = ",", rest = Substring(text)
        if rest.hasPrefix("/") {
            separator = "/"
            rest = rest.dropFirst()
        }
        guard rest.utf8.count <= 2048 else { return nil }
        var names: [[Attribute]] = [], joined = false
        var word = "", isEscaped = false
        func finish(_ word: String) -> Bool {
            guard let equals = word.firstIndex(of: "=") else { return false }
            func trimmed(_ text: Substring) -> Substring {
                var text = text
                while text.first?.isWhitespace == true { text.removeFirst() }
                while text.last?.isWhitespace == true { text.removeLast() }
                return text
            }
            let name = trimmed(word[..<equals]).lowercased(), value = trimmed(word[word.index(after: equals)...])
            guard !value.isEmpty, let type = Self.types.first(where: { $0.word.lowercased() == name })?.type else { return false }
            let bytes = Array(value.utf8)
            let isIA5 = (type.first == 0x2a || (type.first == 0x09 && type.last == 25)) && bytes.allSatisfy { $0 < 0x80 }
            let tag: UInt8 = isIA5 ? 0x16 : bytes.allSatisfy(Self.isPrintable) ? 0x13 : 0x0c
            let attribute = Attribute(type: type, tag: tag, value: bytes)
            if joined, let last = names.indices.last { names[last].append(attribute) } else { names.append([attribute]) }
            return true
        }
        for character in rest {
            if isEscaped {
                word.append(character)
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else if character == separator || character == "+" && word.contains("=") && Self.startsAttribute(after: word, in: rest) {
                guard finish(word) else { return nil }
                joined = character == "+"
                word = ""
            } else {
                word.append(character)
            }
        }
        guard !isEscaped, finish(word), names.count <= Self.nameLimit else { return nil }
        self.names = names
    }

    /// Of a PrintableString: X.680 section 41.4.
    private static func isPrintable(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x20, 0x27...0x29, 0x2b...0x2f, 0x3a, 0x3d, 0x3f: true
        default: false
        }
    }

    /// A `+` is more often part of a value than a joint: `CN=C++`. Only ` + ` with an attribute behind it joins.
    private static func startsAttribute(after word: String, in text: Substring) -> Bool { word.last == " " && text.contains(" + ") }

    // MARK: Comparing

    /// RFC 5280 section 7.1: the same attributes in the same order, texts without regard to their type, case or the number of spaces.
    package func matches(_ other: DistinguishedName, wildcards: Bool = false) -> Bool {
        guard names.count == other.names.count else { return false }
        return zip(names, other.names).allSatisfy { mine, theirs in
            guard mine.count == theirs.count else { return false }
            return mine.allSatisfy { attribute in
                theirs.contains { $0.type == attribute.type && (wildcards && attribute.isWildcard || $0.compared == attribute.compared) }
            }
        }
    }

    /// Whether some value is `*`.
    package var hasWildcards: Bool { names.joined().contains(where: \.isWildcard) }

    /// The same for all names that are equal by value.
    package var compared: [[UInt8]] { names.flatMap { attributes in [[UInt8(truncatingIfNeeded: attributes.count)]] + attributes.flatMap { [$0.type, $0.compared] } } }
}

extension DistinguishedName.Attribute {
    var isWildcard: Bool { value == [UInt8(ascii: "*")] }

    /// As UTF-8; nil where the value is no text.
    var text: [UInt8]? {
        switch tag {
        case 0x0c: return value
        // Bytes above ASCII are Latin-1 to those who read them at all.
        case 0x12, 0x13, 0x14, 0x16, 0x1a:
            var text = ""
            for byte in value { text.unicodeScalars.append(Unicode.Scalar(byte)) }
            return Array(text.utf8)
        case 0x1e:
            guard value.count % 2 == 0 else { return nil }
            var text = ""
            for index in stride(from: 0, to: value.count, by: 2) {
                let unit = UInt16(value[index]) << 8 | UInt16(value[index + 1])
                text.unicodeScalars.append(Unicode.Scalar(unit) ?? "\u{fffd}")
            }
            return Array(text.utf8)
        default: return nil
        }
    }

    /// Letters of ASCII in lower case, spaces at the ends left out, runs of them as one; another kind of value with its tag.
    var compared: [UInt8] {
        guard let text else { return [tag] + value }
        var result: [UInt8] = [0], isSpace = true
        for byte in text {
            let space = byte == 0x20 || (0x09...0x0d).contains(byte)
            if space && isSpace { continue }
            isSpace = space
            result.append(space ? 0x20 : (0x41...0x5a).contains(byte) ? byte | 0x20 : byte)
        }
        if isSpace, result.count > 1 { result.removeLast() }
        return result
    }
}

extension DistinguishedName: CustomStringConvertible {
    package var description: String {
        names.map { attributes in
            attributes.map { attribute in
                let word = Self.types.first { $0.type == attribute.type }?.word ?? Self.dotted(attribute.type)
                let text = attribute.text.map { Identification.escaped($0) } ?? Identification.escaped(attribute.value)
                return word + "=" + text.map { $0 == "," ? "\\," : String($0) }.joined()
            }.joined(separator: " + ")
        }.joined(separator: ", ")
    }

    /// An object identifier in dots.
    private static func dotted(_ type: [UInt8]) -> String {
        var numbers: [UInt64] = [], current: UInt64 = 0
        for byte in type {
            let (shifted, overflow) = current.multipliedReportingOverflow(by: 128)
            if overflow { return "OID" }
            current = shifted | UInt64(byte & 0x7f)
            guard byte < 0x80 else { continue }
            if numbers.isEmpty {
                let head = min(current / 40, 2)
                numbers = [head, current - head * 40]
            } else {
                numbers.append(current)
            }
            current = 0
        }
        return numbers.map(String.init).joined(separator: ".")
    }
}
