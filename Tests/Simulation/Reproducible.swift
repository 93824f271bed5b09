// The same seed does the same in another process: what a run has sent, and when, is compared with what a second process of this test has sent.
// Tables are ordered differently in each process, so that whatever depends on their order shows here.

import Foundation
import Testing

@Suite struct Reproducible {
    private static let name = "MARTLET_TRACES"
    private static var seeds: [UInt64] { Seeds.only.map { [$0] } ?? Array(1...24) }

    private static func traces() -> String { seeds.map { "\($0) \(String(Chaos.trace($0), radix: 16))" }.joined(separator: "\n") }

    @Test func theSameSeedDoesTheSameInAnotherProcess() throws {
        // In the second process: it leaves what it saw where it was told.
        if let path = ProcessInfo.processInfo.environment[Self.name] { return try Self.traces().write(toFile: path, atomically: true, encoding: .utf8) }
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-traces-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        let second = Process()
        second.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        second.arguments = Self.arguments
        second.environment = ProcessInfo.processInfo.environment.merging([Self.name: file.path]) { $1 }
        second.standardOutput = FileHandle.nullDevice
        second.standardError = FileHandle.nullDevice
        try second.run()
        let here = Self.traces()
        second.waitUntilExit()
        try #require(second.terminationStatus == 0)
        let there = try String(contentsOf: file, encoding: .utf8)
        let differing = zip(here.split(separator: "\n"), there.split(separator: "\n")).filter { $0 != $1 }.map { "\($0) here, \($1) there" }
        #expect(differing.isEmpty && here == there, "\(differing)")
    }

    /// As this process was started, for this test alone.
    private static var arguments: [String] {
        var rest = CommandLine.arguments.dropFirst()[...]
        var kept: [String] = []
        while let argument = rest.popFirst() {
            switch argument {
            case "--filter", "--skip", "--xunit-output", "--event-stream-output-path", "--configuration-path", "--experimental-xunit-message-failure": _ = rest.popFirst()
            default: kept.append(argument)
            }
        }
        return kept + ["--filter", "theSameSeedDoesTheSameInAnotherProcess"]
    }
}
