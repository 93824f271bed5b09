// Log-ins over two directories of which one is a black hole, after the connection or in the TLS handshake: how long those of the other take, and that none of
// them is refused. Printed, never asserted: a benchmark, run with so many log-ins as MARTLET_DIRECTORY_LOGINS says (`make bench`: 1000).

import Foundation
import Gateway
import PluginABI
import Synchronization
import Testing

@Suite struct DirectoryBenchmark {
    static let logIns = ProcessInfo.processInfo.environment["MARTLET_DIRECTORY_LOGINS"].flatMap { Int($0) } ?? 0
    /// Log-ins under way at once.
    private static let atOnce = 8
    private static let rounds = 10

    @Test(.enabled(if: logIns > 0, "a benchmark: set MARTLET_DIRECTORY_LOGINS")) func oneDirectoryHangsAndTheOtherDoesNot() throws {
        let slapd = try Slapd.shared.get()
        let silent = try SilentServer()
        let cases = [
            ("both directories answer", slapd.secureURI, "yes"), ("one is silent after the connection", "ldap://127.0.0.1:\(silent.port)", "no"),
            ("one is silent in the TLS handshake", "ldaps://127.0.0.1:\(silent.port)", "yes"),
        ]
        var times: [[LogIn]] = cases.map { _ in [] }
        // By turns, so that whatever else the machine does meets all of them alike.
        for round in 0..<Self.rounds {
            for (number, (_, uri, startsTLS)) in cases.enumerated() {
                let loaded = try Loaded([
                    "ca_file": slapd.authority, "base": Slapd.base, "schema": "samba", "bind_dn": Slapd.service, "bind_password": Slapd.servicePassword, "timeout": "60",
                    "directories": "good, other", "good.uri": slapd.secureURI, "other.uri": uri, "other.start_tls": startsTLS, "other.connect_timeout": "3",
                ])
                let others = Answers()
                var asked = 0
                times[number] += try run(loaded, Self.logIns * (round + 1) / Self.rounds - Self.logIns * round / Self.rounds) { index in
                    // As many log-ins at the other one; each ends by itself, with a refusal where that one is a black hole.
                    let token = try loaded.directory("other").ask(.password, user: Array("alice".utf8), password: Array("secret-alice".utf8), deadline: Loaded.services.now + 60_000_000_000) {
                        others.add(index, $0, $1)
                    }
                    if token != nil { asked += 1 }
                }
                _ = try others.wait(for: asked)
            }
        }
        var undisturbed: Double?
        for ((name, _, _), times) in zip(cases, times) {
            let refused = times.count { $0.outcome != MARTLET_DIRECTORY_OK.rawValue }
            let sorted = times.map { Double($0.nanoseconds) / 1e6 }.sorted()
            func percentile(_ part: Double) -> Double { sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))] }
            let base = undisturbed ?? percentile(0.99)
            undisturbed = base
            print(
                "directory, \(name): \(times.count) log-ins, \(refused) refused, p50 \(text(percentile(0.5))) ms, p99 \(text(percentile(0.99))) ms (\(text(percentile(0.99) / base * 100)) % of undisturbed)"
            )
            #expect(refused == 0, "\(times.first { $0.outcome != MARTLET_DIRECTORY_OK.rawValue } as Any)")
        }
    }

    private struct LogIn { var outcome: UInt32; var nanoseconds: UInt64 }

    private func run(_ loaded: Loaded, _ count: Int, beside: (Int) throws -> Void) throws -> [LogIn] {
        let good = try loaded.directory("good")
        // Connections are there before anything is measured.
        for _ in 0..<Self.atOnce { _ = try loaded.ask(.password, "alice", password: "secret-alice", of: "good") }
        // One must not go with less than it began with.
        let room = DispatchSemaphore(value: 0)
        for _ in 0..<Self.atOnce { room.signal() }
        let done = Mutex<[LogIn]>([])
        for index in 0..<count {
            try beside(index)
            try #require(room.wait(timeout: .now() + 120) == .success, "no answer")
            let began = Loaded.services.now
            let token = good.ask(.password, user: Array("alice".utf8), password: Array("secret-alice".utf8), deadline: began + 60_000_000_000) { answer, _ in
                done.withLock { $0.append(LogIn(outcome: answer.outcome, nanoseconds: Loaded.services.now - began)) }
                room.signal()
            }
            try #require(token != nil, "the question is not taken")
        }
        for _ in 0..<Self.atOnce { try #require(room.wait(timeout: .now() + 120) == .success, "no answer") }
        return done.withLock { $0 }
    }

    private func text(_ number: Double) -> String { String(format: "%.2f", number) }
}
