// How configuration files are found and read: behind a protocol, so that tests keep theirs in memory.

import CSecret
import Glibc

/// The bytes of one file. Wiped when the last reader lets go, for configuration files hold secrets.
package final class FileContent {
    package private(set) var bytes: [UInt8]
    /// The same for two paths that lead to the same file.
    package let identity: String
    /// Whether the file's mode lets everybody on the machine read it.
    package let isReadableByOthers: Bool

    package init(bytes: [UInt8], identity: String, isReadableByOthers: Bool = false) {
        self.bytes = bytes
        self.identity = identity
        self.isReadableByOthers = isReadableByOthers
    }
    deinit { wipe(&bytes) }

    /// Lends them, without a copy that would outlive the wiping.
    func lend(_ use: (Span<UInt8>) -> Void) { bytes.withUnsafeBufferPointer { use($0.span) } }
}

/// Overwrites an array that held a secret. The array has no other owner.
func wipe(_ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { memory in
        if let base = memory.baseAddress { martlet_secret_wipe(base, memory.count) }
    }
}

/// Why a file could not be read.
package enum FileFailure: Error, Hashable, Sendable, CustomStringConvertible {
    case system(errno: Int32)
    case notRegular
    case tooLarge(limit: Int)

    package var description: String {
        switch self {
        case .system(let number): strerror(number).map { String(cString: $0) } ?? "error \(number)"
        case .notRegular: "not a regular file"
        case .tooLarge(let limit): "larger than \(limit) bytes"
        }
    }
}

package protocol FileReader {
    func read(_ path: String, limit: Int) throws(FileFailure) -> FileContent
    /// The files that a shell pattern matches, sorted.
    func files(matching pattern: String) -> [String]
    func exists(_ path: String) -> Bool
}

extension FileReader {
    package func exists(_ path: String) -> Bool { (try? read(path, limit: CredentialLoader.fileLimit)) != nil }
}

/// The machine's own files.
package struct SystemFileReader: FileReader {
    package init() {}

    package func read(_ path: String, limit: Int) throws(FileFailure) -> FileContent {
        // A FIFO must not block the start of the daemon.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .system(errno: errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(errno: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .notRegular }
        guard status.st_size <= limit else { throw .tooLarge(limit: limit) }
        // One byte more than expected tells a file that grows. No reallocation: that would leave copies behind.
        let room = min(Int(max(status.st_size, 0)), limit) + 1
        var failure: FileFailure?
        let bytes = [UInt8](unsafeUninitializedCapacity: room) { memory, count in
            while count < room {
                let got = Glibc.read(descriptor, memory.baseAddress.map { $0 + count }, room - count)
                if got > 0 {
                    count += got
                } else if got == 0 {
                    break
                } else if errno != EINTR {
                    failure = .system(errno: errno)
                    break
                }
            }
        }
        if let failure { throw failure }
        guard bytes.count <= limit else { throw .tooLarge(limit: limit) }
        return FileContent(
            bytes: bytes, identity: "\(status.st_dev):\(status.st_ino)", isReadableByOthers: status.st_mode & S_IROTH != 0)
    }

    package func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    package func files(matching pattern: String) -> [String] {
        var result = glob_t()
        defer { globfree(&result) }
        guard glob(pattern, 0, nil, &result) == 0, let paths = result.gl_pathv else { return [] }
        return (0..<Int(result.gl_pathc)).compactMap { paths[$0].map { String(cString: $0) } }
    }
}

/// The folder that relative paths in `file` start from, with its slash; empty for the current one.
func folder(of file: String) -> String {
    guard let slash = file.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
    return String(file[...slash])
}

/// `path` as it is meant in `file`.
func resolve(path: String, in file: String) -> String { path.utf8.first == UInt8(ascii: "/") ? path : folder(of: file) + path }
