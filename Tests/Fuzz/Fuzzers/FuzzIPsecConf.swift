// Any bytes as an ipsec.conf and, behind the first zero, an ipsec.secrets: an import ends, and what it writes keeps its own form.
import IPsecConf

/// The file may include its second half.
private struct Files: ImportFiles {
    let conf: [UInt8]
    let secrets: [UInt8]
    func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8] {
        switch path {
        case "ipsec.conf": return conf
        case "ipsec.secrets": return secrets
        case "b.conf": return Array(conf[(conf.count / 2)...])
        default: throw FileProblem(reason: "not there", isMissing: true)
        }
    }
    func files(matching pattern: String) -> [String] { ["b.conf", "ipsec.conf"] }
}

@c(LLVMFuzzerTestOneInput) public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = Array(UnsafeBufferPointer(start: data, count: count))
    let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false).map(Array.init)
    for dialect in Dialect.allCases {
        var options = ImportOptions()
        options.dialect = dialect
        let result = Import.run("ipsec.conf", files: Files(conf: parts[0], secrets: parts.count > 1 ? parts[1] : Array(": PSK \"secret of the fuzzer\"".utf8)), options: options)
        precondition((result.text == nil) == !result.problems.isEmpty)
        precondition(result.findings.allSatisfy { $0.origin.line > 0 })
        guard let text = result.text else { continue }
        // Every line is a comment, a brace, a section or a setting, and all sections end.
        var depth = 0
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            let bare = line.drop { $0 == UInt8(ascii: " ") }
            if bare.first == UInt8(ascii: "#") { continue }
            if bare.first == UInt8(ascii: "}") { depth -= 1 } else if !bare.contains(UInt8(ascii: "=")) || bare.contains(UInt8(ascii: "{")) && !bare.contains(UInt8(ascii: "\"")) { depth += 1 }
            precondition(depth >= 0)
        }
        precondition(depth == 0)
    }
    return 0
}
