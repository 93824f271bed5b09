// The daemon's command line.

package struct DaemonOptions: Hashable, Sendable {
    package var configuration = "/etc/martlet/martlet.conf"
    /// Folders of plugins that go before all others.
    package var plugins: [String] = []
    package var isCheck = false

    package enum Parsed: Hashable, Sendable {
        case run(DaemonOptions)
        case help
        case version
        /// A sentence that says what is wrong.
        case wrong(String)
    }

    package static let help = """
        Usage: martletd [--config FILE] [--plugins DIR]... [--check] --foreground

        An IKEv2/IPsec gateway.

          --config FILE   the configuration (default /etc/martlet/martlet.conf)
          --foreground    stay in the foreground; the only way to run
          --plugins DIR   look for plugins here first; may be given several times
          --check         check the configuration against the plugins and end: 0 where it is right, 1 where it is not
          --version       print the version
          --help          print this

        SIGTERM and SIGINT tell every peer and end; SIGHUP reads the configuration again.

        Example: martletd --config /etc/martlet/martlet.conf --foreground
        """

    /// `arguments` without the program's name.
    package static func parse(_ arguments: [String]) -> Parsed {
        var options = DaemonOptions()
        var rest = arguments[...]
        /// The value of an option: `--name VALUE` or `--name=VALUE`.
        func value(_ name: String, _ argument: String) -> String? {
            if argument.hasPrefix(name + "=") { return String(argument.dropFirst(name.utf8.count + 1)) }
            return rest.popFirst()
        }
        while let argument = rest.popFirst() {
            switch argument.split(separator: "=", maxSplits: 1).first ?? "" {
            case "--help" where argument == "--help", "-h" where argument == "-h": return .help
            case "--version" where argument == "--version": return .version
            case "--foreground" where argument == "--foreground": break
            case "--check" where argument == "--check": options.isCheck = true
            case "--config":
                guard let file = value("--config", argument), !file.isEmpty else { return .wrong("--config needs a file") }
                options.configuration = file
            case "--plugins":
                guard let folder = value("--plugins", argument), !folder.isEmpty else { return .wrong("--plugins needs a folder") }
                options.plugins.append(folder)
            default: return .wrong("there is no option \(quoted(argument))")
            }
        }
        return .run(options)
    }
}
