// Where exported keys go: nowhere that somebody else could read them.

import Glibc
import IKECore
import IKECrypto
import IKEWire
import Testing

@testable import Gateway

@Suite struct KeyExportTests {
    private func folder() throws -> String {
        var template = Array("/tmp/martlet-keys-XXXXXX".utf8CString)
        return String(cString: try #require(mkdtemp(&template)))
    }

    private func box(_ byte: UInt8) -> SecretBox { SecretBox(SecretBytes(copying: [byte, byte].span)) }

    private func keys() -> ExportedKeys {
        .esp(
            source: IPAddress(v4: 1), destination: IPAddress(v4: 2), spi: 0x1234, encryption: Transform(type: .encryption, id: 20, keyLength: 128), integrity: nil, key: box(0xab),
            integrityKey: box(0xcd))
    }

    /// Exports one line and returns the size of the file.
    private func export(to folder: String) throws -> Int {
        let export = try KeyExport(folder: folder, log: Log(level: .error, target: .file("/dev/null")))
        export.write(keys())
        export.stop()
        var status = stat()
        return stat(folder + "/esp_sa", &status) == 0 ? Int(status.st_size) : 0
    }

    @Test func linesGoToAFileOfOurOwn() throws {
        let folder = try folder()
        defer {
            unlink(folder + "/esp_sa")
            rmdir(folder)
        }
        #expect(try export(to: folder) > 0)
    }

    @Test func aFileThatOthersReadGetsNothing() throws {
        let folder = try folder()
        defer {
            unlink(folder + "/esp_sa")
            rmdir(folder)
        }
        close(open(folder + "/esp_sa", O_WRONLY | O_CREAT, 0o600))
        chmod(folder + "/esp_sa", 0o644)
        #expect(try export(to: folder) == 0)
    }

    @Test(arguments: [0o777, 0o1777, 0o770] as [mode_t]) func aFolderThatOthersWriteIsRefused(_ mode: mode_t) throws {
        let folder = try folder()
        defer { rmdir(folder) }
        chmod(folder, mode)
        #expect(throws: SystemError.self) { try export(to: folder) }
    }

    @Test func aLinkInPlaceOfTheFolderIsRefused() throws {
        let folder = try folder()
        defer {
            unlink(folder + "/link")
            rmdir(folder)
        }
        symlink("/root", folder + "/link")
        #expect(throws: SystemError.self) { try export(to: folder + "/link") }
    }
}
