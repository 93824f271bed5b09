// `martlet`: the client of the control socket. Parses arguments, runs one command, and turns errors into exit codes.
import ArgumentParser
import ClientView
import Glibc

/// What `martlet version` and `martlet --version` show of the client.
let clientVersion = "0.1.0"

@main
struct Martlet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract: "Watch and steer a running martletd.",
        discussion: """
            Every command talks to the daemon's control socket, /run/martlet/vici.sock unless --socket says \
            otherwise, and prints JSON with --json. These options and --color may stand before or after the command's name.

            Exit status: 0 done, 1 the operation failed (the reason is printed), 2 wrong usage, 3 an import was written and \
            something is missing from it.

            Example: martlet --socket /run/martlet/vici.sock status
            """,
        version: clientVersion,
        subcommands: [
            Status.self, Top.self, Up.self, Down.self, Rekey.self, Check.self, Import.self, Plugins.self, Algorithms.self, Log.self, Version.self,
        ])

    static func main() {
        Glibc.exit(run(Array(CommandLine.arguments.dropFirst())))
    }

    /// The exit status of a whole run.
    static func run(_ arguments: [String]) -> Int32 {
        let words = hoisted(arguments)
        // Said before the parser takes the options behind it for its own.
        if let name = words.first, !name.hasPrefix("-"), !commandNames.contains(name) {
            printError("martlet: there is no command '\(printable(name))'; there are \(commandNames.joined(separator: ", "))")
            return 2
        }
        do {
            var command = try parseAsRoot(words)
            try command.run()
            return 0
        } catch let failure as OperationFailure {
            failure.report()
            return 1
        } catch let code as ExitCode {
            return code.rawValue
        } catch {
            let message = fullMessage(for: error)
            guard exitCode(for: error).isSuccess else {
                if !message.isEmpty { printError(message) }
                return 2
            }
            print(message)
            return 0
        }
    }

    static var commandNames: [String] { configuration.subcommands.map { $0.configuration.commandName ?? String(describing: $0).lowercased() } + ["help"] }

    /// Moves `--socket PATH`, `--color WHEN` and `--json` from before the command's name to behind it, where the parser wants them.
    static func hoisted(_ arguments: [String]) -> [String] {
        var options: [String] = []
        var rest = arguments[...]
        while let first = rest.first {
            if first == "--socket" || first == "--color" {
                options += rest.prefix(2)
                rest = rest.dropFirst(2)
            } else if first == "--json" || first.hasPrefix("--socket=") || first.hasPrefix("--color=") {
                options.append(first)
                rest = rest.dropFirst()
            } else {
                break
            }
        }
        guard let name = rest.first, !name.hasPrefix("-") else { return options + rest }
        return [name] + options + rest.dropFirst()
    }
}

/// What every command takes.
struct GlobalOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The daemon's control socket.", valueName: "path"))
    var socket = "/run/martlet/vici.sock"

    @Flag(help: "Print one JSON document instead of text.")
    var json = false

    @Option(name: [.long, .customLong("colour")], help: ArgumentHelp("Whether to colour: auto, always or never.", valueName: "when"))
    var color = ColourChoice.auto

    var isColoured: Bool { color.isOn }
}

/// The operation was understood and did not happen. Exit status 1.
struct OperationFailure: Error {
    /// One sentence.
    var summary: String
    var code: String
    var evidence: [String] = []
    var advice: [String] = []
    /// With `--json` a failure is a document as well.
    var asJSON = false
    /// The code is the daemon's own: people may want to look for it in the log.
    var showsCode = false

    init(_ summary: String, code: String, evidence: [String] = [], advice: [String] = []) {
        self.summary = summary
        self.code = code
        self.evidence = evidence
        self.advice = advice
    }

    var json: JSON {
        .object([
            ("code", .string(code)), ("summary", .string(summary)), ("evidence", .strings(evidence)), ("advice", .strings(advice)),
        ])
    }

    func report() {
        if asJSON { print(JSON.object([("success", .bool(false)), ("failure", json)]).text) }
        // A terminal breaks lines in the middle of words; what reads a pipe wants each whole.
        let width = isatty(STDERR_FILENO) == 1 ? TerminalSize.of(STDERR_FILENO).columns : .max
        var lines = paragraph(printable(summary) + (showsCode ? " (\(printable(code)))" : ""), lead: "martlet: ", width: width, indent: 2)
        if !asJSON {
            for line in evidence { lines += paragraph(printable(line), lead: "  ", width: width, indent: 4) }
            for line in advice { lines += paragraph(printable(line), lead: "  -> ", width: width, indent: 5) }
        }
        printError(lines.rendered(colour: false))
    }
}

/// A line on standard error, after all that went to standard output before it.
func printError(_ text: String) {
    fflush(nil)
    var bytes = Array((text + "\n").utf8)[...]
    while !bytes.isEmpty {
        let count = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
        guard count > 0 else { return }
        bytes = bytes.dropFirst(count)
    }
}

/// A line that is seen at once, also through a pipe.
func printNow(_ text: String) {
    print(text)
    fflush(nil)
}

extension GlobalOptions {
    /// Runs a command's body so that its failure is told in the form the caller asked for.
    func run(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch var failure as OperationFailure {
            failure.asJSON = json
            throw failure
        }
    }
}
