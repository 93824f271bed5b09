// Advice can be followed as it stands, and two settings on a line are found before anything of the second is shown.

import Foundation
import IKECore
import IKECrypto
import IKEWire
import Testing
@testable import Gateway

@Suite struct ConfigurationAdviceTests {
    /// Every `write ...`, and every setting in backquotes, of the recorded complaints and explanations.
    private static let advice: [String] = {
        let vectors = configurationVectors
        var texts = ((try? FileManager.default.contentsOfDirectory(atPath: vectors.path)) ?? []).filter { $0.hasSuffix(".expected") }.sorted().map { vectors.appending(path: $0) }
        texts.append(vectors.deletingLastPathComponent().appending(path: "explanations.txt"))
        var advice: [String] = []
        for text in texts {
            for line in ((try? String(contentsOf: text, encoding: .utf8)) ?? "").split(separator: "\n") {
                // In words up to the end of the sentence; what stands in backquotes is meant to be copied.
                let settings = line.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 && $0.element.contains(" = ") }.map(\.element)
                if !settings.isEmpty { advice.append(settings.joined(separator: "\n")) }
                guard settings.isEmpty, let start = line.range(of: #"\b[Ww]rite [a-z]+( = | \{ )"#, options: .regularExpression) else { continue }
                let written = line[start.lowerBound...].dropFirst(6)
                advice.append(String(written.contains("{") ? written[...(written.lastIndex(of: "}") ?? written.startIndex)] : written.prefix { $0 != "," && $0 != ";" }))
            }
        }
        return advice
    }()

    @Test func everythingToWriteIsReadAsMeant() {
        #expect(Self.advice.count >= 15 && Self.advice.contains { $0.contains("secret = \"...\"") })
        for text in Self.advice {
            // Where dots stand for a value, its type cannot be judged; the syntax can.
            let whole = text.replacingOccurrences(of: "{ ... }", with: "{ }")
            for variant in [whole, whole.replacingOccurrences(of: "...", with: "x")] {
                let parsed = ConfigurationParser.parse("m.conf", reader: MemoryFiles(["m.conf": variant + "\n"]), limits: ConfigurationLimits())
                #expect(parsed.diagnostics.items == [], "\(variant)")
                let settings = variant.split(separator: "\n").count { $0.contains(" = ") }
                #expect(Self.count(parsed.root) == settings, "\(variant)")
            }
        }
    }

    private static func count(_ section: ConfigurationSection) -> Int { section.settings.count + section.sections.reduce(0) { $0 + count($1) } }

    /// As the complaint about a missing secret says it, for identities that need quotation marks too.
    @Test(arguments: ["@west.example", "\"@#0102\"", "\"keyid:a b, c\"", "fd00::2", "%any"]) func theSecretThatIsMissing(identity: String) throws {
        let text = "connections { site {\nremote_addrs = 192.0.2.2\nlocal { auth = psk\nid = @east.example }\nremote { auth = psk\nid = \(identity) }\nchildren { net { } } } }\n"
        let complaint = try #require(load(text).errors.first { $0.message.contains("has no secret: add a section ike-site to `secrets`, each setting on a line of its own: ") })
        let settings = complaint.message.split(separator: "`").filter { $0.contains(" = ") }
        #expect(settings.count == (identity == "%any" ? 2 : 3))
        let secret = settings.joined(separator: "\n").replacingOccurrences(of: "...", with: "sixteen bytes, or more")
        #expect(load(text + "secrets { ike-site {\n\(secret)\n} }").diagnostics == [])
        // And on one line after all: refused, and not shown.
        let wrong = load(text + "secrets { ike-site { \(settings.joined(separator: "  ").replacingOccurrences(of: "...", with: "hunter2 hunter2 hunter2")) } }")
        #expect(wrong.errors.contains { $0.message == FurtherSetting.complaint })
        #expect(!wrong.diagnostics.contains { $0.message.contains("hunter2") })
    }

    @Test(arguments: [
        "id-1 = @east.example  id-2 = @west.example  secret = \"hunter2\"", "id-1 = @east.example secret = hunter2", "id = A secret=\"hunter2\"", "id = A secret=hunter2", "id = A secret =hunter2",
        "id-1=@a id-2=@b secret=hunter2", "id = keyid:a  secret = hunter2", "id = \"@a\" secret = hunter2", "id = @a,secret = hunter2", "id = @a; secret = hunter2", "id = secret = hunter2",
        "id = C=CH, O=Example secret = hunter2", "id = C = CH secret = hunter2", "id = @a\tsecret\t=\thunter2", "id = @a pin = hunter2", "id = @a sekret = hunter2", "secret = \"hunter2\"  id-1 = @a",
        "secret = hunter2  id-1 = @a", "secret = hunter2 id-1=@a", "id = 192.0.2.1 secret = hunter2", "id = fd00::1 secret = hunter2", "id = asn1dn:x secret = hunter2",
        "id = @# secret = hunter2\nid = @b",
    ]) func aSecretOnTheLineOfAnIdentityIsNotShown(line: String) {
        for text in [
            "secrets { ike-x { \(line) } }", "secrets { ike-x {\n\(line)\n} }", "secrets { ike-x {\n\(line)\nsecret = \"sixteen bytes, or more\"\n} }", "connections { c { remote { \(line) } } }",
        ] {
            let result = load(text)
            #expect(!result.diagnostics.contains { "\($0)".contains("hunter2") }, "\(result.diagnostics)")
            if !line.contains("#") { #expect(result.errors.contains { $0.message == FurtherSetting.complaint }, "\(text): \(result.diagnostics)") }
        }
    }

    /// From a client that took the line for one value, as swanctl does.
    @Test(arguments: ["@a secret = hunter2", "@a  id-2 = @b  secret = hunter2", "keyid:a secret = hunter2", "keyid:secret=hunter2 secret=hunter2", "C=CH secret=hunter2", "x:y secret = hunter2"])
    func norFromAClient(owner: String) {
        var diagnostics = Diagnostics()
        let position = SourcePosition(path: "shared")
        let secret = SecretBuilder().build(
            .ike, "ike-x", owners: [ConfigurationValue.Element(text: owner, position: position)], secret: SecretBox(SecretBytes(copying: Array("sixteen bytes, or more".utf8).span)), origin: position,
            &diagnostics)
        #expect(secret == nil && diagnostics.hasErrors && !diagnostics.items.contains { $0.message.contains("hunter2") }, "\(diagnostics.items)")
    }

    @Test(arguments: [
        ("local_ts = 10.1.0.0/16  remote_ts = dynamic", false), ("auth = psk id = @a", false), ("listen = 192.0.2.1, port = 500", false), ("file = /a b=c", false),
        ("id = C=CH, O=Example, CN=west", true), ("id = C = CH, O = Example, emailAddress = a@b.example", true), ("id = \"a = b\"", true), ("id = \"A\" \"b = c\"", true), ("file = /x?a=b", true),
        ("id = 2.5.4.3=x", true), ("handle = 0sAAECAw==", true), ("id = @a # port = 500", true), ("a = = b", true),
    ]) func whatCountsAsASetting(line: String, isOne: Bool) {
        let parsed = ConfigurationParser.parse("m.conf", reader: MemoryFiles(["m.conf": line]), limits: ConfigurationLimits())
        #expect(parsed.diagnostics.items.map(\.message) == (isOne ? [] : [FurtherSetting.complaint]))
    }

    @Test func secretsAndOptionsOfPluginsMayHoldAnEqualsSign() {
        for line in ["secret = hunter2=x", "secret = 0sAAECAw==", "secret = \"a = b\"", "secret = two words=three"] {
            #expect(!load("secrets { ike { \(line)\n} }").errors.contains { $0.message == FurtherSetting.complaint }, "\(line)")
        }
        #expect(load("plugins { example { arguments = a=b c=d\n} }").errors == [])
        #expect(load("plugins { example { first = a  second = b\n} }").errors.map(\.message) == [FurtherSetting.complaint])
    }

    @Test func thePlaceIsThatOfTheSecondSetting() {
        #expect(load("secrets { ike {\nid = @a  id-2 = @b\n} }").errors.map(\.description) == ["m.conf:2:10: error: " + FurtherSetting.complaint])
    }
}
