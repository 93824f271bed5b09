// From the sections of `secrets` to preshared keys, passwords and hashes in wiped memory.

import IKECore
import IKECrypto

struct SecretBuilder {
    func build(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> IKESecret? {
        let owners = section.settings.filter { $0.name.hasPrefix("id") }.compactMap(\.value)
        let kind = Self.kind(section.name) ?? .ike
        guard let identities = identities(owners.map { ConfigurationValue.Element(text: $0.text, position: $0.position) }, of: kind, &diagnostics) else { return nil }
        guard let value = section.value("secret"), let given = value.secret else {
            diagnostics.missing(at: section.position, "the secret \(quoted(section.name)) has no value: write secret = \"...\"")
            return nil
        }
        guard let decoded = given.withSecret({ decode($0) }) ?? nil else {
            diagnostics.error(at: value.position, "the secret begins with 0x or 0s and is not hexadecimal or base64 behind it")
            return nil
        }
        guard hasLength(decoded.count, of: kind, at: value.position, &diagnostics) else { return nil }
        return IKESecret(kind, name: section.name, identities: identities, secret: SecretBox(decoded), origin: section.position)
    }

    /// What a section is for; nil for what is no secret of identities.
    static func kind(_ section: String) -> SecretKind? {
        if section.hasPrefix("ike") { return .ike }
        if section.hasPrefix("eap") || section.hasPrefix("xauth") { return .eap }
        return section.hasPrefix("ntlm") ? .ntlm : nil
    }

    /// A secret from a client, whose bytes are meant as they are.
    func build(_ kind: SecretKind, _ name: String, owners: [ConfigurationValue.Element], secret: SecretBox, origin: SourcePosition, _ diagnostics: inout Diagnostics) -> IKESecret? {
        guard let identities = identities(owners, of: kind, &diagnostics) else { return nil }
        guard hasLength(secret.withSecret { $0.count } ?? 0, of: kind, at: origin, &diagnostics) else { return nil }
        return IKESecret(kind, name: name, identities: identities, secret: secret, origin: origin)
    }

    /// Nil where one is wrong: without it the secret would serve more peers than it should.
    private func identities(_ owners: [ConfigurationValue.Element], of kind: SecretKind, _ diagnostics: inout Diagnostics) -> [IdentityPattern]? {
        var identities: [IdentityPattern] = []
        for owner in owners {
            do throws(IdentityProblem) {
                let identity = try IdentityPattern(configured: owner.text, isUser: kind != .ike)
                // A password that many share opens the door to whoever knows it, under any name.
                if kind != .ike, !identity.isOne { throw IdentityProblem(message: "\(quoted(owner.text)) stands for many, and a password is one user's: write out the name") }
                identities.append(identity)
            } catch {
                diagnostics.error(at: owner.position, error.message)
                return nil
            }
        }
        return identities
    }

    private func hasLength(_ length: Int, of kind: SecretKind, at position: SourcePosition, _ diagnostics: inout Diagnostics) -> Bool {
        if length == 0 {
            diagnostics.error(at: position, "the secret is empty")
            return false
        }
        if kind == .ntlm, length != 16 {
            diagnostics.error(at: position, "an NT hash has 16 bytes, and this has \(length): write 0x and 32 hexadecimal digits, or 0s and base64")
            return false
        }
        //= RFC 7296 §2.15
        if kind == .ike, length < 16 {
            diagnostics.warning(at: position, "the secret is \(length) bytes long: one that is guessed opens the tunnel; take 16 or more random bytes")
        }
        return true
    }

    /// Text as it is, hexadecimal behind `0x`, base64 behind `0s`. Nil if that is malformed.
    private func decode(_ given: borrowing SecretBytes) -> SecretBytes? {
        var text: [UInt8] = []
        text.reserveCapacity(given.count)
        let span = given.span
        for index in span.indices { text.append(span[index]) }
        defer { wipe(&text) }
        guard text.count >= 2, text[0] == UInt8(ascii: "0"), [UInt8(ascii: "x"), UInt8(ascii: "X"), UInt8(ascii: "s"), UInt8(ascii: "S")].contains(text[1]) else {
            return given.copy()
        }
        let isHex = text[1] | 0x20 == UInt8(ascii: "x")
        guard var bytes = isHex ? hexBytes(text.dropFirst(2)) : base64Bytes(text.dropFirst(2)) else { return nil }
        defer { wipe(&bytes) }
        return SecretBytes(copying: bytes.span)
    }
}
