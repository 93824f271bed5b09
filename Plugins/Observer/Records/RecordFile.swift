// The file of records: lines are appended whole or not at all. What finds no room on the disk is counted, and told when there is room again.

import Glibc

package final class RecordFile {
    package enum Outcome: Hashable, Sendable {
        case written
        /// Not kept; why, where that is news.
        case lost(String?)
    }
    private let path: String
    private var descriptor: Int32 = -1
    /// Records that were lost since the last one that was written.
    package private(set) var lost: UInt64 = 0
    private var isAnnounced = false
    /// Part of a line stands at the end, and could not be taken away.
    private var isTorn = false

    package init(_ path: String) { self.path = path }
    deinit { shut() }

    /// Opens the file under its name: the old one may have been moved away. Why it cannot be, or nil.
    package func open() -> String? {
        shut()
        // A pipe without a reader would hold up whoever opens it.
        descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0o600)
        guard descriptor >= 0 else { return "\(path) cannot be opened: \(String(cString: strerror(errno)))" }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            shut()
            return "\(path) is no regular file"
        }
        // What an earlier life could not finish.
        isTorn = status.st_size > 0 && !endsWithLineEnd(status.st_size)
        return nil
    }

    /// Appends a line. `lostLine` makes the one that tells of those that were lost.
    package func append(_ line: String, lostLine: (UInt64) -> String) -> Outcome {
        var reason: String? = descriptor < 0 ? open() : nil
        if reason == nil, lost > 0 {
            reason = write(lostLine(lost))
            if reason == nil { (lost, isAnnounced) = (0, false) }
        }
        if reason == nil { reason = write(line) }
        guard let reason else { return .written }
        lost &+= 1
        defer { isAnnounced = true }
        return .lost(isAnnounced ? nil : reason)
    }

    /// Counts what others have lost.
    package func count(lost number: UInt64) { lost &+= number }

    package func shut() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }

    private func write(_ line: String) -> String? {
        var text = isTorn ? "\n" + line : line
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return "\(path): \(String(cString: strerror(errno)))" }
        let failure: Int32 = text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)[...]
            while !rest.isEmpty {
                let slice = UnsafeRawBufferPointer(rebasing: rest)
                let count = Glibc.write(descriptor, slice.baseAddress, slice.count)
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if count == 0 || errno != EINTR {
                    let code = count == 0 ? ENOSPC : errno
                    // Half a line is none. Nobody else writes here.
                    isTorn = rest.count < bytes.count ? ftruncate(descriptor, status.st_size) != 0 || isTorn : isTorn
                    return code
                }
            }
            isTorn = false
            return 0
        }
        return failure == 0 ? nil : "\(path) cannot be written: \(String(cString: strerror(failure)))"
    }

    private func endsWithLineEnd(_ size: Int) -> Bool {
        // Not through the descriptor, which is for writing alone.
        let reader = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard reader >= 0 else { return true }
        defer { close(reader) }
        var last: UInt8 = 0
        return pread(reader, &last, 1, size - 1) != 1 || last == UInt8(ascii: "\n")
    }
}
