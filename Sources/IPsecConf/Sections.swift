// The sections of an ipsec.conf as written, and what a connection has when `also` and `conn %default` are followed.

/// One parameter.
package struct Setting: Hashable, Sendable {
    /// In lower case, with hyphens for underscores, and one name for all that mean the same.
    var name: String
    /// As the file spells it.
    var spelling: String
    /// Empty where the line clears what would be inherited.
    var value: String
    var origin: Origin
    var text: String { "\(spelling)=\(value)" }

    init(spelling: String, value: String, origin: Origin) {
        let name = Setting.plain(spelling)
        self.name = Setting.synonyms[name] ?? name
        self.spelling = spelling
        self.value = value
        self.origin = origin
    }

    static func plain(_ spelling: String) -> String {
        String(decoding: spelling.lowercased().utf8.map { $0 == UInt8(ascii: "_") ? UInt8(ascii: "-") : $0 }, as: UTF8.self)
    }

    private static let synonyms = [
        "keylife": "lifetime", "salifetime": "lifetime", "ipsec-lifetime": "lifetime", "margintime": "rekeymargin", "phase2alg": "esp",
        "install-policy": "installpolicy", "crluri1": "crluri", "ocspuri1": "ocspuri", "leftsubnetwithin": "leftsubnet", "rightsubnetwithin": "rightsubnet",
        "leftrsasigkey": "leftsigkey", "rightrsasigkey": "rightsigkey", "ikev1-dpdtimeout": "dpdtimeout",
    ]
}

struct Section: Sendable {
    var name: String
    var origin: Origin
    /// A later line of a name replaces an earlier one.
    private(set) var settings: [String: Setting] = [:]
    private(set) var also: [Setting] = []

    init(name: String, origin: Origin) {
        self.name = name
        self.origin = origin
    }

    mutating func set(_ setting: Setting) {
        if setting.name == "also" {
            if !setting.value.isEmpty, setting.value != "%default" { also.append(setting) }
        } else {
            settings[setting.name] = setting
        }
    }
}

/// Everything that the files said.
struct ParsedConf: Sendable {
    /// A file or a line that could not be understood.
    struct Problem: Sendable {
        var origin: Origin
        var reason: String
    }
    var setup: [String: Setting] = [:]
    var conns: [Section] = []
    var authorities: [Section] = []
    var findings = Findings()
    var problems: [Problem] = []

    var allSettings: [Setting] { (Array(setup.values) + conns.flatMap(\.settings.values)).sorted { ($0.origin.file, $0.origin.line) < ($1.origin.file, $1.origin.line) } }
}

/// Follows `also` and `conn %default`. A section's own parameters win over those of the sections it names, a later `also` over an
/// earlier one, and everything over `conn %default`.
struct SectionResolver {
    private let conns: [Section]
    private let places: [String: Int]
    private var known: [Int: Result<[Int], AlsoProblem>] = [:]

    struct AlsoProblem: Error {
        var setting: Setting
        var reason: String
    }

    init(_ conns: [Section]) {
        self.conns = conns
        places = Dictionary(conns.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The parameters in force for the section at `index`, without those that an empty value cleared.
    mutating func settings(of index: Int) -> Result<[String: Setting], AlsoProblem> {
        var open: [Int] = []
        if let standard = places["%default"], let also = conns[standard].also.first {
            return .failure(AlsoProblem(setting: also, reason: "whether %default takes over a section differs between releases: write the lines of that section into %default"))
        }
        return parents(of: index, &open).map { parents in
            var settings: [String: Setting] = [:]
            let standard = places["%default"].map { [$0] } ?? []
            for place in [index] + parents + standard { settings.merge(conns[place].settings) { nearer, _ in nearer } }
            return settings.filter { !$0.value.value.isEmpty }
        }
    }

    /// The sections that `index` takes over, the most important first.
    private mutating func parents(of index: Int, _ open: inout [Int]) -> Result<[Int], AlsoProblem> {
        if let result = known[index] { return result }
        open.append(index)
        defer { open.removeLast() }
        var line: [Int] = []
        for also in conns[index].also.reversed() {
            func fail(_ reason: String) -> Result<[Int], AlsoProblem> { .failure(AlsoProblem(setting: also, reason: reason)) }
            guard let place = places[also.value] else { return fail("there is no conn of that name") }
            if let first = open.firstIndex(of: place) {
                return fail("the sections take each other over in a circle: " + (open[first...] + [place]).map { conns[$0].name }.joined(separator: " -> "))
            }
            guard open.count < ImportLimits.parents else { return fail("sections take each other over more than \(ImportLimits.parents) deep") }
            switch parents(of: place, &open) {
            case .success(let grandparents): line += [place] + grandparents
            case .failure(let problem): return .failure(problem)
            }
            guard line.count <= ImportLimits.parents * 4 else { return fail("too many sections are taken over") }
        }
        // The last mention of a section counts.
        var seen: Set<Int> = []
        let result = Result<[Int], AlsoProblem>.success(line.reversed().filter { seen.insert($0).inserted }.reversed())
        known[index] = result
        return result
    }
}
