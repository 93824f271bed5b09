// From the sections `secrets.ike*` to preshared keys in wiped memory.

import IKECore
import IKECrypto

struct SecretBuilder {
    func build(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> IKESecret? {
        var identities: [IdentityPattern] = []
        for setting in section.settings where setting.name.hasPrefix("id") {
            guard let value = setting.value else { continue }
            do throws(IdentityProblem) {
                identities.append(try IdentityPattern(configured: value.text))
            } catch {
                diagnostics.error(at: value.position, error.message)
                // Without it the secret would serve more peers than it should.
                return nil
            }
        }
        guard let value = section.value("secret"), let given = value.secret else {
            diagnostics.missing(at: section.position, "the secret \(quoted(section.name)) has no value: write secret = \"...\"")
            return nil
        }
        guard let decoded = given.withSecret({ decode($0) }) ?? nil else {
            diagnostics.error(at: value.position, "the secret begins with 0x or 0s and is not hexadecimal or base64 behind it")
            return nil
        }
        let length = decoded.count
        if length == 0 {
            diagnostics.error(at: value.position, "the secret is empty")
            return nil
        }
        //= RFC 7296 §2.15
        if length < 16 {
            diagnostics.warning(at: value.position, "the secret is \(length) bytes long: one that is guessed opens the tunnel; take 16 or more random bytes")
        }
        return IKESecret(name: section.name, identities: identities, secret: SecretBox(decoded), origin: section.position)
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
