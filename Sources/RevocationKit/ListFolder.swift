// CRLs that were fetched, in a folder of ours: found again after a restart. Nothing in it is believed for being there: whoever reads a list checks
// its signature.

import CCURL
import CertificateKit
import Glibc

final class ListFolder {
    private let folder: Int32
    private static let most = 256

    struct Problem: Error { let reason: String }

    /// Makes the folder where it is missing. It has to be ours alone.
    init(_ path: String) throws(Problem) {
        var parent = ""
        for part in path.split(separator: "/") {
            parent += (parent.isEmpty && !path.hasPrefix("/") ? "" : "/") + part
            if mkdir(parent, 0o700) != 0, errno != EEXIST { throw Problem(reason: "\(parent) cannot be made: \(Self.reason)") }
        }
        folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard folder >= 0 else { throw Problem(reason: "\(path) cannot be opened: \(Self.reason)") }
        var status = stat()
        guard fstat(folder, &status) == 0, status.st_uid == geteuid(), status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            close(folder)
            throw Problem(reason: "\(path) is not ours alone: it has to belong to the daemon's user, and nobody else may write to it")
        }
    }

    deinit { close(folder) }

    private static var reason: String { strerror(errno).map { String(cString: $0) } ?? "error \(errno)" }

    private func name(_ uri: String) -> String { sha256(Array(uri.utf8)).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + ".crl" }

    /// The list, and when it was fetched, in seconds of 1970.
    func read(_ uri: String) -> (der: [UInt8], fetched: Int64)? {
        let file = openat(folder, name(uri), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size > 0, status.st_size <= RevocationList.limit else { return nil }
        let size = Int(status.st_size)
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { memory, count in
            while count < size {
                let got = Glibc.read(file, memory.baseAddress.map { $0 + count }, size - count)
                if got > 0 { count += got } else if got == 0 || errno != EINTR { break }
            }
        }
        return bytes.count == size ? (bytes, Int64(status.st_mtim.tv_sec)) : nil
    }

    /// All of it or nothing.
    func write(_ uri: String, _ der: [UInt8]) throws(Problem) {
        let name = name(uri), temporary = name + ".new"
        unlinkat(folder, temporary, 0)
        let file = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw Problem(reason: Self.reason) }
        var done = 0
        while done < der.count {
            let wrote = der.withUnsafeBytes { Glibc.write(file, $0.baseAddress.map { $0 + done }, der.count - done) }
            if wrote > 0 { done += wrote } else if wrote == 0 || errno != EINTR { break }
        }
        let isWhole = done == der.count && fsync(file) == 0, reason = Self.reason
        close(file)
        guard isWhole, renameat(folder, temporary, folder, name) == 0 else {
            unlinkat(folder, temporary, 0)
            throw Problem(reason: reason)
        }
        prune()
    }

    /// The oldest go where there are too many.
    private func prune() {
        for file in files().sorted(by: { $0.time > $1.time }).dropFirst(Self.most) { unlinkat(folder, file.name, 0) }
    }

    /// All of them go. How many that were.
    func clear() -> Int { files().count { unlinkat(folder, $0.name, 0) == 0 } }

    private func files() -> [(name: String, time: Int)] {
        let copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0 else { return [] }
        guard let entries = fdopendir(copy) else {
            close(copy)
            return []
        }
        defer { closedir(entries) }
        var files: [(name: String, time: Int)] = []
        while let entry = readdir(entries) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
            var status = stat()
            guard name.hasSuffix(".crl"), fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            files.append((name, status.st_mtim.tv_sec))
        }
        return files
    }
}
