// Every file of etc/examples is taken without a word, and says what it is for.

import Foundation
import Testing
@testable import Gateway

private let examples = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "etc/examples")

private let exampleNames: [String] = {
    let files = (try? FileManager.default.contentsOfDirectory(atPath: examples.path)) ?? []
    return files.filter { $0.hasSuffix(".conf") }.sorted()
}()

@Suite struct ConfigurationExampleTests {
    @Test func examplesAreThere() { #expect(exampleNames.count >= 6) }

    @Test(arguments: exampleNames) func isRight(name: String) throws {
        let text = try String(contentsOf: examples.appending(path: name), encoding: .utf8)
        // From memory: the mode of a file in a source tree is not the one that it is installed with.
        let result = load(MemoryFiles([name: text]), name)
        let head = text.split(separator: "\n").prefix { $0.hasPrefix("#") }
        #expect(head.contains { $0.hasPrefix("# To change: ") } && head.contains { $0.hasPrefix("# The other side") })
        if let needed = Self.needed[name] {
            // Without what belongs to it, it says so and nothing else.
            #expect(!result.diagnostics.isEmpty)
            for diagnostic in result.diagnostics { #expect(needed.contains { diagnostic.message.contains($0) }, "\(diagnostic)") }
            return
        }
        #expect(result.diagnostics == [])
        let configuration = try #require(result.configuration)
        #expect(configuration.connections.allSatisfy { !$0.children.isEmpty } && !configuration.connections.isEmpty)
    }

    /// What an example needs besides itself: files and plugins. Tests/Interop/test_examples.py has them, and logs in.
    private static let needed = [
        "remote-access.conf": [
            "vpn.pem", "the authentication 'eap-mschapv2'", "the authentication 'pubkey'", "has no users", "about users of a directory", "reads certificates", "ldap.secret",
            "'sha1' (HMAC_SHA1_96) cannot be served by a loaded plugin",
        ]
    ]

    @Test func theListNamesThemAll() throws {
        let list = try String(contentsOf: examples.appending(path: "README.md"), encoding: .utf8)
        for name in exampleNames { #expect(list.contains("| `\(name)` |")) }
    }
}
