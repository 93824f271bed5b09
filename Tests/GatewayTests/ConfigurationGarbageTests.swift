// Whatever a file holds, loading ends, does not trap and explains itself. The seed is in each failure; a case replays alone.

import Foundation
import Testing
@testable import Gateway

/// SplitMix64.
private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

private let pieces: [String] = [
    "connections", "children", "secrets", "gateway", "plugins", "local", "remote", "ike", "include ", "m.conf", "*.conf", "auth = psk", "id = ", "proposals = ",
    "local_ts = ", "remote_addrs = ", "rekey_time = ", "secret = ", "aes256gcm16", "-", "x25519", "0x", "0s", "10.0.0.0/8", "::/0", "[tcp/80]", "%any", "@", "*",
    "dynamic", "default", "{", "}", "{", "}", " : ", ", ", "=", "\n", "\n", "\n", "\"", "\\", "#", ".", " ", "\t", "\r\n", "é", "\u{0}", "99999999999999999999", "-1", "5h",
    "a", "b", "connections.a", "!", "/", "|", "trap", "yes",
]

private func explained(_ result: ConfigurationResult) -> Bool {
    (result.configuration == nil) == result.diagnostics.contains { $0.severity == .error }
        && result.diagnostics.allSatisfy { $0.line >= 1 && $0.column >= 1 && !$0.message.isEmpty && $0.message.unicodeScalars.allSatisfy { $0.value >= 0x20 } }
}

@Suite struct ConfigurationGarbageTests {
    @Test(arguments: 0..<UInt64(8)) func wordsInAnyOrder(block: UInt64) {
        for seed in block * 250..<(block + 1) * 250 {
            var generator = Generator(state: seed)
            let text = (0..<Int.random(in: 1...120, using: &generator)).map { _ in pieces.randomElement(using: &generator) ?? "" }.joined()
            #expect(explained(load(text)), "seed \(seed)")
        }
    }

    @Test(arguments: 0..<UInt64(4)) func anyBytes(block: UInt64) {
        for seed in block * 250..<(block + 1) * 250 {
            var generator = Generator(state: seed ^ 0xb17e5)
            let bytes = (0..<Int.random(in: 0...300, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(explained(load(MemoryFiles(bytes: ["m.conf": bytes]))), "seed \(seed)")
        }
    }

    @Test func filesWithBytesChangedTakenOutOrDoubled() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: configurationVectors.path).filter { $0.hasSuffix(".conf") }.sorted()
        var generator = Generator(state: 7)
        for name in names {
            let original = [UInt8](try Data(contentsOf: configurationVectors.appending(path: name)))
            for round in 0..<40 {
                var bytes = original
                for _ in 0...round % 4 where !bytes.isEmpty {
                    let index = Int.random(in: 0..<bytes.count, using: &generator)
                    switch Int.random(in: 0..<4, using: &generator) {
                    case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                    case 1: bytes.remove(at: index)
                    case 2: bytes.insert(bytes[index], at: index)
                    default: bytes.removeSubrange(index..<min(bytes.count, index + 20))
                    }
                }
                #expect(explained(load(MemoryFiles(bytes: ["m.conf": bytes]))), "\(name), round \(round)")
            }
        }
    }

    @Test func everyTruncationOfAFile() {
        let bytes = Array(site(connection: "proposals = aes256gcm16-prfsha256-x25519 # \"\nversion = 2", child: "esp_proposals = \"aes256gcm16\"").utf8)
        for count in 0..<bytes.count { #expect(explained(load(MemoryFiles(bytes: ["m.conf": Array(bytes[..<count])]))), "\(count) bytes") }
    }

    @Test func depthAndLengthEnd() {
        #expect(explained(load(String(repeating: "a {", count: 100_000))))
        #expect(explained(load("connections " + String(repeating: "{ a ", count: 100_000))))
        #expect(explained(load("connections { " + String(repeating: "a { } \n", count: 50_000) + "}")))
        #expect(explained(load("gateway { port = " + String(repeating: "1", count: 1_000_000) + "\n}")))
        #expect(explained(load("gateway { listen = " + String(repeating: "a,", count: 30_000) + "\n}")))
        #expect(explained(load("gateway { listen = \"" + String(repeating: "x", count: 1_000_000))))
        #expect(explained(load(site(connection: "proposals = " + String(repeating: "-", count: 60_000)))))
        #expect(explained(load(site(child: "local_ts = " + String(repeating: "10.0.0.0/8,", count: 5_000)))))
        #expect(explained(load("x : " + String(repeating: "a.", count: 10_000) + "a { }")))
        #expect(explained(load("x : " + String(repeating: "a, ", count: 10_000) + "a { }")))
        var chain = "connections { a : s0 { } }\n"
        for level in 0..<20_000 { chain += "s\(level) : s\(level + 1) { }\n" }
        #expect(explained(load(chain)))
        #expect(explained(load(MemoryFiles(["m.conf": String(repeating: "include m*.conf\n", count: 5_000)]))))
    }
}

@Suite struct ConfigurationSystemFileTests {
    @Test func theSystemsFilesAreReadWithCare() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "martlet-configuration-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder.appending(path: "conf.d"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func write(_ name: String, _ text: String, mode: Int = 0o640) throws -> String {
            let path = folder.appending(path: name).path
            try text.write(toFile: path, atomically: false, encoding: .utf8)
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
            return path
        }
        let main = try write("m.conf", "include conf.d/*.conf\n", mode: 0o644)
        _ = try write("conf.d/20.conf", "gateway { shards = 2\n}")
        let secret = try write("conf.d/10.conf", "gateway { shards = 1\n}\nsecrets { ike { secret = \"0123456789abcdef\" } }", mode: 0o604)
        let result = load(SystemFileReader(), main)
        #expect(result.configuration?.gateway.shards == 2)
        #expect(result.diagnostics.map(\.description) == ["\(secret):1:1: warning: the file holds secrets and everybody on this machine can read it: chmod o-r"])

        let fifo = folder.appending(path: "conf.d/30.conf").path
        #expect(mkfifo(fifo, 0o600) == 0)
        #expect(load(SystemFileReader(), main).errors.map(\.message) == ["cannot read '\(fifo)': not a regular file"])
        try FileManager.default.removeItem(atPath: fifo)
        // The same file under another name.
        try FileManager.default.createSymbolicLink(atPath: fifo, withDestinationPath: main)
        #expect(load(SystemFileReader(), main).errors.map(\.message) == ["'\(fifo)' includes itself"])
        #expect(load(SystemFileReader(), folder.path).errors.map(\.message) == ["cannot read the file: not a regular file"])
        #expect(load(SystemFileReader(), main + ".gone").errors.map(\.message) == ["cannot read the file: No such file or directory"])
        #expect(throws: FileFailure.tooLarge(limit: 5)) { try SystemFileReader().read(main, limit: 5) }
    }
}
