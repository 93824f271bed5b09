// The little of SQLite that the leases need: one connection, statements with values, rows.

import CSQLite

struct SQLiteError: Error {
    let code: Int32
    let text: String
    /// The file is no database, or a broken one.
    var isCorrupt: Bool { code & 0xff == SQLITE_CORRUPT || code & 0xff == SQLITE_NOTADB }
}

/// For one thread at a time.
final class SQLiteConnection {
    enum Value {
        case integer(Int64)
        case text(String)
        case blob([UInt8])
    }

    private var handle: OpaquePointer?

    /// The file is there already, perhaps empty.
    init(path: String) throws(SQLiteError) {
        let code = sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK else {
            let error = SQLiteError(code: code, text: handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory")
            sqlite3_close(handle)
            throw error
        }
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 1000)
    }

    deinit { close() }

    func close() {
        sqlite3_close_v2(handle)
        handle = nil
    }

    func run(_ sql: String) throws(SQLiteError) { try check(sqlite3_exec(handle, sql, nil, nil, nil)) }

    /// The first column of the first row, as a number.
    func number(_ sql: String) throws(SQLiteError) -> Int64 {
        let statement = try prepare(sql)
        return try statement.step() ? statement.integer(0) : 0
    }

    func text(_ sql: String) throws(SQLiteError) -> String {
        let statement = try prepare(sql)
        return try statement.step() ? statement.text(0) : ""
    }

    func prepare(_ sql: String) throws(SQLiteError) -> Statement {
        var statement: OpaquePointer?
        try check(sqlite3_prepare_v2(handle, sql, -1, &statement, nil))
        guard let statement else { throw SQLiteError(code: SQLITE_MISUSE, text: "an empty statement") }
        return Statement(self, statement)
    }

    /// All or nothing.
    func transaction(_ body: () throws(SQLiteError) -> Void) throws(SQLiteError) {
        try run("BEGIN IMMEDIATE")
        do throws(SQLiteError) {
            try body()
            try run("COMMIT")
        } catch {
            try? run("ROLLBACK")
            throw error
        }
    }

    private func check(_ code: Int32) throws(SQLiteError) {
        guard code == SQLITE_OK else { throw error(code) }
    }

    fileprivate func error(_ code: Int32) -> SQLiteError { SQLiteError(code: code, text: String(cString: sqlite3_errmsg(handle))) }

    final class Statement {
        private let connection: SQLiteConnection
        private let handle: OpaquePointer

        fileprivate init(_ connection: SQLiteConnection, _ handle: OpaquePointer) {
            self.connection = connection
            self.handle = handle
        }

        deinit { sqlite3_finalize(handle) }

        /// Runs it to its end with these values, and makes it ready for others.
        func run(_ values: [Value]) throws(SQLiteError) {
            defer { sqlite3_reset(handle) }
            for (index, value) in values.enumerated() {
                let position = Int32(index + 1)
                let code =
                    switch value {
                    case .integer(let number): sqlite3_bind_int64(handle, position, number)
                    case .text(let text): martlet_sqlite_bind_text(handle, position, text, Int32(clamping: text.utf8.count))
                    case .blob(let bytes): bytes.withUnsafeBytes { martlet_sqlite_bind_blob(handle, position, $0.baseAddress, Int32(clamping: $0.count)) }
                    }
                guard code == SQLITE_OK else { throw connection.error(code) }
            }
            while try step() {}
        }

        /// Whether there is a row.
        func step() throws(SQLiteError) -> Bool {
            switch sqlite3_step(handle) {
            case SQLITE_ROW: return true
            case SQLITE_DONE: return false
            case let code: throw connection.error(code)
            }
        }

        func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
        func text(_ column: Int32) -> String { String(decoding: blob(column), as: UTF8.self) }
        func blob(_ column: Int32) -> [UInt8] {
            guard let base = sqlite3_column_blob(handle, column) else { return [] }
            return Array(UnsafeRawBufferPointer(start: base, count: Int(sqlite3_column_bytes(handle, column))))
        }
    }
}
