// What the loader takes and what it refuses, on plugins in plain C that gcc builds outside the package. Each refusal is exactly
// one line, and that line is stated here.

import CSwiftVersion
import Foundation
import Gateway
import IKECrypto
import IKEWire
import PluginABI
import Testing

@Suite struct LoaderTests {
    /// A folder of plugins that goes with the test.
    final class Folder {
        let path: String

        init(mode: Int = 0o700) throws {
            path = NSTemporaryDirectory() + "martlet-loader-" + UUID().uuidString
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            chmod(path, mode_t(mode))
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        /// Compiles a plugin in C with gcc against the contract's headers alone.
        func compile(_ source: URL, name: String = "martlet-test.so", defines: [String] = []) throws -> String {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            let file = path + "/" + name
            let gcc = Process()
            gcc.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            gcc.arguments =
                ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fPIC", "-shared", "-fvisibility=hidden", "-I", root.appendingPathComponent("Sources/PluginABI/include").path]
                + defines.map { "-D" + $0 } + ["-o", file, source.path]
            try gcc.run()
            gcc.waitUntilExit()
            #expect(gcc.terminationStatus == 0, "gcc fails on \(source.lastPathComponent) with \(defines)")
            return file
        }
    }

    static let defect = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("CPlugin/defect.c")
    static let example = Vectors.folder.deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("docs/examples/plugin-c/example.c")

    func load(_ paths: [String], _ settings: [String: [String: String]] = [:]) -> (set: PluginSet, log: LogLines) {
        let log = LogLines()
        return (PluginSet.load(paths: paths, settings: PluginSettings(sections: settings), services: Built.services, log: { log.add($0, $1) }), log)
    }

    @Test func aPluginInPlainCWorks() throws {
        let folder = try Folder()
        let file = try folder.compile(Self.example, name: "martlet-example.so")
        let (set, log) = load([folder.path], ["example": ["greeting": "hello\nworld"]])
        #expect(set.refused.isEmpty)
        #expect(log.all == ["example: hello world", "plugin example 1.0 is loaded from \(file): crypto:example"])
        #expect(set.loaded.first?.swiftVersion == nil)
        let registry = try #require(set.registry(order: [], provider: "example"))
        let theirs = try Built.registry("openssl")
        let mac = try #require(registry.mac(.hmacSHA256_128)), other = try #require(theirs.mac(.hmacSHA256_128))
        let key = [UInt8](repeating: 1, count: 32)
        #expect(try CipherContractTests.mac(mac.makeContext(key: key.span), [1, 2], [3], 16) == CipherContractTests.mac(other.makeContext(key: key.span), [1], [2, 3], 16))
        let prf = try #require(registry.prf(.prfHMACSHA256)), otherPRF = try #require(theirs.prf(.prfHMACSHA256))
        #expect(try CipherContractTests.prf(prf, [5], [6, 7]) == CipherContractTests.prf(otherPRF, [5], [6, 7]))
        #expect(registry.aead(.aesGCM16(256)) == nil)
        set.shutDown()
    }

    static let refusals: [(define: String, reason: String)] = [
        ("NO_SYMBOL", "it does not export martlet_plugin_query; it is not a plugin for Martlet"),
        ("NO_DESCRIPTOR", "martlet_plugin_query returns no descriptor"),
        ("MAGIC=0x12345678", "its descriptor begins with 0x12345678 instead of 0x4d52544c"),
        ("MAJOR=7", "it wants plugin contract 7.\(MARTLET_ABI_MINOR), the daemon offers 0.\(MARTLET_ABI_MINOR); while the major is 0 both numbers must match"),
        ("MINOR=99", "it wants plugin contract 0.99, the daemon offers 0.\(MARTLET_ABI_MINOR); while the major is 0 both numbers must match"),
        ("SIZE=24", "its descriptor has 24 bytes, the daemon needs \(MemoryLayout<martlet_plugin>.size)"),
        ("NO_VERSION", "its descriptor has no version"),
        ("NAME=\"Two_Words\"", "\"Two_Words\" is not a name: names are made of a-z, 0-9 and '-'"),
        ("DEPENDS", "it needs auth:nobody, which no loaded plugin provides"),
        ("INIT_FAILS", "its init function failed with status -8"),
        ("NOT_PROVIDED", "it promises crypto:defect but its init function did not provide it"),
        ("SHORT_PROVIDER", "what it provides is unusable: the table of crypto:defect has 8 bytes, the daemon needs \(MemoryLayout<martlet_crypto_provider>.size)"),
        ("SWIFT_NOTE", "it was built by Swift 5.9.2, the daemon by Swift \(String(cString: martlet_swift_version())); both must be the same (plugins in C are free of this)"),
    ]

    @Test(arguments: refusals) func aDefectivePluginIsRefusedInOneLine(_ refusal: (define: String, reason: String)) throws {
        let folder = try Folder()
        let file = try folder.compile(Self.defect, defines: [refusal.define])
        let (set, log) = load([folder.path])
        #expect(log.all == ["plugin \(file) is not loaded: \(refusal.reason)"])
        #expect(set.refused.map(\.description) == log.all)
        #expect(set.loaded.isEmpty)
    }

    @Test func aSoundPluginThatProvidesNothingIsTaken() throws {
        let folder = try Folder()
        _ = try folder.compile(Self.defect)
        let (set, log) = load([folder.path])
        #expect(set.loaded.map(\.name) == ["defect"])
        #expect(log.errors.isEmpty)
    }

    @Test func anUndefinedSymbolIsTheLinkersOwnWords() throws {
        let folder = try Folder()
        let file = try folder.compile(Self.defect, defines: ["UNDEFINED"])
        let (_, log) = load([folder.path])
        #expect(log.all.count == 1)
        #expect(log.all.first?.hasPrefix("plugin \(file) is not loaded: the dynamic linker refuses it: ") == true)
        #expect(log.all.first?.contains("nobody_has_this") == true)
    }

    @Test func whatIsNoLibraryIsRefused() throws {
        let folder = try Folder()
        let text = folder.path + "/martlet-text.so", inner = folder.path + "/martlet-folder.so", link = folder.path + "/martlet-link.so"
        try "not a library".write(toFile: text, atomically: false, encoding: .utf8)
        try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: false)
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "nowhere")
        try "ignored".write(toFile: folder.path + "/other.so", atomically: false, encoding: .utf8)
        let (_, log) = load([folder.path, folder.path + "/missing"])
        #expect(log.all.count == 4)
        #expect(log.all.contains("plugin \(inner) is not loaded: it is not a regular file"))
        #expect(log.all.contains("plugin \(link) is not loaded: it cannot be read: No such file or directory"))
        #expect(log.all.contains { $0.hasPrefix("plugin \(text) is not loaded: the dynamic linker refuses it: ") })
        #expect(log.all.contains("plugin \(folder.path)/missing is not loaded: it cannot be read: No such file or directory"))
    }

    @Test func aFileThatOthersCanWriteIsRefused() throws {
        for mode in [0o666, 0o664, 0o646] as [mode_t] {
            let folder = try Folder()
            let file = try folder.compile(Self.defect)
            chmod(file, mode)
            #expect(load([folder.path]).log.all == ["plugin \(file) is not loaded: \(file) can be written by its group or by others; only its owner may"])
        }
    }

    @Test func aFolderThatOthersCanWriteIsRefusedUnlessItIsSticky() throws {
        for mode in [0o777, 0o770, 0o722] {
            let folder = try Folder(mode: mode)
            let file = try folder.compile(Self.defect)
            #expect(load([folder.path]).log.all == ["plugin \(file) is not loaded: \(folder.path) can be written by its group or by others; only its owner may"])
        }
        let sticky = try Folder(mode: 0o1777)
        _ = try sticky.compile(Self.defect)
        #expect(load([sticky.path]).log.errors.isEmpty)
    }

    @Test func aFolderFurtherUpCountsToo() throws {
        let outer = try Folder(mode: 0o777)
        let inner = outer.path + "/inner"
        try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: false)
        chmod(inner, 0o700)
        let file = try outer.compile(Self.defect, name: "inner/martlet-test.so")
        #expect(load([inner]).log.all == ["plugin \(file) is not loaded: \(outer.path) can be written by its group or by others; only its owner may"])
        // A symbolic link in a safe folder does not hide an unsafe one.
        let safe = try Folder()
        let link = safe.path + "/martlet-link.so"
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: file)
        #expect(load([safe.path]).log.all == ["plugin \(link) is not loaded: \(outer.path) can be written by its group or by others; only its owner may"])
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give a file away")) func aFileOfSomebodyElseIsRefused() throws {
        let folder = try Folder()
        let file = try folder.compile(Self.defect)
        chown(file, 65534, 0)
        #expect(load([folder.path]).log.all == ["plugin \(file) is not loaded: \(file) belongs to user 65534; it must belong to root or to the daemon's own user"])
        chown(file, 0, 0)
        chown(folder.path, 65534, 0)
        #expect(load([folder.path]).log.all == ["plugin \(file) is not loaded: \(folder.path) belongs to user 65534; it must belong to root or to the daemon's own user"])
    }

    @Test func theSecondPluginOfANameIsRefused() throws {
        let first = try Folder(), second = try Folder()
        let a = try first.compile(Self.defect), b = try second.compile(Self.defect)
        let (set, log) = load([first.path, second.path])
        #expect(set.loaded.map(\.file) == [a])
        #expect(log.errors == ["plugin \(b) is not loaded: plugin defect is already provided by \(a)"])
    }

    @Test func theSecondProviderOfANameIsRefused() throws {
        let folder = try Folder()
        _ = try folder.compile(Self.example, name: "martlet-a.so")
        let other = folder.path + "/martlet-b.so"
        // Another plugin under another name that provides the same.
        let source = folder.path + "/other.c"
        let text = try String(contentsOf: Self.example, encoding: .utf8).replacingOccurrences(of: ".name = \"example\",\n    .version", with: ".name = \"rival\",\n    .version")
        try text.write(toFile: source, atomically: false, encoding: .utf8)
        _ = try folder.compile(URL(fileURLWithPath: source), name: "martlet-b.so")
        #expect(load([folder.path]).log.errors == ["plugin \(other) is not loaded: crypto:example is already provided by plugin example"])
    }

    @Test func aPluginCanBeLeftOut() throws {
        let folder = try Folder()
        let file = try folder.compile(Self.defect, name: "libmartlet-defect.so")
        let (set, log) = load([folder.path], ["defect": ["load": "no"]])
        #expect(set.loaded.isEmpty && set.refused.isEmpty)
        #expect(log.all == ["plugin \(file) is left out, as plugins.defect.load says"])
    }

    static let disabled: [(define: String, algorithm: String, reason: String)] = [
        ("WRONG_TAG", "broken (mac)", "the MAC is wrong"),
        ("UNKNOWN_TRANSFORM", "broken (mac)", "the host has no known answers for it"),
        ("NULL_FUNCTION", "? (kind 3, transform 12)", "create is null"),
        ("SHORT_TABLE", "? (kind 3, transform 12)", "an algorithm's table has \(MemoryLayout<martlet_mac>.size - 8) bytes and needs \(MemoryLayout<martlet_mac>.size)"),
    ]

    /// A plugin with a wrong algorithm stays; the algorithm is not offered.
    @Test(arguments: disabled) func aWrongAlgorithmIsDisabledAlone(_ wrong: (define: String, algorithm: String, reason: String)) throws {
        let folder = try Folder()
        _ = try folder.compile(Self.defect, defines: [wrong.define])
        let (set, log) = load([folder.path])
        #expect(set.loaded.map(\.name) == ["defect"])
        #expect(log.errors == ["algorithm \(wrong.algorithm) of defect is disabled: \(wrong.reason)"])
        #expect(set.algorithms.map(\.disabledBecause) == [wrong.reason])
        // It has no random source either.
        #expect(set.registry(order: []) == nil)
    }

    /// A slow test waits for the first use, and its failure takes the algorithm out before it is used.
    @Test func aWrongGroupIsDisabledAtItsFirstUse() throws {
        let folder = try Folder()
        _ = try folder.compile(Self.defect, defines: ["WRONG_GROUP"])
        let line = "algorithm broken group (key exchange) of defect is disabled: fresh public values are wrong"
        let (set, log) = load([folder.path])
        let group = try #require(set.registry(order: [])?.keyExchange(.ecp256))
        #expect(log.errors.isEmpty && set.algorithms.map(\.isTested) == [true, false])
        #expect(throws: CryptoError.unavailable(.ecp256)) { try group.generate() }
        #expect(throws: CryptoError.unavailable(.ecp256)) { try group.generate() }
        #expect(log.errors == [line])
        #expect(set.registry(order: [])?.keyExchange(.ecp256) == nil)

        // A configuration that names it finds out at once.
        let (other, otherLog) = load([folder.path])
        #expect(!other.passes(.ecp256, provider: nil) && !other.passes(.ecp256, provider: "defect"))
        #expect(otherLog.errors == [line])
        #expect(Built.plugins.passes(.ecp256, provider: "openssl") && !Built.plugins.passes(.ecp256, provider: "nobody"))
    }
}
