// Any bytes as a configuration file that may include itself and one other: loading ends, and refuses or explains.
import Configuration
import IKEWire

/// `m.conf` is the input, `conf.d/a.conf` its second half.
private struct Files: FileReader {
    let bytes: [UInt8]
    func read(_ path: String, limit: Int) throws(FileFailure) -> FileContent {
        // A file system's names end somewhere; messages have them whole.
        guard path.utf8.count <= 255 else { throw .system(errno: 36) }
        let content = path == "m.conf" ? bytes : Array(bytes[(bytes.count / 2)...])
        guard content.count <= limit else { throw .tooLarge(limit: limit) }
        return FileContent(bytes: content, identity: path)
    }
    func files(matching pattern: String) -> [String] { ["conf.d/a.conf", "m.conf"] }
}

@c(LLVMFuzzerTestOneInput) public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = Array(UnsafeBufferPointer(start: data, count: count))
    var limits = ConfigurationLimits()
    // Less than in earnest, so that a run that would be long shows as one that is stopped.
    limits.items = 20_000
    limits.includedFiles = 8
    let result = ConfigurationLoader.load(
        path: "m.conf", reader: Files(bytes: bytes), limits: limits, serves: { $0.id != 2 }, providers: ["openssl"], methods: ["psk"])
    precondition((result.configuration == nil) == !result.errors.isEmpty)
    precondition(result.diagnostics.allSatisfy { $0.line > 0 && $0.column > 0 && $0.description.utf8.count < 2000 })
    if let configuration = result.configuration { precondition(configuration.difference(to: configuration).isEmpty) }
    return 0
}
