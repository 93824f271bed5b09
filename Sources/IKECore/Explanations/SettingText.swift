// Settings as an administrator would write them into the configuration, for advice that can be followed as it stands.

package enum SettingText {
    /// `key = value`, in backquotes; the value in quotation marks where the file's syntax needs them.
    package static func setting(_ key: String, _ value: String) -> String {
        let isPlain = !value.isEmpty && value.utf8.allSatisfy { isLetterOrDigit($0) || "@.:%*_+-/[]".utf8.contains($0) }
        return "`\(key) = \(isPlain ? value : "\"" + value.map { $0 == "\\" || $0 == "\"" ? "\\\($0)" : "\($0)" }.joined() + "\"")`"
    }

    /// The section of a secret for a connection. An identity is nil where any may be meant: named, `%any` would make the secret everybody's.
    package static func secret(of connection: String, own: String?, peer: String?) -> String {
        let names = [own, peer].compactMap { $0 }
        let identities = names.enumerated().map { setting(names.count == 1 ? "id" : "id-\($0.offset + 1)", $0.element) }
        return "a section ike-\(connection) to `secrets`, each setting on a line of its own: " + (identities + ["`secret = \"...\"`"]).joined(separator: ", ")
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool { (0x41...0x5a).contains(byte & 0xdf) || (0x30...0x39).contains(byte) }
}
