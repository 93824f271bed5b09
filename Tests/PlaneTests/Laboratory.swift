// Two planes in two network namespaces with a veth between them, each in a process of its own (Tests/PlaneHost), with keys that the
// test chooses. Needs root, /dev/net/tun, iproute2 and ping; what is missing is named where the tests are skipped.

import Foundation
import Testing

/// What a command printed, errors included, and how it ended.
struct Outcome {
    let status: Int32
    let output: String
}

@discardableResult
func shell(_ command: String) -> Outcome {
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-c", command + " 2>&1"]
    process.standardInput = FileHandle.nullDevice
    let pipe = Pipe()
    process.standardOutput = pipe
    do { try process.run() } catch { return Outcome(status: -1, output: "\(error)") }
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Outcome(status: process.terminationStatus, output: String(decoding: data, as: UTF8.self))
}

enum Laboratory {
    /// What this machine lacks for these tests; nil when nothing.
    static let missing: String? = {
        if getuid() != 0 { return "root" }
        if access("/dev/net/tun", R_OK | W_OK) != 0 { return "/dev/net/tun" }
        for tool in ["ip", "ping"] where shell("command -v \(tool)").status != 0 { return tool }
        let probe = "mpprobe\(getpid())"
        defer { shell("ip netns del \(probe)") }
        if shell("ip netns add \(probe)").status != 0 { return "network namespaces" }
        return nil
    }()
    static let isAvailable: Bool = {
        if let missing { print("planes in namespaces are not tried here: \(missing) is missing") }
        return missing == nil
    }()
    static let hasIperf = shell("command -v iperf3").status == 0
    static let hasFilter = shell("command -v nft").status == 0

    /// Where the build put the plugin and the host.
    static let products = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
}

/// A plane in a namespace, driven by lines.
final class PlaneProcess {
    let namespace: String
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let log: URL
    private var pending: [UInt8] = []
    /// The first line: "ok NAME VERSION" or why it did not start.
    private(set) var greeting = ""

    init(namespace: String, settings: [String] = []) throws {
        self.namespace = namespace
        log = FileManager.default.temporaryDirectory.appending(path: "\(namespace)-\(UInt32.random(in: 0 ... .max)).log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments =
            ["ip", "netns", "exec", namespace, Laboratory.products.appending(path: "PlaneHost").path, Laboratory.products.appending(path: "libmartlet-tun.so").path]
            + settings
        process.standardInput = input
        process.standardOutput = output
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        greeting = readLine()
    }

    deinit {
        try? input.fileHandleForWriting.close()
        if process.isRunning { process.waitUntilExit() }
        try? FileManager.default.removeItem(at: log)
    }

    /// What the plane said to the log.
    var logged: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

    func command(_ line: String) -> String {
        send(line)
        return readLine()
    }

    /// To a plane that is gone this writes nothing.
    func send(_ line: String) {
        guard process.isRunning else { return }
        try? input.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
    }

    func readLine() -> String {
        while true {
            if let end = pending.firstIndex(of: 10) {
                let line = String(decoding: pending[..<end], as: UTF8.self)
                pending.removeFirst(end + 1)
                return line
            }
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { return "gone" }
            pending += data
        }
    }

    /// "ok a=1 b=2" as a dictionary.
    private func numbers(_ line: String) -> [String: UInt64] {
        Dictionary(
            line.split(separator: " ").compactMap { item -> (String, UInt64)? in
                let parts = item.split(separator: "=")
                guard parts.count == 2, let value = UInt64(parts[1]) else { return nil }
                return (String(parts[0]), value)
            }, uniquingKeysWith: { $1 })
    }

    /// The drop counters that are not zero.
    var drops: [String: UInt64] { numbers(command("drops")).filter { $0.value != 0 } }
    /// Calls of malloc in the process so far.
    var allocations: UInt64 { numbers(command("allocations"))["allocations"] ?? .max }
    /// How many timers the plane has armed so far.
    var timers: UInt64 { numbers(command("timers"))["timers"] ?? 0 }
    var events: String { command("events") }

    func counters(_ spi: UInt32, inbound: Bool, child: UInt64) -> [String: UInt64] {
        numbers(command("counters \(String(spi, radix: 16)) \(inbound ? 0 : 1) \(child)"))
    }

    /// Inside this plane's namespace.
    @discardableResult
    func run(_ command: String) -> Outcome { shell("ip netns exec \(namespace) \(command)") }

    func quit() {
        send("quit")
        process.waitUntilExit()
    }

    /// The end that a plane cannot clean up after.
    func kill() {
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}

/// Hosts A (192.0.2.1, 2001:db8::1, behind it 10.1.0.0/16 and fd00:1::/64) and B (the same with 2).
final class TwoHosts {
    let a: PlaneProcess
    let b: PlaneProcess
    private let names: [String]

    static let key = String(repeating: "11", count: 36)

    init(workers: Int = 1, settings: [String] = []) throws {
        let tag = String(UInt16.random(in: 0 ... .max), radix: 16)
        names = ["mp\(getpid())\(tag)a", "mp\(getpid())\(tag)b"]
        for (name, number) in zip(names, 1...) {
            #expect(shell("ip netns add \(name) && ip -n \(name) link set lo up").status == 0)
            shell("ip -n \(name) addr add 10.\(number).0.1/24 dev lo; ip -n \(name) addr add fd00:\(number)::1/64 dev lo nodad")
        }
        shell("ip link add veth0 netns \(names[0]) type veth peer name veth0 netns \(names[1])")
        for (name, number) in zip(names, 1...) {
            shell("ip -n \(name) addr add 192.0.2.\(number)/24 dev veth0; ip -n \(name) addr add 2001:db8::\(number)/64 dev veth0 nodad")
            shell("ip -n \(name) link set veth0 up")
        }
        a = try PlaneProcess(namespace: names[0], settings: settings)
        b = try PlaneProcess(namespace: names[1], settings: settings)
        for plane in [a, b] {
            #expect(plane.greeting.hasPrefix("ok tun"))
            #expect(plane.command("start \(workers) 4500 4242") == "ok")
        }
    }

    deinit {
        a.quit()
        b.quit()
        for name in names { shell("ip netns del \(name)") }
    }

    struct Tunnel {
        var child: UInt64 = 1
        var policy: UInt64 = 1
        /// Of A's inbound SA; B's is the next one.
        var spi: UInt32 = 0xc000_0001
        var udp = true
        var outerIPv6 = false
        var suite = ""
        var key = TwoHosts.key
        var localTS = "10.1.0.0/24,fd00:1::/64"
        var remoteTS = "10.2.0.0/24,fd00:2::/64"
        /// Of B, where it is told something else.
        var localTSOfB: String?
        var remoteTSOfB: String?
        var extraOfA = ""
    }

    func add(_ tunnel: Tunnel, activate: Bool = true) {
        let outer = tunnel.outerIPv6 ? ["2001:db8::1@4500", "2001:db8::2@4500"] : ["192.0.2.1@4500", "192.0.2.2@4500"]
        let common = "child=\(tunnel.child) policy=\(tunnel.policy) encapsulation=\(tunnel.udp ? 1 : 0) key=\(tunnel.key) \(tunnel.suite)"
        let spis = [String(tunnel.spi, radix: 16), String(tunnel.spi + 1, radix: 16)]
        let ofA = "local=\(outer[0]) remote=\(outer[1]) local_ts=\(tunnel.localTS) remote_ts=\(tunnel.remoteTS) \(common) \(tunnel.extraOfA)"
        let ofB =
            "local=\(outer[1]) remote=\(outer[0]) local_ts=\(tunnel.localTSOfB ?? tunnel.remoteTS) remote_ts=\(tunnel.remoteTSOfB ?? tunnel.localTS) \(common)"
        for (plane, text, own, peer) in [(a, ofA, spis[0], spis[1]), (b, ofB, spis[1], spis[0])] {
            #expect(plane.command("sa spi=\(own) direction=0 \(text)") == "ok")
            #expect(plane.command("sa spi=\(peer) direction=1 \(text)") == "ok")
        }
        if activate { for plane in [b, a] { #expect(plane.command("activate \(tunnel.child)") == "ok") } }
    }

    func remove(_ tunnel: Tunnel) {
        for (plane, own, peer) in [(a, tunnel.spi, tunnel.spi + 1), (b, tunnel.spi + 1, tunnel.spi)] {
            #expect(plane.command("remove \(String(peer, radix: 16)) 1 \(tunnel.child)") == "ok")
            #expect(plane.command("remove \(String(own, radix: 16)) 0 \(tunnel.child)") == "ok")
        }
    }
}
