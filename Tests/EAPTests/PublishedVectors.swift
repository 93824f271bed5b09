// What others have computed: RFC 1320 (MD4), RFC 2759 section 9.2 (MSCHAPv2), RFC 3079 section 3.5.3 (its keys), RFC 1994's digest.

import EAPMethods
import PluginABI
import PluginKit
import Testing

@Suite struct PublishedVectors {
    private func secret(_ bytes: [UInt8]) -> SecretMemory { bytes.withUnsafeBufferPointer { SecretMemory($0) } }
    private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String { bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined() }
    private func octets(_ text: String) -> [UInt8] {
        let digits = text.filter { $0 != " " }.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    private func md4(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBufferPointer { MD4.digest($0).octets } }

    /// RFC 1320 appendix A.5.
    @Test func md4() {
        let known = [
            "": "31d6cfe0d16ae931b73c59d7e0c089c0", "a": "bde52cb31de33e46245e05fbdbd6fb24", "abc": "a448017aaf21d8525fc10ae87aa6729d", "message digest": "d9130a8164549fe818874806e1c7014b",
            "abcdefghijklmnopqrstuvwxyz": "d79e1c308aa5bbcdeea8ed63df412da9",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": "043f8582f241db351ce627e153e7f0e4",
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890": "e33b4ddc9c38f2199c3e7b164fcc0536",
        ]
        for (text, digest) in known { #expect(hexadecimal(md4(Array(text.utf8))) == digest, "\(text)") }
    }

    /// RFC 2759 section 9.2 and RFC 3079 section 3.5.3: user "User", password "clientPass".
    @Test func mschapv2() throws {
        let hash = NTHash.of(secret(Array("clientPass".utf8)))
        #expect(hexadecimal(hash.octets) == "44ebba8d5312b8d611474411f56989ae")
        let challenge = octets("5B 5D 7C 7D 7B 3F 2F 3E 3C 2C 60 21 32 26 26 28"), peer = octets("21 40 23 24 25 5E 26 2A 28 29 5F 2B 3A 33 7C 7E")
        for name in ["User", "DOMAIN\\User"] {
            let proof = try #require(MSCHAPProof(hash, authenticator: challenge, peer: peer, name: Array(name.utf8)))
            #expect(hexadecimal(proof.response) == "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")
            #expect(hexadecimal(proof.authenticator) == "407a5589115fd0d6209f510fe9c04566932cda56")
            // The server's send key, which is the client's to receive: RFC 3079 section 3.5.3.
            #expect(hexadecimal(proof.key.octets[16..<32]) == "8b7cdc149b993a1ba118cb153f56dccb")
            #expect(proof.key.octets.dropFirst(32).allSatisfy { $0 == 0 })
        }
    }

    /// Letters beyond ASCII: UTF-16LE of the text, not its octets one by one.
    @Test func passwordsBeyondASCII() {
        let wide: [UInt8] = [0xfc, 0, 0xac, 0x20, 0x34, 0xd8, 0x1e, 0xdd]
        #expect(NTHash.of(secret(Array("ü€𝄞".utf8))).octets == md4(wide))
        // What is no UTF-8 counts octet by octet.
        #expect(NTHash.of(secret([0xfc])).octets == md4([0xfc, 0]))
    }
}
