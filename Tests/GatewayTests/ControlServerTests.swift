// The control server on a real socket: who gets it, what clients see, and what a client that goes away does to the daemon.
import Glibc
import IKECore
import Synchronization
import Testing
import ViciWire

@testable import Gateway

@Suite struct ControlServerTests {
    final class Fixture {
        let folder = ScratchFolder()
        let backend = ScriptedBackend()
        let log = CapturedLog()
        let time = SetClock()
        private(set) var server: ControlServer!
        var path: String { folder.path + "/vici.sock" }

        init(limits: ControlLimits = ControlLimits()) throws {
            let log = log
            let time = time
            server = try ControlServer(
                path: path, backend: backend, limits: limits, now: { time.now },
                log: { log.append("\($0) \($1)") })
        }
        func pump() { runUntilIdle(server) }
        func client() throws -> TestClient { try #require(TestClient(path: path)) }
        func call(_ client: TestClient, _ name: String, _ arguments: [(String, String)] = []) throws -> ViciMessage {
            try request(client, name, arguments)
            guard case .commandResponse(let message) = try client.receive(pump) else {
                Issue.record("no response to \(name)")
                return ViciMessage()
            }
            return message
        }
        func request(_ client: TestClient, _ name: String, _ arguments: [(String, String)] = []) throws {
            var message = ViciMessage()
            for (key, value) in arguments { message.add(key, value) }
            try client.send(.commandRequest(name: name, message))
        }
        func register(_ client: TestClient, _ event: String) throws {
            try client.send(.eventRegister(name: event))
            #expect(try client.receive(pump) == .eventConfirm)
        }
    }

    @Test func answersVersionStatsPluginsAndAlgorithms() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        let version = try fixture.call(client, "version")
        #expect(version["daemon"] == "martletd")
        #expect(version["version"] == "0.1-test")
        #expect(version["sysname"] == "Linux")
        let stats = try fixture.call(client, "stats")
        #expect(stats.section("uptime")?["running"] == "61 seconds")
        #expect(stats.section("martlet-drops")?["unknown_spi"] == "3")
        let algorithms = try fixture.call(client, "get-algorithms")
        #expect(algorithms.section("aead")?.elements == [.value("AES_GCM_16", Array("openssl".utf8))])
        #expect(algorithms.section("dh")?["CURVE_25519"] == "openssl")
        #expect(try fixture.call(client, "martlet-algorithms").sections.count == 3)
        let plugins = try fixture.call(client, "martlet-plugins")
        #expect(plugins.section("2")?["reason"] == "writable by others")
    }

    @Test func listsSAsThroughTheFilter() throws {
        let fixture = try Fixture()
        fixture.backend.sas = [sampleSA(name: "a", id: 1, children: 2), sampleSA(name: "b", id: 2)]
        let client = try fixture.client()
        try fixture.register(client, "list-sa")
        try fixture.request(client, "list-sas", [("ike", "a"), ("child", "net1")])
        guard case .event(name: "list-sa", let event) = try client.receive(fixture.pump) else {
            Issue.record("no event")
            return
        }
        #expect(event.sections.map(\.name) == ["a"])
        #expect(event.section("a")?.section("child-sas")?.sections.map(\.name) == ["net1-2"])
        #expect(try client.receive(fixture.pump) == .commandResponse(ViciMessage()))
    }

    @Test func refusesByNameWhatIsNotThereYetAndWhatIsUnknown() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        for name in ControlRequest.notThereYet.keys.sorted() {
            let message = try fixture.call(client, name)
            #expect(message["success"] == "no")
            #expect(message["errmsg"]?.contains(name) == true)
        }
        try fixture.request(client, "make-coffee")
        #expect(try client.receive(fixture.pump) == .commandUnknown)
    }

    @Test func initiateStreamsItsLogAndLogsWhoAsked() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        try fixture.register(client, "control-log")
        try fixture.request(client, "initiate", [("child", "net")])
        fixture.pump()
        let (request, progress, completion) = try #require(fixture.backend.initiations.first)
        #expect(request.child == "net")
        #expect(fixture.log.contains("initiate child=net, by pid \(getpid()) uid \(getuid())"))
        progress.follow("gw")
        fixture.server.publish(.logged(logEntry("sending IKE_SA_INIT", sa: "gw")))
        fixture.server.publish(.logged(logEntry("of another", sa: "other")))
        fixture.server.publish(.logged(logEntry("too detailed", level: 2, sa: "gw")))
        progress.line(logEntry("for you alone"))
        completion(.failure(FailureSnapshot(code: "authentication-failed", summary: "the peer refused our key", evidence: ["it said no"], advice: ["look there"])))
        completion(.success(InitiateOutcome(wasUp: false)))  // a second one is harmless
        var texts: [String] = []
        var response = ViciMessage()
        while let packet = try client.receive(fixture.pump) {
            if case .event(name: "control-log", let message) = packet { texts.append(message["msg"] ?? "") }
            if case .commandResponse(let message) = packet {
                response = message
                break
            }
        }
        #expect(texts == ["sending IKE_SA_INIT", "for you alone"])
        #expect(response["success"] == "no")
        #expect(response["errmsg"] == "the peer refused our key")
        #expect(response["martlet-code"] == "authentication-failed")
        #expect(response.list("martlet-advice") == ["look there"])
        // The connection is good for the next command.
        #expect(try fixture.call(client, "version")["daemon"] == "martletd")
    }

    @Test func initiateOfWhatIsUpSaysSo() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        try fixture.request(client, "initiate", [("child", "net")])
        fixture.pump()
        fixture.backend.initiations.first?.completion(.success(InitiateOutcome(wasUp: true)))
        guard case .commandResponse(let message) = try client.receive(fixture.pump) else {
            Issue.record("no response")
            return
        }
        #expect(message["success"] == "yes")
        #expect(message["martlet-was-up"] == "yes")
    }

    @Test func initiateTimesOutAndALateResultIsDropped() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        #expect(fixture.server.nextDeadline == nil)
        try fixture.request(client, "initiate", [("child", "net"), ("timeout", "1500")])
        fixture.pump()
        let deadline = try #require(fixture.server.nextDeadline)
        #expect(deadline == fixture.time.now + .milliseconds(1_500))
        fixture.server.expire()
        #expect(fixture.server.nextDeadline == deadline)
        fixture.time.now = deadline
        fixture.server.expire()
        guard case .commandResponse(let message) = try client.receive(fixture.pump) else {
            Issue.record("no response")
            return
        }
        #expect(message["martlet-code"] == "timeout")
        #expect(fixture.server.nextDeadline == nil)
        fixture.backend.initiations.first?.completion(.success(InitiateOutcome(wasUp: false)))
        #expect(try fixture.call(client, "version")["daemon"] == "martletd")
    }

    @Test func initiateWithoutWaitingAnswersAtOnce() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        #expect(try fixture.call(client, "initiate", [("child", "net"), ("timeout", "-1")])["success"] == "yes")
        #expect(fixture.backend.initiations.count == 1)
    }

    @Test func terminateAndRekeyCountWhatMatched() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        let none = try fixture.call(client, "terminate", [("ike", "gw")])
        #expect(none["success"] == "no")
        #expect(none["matches"] == "0")
        #expect(none["martlet-code"] == "no-match")
        fixture.backend.terminationOutcome = SelectionOutcome(matches: 2, completed: 1)
        let some = try fixture.call(client, "terminate", [("child", "net"), ("force", "yes")])
        #expect(some["success"] == "no")
        #expect(some["terminated"] == "1")
        #expect(fixture.backend.terminations.last == TerminateRequest(filter: SAFilter(child: "net"), force: true))
        #expect(try fixture.call(client, "rekey", [("child-id", "4")])["success"] == "yes")
        #expect(fixture.backend.rekeys == [RekeyRequest(filter: SAFilter(childID: 4))])
        #expect(fixture.log.contains("terminate ike=gw, by pid"))
        #expect(fixture.log.contains("rekey child-id=4, by pid"))
    }

    /// Hundred thousand SAs are in memory a page at a time: the next one is made when the client has read the last.
    @Test func aListIsMadeAsFastAsItIsRead() throws {
        let fixture = try Fixture()
        let pages = 200, size = 50
        var made = 0
        fixture.backend.listing = Listing { completion in
            made += 1
            completion(made > pages ? nil : .success((0..<size).map { sampleSA(id: UInt64($0)) }))
        }
        let client = try fixture.client()
        try fixture.register(client, "list-sa")
        try fixture.request(client, "list-sas")
        fixture.pump()
        // What the socket holds, and not much more.
        #expect(made < pages / 4)
        var events = 0
        while case .event? = try client.receive(fixture.pump) { events += 1 }
        #expect(events == pages * size)
        #expect(made == pages + 1)
    }

    /// A shard that does not answer ends the list with the reason, and the client is served on.
    @Test func aListThatCannotGoOnSaysWhy() throws {
        let fixture = try Fixture()
        var made = 0
        fixture.backend.listing = Listing { completion in
            made += 1
            completion(made == 1 ? .success([sampleSA()]) : .failure(FailureSnapshot(code: "limit", summary: "shard 1 is late")))
        }
        let client = try fixture.client()
        try fixture.register(client, "list-sa")
        try fixture.request(client, "list-sas")
        guard case .event? = try client.receive(fixture.pump), case .commandResponse(let response)? = try client.receive(fixture.pump) else {
            Issue.record("no event and then a response")
            return
        }
        #expect(response["success"] == "no" && response["martlet-code"] == "limit")
        #expect(try fixture.call(client, "version")["daemon"] == "martletd")
    }

    @Test func aClientThatHangsUpMidStreamLeavesTheDaemonAlone() throws {
        let fixture = try Fixture()
        fixture.backend.sas = (1...2_000).map { sampleSA(id: UInt64($0), children: 4) }
        var client: TestClient? = try fixture.client()
        if let client {
            try fixture.register(client, "list-sa")
            try fixture.request(client, "list-sas")
            fixture.pump()
        }
        #expect(fixture.server.fds.count == 2)
        client = nil
        fixture.pump()
        #expect(fixture.server.fds.count == 1)

        // And one that leaves while its initiate runs: the exchange goes on, its result finds nobody.
        var other: TestClient? = try fixture.client()
        if let other { try fixture.request(other, "initiate", [("child", "net")]) }
        fixture.pump()
        other = nil
        fixture.pump()
        let next = try fixture.client()
        fixture.pump()
        fixture.backend.initiations.first?.progress.line(logEntry("late"))
        fixture.backend.initiations.first?.completion(.success(InitiateOutcome(wasUp: false)))
        // The next client, perhaps with the same descriptor, gets its own answers alone.
        #expect(try fixture.call(next, "version")["daemon"] == "martletd")
    }

    @Test func aReaderThatStopsLosesEventsAndIsTold() throws {
        var limits = ControlLimits()
        limits.queuedEvents = 16
        let fixture = try Fixture(limits: limits)
        let slow = try fixture.client()
        let quick = try fixture.client()
        try fixture.register(slow, "log")
        let text = String(repeating: "x", count: 4_000)
        for _ in 0..<500 { fixture.server.publish(.logged(logEntry(text))) }
        #expect(fixture.log.contains("reads too slowly"))
        #expect(fixture.log.all.filter { $0.contains("reads too slowly") }.count == 1)
        // Another client is served meanwhile.
        #expect(try fixture.call(quick, "version")["daemon"] == "martletd")
        var received = 0
        var lost: Int?
        while lost == nil, let packet = try slow.receive(fixture.pump) {
            guard case .event(name: "log", let message) = packet else { continue }
            if message["msg"] == text { received += 1 }
            lost = message.integer("martlet-lost-events")
        }
        #expect(received > 0)
        #expect(received + (lost ?? 0) == 500)
    }

    @Test func aClientThatBreaksTheProtocolIsClosedAlone() throws {
        let fixture = try Fixture()
        let good = try fixture.client()
        for bytes in [[0, 8, 0, 1, 0], [0, 0, 0, 2, 0, 9], [0xff, 0xff, 0xff, 0xff]] as [[UInt8]] {
            let bad = try fixture.client()
            bad.send(bytes: bytes)
            #expect(try bad.receive(fixture.pump) == nil)
        }
        #expect(fixture.log.contains("breaks the protocol"))
        #expect(try fixture.call(good, "version")["daemon"] == "martletd")
    }

    @Test func thereIsACapOnClients() throws {
        var limits = ControlLimits()
        limits.clients = 2
        let fixture = try Fixture(limits: limits)
        var first: TestClient? = try fixture.client()
        let second = try fixture.client()
        fixture.pump()
        let third = try fixture.client()
        #expect(try third.receive(fixture.pump) == nil)
        #expect(fixture.log.contains("a client is refused"))
        #expect(try fixture.call(second, "version")["daemon"] == "martletd")
        _ = first
        first = nil
        fixture.pump()
        #expect(try fixture.call(fixture.client(), "version")["daemon"] == "martletd")
    }

    @Test func theBacklogGoesBeforeTheStream() throws {
        var limits = ControlLimits()
        limits.backlogLines = 10
        let fixture = try Fixture(limits: limits)
        for number in 0..<25 { fixture.server.publish(.logged(logEntry("line \(number)"))) }
        let client = try fixture.client()
        try fixture.register(client, "martlet-log")
        try fixture.request(client, "martlet-log", [("limit", "3")])
        var texts: [String] = []
        while case .event(name: "martlet-log", let message) = try client.receive(fixture.pump) {
            texts.append("\(message["martlet-sequence"] ?? "") \(message["msg"] ?? "")")
        }
        #expect(texts == ["23 line 22", "24 line 23", "25 line 24"])
    }

    @Test func publishesSAEvents() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        for name in ["ike-updown", "child-updown", "ike-rekey", "child-rekey"] { try fixture.register(client, name) }
        let sa = sampleSA()
        fixture.server.publish(.ikeSAChanged(isUp: true, sa))
        fixture.server.publish(.childSAChanged(isUp: false, ike: sa, child: sa.children[0]))
        fixture.server.publish(.ikeSARekeyed(old: sa, new: sa))
        fixture.server.publish(.childSARekeyed(ike: sa, old: sa.children[0], new: sa.children[0]))
        var names: [String] = []
        for _ in 0..<4 {
            if case .event(let name, _) = try client.receive(fixture.pump) { names.append(name) }
        }
        #expect(names == ["ike-updown", "child-updown", "ike-rekey", "child-rekey"])
    }

    @Test func tellsTheLoopWhatEachDescriptorWaitsFor() throws {
        let fixture = try Fixture()
        let seen = Mutex<[(Int32, ControlInterest)]>([])
        fixture.server.interestChanged = { fd, interest in seen.withLock { $0.append((fd, interest)) } }
        fixture.backend.sas = (1...4_000).map { sampleSA(id: UInt64($0)) }
        var client: TestClient? = try fixture.client()
        if let client {
            try fixture.register(client, "list-sa")
            try fixture.request(client, "list-sas")
        }
        fixture.pump()
        client = nil
        fixture.pump()
        #expect(seen.withLock { $0.map(\.1) } == [.read, [.read, .write], []])
    }

    @Test func aSecondInstanceDoesNotStealTheSocket() throws {
        let fixture = try Fixture()
        let other = ScriptedBackend()
        #expect(throws: ControlSocketError.inUse(path: fixture.path)) {
            try ControlServer(path: fixture.path, backend: other, log: { _, _ in })
        }
        // Not even when the lock is gone.
        unlink(fixture.path + ".lock")
        #expect(throws: ControlSocketError.inUse(path: fixture.path)) {
            try ControlServer(path: fixture.path, backend: other, log: { _, _ in })
        }
        let client = try fixture.client()
        #expect(try fixture.call(client, "version")["daemon"] == "martletd")
    }

    @Test func aStaleSocketIsReplacedAndAFileIsNot() throws {
        let folder = ScratchFolder()
        let path = folder.path + "/vici.sock"
        // What SIGKILL leaves: a bound socket without a listener.
        let dead = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(dead, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        #expect(bound == 0)
        close(dead)
        let backend = ScriptedBackend()
        var server: ControlServer? = try ControlServer(path: path, backend: backend, log: { _, _ in })
        var entry = stat()
        #expect(lstat(path, &entry) == 0)
        #expect(entry.st_mode & 0o777 == 0o660)
        #expect(TestClient(path: path) != nil)
        _ = server
        server = nil
        #expect(lstat(path, &entry) != 0, "the socket goes with its server")

        let file = folder.path + "/file"
        let fd = open(file, O_CREAT | O_WRONLY, 0o600)
        close(fd)
        unlink(file + ".lock")
        #expect(throws: ControlSocketError.notASocket(path: file)) { try ControlServer(path: file, backend: backend, log: { _, _ in }) }
        #expect(lstat(file, &entry) == 0)
        unlink(file + ".lock")
    }

    @Test func aPathThatIsTooLongIsNamed() {
        let path = "/tmp/" + String(repeating: "x", count: 120)
        #expect(throws: ControlSocketError.pathTooLong(path: path, limit: 107)) {
            try ControlServer(path: path, backend: ScriptedBackend(), log: { _, _ in })
        }
    }
}
