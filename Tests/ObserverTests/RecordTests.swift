// Records as lines of JSON, and the file that they are appended to.

import Foundation
import ObserverRecords
import Testing

@Suite struct RecordLineTests {
    private func fields(_ line: RecordLine) throws -> [String: Any] {
        #expect(line.line.hasSuffix("}\n") && !line.line.dropLast().contains("\n"))
        return try #require(try JSONSerialization.jsonObject(with: Data(line.line.utf8)) as? [String: Any])
    }

    @Test func aLineIsOneObject() throws {
        var line = RecordLine(time: 1_700_000_000_123, event: "stop")
        line.add("bytes_in", UInt64.max)
        line.add("addresses", ["10.0.0.1", "2001:db8::1"])
        line.add("seconds", milliseconds: 61_005)
        let all = try fields(line)
        #expect(all["time"] as? String == "2023-11-14T22:13:20.123Z" && all["event"] as? String == "stop")
        #expect(all["addresses"] as? [String] == ["10.0.0.1", "2001:db8::1"])
        #expect(all["bytes_in"] as? UInt64 == .max)
        #expect(line.line.contains("\"seconds\":61.005,") || line.line.contains("\"seconds\":61.005}"))
    }

    @Test(arguments: ["a\"b", "a\\", "line\nend", "\u{0}\u{1f}\u{7f}\u{85}", "\u{2028}x\u{2029}", "grüße 😀", "{\"event\":\"stop\"}"])
    func whatAPeerCallsItselfStaysAString(name: String) throws {
        var line = RecordLine(time: 0, event: "start")
        line.add("user", Array(name.utf8))
        line.add("connection", name)
        let all = try fields(line)
        #expect(all["user"] as? String == name && all["connection"] as? String == name && all["event"] as? String == "start")
    }

    @Test func whatIsNoTextIsShownAsSuch() throws {
        var line = RecordLine(time: 0, event: "start")
        line.add("user", [0x61, 0xff, 0x62])
        #expect(try fields(line)["user"] as? String == "a\u{fffd}b")
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_827_696_789, "2000-02-29T12:34:56.789Z"), (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"), (Int64.max, "9999-12-31T23:59:59.999Z"), (-5, "1970-01-01T00:00:00.000Z"),
        ] as [(Int64, String)]) func timesAreThoseOfTheCalendar(milliseconds: Int64, text: String)
    {
        #expect(RecordLine.timestamp(milliseconds) == text)
    }
}

@Suite struct RecordFileTests {
    private let folder: String
    private var path: String { folder + "/records.jsonl" }
    init() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("records-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    private func contents(_ name: String = "records.jsonl") throws -> String { try String(contentsOfFile: folder + "/" + name, encoding: .utf8) }
    private func lost(_ count: UInt64) -> String { "lost \(count)\n" }

    @Test func theFileIsItsOwnersAlone() throws {
        let file = RecordFile(path)
        #expect(file.append("one\n", lostLine: lost) == .written)
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        #expect(try contents() == "one\n")
    }

    @Test func aFileThatWasMovedAwayIsLeftWhenAsked() throws {
        let file = RecordFile(path)
        #expect(file.append("one\n", lostLine: lost) == .written)
        try FileManager.default.moveItem(atPath: path, toPath: path + ".1")
        #expect(file.append("two\n", lostLine: lost) == .written)
        #expect(file.open() == nil)
        #expect(file.append("three\n", lostLine: lost) == .written)
        #expect(try contents("records.jsonl.1") == "one\ntwo\n")
        #expect(try contents() == "three\n")
    }

    @Test func whatFindsNoPlaceIsCountedAndToldOnce() throws {
        let file = RecordFile(folder + "/later/records.jsonl")
        guard case .lost(let reason?) = file.append("one\n", lostLine: lost) else { return #expect(Bool(false), "it was written") }
        #expect(reason.contains("later/records.jsonl"))
        #expect(file.append("two\n", lostLine: lost) == .lost(nil))
        #expect(file.lost == 2)
        try FileManager.default.createDirectory(atPath: folder + "/later", withIntermediateDirectories: true)
        #expect(file.append("three\n", lostLine: lost) == .written)
        #expect(try contents("later/records.jsonl") == "lost 2\nthree\n")
        #expect(file.lost == 0)
    }

    @Test func whatOthersHaveLostIsToldBeforeTheNextLine() throws {
        let file = RecordFile(path)
        file.count(lost: 7)
        #expect(file.append("one\n", lostLine: lost) == .written)
        #expect(try contents() == "lost 7\none\n")
    }

    @Test func halfALineOfAnEarlierLifeIsEnded() throws {
        try "whole\nhal".write(toFile: path, atomically: false, encoding: .utf8)
        let file = RecordFile(path)
        #expect(file.append("one\n", lostLine: lost) == .written)
        #expect(file.append("two\n", lostLine: lost) == .written)
        #expect(try contents() == "whole\nhal\none\ntwo\n")
    }

    @Test func onlyARegularFileIsWritten() throws {
        #expect(mkfifo(path, 0o600) == 0)
        let pipe = RecordFile(path)
        #expect(pipe.append("one\n", lostLine: lost) != .written)
        try FileManager.default.createSymbolicLink(atPath: folder + "/link", withDestinationPath: "/dev/null")
        let link = RecordFile(folder + "/link")
        #expect(link.append("one\n", lostLine: lost) != .written)
    }
}
