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
        #expect(result.diagnostics == [])
        let configuration = try #require(result.configuration)
        #expect(configuration.connections.allSatisfy { !$0.children.isEmpty } && !configuration.connections.isEmpty)
        let head = text.split(separator: "\n").prefix { $0.hasPrefix("#") }
        #expect(head.contains { $0.hasPrefix("# To change: ") } && head.contains { $0.hasPrefix("# The other side") })
    }

    @Test func theListNamesThemAll() throws {
        let list = try String(contentsOf: examples.appending(path: "README.md"), encoding: .utf8)
        for name in exampleNames { #expect(list.contains("| `\(name)` |")) }
    }
}
