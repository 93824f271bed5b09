// What an import writes, before it is text: connections, children and secrets with the lines that each value comes from.

struct OutputSetting: Sendable {
    var key: String
    var value: String
    /// The lines that it comes from; none for a default of ipsec.conf.
    var origins: [Origin]
}

struct OutputChild: Sendable {
    var name: String
    var origin: Origin
    var settings: [OutputSetting]
}

struct OutputPool: Hashable, Sendable {
    /// A network or a range.
    var addresses: String
    var nameServers: [String]
    var domains: [String] = []
    var origins: [Origin]
    /// Connections that name the same addresses share them.
    var name: String { "pool-" + String(decoding: addresses.utf8.map { isNameByte($0) ? $0 : UInt8(ascii: "-") }, as: UTF8.self) }
}

struct OutputConnection: Sendable {
    var name: String
    var origin: Origin
    var settings: [OutputSetting] = []
    var local: [OutputSetting] = []
    var remote: [OutputSetting] = []
    var children: [OutputChild] = []
    var pools: [OutputPool] = []
    /// The lines that a person has to decide about, before it may be used: `mark=100 (ipsec.conf:12)`. Then it is written as a comment.
    var undecided: [String] = []
    /// Nil where it is an address that only shows when the connection is made.
    var localIdentity: Identity?
    var remoteIdentity = Identity.any

    /// The same for what is one IKE SA: conns of the same peers share one in both daemons.
    var ikeSA: String { [settings, local, remote].map { $0.map { "\($0.key)=\($0.value)\n" }.joined() }.joined(separator: "\n") }
}

/// Names for sections: what may not stand in one is replaced, and no name is given twice.
struct SectionNames {
    private var taken: Set<String> = []

    mutating func name(for source: String) -> String {
        var bytes = source.utf8.map { isNameByte($0) ? $0 : UInt8(ascii: "-") }
        if bytes.isEmpty || source == "include" { bytes += Array("-conn".utf8) }
        let base = String(decoding: bytes.prefix(128), as: UTF8.self)
        var name = base
        var count = 1
        while !taken.insert(name).inserted {
            count += 1
            name = "\(base)-\(count)"
        }
        return name
    }
}
