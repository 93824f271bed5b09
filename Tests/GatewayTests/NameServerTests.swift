// Name servers of a gateway on this host: which programs are called, and with what.

import Glibc
import IKECore
import IKEWire
import Testing

@testable import Gateway

/// Programs that write down how they were called, in a folder that goes with the test.
private final class FakeHost {
    /// A number that no process has.
    static let gone = 1 << 30
    let folder: String
    let log: Log
    init() throws {
        var template = Array("/tmp/martlet-resolver-XXXXXX".utf8CString)
        folder = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
        mkdir(folder + "/bin", 0o755)
        log = try Log(level: .debug, target: .file(folder + "/log"))
    }
    deinit {
        for name in ["bin/resolvectl", "bin/resolvconf", "calls", "log", "resolver.\(getpid())", "resolver.\(Self.gone)", "resolver.1", "bin", ""] { remove(folder + "/" + name) }
    }
    /// `then`: what it does after it has written its words, and what it reads.
    func add(_ name: String, then: String = "exit 0") {
        write("bin/" + name, "#!/bin/sh\necho \"\(name) $*\" >>\(folder)/calls\n/bin/cat >>\(folder)/calls\n\(then)\n", mode: 0o755)
    }
    func write(_ name: String, _ text: String, mode: mode_t = 0o600) {
        let descriptor = open(folder + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, mode)
        var text = text
        _ = text.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }
    func read(_ name: String) -> String {
        let descriptor = open(folder + "/" + name, O_RDONLY)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
    var record: String { read("resolver.\(getpid())") }
    var calls: [String] { read("calls").split(separator: "\n").map(String.init) }
    var said: String {
        log.flush()
        return read("log")
    }
    func setup(_ choice: ResolverChoice = .auto, limit: Duration = .seconds(60)) throws -> NameServerSetup {
        let setup = try NameServerSetup(choice, state: folder, path: folder + "/bin", limit: limit, log: log)
        setup.start()
        return setup
    }
}

@Suite struct NameServerTests {
    /// The loopback interface stands for the tunnel's: it has 127.0.0.1.
    private func servers(_ last: UInt32 = 53, _ domains: [String] = [], from connection: String = "peer", at address: UInt32 = 0x7f00_0001) -> NameServers {
        NameServers(connection: connection, addresses: [IPAddress(v4: address)], servers: [IPAddress(v4: 0x0a02_0000 | last)], domains: domains)
    }

    @Test func resolvedIsToldAndTold() throws {
        let host = try FakeHost()
        host.add("resolvectl")
        host.add("resolvconf")
        let setup = try host.setup()
        setup.use(servers(53, ["corp.example", "lab.example"]))
        setup.settle()
        #expect(host.calls == ["resolvectl dns lo 10.2.0.53", "resolvectl domain lo corp.example lab.example", "resolvectl default-route lo no"])
        #expect(host.record == "resolved lo\n")
        // As often as it is used.
        setup.use(servers(53, ["corp.example", "lab.example"]))
        setup.forget(servers(53, ["corp.example", "lab.example"]))
        setup.settle()
        #expect(host.calls.count == 3)
        setup.forget(servers(53, ["corp.example", "lab.example"]))
        setup.settle()
        #expect(host.calls.last == "resolvectl revert lo" && host.calls.count == 4 && host.record == "")
        setup.stop()
        #expect(host.calls.count == 4)
    }

    @Test func withoutDomainsEveryNameGoesThere() throws {
        let host = try FakeHost()
        host.add("resolvectl")
        let setup = try host.setup(.resolved)
        setup.use(servers())
        setup.settle()
        #expect(host.calls == ["resolvectl dns lo 10.2.0.53", "resolvectl domain lo ~.", "resolvectl default-route lo yes"])
        // The end of the daemon takes it back.
        setup.stop()
        #expect(host.calls.last == "resolvectl revert lo" && host.record == "")
    }

    @Test func twoGatewaysShareAnInterface() throws {
        let host = try FakeHost()
        host.add("resolvectl")
        let setup = try host.setup()
        setup.use(servers(53, ["a.example"], from: "a"))
        setup.use(servers(54, ["b.example"], from: "b"))
        setup.forget(servers(53, ["a.example"], from: "a"))
        setup.settle()
        let told = host.calls.filter { !$0.contains("default-route") }
        #expect(
            told == [
                "resolvectl dns lo 10.2.0.53", "resolvectl domain lo a.example", "resolvectl dns lo 10.2.0.53 10.2.0.54", "resolvectl domain lo a.example b.example", "resolvectl dns lo 10.2.0.54",
                "resolvectl domain lo b.example",
            ])
        setup.stop()
    }

    @Test func resolvconfIsToldWhereResolvedDoesNotAnswer() throws {
        let host = try FakeHost()
        host.add("resolvectl", then: "echo 'Failed to set DNS configuration: the name is not activatable' >&2; exit 1")
        host.add("resolvconf")
        let setup = try host.setup()
        setup.use(servers(53, ["corp.example"]))
        setup.settle()
        #expect(
            host.calls == ["resolvectl dns lo 10.2.0.53", "resolvectl revert lo", "resolvconf -a lo.martlet", "nameserver 10.2.0.53", "search corp.example"])
        #expect(host.record == "resolvconf lo\n")
        setup.stop()
        #expect(host.calls.last == "resolvconf -d lo.martlet")
    }

    @Test func nobodyToTellIsSaid() throws {
        let host = try FakeHost()
        let setup = try host.setup()
        setup.use(servers())
        setup.settle()
        setup.stop()
        #expect(host.said.contains("the name servers 10.2.0.53 are not set up") && host.said.contains("there is no resolvectl in PATH, and there is no resolvconf in PATH"))
        #expect(host.said.split(separator: "\n").count == 1)
    }

    @Test func switchedOffNothingIsCalled() throws {
        let host = try FakeHost()
        host.add("resolvectl")
        host.add("resolvconf")
        let setup = try host.setup(.no)
        setup.use(servers())
        setup.forget(servers())
        setup.settle()
        setup.stop()
        #expect(host.calls == [] && host.said.contains("gateway.resolver is no"))
    }

    @Test func whatAKilledDaemonLeftIsTakenBack() throws {
        let host = try FakeHost()
        host.add("resolvectl")
        host.add("resolvconf")
        host.write("resolver.\(FakeHost.gone)", "resolvconf martlet0\nresolved wan1\nresolved -x\nnonsense\nresolvconf ../../etc\nresolved a b\n")
        let setup = try host.setup()
        setup.settle()
        #expect(host.calls == ["resolvconf -d martlet0.martlet", "resolvectl revert wan1"])
        setup.stop()
        #expect(host.read("resolver.\(FakeHost.gone)") == "")
    }

    /// The number of a daemon that is gone may be another program's by now.
    @Test func aNumberThatSomethingElseHas() throws {
        let host = try FakeHost()
        host.add("resolvconf")
        host.write("resolver.1", "resolvconf martlet0\n")
        let setup = try host.setup()
        setup.settle()
        setup.stop()
        #expect(host.calls == ["resolvconf -d martlet0.martlet"] && host.read("resolver.1") == "")
    }

    @Test func anAddressThatNoInterfaceHas() throws {
        let host = try FakeHost()
        host.add("resolvectl")
        let setup = try host.setup()
        setup.use(servers(at: 0x0a7f_7f7f))
        setup.settle()
        setup.stop()
        #expect(host.calls == [] && host.said.contains("no interface has the inner address"))
    }

    /// It is ended with what it has started, and what it was asked counts as failed.
    @Test func aProgramThatHangsIsEnded() throws {
        let host = try FakeHost()
        host.add("resolvconf", then: "/bin/sleep 1000 & exec /bin/sleep 1000")
        let setup = try host.setup(.resolvconf, limit: .milliseconds(300))
        setup.use(servers())
        setup.settle()
        #expect(host.said.contains("it took longer than"))
        setup.stop()
    }

    @Test func aProgramHasNothingOfTheDaemons() throws {
        let host = try FakeHost()
        host.add("resolvectl", then: "/bin/ls /proc/self/fd >>\(host.folder)/calls; /usr/bin/env >>\(host.folder)/calls")
        let open = Glibc.open("/dev/null", O_RDONLY)
        defer { close(open) }
        let result = HostProgram.run(host.folder + "/bin/resolvectl", [";rm", "$(id)"], path: host.folder + "/bin", limit: .seconds(60))
        #expect(result.isSuccess)
        let calls = host.calls
        #expect(calls.first == "resolvectl ;rm $(id)")
        #expect(!calls.contains("\(open)") && calls.contains("LC_ALL=C") && !calls.contains { $0.hasPrefix("HOME=") || $0.hasPrefix("LD_") })
    }

    @Test func programsAreLookedForInAbsoluteFoldersAlone() throws {
        let host = try FakeHost()
        host.add("resolvectl")
        #expect(HostProgram.find("resolvectl", path: "::.:bin:" + host.folder + "/bin") == host.folder + "/bin/resolvectl")
        #expect(HostProgram.find("resolvectl", path: "") == nil)
        chmod(host.folder + "/bin/resolvectl", 0o644)
        #expect(HostProgram.find("resolvectl", path: host.folder + "/bin") == nil || geteuid() != 0)
    }
}
