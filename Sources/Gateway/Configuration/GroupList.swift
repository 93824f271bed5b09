// The value of `groups`: names of groups, and distinguished names, which have commas of their own.

extension ConfigurationValue {
    /// `staff, cn=VPN Users,ou=groups,dc=example; cn=admins,dc=example`: what has no equals sign is a name; a distinguished name goes on over commas up to
    /// a name or a semicolon. A backslash takes a comma's meaning, as in RFC 4514. A list of vici's is read the same where nothing in it has a comma: swanctl cuts at each, whatever it means, and takes the spaces
    /// behind it away. Else its elements are taken as they are.
    var groupNames: [String] {
        if let givenElements, givenElements.contains(where: { $0.contains(",") }) { return givenElements }
        var groups: [String] = []
        let text = givenElements?.joined(separator: ", ") ?? text
        for part in Self.split(Array(text.utf8)[...], at: UInt8(ascii: ";")) {
            var isOpen = false
            for piece in Self.split(part, at: UInt8(ascii: ",")) {
                let trimmed = piece.trimmed
                guard !trimmed.isEmpty else { continue }
                let text = String(decoding: trimmed, as: UTF8.self), isPart = trimmed.contains(UInt8(ascii: "="))
                if isPart, isOpen, let last = groups.popLast() { groups.append(last + "," + text) } else { groups.append(isPart ? text : Self.plain(text)) }
                isOpen = isPart
            }
        }
        return groups
    }

    /// Of a name, which has no other use for a backslash than before a comma or a semicolon.
    private static func plain(_ text: String) -> String { text.replacing("\\,", with: ",").replacing("\\;", with: ";") }

    private static func split(_ bytes: ArraySlice<UInt8>, at separator: UInt8) -> [ArraySlice<UInt8>] {
        var parts: [ArraySlice<UInt8>] = [], start = bytes.startIndex, isEscaped = false
        for index in bytes.indices {
            if bytes[index] == separator, !isEscaped {
                parts.append(bytes[start..<index])
                start = index + 1
            }
            isEscaped = bytes[index] == UInt8(ascii: "\\") && !isEscaped
        }
        return parts + [bytes[start...]]
    }
}
