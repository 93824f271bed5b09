// `martlet check`: lets the daemon's own reader judge a configuration file.
import ArgumentParser
import ClientView
import Glibc

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check a configuration file without a running daemon.",
        discussion: """
            Runs the martletd beside this program, or the one in PATH, with --config FILE --check. Errors name file, line and \
            column. Exit status 0 means that the daemon would take it.

            Example: martlet check /etc/martlet/martlet.conf
            """)

    @OptionGroup var options: GlobalOptions
    @Argument(help: "The configuration file.", completion: .file()) var file: String

    func run() throws {
        try options.run {
            let daemon = try Self.daemon()
            if options.json {
                let (status, lines) = try Self.collect(daemon, file)
                print(
                    JSON.object([
                        ("file", .string(file)), ("valid", .bool(status == 0)), ("messages", .strings(lines)),
                    ]).text)
                if status != 0 { throw ExitCode(status) }
            } else {
                // Replaces this process: output and exit status are the daemon's own.
                fflush(nil)
                Self.withArguments(daemon, file) { _ = execv(daemon, $0) }
                throw OperationFailure("cannot run \(daemon): \(String(cString: strerror(errno)))", code: "no-daemon")
            }
        }
    }

    /// The martletd that belongs to this program.
    private static func daemon() throws(OperationFailure) -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        if count > 0 {
            let path = String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if let slash = path.lastIndex(of: "/") {
                let sibling = path[...slash] + "martletd"
                if access(String(sibling), X_OK) == 0 { return String(sibling) }
            }
        }
        for folder in (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":") where folder.hasPrefix("/") {
            let candidate = "\(folder)/martletd"
            if access(candidate, X_OK) == 0 { return candidate }
        }
        throw OperationFailure("there is no martletd beside this program or in PATH", code: "no-daemon")
    }

    private static func withArguments<Result>(_ daemon: String, _ file: String, _ body: ([UnsafeMutablePointer<CChar>?]) -> Result) -> Result {
        let arguments = [daemon, "--config", file, "--check"].map { (argument: String) in strdup(argument) }
        defer { arguments.forEach { free($0) } }
        return body(arguments + [nil])
    }

    /// Runs it and takes what it prints on either stream.
    private static func collect(_ daemon: String, _ file: String) throws(OperationFailure) -> (status: Int32, lines: [String]) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw OperationFailure("cannot open a pipe: \(String(cString: strerror(errno)))", code: "no-daemon") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for stream in [STDOUT_FILENO, STDERR_FILENO] { posix_spawn_file_actions_adddup2(&actions, ends[1], stream) }
        for end in ends { posix_spawn_file_actions_addclose(&actions, end) }
        var pid: pid_t = 0
        let result = withArguments(daemon, file) { posix_spawn(&pid, daemon, &actions, nil, $0, environ) }
        close(ends[1])
        defer { close(ends[0]) }
        guard result == 0 else { throw OperationFailure("cannot run \(daemon): \(String(cString: strerror(result)))", code: "no-daemon") }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = read(ends[0], &buffer, buffer.count)
            if count > 0 { output += buffer[..<count] } else if count == 0 || errno != EINTR { break }
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let code = status & 0x7f == 0 ? status >> 8 & 0xff : 1
        return (code, String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init))
    }
}
