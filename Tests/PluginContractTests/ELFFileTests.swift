// The reader of ELF files, on sound files, truncated ones and ones with changed bytes: it answers or says no, and never traps.

import CSwiftVersion
import Foundation
@testable import Gateway
import TestSupport
import Testing

@Suite struct ELFFileTests {
    func read(_ bytes: [UInt8]) throws -> ELFFile? {
        let path = NSTemporaryDirectory() + "martlet-elf-" + UUID().uuidString
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        let descriptor = open(path, O_RDONLY)
        defer {
            close(descriptor)
            unlink(path)
        }
        return ELFFile(descriptor: descriptor)
    }

    @Test func aSwiftPluginShowsItsCompilerAndItsRuntime() throws {
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: Built.folder + "/libmartlet-psk.so")))
        let file = try #require(try read(bytes))
        #expect(file.swiftVersion == String(cString: martlet_swift_version()))
        #expect(file.needsSwiftRuntime)
    }

    @Test func aPluginInCShowsNeither() throws {
        let folder = try LoaderTests.Folder()
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.compile(LoaderTests.example))))
        let file = try #require(try read(bytes))
        #expect(file.swiftVersion == nil && !file.needsSwiftRuntime && file.neededLibraries.contains("libc.so.6"))
    }

    @Test func whatIsNoELFFileIsNone() throws {
        #expect(try read([]) == nil)
        #expect(try read(Array("not a library, but long enough to hold a header of sixty-four bytes".utf8)) == nil)
        #expect(try read([0x7f, 0x45, 0x4c, 0x46, 1, 1] + [UInt8](repeating: 0, count: 100)) == nil)
    }

    @Test func damagedFilesNeverTrap() throws {
        let folder = try LoaderTests.Folder()
        let sound = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.compile(LoaderTests.defect, defines: ["SWIFT_NOTE"]))))
        #expect(try read(sound)?.swiftVersion == "5.9.2")
        let seed: UInt64 = 20
        let random = NullRandom(seed: seed)
        for _ in 0..<1500 {
            var bytes = sound
            // The header and the table of segments, or anywhere.
            for _ in 0..<1 + random.next() % 4 {
                let place = Int(random.next() % (random.next() % 2 == 0 ? 1024 : UInt64(bytes.count)))
                bytes[place] = random.next() % 2 == 0 ? 0xff : UInt8(truncatingIfNeeded: random.next())
            }
            if random.next() % 4 == 0 { bytes.removeLast(Int(random.next() % UInt64(bytes.count))) }
            _ = try read(bytes)
        }
        for count in 0..<1200 { _ = try read(Array(sound[..<count])) }
    }
}
