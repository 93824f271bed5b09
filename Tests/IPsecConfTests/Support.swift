// What the tests of the import share: files in memory, and the daemon's own reader as the judge of what was written.

import Gateway
import Glibc
import IKEWire
import IPsecConf
import Testing

/// Files in memory, by path.
struct MemoryFiles: ImportFiles, FileReader {
    var contents: [String: [UInt8]]
    init(_ contents: [String: String]) { self.contents = contents.mapValues { Array($0.utf8) } }
    init(bytes contents: [String: [UInt8]]) { self.contents = contents }

    func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8] {
        guard let bytes = contents[path] else { throw FileProblem(reason: "not there", isMissing: true) }
        guard bytes.count <= limit else { throw FileProblem(reason: "too large") }
        return bytes
    }
    func read(_ path: String, limit: Int) throws(FileFailure) -> FileContent {
        guard let bytes = contents[path] else { throw .system(errno: ENOENT) }
        return FileContent(bytes: bytes, identity: path)
    }
    func files(matching pattern: String) -> [String] { contents.keys.filter { fnmatch(pattern, $0, FNM_PATHNAME | FNM_PERIOD) == 0 }.sorted() }
}

let psk = "@east.example @west.example : PSK \"sixteen bytes, or more\"\n"

func importing(_ conf: String, secrets: String? = psk, as dialect: Dialect? = nil, local: Set<String> = ["192.0.2.1"], more: [String: String] = [:]) -> ImportResult {
    var options = ImportOptions()
    options.dialect = dialect
    options.localAddresses = local
    var files = more
    files["ipsec.conf"] = conf
    files["ipsec.secrets"] = secrets
    return Import.run("ipsec.conf", files: MemoryFiles(files), options: options)
}

/// A `conn` that is right, with more lines, each of which replaces an earlier one of its name.
func conn(_ lines: String = "", name: String = "site") -> String {
    """
    conn \(name)
      left=192.0.2.1
      leftid=@east.example
      leftsubnet=10.1.0.0/16
      right=192.0.2.2
      rightid=@west.example
      rightsubnet=10.2.0.0/16
      authby=secret
      auto=add

    """ + lines.split(separator: "\n").map { "  \($0)\n" }.joined()
}

/// The errors and warnings that the daemon has for a configuration, with the plugins that come with it.
func diagnostics(of text: String) -> [ConfigurationError] {
    ConfigurationLoader.load(path: "m.conf", reader: MemoryFiles(["m.conf": text]), serves: served.contains, providers: ["openssl", "gcrypt"], methods: ["psk"]).diagnostics
}

/// The errors where the data plane is the kernel's.
func errorsWithKernel(of text: String) -> [String] {
    var capabilities = Capabilities(serves: { transform in served.contains(transform) }, providers: ["openssl", "gcrypt"], methods: ["psk"])
    (capabilities.features, capabilities.planeName, capabilities.carriesTransport) = (.all, "xfrm", true)
    return ConfigurationLoader.validate(ConfigurationLoader.read(path: "m.conf", reader: MemoryFiles(["m.conf": text])), capabilities).errors.map(\.text)
}

func errors(of text: String) -> [String] { diagnostics(of: text).filter { $0.severity == .error }.map(\.description) }

private let served: Set<Transform> = [
    .aesGCM16(128), .aesGCM16(256), .chaCha20Poly1305, .aesCBC(128), .aesCBC(256), .prfHMACSHA1, .hmacSHA1_96, .modp1024, .prfHMACSHA256, .prfHMACSHA384, .prfHMACSHA512, .integrityNone,
    .hmacSHA256_128, .hmacSHA384_192, .hmacSHA512_256, .keyExchangeNone, .modp2048, .modp3072, .modp4096, .ecp256, .ecp384, .ecp521, .curve25519,
    .noExtendedSequenceNumbers, .extendedSequenceNumbers,
]

extension ImportResult {
    /// The lines of the result without the comments on them, trimmed.
    var settings: [String] {
        (text ?? "").split(separator: "\n").map { line in
            var words = line.split(separator: " ")
            if let mark = words.firstIndex(of: "#") { words = Array(words[..<mark]) }
            return words.joined(separator: " ")
        }
    }
    func has(_ setting: String) -> Bool { settings.contains(setting) }
    var leftOut: [String] { findings.filter { $0.severity == .leftOut }.map(\.description) }
    var notCarried: [String] { findings.filter { $0.severity == .notCarried }.map(\.description) }
    var notes: [String] { findings.filter { $0.severity == .note }.map(\.description) }
}
