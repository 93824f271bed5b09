// Files that commands read and write: regular ones, of a bounded size; new ones for the user alone.
import Glibc
import IPsecConf

struct DiskFiles: ImportFiles {
    func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8] {
        // A FIFO must not make the command wait.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw FileProblem(reason: String(cString: strerror(errno)), isMissing: errno == ENOENT) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw FileProblem(reason: "not a regular file") }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count == 0 { return bytes }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw FileProblem(reason: String(cString: strerror(errno))) }
            bytes += buffer[..<count]
            guard bytes.count <= limit else { throw FileProblem(reason: "larger than \(limit) bytes") }
        }
    }

    func files(matching pattern: String) -> [String] {
        var result = glob_t()
        defer { globfree(&result) }
        guard glob(pattern, 0, nil, &result) == 0, let paths = result.gl_pathv else { return [] }
        return (0..<Int(result.gl_pathc)).compactMap { paths[$0].map { String(cString: $0) } }
    }
}

enum OutputFile {
    /// Whether an open file is a regular one that its group or everybody may read.
    static func isReadableByOthers(_ descriptor: Int32) -> Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_mode & (S_IRGRP | S_IROTH) != 0
    }

    /// Writes a file that only its owner may read: whole, or not at all. One that is there is left alone unless `replaces`.
    static func write(_ text: String, to path: String, replaces: Bool) throws(OperationFailure) {
        func failed(_ what: String) -> OperationFailure { OperationFailure("cannot write \(path): \(what)", code: "not-writable") }
        var status = stat()
        if !replaces, lstat(path, &status) == 0 {
            throw OperationFailure("\(path) is there already and was left as it is", code: "exists", advice: ["--force replaces it"])
        }
        // Beside it, under a name that nobody else has; then it takes the place of the old one at once.
        var template = Array((path + ".XXXXXX").utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else { throw failed(String(cString: strerror(errno))) }
        var rest = Array(text.utf8)[...]
        var problem: Int32 = 0
        if fchmod(descriptor, 0o600) != 0 { problem = errno }
        while !rest.isEmpty, problem == 0 {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { problem = errno }
        }
        if problem == 0, fsync(descriptor) != 0, errno != EINVAL { problem = errno }
        close(descriptor)
        // Without `replaces` a file that came meanwhile stays.
        if problem == 0, (replaces ? rename(template, path) : link(template, path)) != 0 { problem = errno }
        if problem != 0 || !replaces { unlink(template) }
        guard problem == 0 else { throw failed(String(cString: strerror(problem))) }
    }
}
