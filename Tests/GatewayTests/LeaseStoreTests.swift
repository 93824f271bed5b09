// Leases on disk: what survives the end of the daemon, however it ends, and files that are not what they should be.

import Glibc
import IKEWire
import Synchronization
import Testing
import TestSupport

@testable import Gateway
@testable import IKECore

/// A folder that goes with the test.
private final class Folder {
    let path: String
    init() {
        var template = Array("/tmp/martlet-leases-XXXXXX".utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
    }
    deinit {
        for name in entries { unlink(path + "/" + name) }
        rmdir(path)
    }
    var database: String { path + "/leases.db" }
    var entries: [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
    func read() -> [UInt8] {
        let descriptor = open(database, O_RDONLY)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return Array(bytes.prefix(max(0, count)))
    }
    func write(_ bytes: [UInt8]) {
        let descriptor = open(database, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        _ = Glibc.write(descriptor, bytes, bytes.count)
        close(descriptor)
    }
    var log: String {
        let descriptor = open(path + "/log", O_RDONLY)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}

/// One life of the daemon, as far as pools are concerned.
private struct Life {
    let pools: AddressPoolSet
    let store: LeaseStore
    let log: Log

    init(_ folder: Folder, pools configurations: [PoolConfiguration] = [LeaseStoreTests.pool], retryAfter: Duration = .seconds(5)) throws {
        log = try Log(level: .debug, target: .file(folder.path + "/log"))
        pools = AddressPoolSet(configurations)
        store = try LeaseStore(path: folder.database, retryAfter: retryAfter, log: log)
        pools.restore(try #require(try store.open()), journal: store)
    }
    func lease(_ who: String, asking: IPAddress? = nil) -> Lease? { pools.lease(.v4, from: ["rw"], to: Fixtures.identity(who), asking: asking, takingOver: .nothing) }
    func end() {
        store.stop()
        log.flush()
    }
}

@Suite struct LeaseStoreTests {
    fileprivate static func address(_ last: UInt32) -> IPAddress { IPAddress(v4: 0x0a03_0000 | last) }
    fileprivate static let pool = PoolConfiguration(name: "rw", start: address(1), end: address(4))
    private func address(_ last: UInt32) -> IPAddress { Self.address(last) }

    @Test func everybodyHasTheSameAddressInTheNextLife() throws {
        let folder = Folder()
        let first = try Life(folder)
        let anna = try #require(first.lease("anna")), boris = try #require(first.lease("boris"))
        first.pools.release(anna)
        first.end()
        let second = try Life(folder)
        // In the other order; boris was online when the daemon ended.
        #expect(second.lease("carl")?.address == address(3))
        #expect(second.lease("boris")?.address == boris.address)
        #expect(second.lease("anna")?.address == anna.address)
        second.end()
        var status = stat()
        #expect(stat(folder.database, &status) == 0 && status.st_mode & 0o777 == 0o600)
        // No log of SQLite's is left after an orderly end.
        #expect(folder.entries == ["leases.db", "log"])
    }

    @Test func theLongestGoneLosesItsAddressFirstInTheNextLifeToo() throws {
        let folder = Folder()
        let first = try Life(folder)
        let leases = try ["a", "b", "c", "d"].map { try #require(first.lease($0)) }
        for index in [2, 0, 3] { first.pools.release(leases[index]) }
        first.end()
        let second = try Life(folder)
        #expect(second.pools.snapshots(withLeases: false).first?.offline == 4)
        // b was online to the last.
        #expect(["e", "f", "g", "h"].compactMap { second.lease($0)?.address } == [address(3), address(1), address(4), address(2)])
        #expect(second.lease("i") == nil)
        second.end()
    }

    /// A process that is killed leaves the file as it is; a copy of it, log included, is what the next one finds.
    @Test func whatWasWrittenSurvivesAKill() throws {
        let folder = Folder(), after = Folder()
        let first = try Life(folder)
        let anna = try #require(first.lease("anna", asking: address(4)))
        // Another connection sees what was committed.
        let reader = try SQLiteConnection(path: folder.database)
        var tries = 0
        while try reader.number("SELECT count(*) FROM leases") == 0, tries < 1000 {
            usleep(10_000)
            tries += 1
        }
        reader.close()
        for name in ["leases.db", "leases.db-wal"] { try copy(folder.path + "/" + name, after.path + "/" + name) }
        let second = try Life(after)
        #expect(second.lease("boris")?.address == address(1))
        #expect(second.lease("anna")?.address == anna.address)
        second.end()
        first.end()
    }

    private func copy(_ from: String, _ to: String) throws {
        let source = open(from, O_RDONLY), target = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        defer {
            close(source)
            close(target)
        }
        try #require(source >= 0 && target >= 0, "\(from)")
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = read(source, &bytes, bytes.count)
        _ = Glibc.write(target, bytes, max(0, count))
    }

    @Test func thePoolMayComeLaterAndBeSmaller() throws {
        let folder = Folder()
        let first = try Life(folder)
        for who in ["a", "b", "c"] { first.pools.release(try #require(first.lease(who))) }
        first.end()
        // As where a client loads the pools.
        let second = try Life(folder, pools: [])
        second.pools.configure([PoolConfiguration(name: "rw", start: address(2), end: address(4))])
        #expect(second.lease("c")?.address == address(3) && second.lease("a")?.address == address(4) && second.lease("b")?.address == address(2))
        second.end()
        // The record outside the pool is gone.
        let reader = try SQLiteConnection(path: folder.database)
        #expect(try reader.number("SELECT count(*) FROM leases") == 3)
        #expect(try reader.number("SELECT count(*) FROM leases WHERE address = '10.3.0.1'") == 0)
    }

    /// While somebody else writes, nothing can be written; afterwards all of it is, the latest of each address.
    @Test func whatCouldNotBeWrittenIsWrittenLater() throws {
        let folder = Folder()
        let life = try Life(folder, retryAfter: .milliseconds(50))
        let other = try SQLiteConnection(path: folder.database)
        try other.run("BEGIN IMMEDIATE")
        let anna = try #require(life.lease("anna"))
        var tries = 0
        while !folder.log.contains("leases cannot be written"), tries < 2000 {
            usleep(10_000)
            life.log.flush()
            tries += 1
        }
        life.pools.release(anna)
        _ = life.lease("boris")
        try other.run("ROLLBACK")
        while try other.number("SELECT count(*) FROM leases") < 2, tries < 4000 {
            usleep(10_000)
            tries += 1
        }
        #expect(try other.text("SELECT group_concat(address || ' ' || online) FROM (SELECT * FROM leases ORDER BY address)") == "10.3.0.1 0,10.3.0.2 1")
        other.close()
        life.end()
        #expect(folder.log.split(separator: "\n").count { $0.contains("leases cannot be written") } == 1 && folder.log.contains("leases are written to \(folder.database) again"))
    }

    @Test func itIsOpenedOnceAndEndsWithoutHavingBegun() throws {
        let folder = Folder()
        let log = try Log(level: .debug, target: .file(folder.path + "/log"))
        let store = try LeaseStore(path: folder.database, log: log)
        store.stop()
        #expect(folder.entries == ["log"] || folder.entries.isEmpty)
        let life = try Life(folder)
        #expect(try life.store.open() == nil)
        life.end()
        life.store.stop()
    }

    // MARK: Files that are not what they should be

    /// Each is left as it is, said in one line, and leases go on in memory.
    private func isRefused(_ folder: Folder, saying words: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let before = folder.read()
        let life = try Life(folder)
        #expect(life.lease("anna")?.address == address(1), sourceLocation: sourceLocation)
        life.end()
        #expect(folder.read() == before, "the file was changed", sourceLocation: sourceLocation)
        let lines = folder.log.split(separator: "\n").filter { $0.contains("leases.db") }
        #expect(lines.count == 1 && lines.first?.contains(words) == true, "\(folder.log)", sourceLocation: sourceLocation)
    }

    @Test func somethingElseIsRefused() throws {
        let folder = Folder()
        folder.write(Array("root:x:0:0:root:/root:/bin/bash\n".utf8))
        try isRefused(folder, saying: "it is no database of leases")
        let other = Folder()
        other.write([])
        let database = try SQLiteConnection(path: other.database)
        try database.run("CREATE TABLE leases (everything TEXT)")
        database.close()
        try isRefused(other, saying: "it is a database of something else")
    }

    @Test func aNewerFormIsRefused() throws {
        let folder = Folder()
        try Life(folder).end()
        unlink(folder.path + "/log")
        let database = try SQLiteConnection(path: folder.database)
        try database.run("PRAGMA user_version = 7")
        database.close()
        try isRefused(folder, saying: "another version of Martlet (7, and this one knows 1)")
    }

    @Test func aTriggerIsNotRun() throws {
        let folder = Folder()
        try Life(folder).end()
        unlink(folder.path + "/log")
        let database = try SQLiteConnection(path: folder.database)
        try database.run("CREATE TRIGGER t AFTER INSERT ON leases BEGIN DELETE FROM leases; END")
        database.close()
        try isRefused(folder, saying: "it holds more than leases")
    }

    @Test func aFolderThatIsNotThereIsSaidOnce() throws {
        let folder = Folder()
        let log = try Log(level: .debug, target: .file(folder.path + "/log"))
        let store = try LeaseStore(path: folder.path + "/a/b/leases.db", log: log)
        let pools = AddressPoolSet([Self.pool])
        pools.restore(try #require(try store.open()), journal: store)
        for who in ["a", "b"] { #expect(pools.lease(.v4, from: ["rw"], to: Fixtures.identity(who), asking: nil, takingOver: .nothing) != nil) }
        store.stop()
        log.flush()
        let lines = folder.log.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].contains(folder.path + "/a/b/leases.db: No such file or directory"), "\(folder.log)")
    }

    @Test func twoDaemonsDoNotShareAFile() throws {
        let folder = Folder()
        let first = try Life(folder)
        _ = first.lease("anna")
        let second = try Life(folder)
        #expect(second.lease("boris")?.address == address(1))
        second.end()
        first.end()
        #expect(folder.log.contains("leases.db: another process uses it"))
        let third = try Life(folder)
        #expect(third.lease("boris")?.address == address(2))
        third.end()
    }

    @Test func aLinkIsNotFollowed() throws {
        let folder = Folder()
        symlink(folder.path + "/elsewhere", folder.database)
        let life = try Life(folder)
        #expect(life.lease("anna") != nil)
        life.end()
        #expect(!folder.entries.contains("elsewhere") && folder.log.contains("leases are in memory alone"))
    }

    /// A file that is ours and damaged anywhere: put aside or used, never a crash, and the next life has a file again.
    @Test func damageNeverStopsTheDaemon() throws {
        let folder = Folder()
        let first = try Life(folder, pools: [PoolConfiguration(name: "rw", start: address(1), end: address(200))])
        for number in 0..<150 { _ = first.lease("user\(number)") }
        first.end()
        let whole = folder.read()
        #expect(whole.count > 8192)
        for seed in 1...60 as ClosedRange<UInt64> {
            let random = NullRandom(seed: seed)
            var bytes = whole
            switch seed % 3 {
            case 0: bytes.removeLast(1 + Int(random.next() % UInt64(bytes.count - 1)))
            case 1: for _ in 0..<200 { bytes[100 + Int(random.next() % UInt64(bytes.count - 100))] = UInt8(truncatingIfNeeded: random.next()) }
            default: for index in bytes.indices.dropFirst(4096) { bytes[index] = 0xff }
            }
            for name in folder.entries { unlink(folder.path + "/" + name) }
            folder.write(bytes)
            let life = try Life(folder)
            #expect(life.lease("new") != nil, "seed \(seed)")
            life.end()
            let next = try Life(folder)
            #expect(next.lease("new") != nil, "seed \(seed)")
            next.end()
        }
    }

    @Test func whatIsDamagedIsPutAside() throws {
        let folder = Folder()
        try Life(folder).end()
        unlink(folder.path + "/log")
        var bytes = folder.read()
        for index in bytes.indices.dropFirst(100) { bytes[index] = 0x5a }
        folder.write(bytes)
        let life = try Life(folder)
        _ = life.lease("anna")
        life.end()
        #expect(folder.entries == ["leases.db", "leases.db.corrupt", "log"])
        #expect(folder.log.split(separator: "\n").count { $0.contains("leases.db.corrupt") } == 1)
    }

    @Test func rowsThatMakeNoSenseAreTakenOut() throws {
        let folder = Folder()
        try Life(folder).end()
        let database = try SQLiteConnection(path: folder.database)
        for row in [
            "'rw', '10.3.0.2', 2, x'616e6e61', 0, 5", "'rw', '10.3.0.3', 2, x'', 0, -1", "'', '10.3.0.1', 2, x'61', 0, 6", "'rw', 'nonsense', 2, x'61', 0, 7", "'rw', '010.3.0.1', 2, x'61', 0, 8",
            "'rw', '10.3.0.4', 900, x'61', 1, 9", "'rw', '10.3.0.1', 2, zeroblob(5000), 0, 10", "'rw', 'fd00::1', 2, x'61', 1, 11",
        ] { try database.run("INSERT INTO leases VALUES (\(row), 0)") }
        database.close()
        let life = try Life(folder)
        #expect(life.lease("anna")?.address == address(2) && life.lease("boris")?.address == address(1))
        life.end()
        let reader = try SQLiteConnection(path: folder.database)
        #expect(try reader.number("SELECT count(*) FROM leases") == 2)
    }

    /// Against a model: whoever was in the file has that address or nobody has, over lives that end at any time.
    @Test func randomLivesNeverShareAnAddress() throws {
        let folder = Folder()
        let random = NullRandom(seed: 7)
        var last: [String: IPAddress] = [:]
        for _ in 0..<12 {
            let life = try Life(folder, pools: [PoolConfiguration(name: "rw", start: address(1), end: address(30))])
            var held: [String: Lease] = [:]
            // All are remembered: the pool has room for each user.
            for _ in 0..<60 {
                let who = "user\(random.next() % 20)"
                if let lease = held.removeValue(forKey: who) {
                    life.pools.release(lease)
                } else {
                    let lease = try #require(life.lease(who))
                    #expect(!held.values.contains { $0.address == lease.address })
                    if let before = last[who] { #expect(lease.address == before, "\(who)") }
                    last[who] = lease.address
                    held[who] = lease
                }
            }
            life.end()
        }
        #expect(Set(last.values).count == last.count)
    }
}
