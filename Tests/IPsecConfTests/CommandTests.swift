// `martlet import` itself: exit status, streams, and the file it makes.

import Foundation
import Testing

@Suite struct CommandTests {
    private final class Folder {
        let path = FileManager.default.temporaryDirectory.appending(path: "martlet-import-\(UUID().uuidString)").path
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
        deinit { try? FileManager.default.removeItem(atPath: path) }
        func write(_ name: String, _ text: String) throws { try text.write(toFile: "\(path)/\(name)", atomically: true, encoding: .utf8) }
        func read(_ name: String) throws -> String { try String(contentsOfFile: "\(path)/\(name)", encoding: .utf8) }
    }

    /// The program is beside the test bundle.
    private func martlet(_ arguments: String...) throws -> (status: Int32, out: String, err: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "martlet")
        process.arguments = ["import"] + arguments
        let (out, err) = (Pipe(), Pipe())
        (process.standardOutput, process.standardError, process.standardInput) = (out, err, FileHandle.nullDevice)
        try process.run()
        // What is said on standard error fits a pipe.
        let text = out.fileHandleForReading.readDataToEndOfFile()
        let complaints = err.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: text, as: UTF8.self), String(decoding: complaints, as: UTF8.self))
    }

    @Test func exitStatus() throws {
        let folder = try Folder()
        try folder.write("ipsec.conf", conn())
        try folder.write("ipsec.secrets", psk)
        let file = folder.path + "/ipsec.conf"
        let whole = try martlet(file, "--local", "192.0.2.1")
        #expect(whole.status == 0 && whole.err == "martlet: 1 connection and 1 secret carried over\n" && errors(of: whole.out) == [])
        try folder.write("ipsec.conf", conn() + conn("vti-interface=vti0", name: "b"))
        let part = try martlet(file, "--local", "192.0.2.1")
        #expect(
            part.status == 3 && part.err.contains("martlet: left out: \(file):19: conn b: vti-interface=vti0: ") && part.err.contains("1 line not; 1 connection written as a comment")
                && part.out.contains("sixteen bytes"))
        #expect(try martlet(folder.path + "/none.conf").status == 1)
        try folder.write("ipsec.conf", "nonsense\n")
        let wrong = try martlet(file)
        #expect(wrong.status == 1 && wrong.out == "" && wrong.err.contains("\(file):1: 'nonsense' begins no section"))
        for wrong in [["--from", "racoon"], ["--local", "here"], ["--force"]] { #expect(try martlet(file, wrong[0], wrong.count > 1 ? wrong[1] : "--json").status == 2) }
    }

    @Test func theOutputIsPrivateAndNothingIsOverwritten() throws {
        let folder = try Folder()
        try folder.write("ipsec.conf", conn())
        try folder.write("keys", psk)
        try folder.write("there", "mine")
        let arguments = [folder.path + "/ipsec.conf", "--secrets", folder.path + "/keys", "--local", "192.0.2.1"]
        let refused = try martlet(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], "--output", folder.path + "/there")
        #expect(try refused.status == 1 && refused.err.contains("is there already") && folder.read("there") == "mine")
        for (name, force) in [("new", []), ("there", ["--force"])] as [(String, [String])] {
            #expect(try martlet(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], "-o", folder.path + "/" + name, force.first ?? "--socket=unused").status == 0)
            #expect(errors(of: try folder.read(name)) == [])
            let mode = try FileManager.default.attributesOfItem(atPath: folder.path + "/" + name)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["ipsec.conf", "keys", "new", "there"])
    }

    /// Standard output that the shell sent to a file is as open as the umask says.
    @Test(arguments: [(0o644, true), (0o640, true), (0o600, false)]) func aRedirectionThatOthersCanRead(mode: Int, warns: Bool) throws {
        let folder = try Folder()
        try folder.write("ipsec.conf", conn())
        try folder.write("ipsec.secrets", psk)
        try folder.write("out", "")
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: folder.path + "/out")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "martlet")
        process.arguments = ["import", folder.path + "/ipsec.conf", "--local", "192.0.2.1"]
        let complaints = Pipe()
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: folder.path + "/out"))
        process.standardError = complaints
        try process.run()
        let said = String(decoding: complaints.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0 && said.contains("warning: others on this machine can read the file that standard output goes to") == warns)
        #expect(errors(of: try folder.read("out")) == [])
    }

    @Test func json() throws {
        let folder = try Folder()
        try folder.write("ipsec.conf", conn("type=beet"))
        try folder.write("ipsec.secrets", psk)
        let result = try martlet(folder.path + "/ipsec.conf", "--json", "--local", "192.0.2.1")
        let document = try #require(try JSONSerialization.jsonObject(with: Data(result.out.utf8)) as? [String: Any])
        let finding = try #require((document["findings"] as? [[String: Any]])?.first)
        #expect(result.status == 3 && document["dialect"] as? String == "strongswan" && document["complete"] as? Bool == false)
        #expect(finding["line"] as? Int == 10 && finding["parameter"] as? String == "type=beet" && finding["connections"] as? [String] == ["site"])
        #expect((document["configuration"] as? String)?.contains("connections {") == true && result.err == "")
    }
}
