// Two settings on one line: a value goes to the end of its line, so that `id = A  secret = B` would be one identity. Found before anything
// is said of the value, for what follows may be a secret.

enum FurtherSetting {
    static let complaint = "there are two settings on one line: put each on a line of its own, or this value in quotation marks"

    /// Where `text` seems to go on with a setting, `name =` or `name=`: the offset of the name, in bytes. Nil where it does not.
    ///
    /// The bytes in `quoted` were in quotation marks and belong to the value. Attributes of a distinguished name are no settings.
    /// In `spaced` text, such as a secret, only `name =` counts, and `name=` further on where the name begins with `prefix`.
    static func offset(in text: some Collection<UInt8>, quoted: [Range<Int>] = [], spaced: Bool = false, or prefix: String? = nil) -> Int? {
        var bytes = Array(text)
        defer { wipe(&bytes) }
        for range in quoted { for index in range { bytes[index] = 0 } }
        for index in bytes.indices where bytes[index] == UInt8(ascii: "=") {
            var end = index
            while end > 0, isBlank(bytes[end - 1]) { end -= 1 }
            var start = end
            while start > 0, isWordByte(bytes[start - 1]) { start -= 1 }
            guard start < end, isLetter(bytes[start]), start == 0 || isBlank(bytes[start - 1]) || bytes[start - 1] == UInt8(ascii: ",") || bytes[start - 1] == UInt8(ascii: ";") else { continue }
            let name = String(decoding: bytes[start..<end], as: UTF8.self).lowercased()
            if spaced, end == index, index + 1 < bytes.count, !isBlank(bytes[index + 1]) {
                guard let prefix, start > 0, name.hasPrefix(prefix) else { continue }
            }
            if !attributes.contains(name) { return start }
        }
        return nil
    }

    /// RFC 4514 section 3, RFC 4519, and what else stands in names of certificates.
    private static let attributes: Set<String> = [
        "c", "cn", "dc", "dn", "dnq", "dnqualifier", "e", "email", "emailaddress", "en", "employeenumber", "g", "gn", "givenname", "i", "initials", "l", "n", "name", "o", "ou", "postaladdress",
        "postalcode",
        "s", "serialnumber", "sn", "st", "street", "surname", "t", "title", "uid", "unstructuredaddress", "unstructuredname", "userid",
    ]

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
    private static func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5a).contains(byte & 0xdf) }
    private static func isWordByte(_ byte: UInt8) -> Bool { isLetter(byte) || (0x30...0x39).contains(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") }
}
