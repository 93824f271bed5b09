// An observer of a plugin (observer.h), with the thread that calls it and the records that wait for it: one that is slow holds up nobody.

import IKECore
import IKEWire
import PluginABI
import PluginCrypto
import Synchronization

/// An observer's table, checked.
package struct ObserverTable: @unchecked Sendable {
    package let name: String
    /// Immortal and constant.
    fileprivate let table: UnsafePointer<martlet_observer>

    init(_ raw: UnsafeRawPointer) throws(TableDefect) {
        let size = raw.load(as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_observer>.size) else {
            throw TableDefect("the observer's table has \(size) bytes, the daemon needs \(MemoryLayout<martlet_observer>.size)")
        }
        table = raw.assumingMemoryBound(to: martlet_observer.self)
        try requireFunctions(table, (\.name, "name"), (\.account, "account"))
        name = String(cString: table.pointee.name)
    }
}

/// One observer at work.
package final class Observer: @unchecked Sendable {
    package let name: String
    private let table: UnsafePointer<martlet_observer>
    private let loop: EventLoop
    private let limit: Int
    private let waitingCount = Atomic<Int>(0)
    /// Since the last record that found room.
    private let lostInARow = Atomic<UInt64>(0)
    private let lostCount = Atomic<UInt64>(0)
    private let refusedCount = Atomic<UInt64>(0)

    package init(_ observer: ObserverTable, limit: Int = 8192) throws(SystemError) {
        name = observer.name
        table = observer.table
        self.limit = limit
        loop = try EventLoop("observer")
        try loop.start()
    }

    /// Records that wait, that found no room, and that the observer could not keep.
    package var counters: (waiting: Int, lost: UInt64, refused: UInt64) {
        (waitingCount.load(ordering: .relaxed), lostCount.load(ordering: .relaxed), refusedCount.load(ordering: .relaxed))
    }

    /// Hands a record over, or gives it up. Never waits.
    package func tell(_ record: AccountingRecord) {
        // What is said again later makes room for what is said once.
        let room = record.event == .interim ? limit / 2 : limit
        guard waitingCount.wrappingAdd(1, ordering: .relaxed).newValue <= room else {
            waitingCount.wrappingSubtract(1, ordering: .relaxed)
            lostInARow.wrappingAdd(1, ordering: .relaxed)
            lostCount.wrappingAdd(1, ordering: .relaxed)
            return
        }
        loop.post { [self] in
            let lost = lostInARow.exchange(0, ordering: .relaxed)
            if lost > 0 { call(AccountingRecord(.lost(lost), unixMilliseconds: record.unixMilliseconds)) }
            call(record)
            waitingCount.wrappingSubtract(1, ordering: .relaxed)
        }
    }

    /// What the observer writes to may have been moved away.
    package func reopen() { loop.post { [self] in table.pointee.reopen?(table) } }

    /// Waits for what was told; false where the observer still hangs.
    package func stop(_ grace: Duration = .seconds(2)) -> Bool {
        loop.post { [self] in
            let lost = lostInARow.exchange(0, ordering: .relaxed)
            if lost > 0 { call(AccountingRecord(.lost(lost), unixMilliseconds: unixMilliseconds())) }
        }
        let gate = Gate()
        guard loop.post({ gate.open() }) else { return true }
        guard gate.wait(grace) else { return false }
        loop.end()
        loop.join()
        return true
    }

    /// On the observer's thread.
    private func call(_ record: AccountingRecord) {
        var status = MARTLET_OK
        let inner = record.inner.map { martlet_address(SocketAddress(address: $0, port: 0)) }
        var reason = ""
        if case .stop(_, let text) = record.event { reason = text }
        let identity = Array(record.identity.utf8)
        // Everything lent here outlives the call.
        record.session.withCString { session in
            record.connection.withCString { connection in
                reason.withCString { reason in
                    record.user.withUnsafeBufferPointer { user in
                        identity.withUnsafeBufferPointer { identity in
                            inner.withUnsafeBufferPointer { inner in
                                var raw = martlet_accounting_record(
                                    struct_size: UInt32(MemoryLayout<martlet_accounting_record>.size), event: 0, time_ms: record.unixMilliseconds, session: session,
                                    connection: connection, user: martlet_bytes(data: user.baseAddress, size: user.count),
                                    identity: martlet_bytes(data: identity.baseAddress, size: identity.count), local: record.local.map { martlet_address($0) } ?? martlet_address(),
                                    remote: record.remote.map { martlet_address($0) } ?? martlet_address(), inner: inner.baseAddress, inner_count: inner.count,
                                    flags: record.isInitiator ? MARTLET_ACCOUNTING_INITIATOR.rawValue : 0, cause: 0, reason: reason,
                                    duration_ms: UInt64(clamping: record.duration.wholeNanoseconds / 1_000_000), bytes_in: record.totals.bytesIn, bytes_out: record.totals.bytesOut,
                                    packets_in: record.totals.packetsIn, packets_out: record.totals.packetsOut, lost: 0)
                                switch record.event {
                                case .start: raw.event = MARTLET_ACCOUNTING_START.rawValue
                                case .interim: raw.event = MARTLET_ACCOUNTING_INTERIM.rawValue
                                case .stop(let cause, _): (raw.event, raw.cause) = (MARTLET_ACCOUNTING_STOP.rawValue, cause.rawValue)
                                case .lost(let count): (raw.event, raw.lost) = (MARTLET_ACCOUNTING_LOST.rawValue, count)
                                }
                                status = table.pointee.account(table, &raw)
                            }
                        }
                    }
                }
            }
        }
        if status != MARTLET_OK { refusedCount.wrappingAdd(1, ordering: .relaxed) }
    }
}
