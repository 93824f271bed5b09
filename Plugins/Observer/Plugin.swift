// Accounting as a file of JSON, a record a line: who was connected, from when to when, from where, with which addresses, and what it carried.
// The contract is martlet/observer.h.

import Glibc
import ObserverRecords
import PluginABI
import PluginKit

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "observer", version: "0.1", provides: [.observer("jsonl")],
    initialize: { table in initialize(Host(table)) },
    shutDown: { state?.end() })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

/// Set once in `init`, before anything is accounted; used on the observer's thread.
private nonisolated(unsafe) var state: Accounts?

private nonisolated(unsafe) let observer = Immortal.table(
    martlet_observer(
        struct_size: UInt32(MemoryLayout<martlet_observer>.size), flags: 0, name: Immortal.string("jsonl"),
        account: { _, record in state?.account(record.pointee) ?? MARTLET_E_FAILED },
        reopen: { _ in state?.reopen() }))

private func initialize(_ host: Host) -> martlet_status {
    guard let path = host.setting("accounting_file"), !path.isEmpty else {
        host.log(.error, "accounting has no file: write accounting_file = ...")
        return MARTLET_E_INVALID
    }
    state = Accounts(host, path)
    return host.provide(.observer("jsonl"), observer)
}

private final class Accounts {
    private let host: Host
    private let file: RecordFile
    private var isBegun = false

    init(_ host: Host, _ path: String) {
        self.host = host
        file = RecordFile(path)
    }

    func account(_ record: martlet_accounting_record) -> martlet_status {
        begin(record.time_ms)
        if record.event == MARTLET_ACCOUNTING_LOST.rawValue {
            // Told with the next line.
            file.count(lost: record.lost)
            return MARTLET_OK
        }
        return append(Self.line(record), record.time_ms)
    }

    func reopen() {
        if let reason = file.open() { host.log(.error, "accounting: \(reason)") }
    }

    func end() {
        if isBegun { _ = append(RecordLine(time: now(), event: "end"), now()) }
        file.shut()
    }

    /// Sessions without a stop before this line ended with the daemon that wrote them.
    private func begin(_ time: Int64) {
        guard !isBegun else { return }
        isBegun = true
        var line = RecordLine(time: time, event: "begin")
        line.add("version", host.version)
        _ = append(line, time)
    }

    private func append(_ line: RecordLine, _ time: Int64) -> martlet_status {
        let outcome = file.append(line.line) { count in
            var line = RecordLine(time: time, event: "lost")
            line.add("records", count)
            return line.line
        }
        switch outcome {
        case .written: return MARTLET_OK
        case .lost(let reason):
            if let reason { host.log(.error, "records of accounting are lost: \(reason)") }
            return MARTLET_E_SYSTEM
        }
    }

    private func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    private static func line(_ record: martlet_accounting_record) -> RecordLine {
        let name =
            switch record.event {
            case MARTLET_ACCOUNTING_START.rawValue: "start"
            case MARTLET_ACCOUNTING_INTERIM.rawValue: "interim"
            case MARTLET_ACCOUNTING_STOP.rawValue: "stop"
            default: "event-\(record.event)"
            }
        var line = RecordLine(time: record.time_ms, event: name)
        line.add("session", String(cString: record.session))
        line.add("connection", String(cString: record.connection))
        line.add("user", bytes(record.user))
        line.add("identity", bytes(record.identity))
        line.add("local", endpoint(record.local))
        line.add("remote", endpoint(record.remote))
        line.add("addresses", (0..<min(record.inner_count, 16)).compactMap { index in record.inner.map { address($0[index]) } })
        line.add("role", record.flags & MARTLET_ACCOUNTING_INITIATOR.rawValue != 0 ? "initiator" : "responder")
        guard record.event != MARTLET_ACCOUNTING_START.rawValue else { return line }
        line.add("seconds", milliseconds: record.duration_ms)
        line.add("bytes_in", record.bytes_in)
        line.add("bytes_out", record.bytes_out)
        line.add("packets_in", record.packets_in)
        line.add("packets_out", record.packets_out)
        guard record.event == MARTLET_ACCOUNTING_STOP.rawValue else { return line }
        line.add("cause", cause(record.cause))
        line.add("reason", String(cString: record.reason))
        return line
    }

    private static func cause(_ number: UInt32) -> String {
        switch number {
        case MARTLET_ACCOUNTING_PEER.rawValue: "peer"
        case MARTLET_ACCOUNTING_NO_ANSWER.rawValue: "no-answer"
        case MARTLET_ACCOUNTING_OPERATOR.rawValue: "operator"
        case MARTLET_ACCOUNTING_DAEMON.rawValue: "daemon"
        case MARTLET_ACCOUNTING_REPLACED.rawValue: "replaced"
        case MARTLET_ACCOUNTING_LIFETIME.rawValue: "lifetime"
        case MARTLET_ACCOUNTING_ACCOUNT.rawValue: "account"
        case MARTLET_ACCOUNTING_CONFIGURATION.rawValue: "configuration"
        default: "failed"
        }
    }

    private static func bytes(_ lent: martlet_bytes) -> [UInt8] { lent.data.map { Array(UnsafeBufferPointer(start: $0, count: min(lent.size, 2048))) } ?? [] }

    private static func endpoint(_ address: martlet_address) -> String {
        let text = self.address(address)
        return address.port == 0 ? text : address.family == 6 ? "[\(text)]:\(address.port)" : "\(text):\(address.port)"
    }

    private static func address(_ address: martlet_address) -> String {
        guard address.family == 4 || address.family == 6 else { return "" }
        var bytes = address.bytes
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard inet_ntop(address.family == 4 ? AF_INET : AF_INET6, &bytes, &text, socklen_t(text.count)) != nil else { return "" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
