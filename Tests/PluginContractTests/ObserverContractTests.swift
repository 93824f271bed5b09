// Observers of a plugin in C as the gateway tells them: in order, without waiting for one that is slow, and with a count of what found no room.

import Foundation
import Gateway
import IKECore
import IKEWire
import Testing

@Suite(.serialized) struct ObserverContractTests {
    static let log = LogLines()
    nonisolated(unsafe) static let folder = try? LoaderTests.Folder()
    static var file: String { (folder?.path ?? "") + "/told" }
    static let plugins: PluginSet? = {
        guard let folder, (try? folder.compile(LoaderTests.defect.deletingLastPathComponent().appendingPathComponent("observer.c"), name: "martlet-c-observer.so")) != nil else { return nil }
        return PluginSet.load(paths: [folder.path], settings: PluginSettings(sections: ["c-observer": ["file": file]]), services: Built.services, log: { log.add($0, $1) })
    }()

    private func observer(limit: Int = 100) throws -> Observer {
        let table = try #require(Self.plugins?.observers.first, "\(Self.log.all)")
        try? FileManager.default.removeItem(atPath: Self.file)
        try? FileManager.default.removeItem(atPath: Self.file + ".go")
        return try Observer(table, limit: limit)
    }

    private func record(_ event: AccountingRecord.Event, _ connection: String, _ session: String) throws -> AccountingRecord {
        var record = AccountingRecord(event, unixMilliseconds: 1)
        record.session = session
        record.connection = connection
        record.user = Array("alice".utf8)
        record.remote = SocketAddress(address: try #require(IPAddress("192.0.2.7")), port: 4500)
        record.inner = [try #require(IPAddress("10.3.0.1")), try #require(IPAddress("2001:db8::1"))]
        record.totals = AccountingTotals(bytesIn: 12, bytesOut: 34)
        return record
    }

    private var told: [String] { ((try? String(contentsOfFile: Self.file, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init) }

    @Test func anObserverInPlainCIsTold() throws {
        let observer = try observer()
        #expect(Self.plugins?.loaded.first?.provides == ["observer:c"] && observer.name == "c")
        observer.tell(try record(.start, "rw", "s-1"))
        observer.reopen()
        observer.tell(try record(.stop(.noAnswer, "the peer does not answer"), "rw", "s-1"))
        observer.tell(try record(.start, "deaf", "s-2"))
        #expect(observer.stop(.seconds(60)))
        #expect(
            told == [
                "1 s-1 rw alice 192.0.2.7:4500 inner 2 12/34 cause 0  lost 0", "reopened", "3 s-1 rw alice 192.0.2.7:4500 inner 2 12/34 cause 2 the peer does not answer lost 0",
            ])
        #expect(observer.counters.refused == 1 && observer.counters.lost == 0 && observer.counters.waiting == 0)
    }

    @Test func oneThatHangsHoldsUpNobodyAndHearsHowMuchItMissed() throws {
        let observer = try observer(limit: 10)
        observer.tell(try record(.start, "slow", "s-0"))
        for number in 1...20 { observer.tell(try record(.interim, "rw", "i-\(number)")) }
        // What is said once still finds room where what is said again does not.
        for number in 1...20 { observer.tell(try record(.stop(.peer, ""), "rw", "p-\(number)")) }
        #expect(observer.counters.lost == 16 + 15 && observer.counters.waiting == 10)
        #expect(!observer.stop(.milliseconds(20)))
        #expect(FileManager.default.createFile(atPath: Self.file + ".go", contents: nil))
        #expect(observer.stop(.seconds(60)))
        // What was lost is told before all that still waits; the one that hangs may have begun before the others came, after them, or in between: then it is told in two parts.
        let kinds = told.map { String($0.prefix { $0 != " " }) }
        #expect(kinds.filter { $0 != "4" } == ["1", "2", "2", "2", "2", "3", "3", "3", "3", "3"])
        let places = kinds.indices.filter { kinds[$0] == "4" }
        #expect(places.allSatisfy { $0 <= 2 } && places.compactMap { told[$0].split(separator: " ").last.flatMap { Int($0) } }.reduce(0, +) == 31, "\(told)")
    }
}
