// The command line client against a real control socket: what it prints, and with which exit status it ends.
import Foundation
import Synchronization
import Testing

@testable import Gateway

@Suite(.serialized) struct ControlCLITests {
    /// A server on a thread of its own, with a backend that answers by itself.
    final class RunningServer: @unchecked Sendable {
        let folder = ScratchFolder()
        private let stop = Mutex(false)
        private let finished = DispatchSemaphore(value: 0)
        var path: String { folder.path + "/vici.sock" }

        init(_ prepare: @escaping @Sendable (ScriptedBackend) -> Void, _ publish: @escaping @Sendable (ControlServer) -> Void = { _ in }) {
            let ready = DispatchSemaphore(value: 0)
            let path = path
            Thread.detachNewThread { [self] in
                let backend = ScriptedBackend()
                prepare(backend)
                do {
                    let server = try ControlServer(path: path, backend: backend, log: { _, _ in })
                    publish(server)
                    ready.signal()
                    while !stop.withLock({ $0 }) {
                        runUntilIdle(server)
                        for one in backend.initiations {
                            one.progress.follow("gw")
                            server.publish(.logged(logEntry("sending IKE_SA_INIT", sa: "gw")))
                            one.completion(backend.initiationResult)
                        }
                        backend.initiations = []
                        usleep(1_000)
                    }
                } catch {
                    Issue.record("no server: \(error)")
                    ready.signal()
                }
                finished.signal()
            }
            ready.wait()
        }
        func end() {
            stop.withLock { $0 = true }
            finished.wait()
        }
    }

    struct Outcome {
        var status: Int32
        var out: String
        var err: String
        var lines: [String] { out.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) }
    }

    /// The executable beside the test bundle.
    static let program = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent("martlet")

    func martlet(_ arguments: String...) throws -> Outcome { try run(arguments) }

    func run(_ arguments: [String], program: URL = program, environment: [String: String] = [:]) throws -> Outcome {
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.environment = ["PATH": "/nonexistent", "TZ": "UTC"].merging(environment) { $1 }
        let out = Pipe()
        let err = Pipe()
        process.standardOutput = out
        process.standardError = err
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let outData = out.fileHandleForReading.readDataToEndOfFile()
        let errData = err.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus,
            out: String(decoding: outData, as: UTF8.self), err: String(decoding: errData, as: UTF8.self))
    }

    private static func sample(_ backend: ScriptedBackend) {
        var sa = sampleSA(children: 2)
        sa.children[1].localSelectors = (0..<6).map { "10.\($0).0.0/16" }
        sa.children[1].inbound = TrafficSnapshot(bytes: 1_234_567_890, packets: 999_999, idleSeconds: 3_700)
        sa.children[1].replayed = 0
        backend.sas = [sa]
        var up = ConnectionSnapshot(name: "gw")
        up.children = [ChildConfigurationSnapshot(name: "net0"), ChildConfigurationSnapshot(name: "net1"), ChildConfigurationSnapshot(name: "net2")]
        up.children[2].localSelectors = ["10.1.0.0/16"]
        up.children[2].remoteSelectors = ["10.9.0.0/16"]
        up.children[2].lastFailure = FailureSnapshot(
            code: "traffic-selectors-unacceptable", summary: "the peer accepts none of the selectors that we proposed for net2", ageSeconds: 300)
        var down = ConnectionSnapshot(name: "branch")
        down.remoteAddresses = ["203.0.113.9"]
        down.remote = [AuthenticationSnapshot(method: "pre-shared key", id: "branch.example.org")]
        down.children = [ChildConfigurationSnapshot(name: "office")]
        down.children[0].localSelectors = ["10.1.0.0/16"]
        down.children[0].remoteSelectors = ["10.3.0.0/16"]
        down.lastFailure = FailureSnapshot(
            code: "no-answer", summary: "203.0.113.9 port 500 did not answer",
            evidence: ["5 tries in 165 s, each with 1 kB of proposals"],
            advice: ["check that the address is right and that a firewall lets UDP 500 and 4500 pass on the way there and back"], ageSeconds: 42)
        backend.connections = [up, down]
        backend.initiationResult = .success(InitiateOutcome(wasUp: false))
        backend.terminationOutcome = SelectionOutcome(matches: 1, completed: 1)
    }

    private func running() -> RunningServer {
        RunningServer(Self.sample) { $0.publish(.logged(logEntry("line \u{1b}[31mred", sa: "gw"))) }
    }

    private func object(_ outcome: Outcome) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(outcome.out.utf8)) as? [String: Any])
    }

    @Test func statusFitsEightyColumnsAndHasNoColourInAPipe() throws {
        let server = running()
        defer { server.end() }
        let outcome = try martlet("status", "--socket", server.path)
        #expect(outcome.status == 0)
        #expect(outcome.err.isEmpty)
        for line in outcome.lines { #expect(line.count <= 80, "\(line)") }
        #expect(!outcome.out.contains("\u{1b}"))
        let expected = [
            "4 tunnels: 2 up, 2 down (2 failed); in 0 bit/s, out 0 bit/s    martletd up 1m 1s", "",
            "gw: up 12s                                                           rekey in 1h",
            "  peer  right@example.org at 198.51.100.7:4500, behind NAT",
            "  here  left@example.org at 192.0.2.1:4500",
            "  IKE   AES_GCM_16-256 / PRF_HMAC_SHA2_384 / ECP_384",
            "  net0: up, keys are 11s old                                     rekey in 1m 40s",
            "    10.1.0.0/16 === 10.2.0.0/16, 2001:db8::/64",
            "    in 1.2 kB, 0 bit/s, last 2s ago        out 99 B, 0 bit/s",
            "    ESP in UDP, AES_GCM_16-128 / ESN",
            "    packets refused: 4 replayed",
        ]
        #expect(Array(outcome.lines.prefix(expected.count)) == expected, "\(outcome.out)")
        for part in [
            "  net2: failed 5m ago: the peer accepts none of the selectors that we proposed",
            "branch: down", "  failed 42s ago: 203.0.113.9 port 500 did not answer (no-answer)", "Dropped packets: unknown_spi 3",
        ] { #expect(outcome.lines.contains(part), "\(part) in\n\(outcome.out)") }
    }

    @Test func statusTakesItsWidthAndColourFromWhereItRuns() throws {
        let server = running()
        defer { server.end() }
        let wide = try run(["status", "--socket", server.path], environment: ["COLUMNS": "200"])
        #expect(wide.lines.contains { $0.hasPrefix("TUNNEL") && $0.contains("NETWORKS THERE") }, "\(wide.out)")
        #expect(try martlet("status", "--color", "always", "--socket", server.path).out.contains("\u{1b}[32mup"))
        #expect(try martlet("--color=always", "--socket", server.path, "status").out.contains("\u{1b}[32mup"))
        #expect(try !martlet("status", "--color", "never", "--socket", server.path).out.contains("\u{1b}"))
        #expect(try martlet("status", "--color", "pink", "--socket", server.path).status == 2)
    }

    @Test func statusOfOneShowsEverything() throws {
        let server = running()
        defer { server.end() }
        let one = try martlet("status", "net1", "--socket", server.path)
        for part in ["gw: 2 up, 1 down", "      SPIs           in c0ffee01, out 0000001d", "    SPIs           initiator 00000000000000ab, responder 0123456789abcdef"] {
            #expect(one.lines.contains(part), "\(part) in\n\(one.out)")
        }
        #expect(!one.out.contains("branch"))
        let none = try martlet("status", "nothing", "--socket", server.path)
        #expect(none.status == 1 && none.err.contains("no connection or child is called nothing"))
    }

    @Test func statusAsJSONHasStableKeys() throws {
        let server = running()
        defer { server.end() }
        let document = try object(try martlet("--json", "--socket", server.path, "status"))
        let sa = try #require((document["ike_sas"] as? [[String: Any]])?.first)
        #expect(sa["name"] as? String == "gw")
        #expect((sa["remote"] as? [String: Any])?["behind_nat"] as? Bool == true)
        let child = try #require((sa["children"] as? [[String: Any]])?.first)
        #expect((child["inbound"] as? [String: Any])?["bytes"] as? Int == 1_234)
        #expect(child["replayed"] as? Int == 4)
        let connections = try #require(document["connections"] as? [[String: Any]])
        #expect(connections.map { $0["up"] as? Bool } == [true, false])
        #expect((connections.last?["last_failure"] as? [String: Any])?["code"] as? String == "no-answer")
        #expect((document["drops"] as? [String: Any])?["unknown_spi"] as? Int == 3)
    }

    @Test func theSocketMayStandBeforeOrAfterTheCommand() throws {
        let server = running()
        defer { server.end() }
        for arguments in [
            ["--socket", server.path, "version"], ["version", "--socket", server.path], ["--socket=\(server.path)", "version"],
            ["version", "--socket=\(server.path)"],
        ] {
            let outcome = try run(arguments)
            #expect(outcome.status == 0, "\(arguments): \(outcome.err)")
            #expect(outcome.lines.dropFirst().first?.hasPrefix("martletd 0.1-test on Linux") == true)
        }
    }

    @Test func upStreamsTheLogAndSaysHowItEnded() throws {
        let server = running()
        defer { server.end() }
        let outcome = try martlet("up", "net0", "--socket", server.path)
        #expect(outcome.status == 0)
        #expect(outcome.out == "1970-01-01 00:00:01.000 IKE gw sending IKE_SA_INIT\nnet0 is up\n")
        let document = try object(try martlet("up", "net0", "--json", "--socket", server.path))
        #expect(document["success"] as? Bool == true)
        #expect((document["log"] as? [[String: Any]])?.first?["message"] as? String == "sending IKE_SA_INIT")
    }

    @Test func upOfWhatIsUpSaysSo() throws {
        let server = RunningServer({ $0.initiationResult = .success(InitiateOutcome(wasUp: true)) })
        defer { server.end() }
        let outcome = try martlet("up", "net0", "--quiet", "--socket", server.path)
        #expect(outcome.status == 0)
        #expect(outcome.out == "net0 is up already\n")
    }

    @Test func aFailureExplainsItselfAndEndsWithOne() throws {
        let server = RunningServer({ backend in
            backend.initiationResult = .failure(
                FailureSnapshot(
                    code: "authentication-failed", summary: "the peer did not accept our key \u{7}", evidence: ["AUTHENTICATION_FAILED came back"],
                    advice: ["compare the secrets on both sides"]))
        })
        defer { server.end() }
        let outcome = try martlet("up", "net0", "--quiet", "--socket", server.path)
        #expect(outcome.status == 1)
        #expect(outcome.out.isEmpty)
        #expect(
            outcome.err == """
                martlet: the peer did not accept our key \\u{7} (authentication-failed)
                  AUTHENTICATION_FAILED came back
                  -> compare the secrets on both sides

                """)
        let asJSON = try martlet("up", "net0", "--json", "--socket", server.path)
        #expect(asJSON.status == 1)
        let document = try object(asJSON)
        #expect(document["success"] as? Bool == false)
        #expect((document["failure"] as? [String: Any])?["code"] as? String == "authentication-failed")
    }

    @Test func downAndRekeyFindOutWhatANameMeans() throws {
        let server = running()
        defer { server.end() }
        let cases: [([String], Int32, String)] = [
            (["down", "gw"], 0, "gw is down\n"),
            (["down", "net0", "--force"], 0, "net0 is down\n"),
            (["down", "branch"], 0, "branch is down already\n"),
            (["down", "office"], 0, "office is down already\n"),
            (["down", "--child", "gw"], 1, "martlet: no child is called gw\n"),
            (["down", "nothing"], 1, "martlet: no connection or child is called nothing\n"),
            (["rekey", "net0"], 0, "net0: 1 child SA rekeyed\n"),
            (["rekey", "gw"], 0, "gw: 1 IKE SA rekeyed\n"),
            (["rekey", "branch"], 1, "martlet: branch is down, there is nothing to rekey\n"),
        ]
        for (arguments, status, text) in cases {
            let outcome = try run(arguments + ["--socket", server.path])
            #expect(outcome.status == status, "\(arguments)")
            #expect((status == 0 ? outcome.out : outcome.err) == text, "\(arguments)")
        }
    }

    @Test func wrongUsageEndsWithTwoAndHelpWithZero() throws {
        for arguments in [
            ["up"], ["frobnicate"], ["status", "--frobnicate"], ["log", "-n", "x"], ["up", "a", "b"], ["--socket"],
            ["up", "net", "--timeout", "4000000000"],
        ] {
            let outcome = try run(arguments)
            #expect(outcome.status == 2, "\(arguments)")
            #expect(outcome.out.isEmpty)
            #expect(!outcome.err.isEmpty)
        }
        for words in [["nosuchword"], ["--socket", "/x", "nosuchword"], ["--json", "nosuchword", "--all"]] {
            let outcome = try run(words)
            #expect(outcome.status == 2 && outcome.err.contains("there is no command 'nosuchword'; there are status, top, up,"), "\(outcome.err)")
        }
        for command in ["status", "top", "up", "down", "rekey", "check", "plugins", "algorithms", "log", "version"] {
            let outcome = try martlet(command, "--help")
            #expect(outcome.status == 0)
            #expect(outcome.out.contains("Example: martlet \(command)"), "\(command)")
            #expect(outcome.out.contains("--json"))
        }
        #expect(try martlet("--help").status == 0)
        #expect(try martlet("--version").out.isEmpty == false)
    }

    @Test func saysWhereNoDaemonIs() throws {
        let folder = ScratchFolder()
        let path = folder.path + "/vici.sock"
        for command in ["status", "plugins", "algorithms", "log", "version"] {
            let outcome = try martlet(command, "--socket", path)
            #expect(outcome.status == 1, "\(command)")
            #expect(outcome.err.hasPrefix("martlet: martletd is not running: there is no socket at \(path)"), "\(outcome.err)")
        }
        let document = try object(try martlet("status", "--json", "--socket", path))
        #expect((document["failure"] as? [String: Any])?["code"] as? String == "not-running")
    }

    @Test(.enabled(if: getuid() == 0 && FileManager.default.isExecutableFile(atPath: "/usr/bin/setpriv"), "needs root, to become nobody"))
    func saysThatPermissionIsDenied() throws {
        let server = running()
        defer { server.end() }
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", Self.program.path]
        let setpriv = URL(fileURLWithPath: "/usr/bin/setpriv")
        // A build tree that nobody may read says nothing about the socket.
        guard try run(nobody + ["--version"], program: setpriv).status == 0 else { return }
        let outcome = try run(nobody + ["status", "--socket", server.path], program: setpriv)
        #expect(outcome.status == 1)
        #expect(outcome.err.hasPrefix("martlet: permission denied on \(server.path)"), "\(outcome.err)")
    }

    @Test func logEscapesWhatSteersATerminal() throws {
        let server = running()
        defer { server.end() }
        let outcome = try martlet("log", "--socket", server.path)
        #expect(outcome.out == "1970-01-01 00:00:01.000 IKE gw line \\u{1b}[31mred\n")
        let lines = try martlet("log", "--json", "--socket", server.path)
        let entries = try JSONSerialization.jsonObject(with: Data(lines.out.utf8)) as? [[String: Any]]
        #expect(entries?.first?["message"] as? String == "line \u{1b}[31mred")
    }

    @Test func logFollows() throws {
        let server = running()
        defer { server.end() }
        let process = Process()
        process.executableURL = Self.program
        process.arguments = ["log", "-f", "--json", "--socket", server.path]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        var text = Data()
        // The past line comes once the stream is registered; what is written afterwards must come too.
        while !text.contains(UInt8(ascii: "\n")) {
            let more = pipe.fileHandleForReading.availableData
            if more.isEmpty { break }
            text += more
        }
        #expect(try martlet("up", "net0", "--socket", server.path).status == 0)
        while text.filter({ $0 == UInt8(ascii: "\n") }).count < 2 {
            let more = pipe.fileHandleForReading.availableData
            if more.isEmpty { break }
            text += more
        }
        kill(process.processIdentifier, SIGKILL)  // a test runner's threads may hand down a mask that blocks SIGTERM
        process.waitUntilExit()
        let messages = try String(decoding: text, as: UTF8.self).split(separator: "\n").map { line in
            try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        }.map { $0?["message"] as? String }
        #expect(messages == ["line \u{1b}[31mred", "sending IKE_SA_INIT"])
    }

    @Test func checkRunsTheDaemonBesideIt() throws {
        let folder = ScratchFolder()
        let copy = folder.path + "/martlet"
        try FileManager.default.copyItem(atPath: Self.program.path, toPath: copy)
        let script = "#!/bin/sh\necho \"$@\"\necho wrong >&2\n[ \"$2\" = good ]\n"
        try script.write(toFile: folder.path + "/martletd", atomically: false, encoding: .utf8)
        chmod(folder.path + "/martletd", 0o755)
        let program = URL(fileURLWithPath: copy)
        let good = try run(["check", "good"], program: program)
        #expect(good.status == 0)
        #expect(good.out == "--config good --check\n")
        #expect(good.err == "wrong\n")
        #expect(try run(["check", "bad"], program: program).status == 1)
        let asJSON = try run(["check", "bad", "--json"], program: program)
        #expect(asJSON.status == 1)
        let document = try object(asJSON)
        #expect(document["valid"] as? Bool == false)
        #expect(document["messages"] as? [String] == ["--config bad --check", "wrong"])
        unlink(folder.path + "/martletd")
        let none = try run(["check", "good"], program: program)
        #expect(none.status == 1)
        #expect(none.err.contains("there is no martletd"))
    }
}
