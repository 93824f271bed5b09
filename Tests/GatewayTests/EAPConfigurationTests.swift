// What a configuration says of users and of methods of EAP beyond one key: two secrets of one user, EAP on both sides, and what goes inside of TTLS.

import IKECore
import IKECrypto
import Synchronization
import Testing
@testable import Gateway

@Suite struct EAPConfigurationTests {
    private func load(_ text: String) -> ConfigurationResult {
        ConfigurationLoader.validate(ConfigurationLoader.read(path: "m.conf", reader: MemoryFiles(["m.conf": text])), DirectoryMethodTests.capabilities())
    }

    /// Each with what is said of it, and whose password counts for whom.
    @Test(arguments: [
        ("eap-a { id = bob\nsecret = one }\neap-b { id = bob\nsecret = two }", "the user 'bob' has another secret, 'eap-a', and that one counts"),
        ("eap-a { id = alice\nsecret = one }\neap-b { id = ALICE\nsecret = two }", "the users 'ALICE' and 'alice' differ in large and small letters alone"),
        ("eap-a { id = carol\nsecret = one }\nntlm-b { id = carol\nsecret = 0x8846f7eaee8fb117ad06bdd830b7586c }", "the user 'carol' has a password and an NT hash, 'eap-a' and 'ntlm-b'"),
    ]) func twoSecretsOfOneUserAreSaid(secrets: String, words: String) {
        let result = load("secrets {\n\(secrets)\n}\n")
        #expect(result.errors == [] && result.warnings.count == 1 && result.warnings[0].message.contains(words) && result.warnings[0].position.line == 4, "\(result.diagnostics)")
    }

    @Test func oneSecretOfEachUserIsRight() {
        #expect(load("secrets { eap-a { id = bob\nsecret = one }\neap-b { id = alice\nid2 = al\nsecret = two }\nike-c { id = bob\nsecret = \"sixteen bytes, or more\" } }").diagnostics == [])
    }

    @Test func theVeryNameWinsOverOneInOtherLetters() throws {
        let text = "secrets { eap-a { id = alice\nsecret = small }\neap-b { id = ALICE\nsecret = LARGE } }"
        let users = UserSecrets(try #require(load(text).configuration).secrets)
        func secrets(_ user: String) -> [String] { users.secrets(of: Array(user.utf8), isServer: true).map(\.name) }
        #expect(secrets("alice") == ["eap-a"] && secrets("ALICE") == ["eap-b"] && secrets("Alice") == ["eap-a", "eap-b"] && secrets("bob") == [])
    }

    /// It is ours, where we are the client; as the server it would let whoever knows it in as anybody.
    @Test func aPasswordWithoutANameLetsNobodyIn() throws {
        let text = DirectoryMethodTests.gateway("eap-gtc") + "secrets { eap-all { secret = \"the password\" } }\n"
        let words = "the connection 'rw' has no users ('eap-all' has no `id`: a password without a name lets nobody in)"
        #expect(load(text).errors.contains { $0.message.hasPrefix(words) }, "\(load(text).diagnostics)")
        let users = UserSecrets(try #require(load("secrets { eap-all { secret = \"the password\" } }").configuration).secrets)
        var password = SecretBytes(count: 12)
        var span = password.mutableSpan
        for (index, byte) in "the password".utf8.enumerated() { span[index] = byte }
        let answers = Mutex<[String]>([])
        @Sendable func note(_ answer: UserAnswer) { if case .no(.unknown, let reason) = answer { answers.withLock { $0.append(reason) } } }
        users.check(SecretBox(password), of: Array("carol".utf8), connection: "rw", deadline: .max) { note($0) }
        users.find(.password, of: Array("carol".utf8), connection: "rw", isServer: true, deadline: .max) { note($0) }
        let said = answers.withLock { $0 }
        #expect(said.count == 2 && said.allSatisfy { $0.hasSuffix(": 'eap-all' has no `id`, and a password without a name lets nobody in") }, "\(said)")
    }

    @Test func md5NeedsThePasswordItself() {
        func errors(_ method: String, _ secret: String) -> [String] { load(DirectoryMethodTests.gateway(method) + "secrets { \(secret) }\n").errors.map(\.message) }
        let hash = "ntlm-b { id = carol\nsecret = 0x8846f7eaee8fb117ad06bdd830b7586c }", password = "eap-a { id = dave\nsecret = one }"
        #expect(errors("eap-md5", hash) == ["the connection 'rw' has no users who could log in: eap-md5 needs their passwords, and `secrets` has NT hashes alone"])
        #expect(errors("eap-md5", hash + "\n" + password) == [] && errors("eap-gtc", hash) == [] && errors("eap-mschapv2", hash) == [])
        let client = DirectoryMethodTests.gateway("psk").replacing("eap_id = %any", with: "").replacing("local { auth = psk\nid = gw.example", with: "local { auth = eap-md5\nid = carol")
        #expect(load(client + "secrets { \(hash) }\n").errors.map(\.message) == ["the connection 'rw' has no password: eap-md5 needs one, and an NT hash will not do"])
        #expect(load(client + "secrets { eap-a { id = carol\nsecret = one } }\n").errors == [])
    }

    /// RFC 5998 section 4: alone a method has to prove both ends.
    @Test(arguments: [("eap-mschapv2", false), ("eap-gtc", false), ("eap-tls", true)]) func eapOnBothSidesNeedsAMutualMethod(method: String, isRight: Bool) {
        let text = DirectoryMethodTests.gateway(method, user: true).replacing("auth = psk", with: "auth = \(method)")
        let words = "EAP on both sides (RFC 5998) needs a method that proves both ends, and \(method) is none: write another 'auth' to the gateway's side, psk or pubkey"
        #expect(load(text).errors.contains { $0.message == words && $0.position.line == 4 } == !isRight, "\(load(text).errors)")
    }

    /// What a directory cannot verify is not offered inside of TTLS, and where that leaves nothing it is said.
    @Test func whatGoesInsideOfTTLSHasToBeVerified() {
        func warnings(_ inside: String, schema: String, method: String = "eap-ttls") -> [String] {
            load(DirectoryMethodTests.gateway(method) + "plugins { ldap { \(DirectoryMethodTests.ldap)\nschema = \(schema) }\neap { ttls_eap = \(inside) } }").warnings.map(\.message).filter {
                $0.contains("inside TTLS")
            }
        }
        #expect(warnings("mschapv2, md5", schema: "ad").first?.hasSuffix("write ttls_eap = gtc") == true)
        #expect(warnings("md5", schema: "samba", method: "eap-dynamic").first?.hasSuffix("write ttls_eap = mschapv2, gtc") == true)
        #expect(warnings("mschapv2, gtc", schema: "ad") == [] && warnings("mschapv2", schema: "samba") == [] && warnings("md5", schema: "ad", method: "eap-gtc") == [])
    }
}
