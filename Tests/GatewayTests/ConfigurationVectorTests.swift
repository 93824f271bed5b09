// Every file of Tests/Vectors/configuration gives exactly the complaints that stand beside it.
// To write those anew after a change that was meant: MARTLET_RECORD=1 swift test --filter ConfigurationVectorTests, and read the diff.

import Foundation
import Testing
@testable import Gateway

let configurationVectors = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Vectors/configuration")

private let vectorNames: [String] = {
    let files = (try? FileManager.default.contentsOfDirectory(atPath: configurationVectors.path)) ?? []
    return files.filter { $0.hasSuffix(".conf") }.map { String($0.dropLast(5)) }.sorted()
}()

@Suite struct ConfigurationVectorTests {
    @Test func vectorsAreThere() { #expect(vectorNames.count >= 30) }

    @Test(arguments: vectorNames) func complaints(name: String) throws {
        let text = try String(contentsOf: configurationVectors.appending(path: name + ".conf"), encoding: .utf8)
        let result = load(MemoryFiles([name + ".conf": text]), name + ".conf")
        let lines = result.diagnostics.map { "\($0)\n" }.joined()
        let expected = configurationVectors.appending(path: name + ".expected")
        if ProcessInfo.processInfo.environment["MARTLET_RECORD"] != nil { try lines.write(to: expected, atomically: true, encoding: .utf8) }
        #expect(try lines == String(contentsOf: expected, encoding: .utf8))
        #expect((result.configuration == nil) == !result.errors.isEmpty)
        // The name says what to expect, whatever was recorded.
        switch name.prefix(while: { $0 != "-" }) {
        case "accepted": #expect(result.diagnostics == [])
        case "warned": #expect(!result.warnings.isEmpty)
        case "refused", "unknown", "wrong": #expect(!result.errors.isEmpty)
        default: break
        }
    }
}
