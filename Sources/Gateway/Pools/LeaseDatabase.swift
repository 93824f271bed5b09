// Leases in an SQLite database: what the file must be, what is read from it, and how changes are written.

import Glibc
import IKECore
import IKEWire

/// Why a file is not used.
struct LeaseDatabaseProblem: Error {
    enum Kind { case unreachable, inUse, foreign, newer, corrupt }
    let kind: Kind
    let text: String
}

/// One open database. For one thread at a time.
final class LeaseDatabase {
    /// "MTLT": marks the file as ours.
    static let applicationID: Int64 = 0x4d54_4c54
    static let schemaVersion: Int64 = 1
    /// More records are not read.
    static let recordLimit = 524_288

    let path: String
    /// Ours, locked, for as long as the database is open: SQLite's own locks go when any descriptor of the file is closed.
    private let descriptor: Int32
    private let connection: SQLiteConnection
    /// Nil once it is closed: SQLite closes nothing that statements still use.
    private var put: SQLiteConnection.Statement?
    private var delete: SQLiteConnection.Statement?

    /// Opens the file, or makes it.
    init(path: String) throws(LeaseDatabaseProblem) {
        self.path = path
        let descriptor = try Self.lockedFile(path)
        do throws(SQLiteError) {
            let connection = try SQLiteConnection(path: path)
            // Nothing that stands in the file is run.
            try connection.run("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")
            try Self.prepare(connection)
            // A commit appends to the log and waits for no disk: a process that is killed loses nothing that it had committed, a machine that loses its power
            // the last moments and never the rest. Readers such as sqlite3(1) do not hold it up.
            _ = try connection.text("PRAGMA journal_mode = WAL")
            try connection.run("PRAGMA synchronous = NORMAL")
            put = try connection.prepare("INSERT OR REPLACE INTO leases (pool, address, kind, identity, online, number, changed) VALUES (?, ?, ?, ?, ?, ?, ?)")
            delete = try connection.prepare("DELETE FROM leases WHERE pool = ? AND address = ?")
            self.connection = connection
            self.descriptor = descriptor
        } catch {
            let isOurs = Self.isMarked(descriptor)
            Glibc.close(descriptor)
            switch error.code {
            case Self.foreign: throw LeaseDatabaseProblem(kind: .foreign, text: error.text)
            case Self.newer: throw LeaseDatabaseProblem(kind: .newer, text: error.text)
            default: break
            }
            if error.isCorrupt {
                throw LeaseDatabaseProblem(kind: isOurs ? .corrupt : .foreign, text: isOurs ? "it is damaged (\(error.text))" : "it is no database of leases (\(error.text))")
            }
            throw LeaseDatabaseProblem(kind: .unreachable, text: error.text)
        }
    }

    func close() {
        put = nil
        delete = nil
        connection.close()
        Glibc.close(descriptor)
    }

    /// What is remembered; whoever was online then is so no longer. Lines that make no sense are taken out.
    func records() throws(SQLiteError) -> [LeaseRecord] {
        var records: [LeaseRecord] = [], wrong: [(String, String)] = []
        let rows = try connection.prepare("SELECT pool, address, kind, identity, online, number FROM leases ORDER BY number DESC LIMIT \(Self.recordLimit)")
        while try rows.step() {
            let pool = rows.text(0), address = rows.text(1), kind = rows.integer(2), identity = rows.blob(3), number = rows.integer(5)
            guard !pool.isEmpty, let parsed = IPAddress(address), parsed.description == address, (1...255).contains(kind), identity.count <= AddressPool.identityLimit, number > 0,
                number < Int64.max / 2
            else {
                wrong.append((pool, address))
                continue
            }
            records.append(
                LeaseRecord(
                    pool: pool, address: parsed, identity: Identification(kind: .init(rawValue: UInt8(truncatingIfNeeded: kind)), data: identity), isOnline: rows.integer(4) != 0,
                    number: UInt64(number)))
        }
        try connection.transaction { () throws(SQLiteError) in
            for (pool, address) in wrong { try delete?.run([.text(pool), .text(address)]) }
            // They keep their numbers, which are the highest.
            try connection.run("UPDATE leases SET online = 0 WHERE online <> 0")
        }
        return records
    }

    /// All of them or none.
    func write(_ changes: [LeaseKey: LeaseRecord?]) throws(SQLiteError) {
        let seconds = unixMilliseconds() / 1000
        try connection.transaction { () throws(SQLiteError) in
            for (key, record) in changes {
                guard let record else {
                    try delete?.run([.text(key.pool), .text(key.address.description)])
                    continue
                }
                try put?.run([
                    .text(key.pool), .text(key.address.description), .integer(Int64(record.identity.kind.rawValue)), .blob(record.identity.data), .integer(record.isOnline ? 1 : 0),
                    .integer(Int64(clamping: record.number)), .integer(seconds),
                ])
            }
        }
    }

    // MARK: Opening

    /// The file, made with mode 0600 where it is not there, and locked: a second daemon does not write to it.
    private static func lockedFile(_ path: String) throws(LeaseDatabaseProblem) -> Int32 {
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex { _ = mkdir(String(path[..<slash]), 0o700) }
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { throw LeaseDatabaseProblem(kind: .unreachable, text: errorText(errno)) }
        var status = stat()
        var problem: LeaseDatabaseProblem?
        if fstat(descriptor, &status) != 0 || status.st_mode & S_IFMT != S_IFREG {
            problem = LeaseDatabaseProblem(kind: .foreign, text: "it is no file")
        } else if status.st_uid != geteuid() {
            problem = LeaseDatabaseProblem(kind: .foreign, text: "it belongs to another user")
        } else if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            problem = LeaseDatabaseProblem(kind: .inUse, text: "another process uses it")
        } else if status.st_size > 0, !isDatabase(descriptor) {
            problem = LeaseDatabaseProblem(kind: .foreign, text: "it is no database of leases")
        } else if status.st_mode & 0o077 != 0, fchmod(descriptor, 0o600) != 0 {
            problem = LeaseDatabaseProblem(kind: .unreachable, text: "others may read it: \(errorText(errno))")
        }
        if let problem {
            Glibc.close(descriptor)
            throw problem
        }
        return descriptor
    }

    private static let foreign: Int32 = -1, newer: Int32 = -2

    /// Makes the table in an empty database; looks at one that is not.
    private static func prepare(_ connection: SQLiteConnection) throws(SQLiteError) {
        let application = try connection.number("PRAGMA application_id"), version = try connection.number("PRAGMA user_version")
        if application == 0, version == 0, try connection.number("SELECT count(*) FROM sqlite_master") == 0 {
            // In the file itself before there is a log: what marks it as ours can always be read.
            return try connection.transaction { () throws(SQLiteError) in
                try connection.run(
                    """
                    CREATE TABLE leases (pool TEXT NOT NULL, address TEXT NOT NULL, kind INTEGER NOT NULL, identity BLOB NOT NULL, online INTEGER NOT NULL, number INTEGER NOT NULL,
                        changed INTEGER NOT NULL, PRIMARY KEY (pool, address)) STRICT, WITHOUT ROWID;
                    PRAGMA application_id = \(applicationID);
                    PRAGMA user_version = \(schemaVersion)
                    """)
            }
        }
        guard application == applicationID else { throw SQLiteError(code: foreign, text: "it is a database of something else") }
        guard version == schemaVersion else { throw SQLiteError(code: newer, text: "its form is of another version of Martlet (\(version), and this one knows \(schemaVersion))") }
        guard try connection.text("PRAGMA quick_check(1)") == "ok" else { throw SQLiteError(code: 11, text: "the check of its pages fails") }
        guard try connection.number("SELECT count(*) FROM sqlite_master") == 1, try connection.number("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'leases'") == 1 else {
            throw SQLiteError(code: foreign, text: "it holds more than leases")
        }
    }

    private static func bytes(_ descriptor: Int32, at offset: Int, _ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, offset) }
        return Array(bytes.prefix(max(0, got)))
    }

    private static func isDatabase(_ descriptor: Int32) -> Bool { bytes(descriptor, at: 0, 16) == Array("SQLite format 3\0".utf8) }

    /// Whether the file's own header says that it is ours, whatever else of it can be read.
    private static func isMarked(_ descriptor: Int32) -> Bool {
        isDatabase(descriptor) && bytes(descriptor, at: 68, 4) == [0x4d, 0x54, 0x4c, 0x54]
    }
}
