// The log: what a line looks like, and that neither a full disk nor a stopped reader costs more than lines.

import Glibc
import IKECore
import Synchronization
import Testing

@testable import Gateway

/// A folder that goes with the test.
private final class Folder {
    let path: String
    init() {
        var template = Array("/tmp/martlet-log-XXXXXX".utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? "/tmp"
    }
    deinit {
        unlink(path + "/log")
        rmdir(path)
    }
    var text: String {
        guard let file = fopen(path + "/log", "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

@Suite struct LogTests {
    @Test func linesAreWrittenInOrderWithTimeLevelAndSA() throws {
        let folder = Folder()
        let log = try Log(level: .info, target: .file(folder.path + "/log"))
        log.write(.info, "IKE", "established", connection: "site", ikeSA: 3)
        log.write(.error, "NET", "a line\nand \u{1b}[31mcolour")
        log.write(.debug, "IKE", "nobody asked for this")
        log.flush()
        let lines = folder.text.split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines.first?.hasSuffix("Z info   IKE [site#3] established") == true)
        #expect(lines.last?.hasSuffix("error  NET a line\\u{a}and \\u{1b}[31mcolour") == true)
    }

    /// Whoever listens costs the ten thousandth line no more stack than the first: a stranger's requests make lines too.
    @Test func aHundredThousandLinesAreHeard() throws {
        let log = try Log(level: .info, target: .file("/dev/null"))
        final class Count: Sendable { let lines = Atomic<Int>(0) }
        let count = Count()
        log.subscribe { _ in count.lines.wrappingAdd(1, ordering: .relaxed) }
        for _ in 0..<100_000 { log.write(.info, "IKE", "a line") }
        #expect(count.lines.load(ordering: .relaxed) == 100_000)
    }

    @Test func nothingTurnsALineAround() {
        let line = LogLine(.info, "IKE", "a\u{202e}b\u{2028}c\u{9b}d\u{fc}", milliseconds: 0)
        #expect(line.message == "a\\u{202e}b\\u{2028}c\\u{9b}d\u{fc}")
    }

    @Test func timestampsAreCivilDates() {
        #expect(timestamp(0) == "1970-01-01T00:00:00.000Z")
        #expect(timestamp(951_827_696_007) == "2000-02-29T12:34:56.007Z")
        #expect(timestamp(4_107_542_399_999) == "2100-02-28T23:59:59.999Z")
        #expect(timestamp(4_107_542_400_000) == "2100-03-01T00:00:00.000Z")
    }

    @Test func aFullDiskCostsLinesAndNothingElse() throws {
        let log = try Log(level: .info, target: .file("/dev/full"))
        for number in 0..<100 { log.write(.info, "DMN", "line \(number)") }
        log.flush()
        #expect(log.lost == 100)
        // There is room again.
        let folder = Folder()
        log.configure(level: .info, target: .file(folder.path + "/log"))
        log.write(.info, "DMN", "after")
        log.flush()
        #expect(folder.text.contains("100 lines of this log were lost"))
        #expect(folder.text.contains("DMN after"))
    }

    @Test func aReaderThatHasStoppedHoldsNobodyUp() throws {
        let folder = Folder()
        #expect(mkfifo(folder.path + "/log", 0o600) == 0)
        // Opened for both, so that neither end waits; nobody reads.
        let reader = open(folder.path + "/log", O_RDWR | O_NONBLOCK)
        defer { close(reader) }
        let log = try Log(level: .info, target: .file(folder.path + "/log"), capacity: 16)
        let long = String(repeating: "x", count: 1000)
        for _ in 0..<1000 { log.write(.info, "DMN", long) }
        // We are here, so nobody waited; the pipe holds 64 KiB and the queue 16 lines.
        #expect(log.lost > 500)
        // Let the writer go, so that its thread can end.
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        while read(reader, &bytes, bytes.count) > 0 { usleep(1000) }
        log.flush()
    }

    @Test func aFileThatCannotBeOpenedIsReplacedByStandardError() throws {
        let log = try Log(level: .error, target: .file("/nonexistent/folder/log"))
        log.flush()
        #expect(log.lost == 0)
    }

    @Test func subscribersGetEveryLineThatIsShown() throws {
        let folder = Folder()
        let log = try Log(level: .info, target: .file(folder.path + "/log"))
        let seen = Recorder<String>()
        log.subscribe { seen.add($0.message) }
        log.write(.info, "DMN", "one")
        log.write(.trace, "DMN", "two")
        log.subscribe(nil)
        log.write(.info, "DMN", "three")
        #expect(seen.all == ["one"])
        log.flush()
    }
}
