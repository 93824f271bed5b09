// The keys of the methods with TLS, computed once more without OpenSSL's exporter: from the secrets of the connection, by RFC 5246 section 5, RFC 5705
// and RFC 8446 section 7.5. What computes them here is held to published vectors first: those of the IETF's TLS list for the PRF of TLS 1.2
// (mail-archive.ietf.org, tls, msg03416) and those of RFC 8448 section 3 for HKDF-Expand-Label.

import CTLS
import CertificateKit
import PluginABI
import Testing

@testable import EAPMethods

/// The secrets of a connection that OpenSSL has told, as lines of a key log: label, client's random, secret.
private nonisolated(unsafe) var keyLog: [String] = []

@Suite(.serialized) struct TLSKeyVectors {
    private func octets(_ text: Substring) -> [UInt8] {
        let digits = text.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    private func hmac(_ hash: String, _ key: [UInt8], _ data: [UInt8]) -> [UInt8] {
        var mac = [UInt8](repeating: 0, count: 64), count = 0
        guard EVP_Q_mac(nil, "HMAC", nil, hash, nil, key, key.count, data, data.count, &mac, mac.count, &count) != nil else { return [] }
        return Array(mac.prefix(count))
    }

    private func digest(_ hash: String, _ data: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 64), count = 0
        guard EVP_Q_digest(nil, hash, nil, data, data.count, &digest, &count) == 1 else { return [] }
        return Array(digest.prefix(count))
    }

    /// RFC 5246 section 5.
    private func prf(_ hash: String, secret: [UInt8], label: String, seed: [UInt8], count: Int) -> [UInt8] {
        let seed = Array(label.utf8) + seed
        var a = seed, output: [UInt8] = []
        while output.count < count {
            a = hmac(hash, secret, a)
            output += hmac(hash, secret, a + seed)
        }
        return Array(output.prefix(count))
    }

    /// RFC 8446 section 7.1.
    private func expandLabel(_ hash: String, secret: [UInt8], label: String, context: [UInt8], count: Int) -> [UInt8] {
        let label = Array("tls13 \(label)".utf8)
        let info = [UInt8(count >> 8), UInt8(count & 255), UInt8(label.count)] + label + [UInt8(context.count)] + context
        var block: [UInt8] = [], output: [UInt8] = [], number: UInt8 = 1
        while output.count < count {
            block = hmac(hash, secret, block + info + [number])
            output += block
            number += 1
        }
        return Array(output.prefix(count))
    }

    @Test func whatIsPublished() {
        let sha256 = prf(
            "SHA256", secret: octets("9bbe436ba940f017b17652849a71db35"), label: "test label", seed: octets("a0ba9f936cda311827a6f796ffd5198c"), count: 100)
        #expect(
            sha256
                == octets(
                    "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
                ))
        let sha384 = prf(
            "SHA384", secret: octets("b80b733d6ceefcdc71566ea48e5567df"), label: "test label", seed: octets("cd665cf6a8447dd6ff8b27555edb7465"), count: 64)
        #expect(sha384 == octets("7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534cb400fed2700884f9dc236f80edd"))
        let early = hmac("SHA256", [UInt8](repeating: 0, count: 32), [UInt8](repeating: 0, count: 32))
        #expect(early == octets("33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a"))
        let derived = expandLabel("SHA256", secret: early, label: "derived", context: digest("SHA256", []), count: 32)
        #expect(derived == octets("6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba"))
    }

    /// A handshake of two ends that are content with each other, and what OpenSSL told of its secrets.
    private func handshake(_ version: Int32) throws -> (server: TLSSession, client: TLSSession) {
        let pki = try #require(TestPKI()), pair = try #require(pki.issue("gateway", san: "DNS:vpn.example", usage: "serverAuth"))
        let certificate = try #require(X509Certificate(der: pair.certificate)), key = try #require(pair.key.withUnsafeBufferPointer { SigningKey($0) })
        let nothing = martlet_credentials(), known = withUnsafePointer(to: nothing) { Known.of($0, keeping: false) }
        let server = try TLSSession(server: true, .init(certificate: certificate, key: key, chain: [], known: known), asksForCertificate: false, most: version)
        let client = try TLSSession(server: false, nil, asksForCertificate: false, most: version)
        keyLog = []
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(client.ssl)) { _, line in keyLog.append(line.map { String(cString: $0) } ?? "") }
        client.accept()
        try client.advance([])
        for _ in 0..<8 where !(server.isDone && client.isDone) {
            try server.advance(client.takeOutput())
            try client.advance(server.takeOutput())
        }
        return (server, client)
    }

    private func secret(_ label: String) throws -> [UInt8] {
        let line = try #require(keyLog.last { $0.hasPrefix(label + " ") })
        return octets(try #require(line.split(separator: " ").last))
    }

    private func hash(_ session: TLSSession) throws -> String {
        let name = String(cString: try #require(SSL_CIPHER_get_name(SSL_get_current_cipher(session.ssl))))
        return name.hasSuffix("SHA384") ? "SHA384" : "SHA256"
    }

    /// RFC 5216 section 2.3 and RFC 5281 section 8.
    @Test(arguments: ["client EAP encryption", "ttls keying material"]) func theKeyOfTLS12(_ label: String) throws {
        let (server, client) = try handshake(MARTLET_TLS_1_2)
        var clientRandom = [UInt8](repeating: 0, count: 32), serverRandom = clientRandom
        #expect(SSL_get_client_random(client.ssl, &clientRandom, 32) == 32 && SSL_get_server_random(client.ssl, &serverRandom, 32) == 32)
        let expected = prf(try hash(client), secret: try secret("CLIENT_RANDOM"), label: label, seed: clientRandom + serverRandom, count: 64)
        #expect(try client.key(type: 13, label: label).octets == expected)
        #expect(try server.key(type: 13, label: label).octets == expected)
        // RFC 5281 section 11.2.4: the challenge of MSCHAPv2 inside.
        let challenge = prf(try hash(client), secret: try secret("CLIENT_RANDOM"), label: "ttls challenge", seed: clientRandom + serverRandom, count: 17)
        #expect(try #require(client.export("ttls challenge", context: nil, count: 17)).octets == challenge)
    }

    /// RFC 9190 section 2.3, and RFC 9427 section 2.1 for the other methods' types.
    @Test(arguments: [13, 21, 25] as [UInt8]) func theKeyOfTLS13(_ type: UInt8) throws {
        let (server, client) = try handshake(MARTLET_TLS_1_3)
        let hash = try hash(client), size = hash == "SHA384" ? 48 : 32
        let derived = expandLabel(hash, secret: try secret("EXPORTER_SECRET"), label: "EXPORTER_EAP_TLS_Key_Material", context: digest(hash, []), count: size)
        let expected = expandLabel(hash, secret: derived, label: "exporter", context: digest(hash, [type]), count: 128)
        // The number of octets is hashed in: 64 that are asked for are not the first 64.
        #expect(expected.prefix(64) != expandLabel(hash, secret: derived, label: "exporter", context: digest(hash, [type]), count: 64)[...])
        #expect(try client.key(type: type, label: "unused").octets == Array(expected.prefix(64)))
        #expect(try server.key(type: type, label: "unused").octets == Array(expected.prefix(64)))
    }
}
