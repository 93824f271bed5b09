// Keeps leases on disk: one thread that writes what has changed, many changes at a time. Nobody waits for it but the end of the daemon.

import Glibc
import IKECore
import IKEWire
import Synchronization

package final class LeaseStore: LeaseJournal, @unchecked Sendable {
    /// Addresses whose changes wait to be written: what comes on top while the disk does not take them is left out, and said.
    static let pendingLimit = 262_144
    package let path: String
    private let log: Log
    private let loop: EventLoop

    private struct Pending {
        var changes: [LeaseKey: LeaseRecord?] = [:]
        /// A round of writing is on its way.
        var isScheduled = false
        var lost = 0
        var isEnded = false
        /// The thread is there.
        var isRunning = false
    }
    private let pending = Mutex(Pending())

    // The loop's thread, and before it runs the one that opens.
    private var database: LeaseDatabase?
    private var isUseless = false
    private var hasFailed = false
    private let retryAfter: Duration

    package init(path: String, retryAfter: Duration = .seconds(5), log: Log) throws(SystemError) {
        self.path = path
        self.retryAfter = retryAfter
        self.log = log
        loop = try EventLoop("leases")
    }

    /// Reads what is remembered, and starts the thread; nil where that was done before. A gateway without pools leaves the file to others.
    package func open() throws(SystemError) -> [LeaseRecord]? {
        guard !pending.withLock({ $0.isRunning }) else { return nil }
        let records = openDatabase()
        try loop.start()
        pending.withLock { $0.isRunning = true }
        return records
    }

    package func note(_ key: LeaseKey, _ record: LeaseRecord?) {
        let wakes = pending.withLock { pending -> Bool in
            guard !pending.isEnded else { return false }
            guard pending.changes.count < Self.pendingLimit || pending.changes[key] != nil else {
                pending.lost += 1
                return false
            }
            pending.changes[key] = .some(record)
            if pending.isScheduled { return false }
            pending.isScheduled = true
            return true
        }
        if wakes { loop.post { [self] in write() } }
    }

    /// Writes what waits, and closes the file. Waits for no disk longer than `limit`.
    package func stop(within limit: Duration = .seconds(3)) {
        let isRunning = pending.withLock { pending in
            defer { (pending.isEnded, pending.isRunning) = (true, false) }
            return pending.isRunning
        }
        guard isRunning else { return }
        let done = Gate()
        loop.post { [self] in
            write()
            database?.close()
            database = nil
            isUseless = true
            done.open()
        }
        loop.end()
        guard done.wait(limit) else { return log.write(.error, "DMN", "leases are not all written: \(path) takes too long") }
        loop.join()
    }

    // MARK: On the loop's thread

    private func write() {
        let (changes, lost) = pending.withLock { pending in
            defer {
                pending.changes = [:]
                pending.isScheduled = false
                pending.lost = 0
            }
            return (pending.changes, pending.lost)
        }
        if lost > 0 { log.write(.error, "DMN", "leases that will not be remembered, since \(path) takes none: \(lost)") }
        guard let database, !changes.isEmpty else { return }
        do throws(SQLiteError) {
            try database.write(changes)
            if hasFailed { log.write(.info, "DMN", "leases are written to \(path) again") }
            hasFailed = false
        } catch {
            failed(error, changes)
        }
    }

    /// The changes wait for the next attempt, unless newer ones have come.
    private func failed(_ error: SQLiteError, _ changes: [LeaseKey: LeaseRecord?]) {
        guard !error.isCorrupt else {
            log.write(.error, "DMN", "\(path) is damaged (\(error.text)): from now on leases are in memory alone")
            database?.close()
            database = nil
            return isUseless = true
        }
        if !hasFailed { log.write(.error, "DMN", "leases cannot be written to \(path): \(error.text); this is tried again every few seconds") }
        hasFailed = true
        let mayRetry = pending.withLock { pending in
            pending.changes.merge(changes) { newer, _ in newer }
            pending.isScheduled = true
            return !pending.isEnded
        }
        if mayRetry { loop.arm(after: retryAfter) { [self] in write() } }
    }

    /// Opens the file, and puts one aside that is ours and damaged. Where nothing helps leases are in memory alone: that is said once.
    private func openDatabase() -> [LeaseRecord] {
        for attempt in 0..<2 {
            do throws(LeaseDatabaseProblem) {
                let opened = try LeaseDatabase(path: path)
                do throws(SQLiteError) {
                    let records = try opened.records()
                    database = opened
                    return records
                } catch {
                    opened.close()
                    throw LeaseDatabaseProblem(kind: error.isCorrupt ? .corrupt : .unreachable, text: error.text)
                }
            } catch {
                if error.kind == .corrupt, attempt == 0, putAside() {
                    log.write(.error, "DMN", "\(path): \(error.text); it is now \(path).corrupt, and nobody's last address is known")
                    continue
                }
                let advice = error.kind == .unreachable || error.kind == .inUse ? "; gateway.leases names another file, or `no`" : "; move it away, or name another file in gateway.leases"
                log.write(.error, "DMN", "leases are in memory alone and do not survive a restart: \(path): \(error.text)\(advice)")
                break
            }
        }
        isUseless = true
        pending.withLock { $0.isEnded = true }
        return []
    }

    private func putAside() -> Bool {
        for suffix in ["-wal", "-shm"] { unlink(path + suffix) }
        return rename(path, path + ".corrupt") == 0
    }
}
