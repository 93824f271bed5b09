// Which seeds a run tries, and how it says which failed. CONTRIBUTING.md has the variables.

import Foundation
import Testing

enum Seeds {
    private static func number(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) } }
    /// Replays one seed alone, with its whole log.
    static let only = number("MARTLET_SEED")
    /// How many seeds all scenarios have together, and the first.
    private static let count = number("MARTLET_SEEDS") ?? 2000
    private static let first = number("MARTLET_FIRST_SEED") ?? 1

    /// The seeds of a scenario that has `share` hundredths of all.
    static func of(share: UInt64) -> [UInt64] { only.map { [$0] } ?? Array(first..<first + max(1, count * share / 100)) }

    /// Runs `body` for each seed, on every core; it returns what was wrong. `known`: those that once failed, which every run tries beside its own.
    static func run(_ name: String, share: UInt64, known: [UInt64] = [], _ body: @escaping @Sendable (UInt64) -> [String]) async {
        let own = of(share: share)
        let seeds = own + (only == nil ? known.filter { !own.contains($0) } : [])
        let lanes = max(1, min(ProcessInfo.processInfo.activeProcessorCount, seeds.count))
        let failures = await withTaskGroup(of: [(UInt64, [String])].self) { group in
            for lane in 0..<lanes {
                group.addTask {
                    var failed: [(UInt64, [String])] = []
                    for index in stride(from: lane, to: seeds.count, by: lanes) {
                        let wrong = body(seeds[index])
                        if !wrong.isEmpty { failed.append((seeds[index], failed.count < 3 ? wrong : Array(wrong.prefix(1)))) }
                    }
                    return failed
                }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }.sorted { $0.0 < $1.0 }
        for (seed, wrong) in failures.prefix(3) {
            Issue.record("seed \(seed): \(wrong.joined(separator: "\n"))\nreplay: MARTLET_SEED=\(seed) swift test --disable-xctest --filter \(name)")
        }
        let passed = failures.isEmpty
        #expect(passed, "\(failures.count) of \(seeds.count) seeds failed: \(failures.prefix(30).map { "\n\($0.0): \($0.1.first ?? "")" }.joined())")
    }
}
