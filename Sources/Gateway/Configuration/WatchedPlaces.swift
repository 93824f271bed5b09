// Which names in which folders decide what files of certificates and keys hold: the files themselves, and every symbolic link on the way to
// them, as certbot and Kubernetes make them.

import Glibc

package struct WatchedPlaces: Hashable, Sendable {
    /// Names by their folder; nil for every name in it.
    package private(set) var folders: [String: Set<String>?] = [:]
    package var isEmpty: Bool { folders.isEmpty }
    package init() {}

    private static let linkLimit = 40

    /// `files` by their paths, `folders` with everything in them, there or not. Relative paths start from the working directory.
    package init(files: some Sequence<String>, folders whole: some Sequence<String>) {
        for folder in whole {
            follow(folder)
            let path = folder.count > 1 && folder.hasSuffix("/") ? String(folder.dropLast()) : folder
            folders[path] = .some(nil)
        }
        for file in files { follow(file) }
    }

    package func watches(_ name: String, in folder: String) -> Bool {
        guard let names = folders[folder] else { return false }
        return names.map { name.isEmpty || $0.contains(name) } ?? true
    }

    /// Walks a path from its root, through links, to where it ends or nothing is there yet.
    private mutating func follow(_ path: String) {
        var rest = path.split(separator: "/").map(String.init)
        var at = path.hasPrefix("/") ? "/" : ".", links = 0
        while !rest.isEmpty {
            let name = rest.removeFirst()
            if name == "." { continue }
            let whole = at == "/" ? "/" + name : at + "/" + name
            var status = stat()
            let isThere = lstat(whole, &status) == 0
            let isLink = isThere && status.st_mode & S_IFMT == S_IFLNK
            // Of folders on the way only those that could be exchanged for another by a link matter.
            if rest.isEmpty || isLink || !isThere { add(name, in: at) }
            guard isThere else { return }
            guard isLink else {
                at = whole
                continue
            }
            links += 1
            guard links <= Self.linkLimit, let target = Self.target(of: whole) else { return }
            rest = target.split(separator: "/").map(String.init) + rest
            if target.hasPrefix("/") { at = "/" }
        }
    }

    private mutating func add(_ name: String, in folder: String) {
        // What is watched as a whole stays so.
        if let names = folders[folder], names == nil { return }
        folders[folder] = (folders[folder] ?? []).map { $0.union([name]) } ?? [name]
    }

    private static func target(of link: String) -> String? {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let size = readlink(link, &bytes, bytes.count)
        guard size > 0, size < bytes.count else { return nil }
        return String(decoding: bytes.prefix(size).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
