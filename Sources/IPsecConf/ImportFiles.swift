// How an import reaches files: behind a protocol, so that the parsers touch no disk.

/// Why a file could not be read, in words.
package struct FileProblem: Error, Sendable {
    package var reason: String
    package var isMissing: Bool
    package init(reason: String, isMissing: Bool = false) {
        self.reason = reason
        self.isMissing = isMissing
    }
}

package protocol ImportFiles {
    /// The whole file, if it is a regular one of at most `limit` bytes.
    func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8]
    /// The files that a shell pattern matches, sorted.
    func files(matching pattern: String) -> [String]
}

/// What the files of one import may grow to.
enum ImportLimits {
    static let fileBytes = 1 << 20
    static let files = 256
    static let includeDepth = 16
    static let items = 50_000
    static let valueBytes = 16_384
    /// Sections that one section takes over with `also`, directly and through others.
    static let parents = 64
    static let syntaxErrors = 50
}

/// `path` as it is meant in `file`.
func resolved(_ path: String, in file: String) -> String {
    guard path.utf8.first != UInt8(ascii: "/"), let slash = file.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
    return String(file[...slash]) + path
}

func isPattern(_ path: String) -> Bool { path.utf8.contains { "*?[".utf8.contains($0) } }
