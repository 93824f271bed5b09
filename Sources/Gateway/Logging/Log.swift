// The daemon's log: lines from every thread, written by one of its own. A disk that is full or a reader that has stopped costs lines,
// which are counted, and never holds anybody up.

import Glibc
import IKECore
import Synchronization

package final class Log: @unchecked Sendable {
    /// Where lines go.
    package enum Target: Sendable, Hashable {
        case standardError
        case file(String)
    }

    private let loop: EventLoop
    private let levelValue: Atomic<Int>
    private let lostCount = Atomic<UInt64>(0)
    private let subscriber = Mutex<Subscriber?>(nil)

    /// A closure in an object of its own: a lock around a bare one hands it back wrapped once more at each reading, deeper and deeper.
    private struct Subscriber { let receive: @Sendable (LogLine) -> Void }

    // The writer's thread alone.
    private var target: Target
    private var descriptor: Int32 = -1
    private let isJournal: Bool
    /// Lines lost since the last one that was written.
    private var lostInARow: UInt64 = 0
    private var isInsideLine = false

    package init(level: LogLevel, target: Target = .standardError, capacity: Int = 8192) throws(SystemError) {
        levelValue = Atomic(level.rawValue)
        self.target = target
        // systemd says which stream its journal reads; the lines then carry its priorities and its time.
        isJournal = target == .standardError && Self.isJournalStream()
        loop = try EventLoop("log", capacity: capacity)
        open()
        try loop.start()
    }

    package var level: LogLevel { LogLevel(rawValue: levelValue.load(ordering: .relaxed)) ?? .info }

    /// Lines that could not be written.
    package var lost: UInt64 { lostCount.load(ordering: .relaxed) + loop.dropped }

    /// Called with each line, on the thread that logs it.
    package func subscribe(_ receive: (@Sendable (LogLine) -> Void)?) { subscriber.withLock { $0 = receive.map(Subscriber.init) } }

    package func write(_ level: LogLevel, _ group: String, _ message: @autoclosure () -> String, connection: String? = nil, ikeSA: UInt64? = nil) {
        guard level.rawValue <= levelValue.load(ordering: .relaxed) else { return }
        let line = LogLine(level, group, message(), connection: connection, ikeSA: ikeSA, milliseconds: unixMilliseconds())
        loop.offer { self.put(line) }
        subscriber.withLock { $0 }?.receive(line)
    }

    /// Another level or file, or the same file anew after it was rotated.
    package func configure(level: LogLevel, target: Target) {
        levelValue.store(level.rawValue, ordering: .relaxed)
        loop.post {
            self.target = target
            self.open()
        }
    }

    /// Waits a moment for what was logged so far to be written.
    package func flush() {
        let gate = Gate()
        if loop.post({ gate.open() }) { gate.wait(.milliseconds(500)) }
    }

    /// Whether standard error is the stream that JOURNAL_STREAM names, device and inode. systemd.exec(5).
    private static func isJournalStream() -> Bool {
        var status = stat()
        guard let named = getenv("JOURNAL_STREAM"), fstat(2, &status) == 0 else { return false }
        return String(cString: named) == "\(status.st_dev):\(status.st_ino)"
    }

    // MARK: The writer

    private func open() {
        if descriptor > 2 { close(descriptor) }
        isInsideLine = false
        switch target {
        case .standardError: descriptor = 2
        case .file(let path):
            descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o640)
            if descriptor < 0 {
                let reason = errorText(errno)
                descriptor = 2
                put(LogLine(.error, "DMN", "cannot open the log \(path): \(reason); lines go to standard error", milliseconds: unixMilliseconds()))
            }
        }
    }

    private func put(_ line: LogLine) {
        var text = isInsideLine ? "\n" : ""
        if lostInARow > 0 { text += prefix(.error, line.milliseconds) + "error  DMN \(lostInARow) lines of this log were lost\n" }
        text += prefix(line.level, line.milliseconds) + line.body + "\n"
        if writeAll(text) {
            lostInARow = 0
        } else {
            lostInARow += 1
            lostCount.wrappingAdd(1, ordering: .relaxed)
        }
    }

    private func prefix(_ level: LogLevel, _ milliseconds: Int64) -> String {
        isJournal ? "<\(level.journalPriority)>" : timestamp(milliseconds) + " "
    }

    private func writeAll(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)[...]
            while !rest.isEmpty {
                let count = UnsafeRawBufferPointer(rebasing: rest).withMemoryRebound(to: UInt8.self) { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                if count > 0 {
                    rest = rest.dropFirst(count)
                    isInsideLine = !rest.isEmpty
                } else if count == 0 || errno != EINTR {
                    return false
                }
            }
            return true
        }
    }
}
