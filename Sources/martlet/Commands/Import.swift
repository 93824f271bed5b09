// `martlet import`: writes the configuration that an ipsec.conf and its ipsec.secrets are equivalent to. Needs no daemon.
import ArgumentParser
import ClientView
import Glibc
import IPsecConf

extension Dialect: ExpressibleByArgument {}

struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn an ipsec.conf and its ipsec.secrets into a configuration of Martlet.",
        discussion: """
            Reads ipsec.conf as strongSwan or libreswan does, whichever its parameters are of, and writes connections and secrets for \
            /etc/martlet/conf.d. Every line that has no equivalent is named with file, line and reason, on standard error and at the \
            beginning of the result. A connection that would let in more without such a line is left out.

            With --output the file has mode 0600, for secrets are in it. A file that the shell makes for standard output has the umask's \
            permissions: better use --output. On a terminal the secrets are not shown.

            Exit status: 0 all was carried over, 1 nothing was written, 2 wrong usage, 3 it was written and something is missing from it.

            Example: martlet import /etc/ipsec.conf --output /etc/martlet/conf.d/imported.conf
            """)

    @OptionGroup var options: GlobalOptions
    @Argument(help: "The ipsec.conf.", completion: .file()) var file: String
    @Option(help: ArgumentHelp("The ipsec.secrets. The default is the one beside the file.", valueName: "path"), completion: .file()) var secrets: String?
    @Option(name: .shortAndLong, help: ArgumentHelp("Write to this file instead of standard output.", valueName: "path"), completion: .file()) var output: String?
    @Flag(help: "Replace the output file if it is there.") var force = false
    @Option(help: ArgumentHelp("Whose file it is. The default is what its parameters tell.", valueName: "strongswan|libreswan")) var from: Dialect?
    @Option(help: ArgumentHelp("An address of the gateway that the file is for, instead of this host's. May be given several times.", valueName: "address")) var local: [String] = []

    func validate() throws {
        if let wrong = local.first(where: { !ImportOptions.isAddress($0) }) { throw ValidationError("--local takes an address, and '\(printable(wrong))' is none.") }
        if force, output == nil { throw ValidationError("--force goes with --output.") }
    }

    func run() throws {
        try options.run {
            var importing = ImportOptions()
            importing.dialect = from
            importing.localAddresses = Set(local.isEmpty ? hostAddresses() : local)
            let hidesSecrets = output == nil && isatty(STDOUT_FILENO) == 1
            importing.showsSecrets = !hidesSecrets
            let result = IPsecConf.Import.run(file, secrets: secrets, files: DiskFiles(), options: importing)
            guard let text = result.text else {
                throw OperationFailure("\(file) cannot be imported; nothing was written", code: "not-readable", evidence: result.problems)
            }
            if let output { try OutputFile.write(text, to: output, replaces: force) }
            if options.json {
                print(document(result, text).text)
            } else {
                if output == nil { print(text, terminator: "") }
                report(result, hidesSecrets: hidesSecrets)
            }
            if !result.isComplete { throw ExitCode(3) }
        }
    }

    private func report(_ result: ImportResult, hidesSecrets: Bool) {
        for finding in result.findings { printError("martlet: \(finding.severity.rawValue): " + printable(finding.description)) }
        let missing = result.findings.filter { $0.severity != .note }.count
        printError(
            "martlet: \(plural(UInt64(result.connectionCount), "connection")) and \(plural(UInt64(result.secretCount), "secret")) carried over"
                + (missing == 0 ? "" : "; \(plural(UInt64(missing), "line")) not") + (result.commentCount == 0 ? "" : "; \(plural(UInt64(result.commentCount), "connection")) written as a comment")
                + (output.map { ", to " + printable($0) } ?? ""))
        if output == nil, result.secretCount > 0, OutputFile.isReadableByOthers(STDOUT_FILENO) {
            printError("martlet: warning: others on this machine can read the file that standard output goes to, and secrets are in it: chmod it to 600, or use --output")
        }
        if hidesSecrets, result.secretCount > 0 { printError("martlet: secrets are not shown on a terminal: write to a file with --output") }
    }

    private func document(_ result: ImportResult, _ text: String) -> JSON {
        .object([
            ("dialect", .string(result.dialect.rawValue)), ("complete", .bool(result.isComplete)), ("output", output.map { .string($0) } ?? .null),
            ("configuration", output == nil ? .string(text) : .null),
            (
                "findings",
                .array(
                    result.findings.map { finding in
                        .object([
                            ("severity", .string(finding.severity.rawValue)), ("file", .string(finding.origin.file)), ("line", .integer(Int64(finding.origin.line))),
                            ("connections", .strings(finding.connections)), ("parameter", finding.parameter.map { .string($0) } ?? .null), ("reason", .string(finding.reason)),
                        ])
                    })
            ),
        ])
    }

    /// This host's addresses, as text.
    private func hostAddresses() -> [String] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return [] }
        defer { freeifaddrs(list) }
        var addresses: [String] = []
        var next = list
        while let entry = next?.pointee {
            next = entry.ifa_next
            guard let address = entry.ifa_addr else { continue }
            let size =
                switch Int32(address.pointee.sa_family) {
                case AF_INET: MemoryLayout<sockaddr_in>.size
                case AF_INET6: MemoryLayout<sockaddr_in6>.size
                default: 0
                }
            var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            guard size > 0, getnameinfo(address, socklen_t(size), &name, socklen_t(name.count), nil, 0, NI_NUMERICHOST) == 0 else { continue }
            // A link-local address comes with its interface.
            addresses.append(String(decoding: name.prefix { $0 != 0 && $0 != CChar(UInt8(ascii: "%")) }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
        }
        return addresses
    }
}
