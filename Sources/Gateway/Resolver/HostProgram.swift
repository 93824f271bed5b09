// One of the host's own programs, run without a shell, with a time limit and nothing of the daemon's in its hands.

import CLinux
import Glibc
import IKECore

enum HostProgram {
    struct Result {
        /// Nil where it was ended by a signal or ran out of time.
        var exitCode: Int32?
        var ranOut = false
        /// What it printed first, errors included: printable and short.
        var words: String
        var isSuccess: Bool { exitCode == 0 }
    }

    /// Where the system looks where PATH says nothing.
    static let standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// The first file of the name in the folders of `path`. A folder that is no absolute path is no place for a daemon to look in.
    static func find(_ name: String, path: String) -> String? {
        for folder in path.split(separator: ":") where folder.hasPrefix("/") {
            let file = folder + "/" + name
            var status = stat()
            if stat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, access(file, X_OK) == 0 { return file }
        }
        return nil
    }

    /// Blocks: not for a shard's thread. `input` is at most what a pipe holds.
    static func run(_ file: String, _ arguments: [String], input: String = "", path: String, limit: Duration) -> Result {
        var toChild: Int32 = -1, fromChild: Int32 = -1
        let child = withCStrings([file] + arguments) { words in withCStrings(["PATH=" + path, "LC_ALL=C"]) { martlet_spawn(file, words, $0, &toChild, &fromChild) } }
        guard child > 0 else { return Result(words: errorText(-child)) }
        defer { close(fromChild) }
        var text = input
        _ = text.withUTF8 { write(toChild, $0.baseAddress, $0.count) }
        close(toChild)

        let deadline = Instant.now() + limit
        var output: [UInt8] = []
        while true {
            // Looked at before the output is read for the last time.
            var status: Int32 = 0
            let ended = waitpid(child, &status, WNOHANG)
            let isQuiet = !drain(fromChild, into: &output)
            if ended == child || ended < 0 {
                let exit = ended == child && status & 0x7f == 0 ? (status >> 8) & 0xff : nil
                return Result(exitCode: exit, words: words(output))
            }
            guard Instant.now() < deadline else {
                kill(-child, SIGKILL)
                kill(child, SIGKILL)
                waitpid(child, &status, 0)
                return Result(ranOut: true, words: "it took longer than \(limit.components.seconds) s")
            }
            // Short: the end of a program is no event of its pipe, where it has left something running.
            var waiting = pollfd(fd: fromChild, events: Int16(POLLIN), revents: 0)
            if isQuiet { poll(&waiting, 1, 5) } else { usleep(5000) }
        }
    }

    /// False where there is nothing more for now.
    private static func drain(_ descriptor: Int32, into output: inout [UInt8]) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4096)
        var any = false
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            // At its end it would be ready for ever.
            guard count > 0 else { return any || count == 0 }
            any = true
            if output.count < 4096 { output += buffer.prefix(count) }
        }
    }

    /// The first line that says something.
    private static func words(_ output: [UInt8]) -> String {
        let line = output.split(separator: 0x0a).first { !$0.isEmpty } ?? []
        return String(decoding: line.prefix(200).map { (0x20...0x7e).contains($0) ? $0 : 0x3f }, as: UTF8.self)
    }

    private static func withCStrings<Result>(_ words: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result) -> Result {
        let pointers = words.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers + [nil])
    }
}
