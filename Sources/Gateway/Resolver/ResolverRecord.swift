// Files that remember which interfaces' name servers were handed to whom, for a daemon that begins where another was killed. Each daemon
// has its own, `resolver.PID`: several may share the folder.

import Glibc

struct ResolverRecord {
    typealias Keepers = [String: NameServerSetup.Keeper]

    private let folder: String
    private static let prefix = "resolver."
    private var path: String { folder + "/" + Self.prefix + String(getpid()) }

    init(folder: String) { self.folder = folder }

    /// A name that the kernel would give, and that no program takes for an option.
    static func isInterface(_ name: String) -> Bool {
        (1...15).contains(name.utf8.count) && !name.hasPrefix("-") && name != "." && name != ".."
            && name.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x41...0x5a).contains($0) || (0x30...0x39).contains($0) || [0x2d, 0x2e, 0x5f].contains($0) }
    }

    /// What daemons that are gone have left. The files go with it.
    func takeLeft() -> [(interface: String, keeper: NameServerSetup.Keeper)] {
        guard let directory = opendir(folder) else { return [] }
        var names: [String] = []
        while let entry = readdir(directory), names.count < 64 {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
            if name.hasPrefix(Self.prefix) { names.append(name) }
        }
        closedir(directory)
        var left: [(String, NameServerSetup.Keeper)] = []
        for name in names.sorted() {
            guard let pid = pid_t(name.dropFirst(Self.prefix.count)), pid > 0, pid == getpid() || !Self.isDaemon(pid) else { continue }
            let file = folder + "/" + name
            left += Self.read(file).sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
            unlink(file)
        }
        return left
    }

    /// Whether a daemon like this one has the number.
    private static func isDaemon(_ pid: pid_t) -> Bool {
        guard kill(pid, 0) == 0 || errno == EPERM else { return false }
        func program(_ pid: String) -> [UInt8] {
            let descriptor = open("/proc/\(pid)/comm", O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return [] }
            defer { close(descriptor) }
            var buffer = [UInt8](repeating: 0, count: 64)
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            return Array(buffer.prefix(max(0, count)))
        }
        return program(String(pid)) == program("self")
    }

    /// Lines that are not of that form are left out.
    private static func read(_ path: String) -> Keepers {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return [:] }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else { return [:] }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        var found: Keepers = [:]
        for line in String(decoding: buffer.prefix(max(0, count)), as: UTF8.self).split(separator: "\n").prefix(64) {
            let words = line.split(separator: " ")
            guard words.count == 2, let keeper = NameServerSetup.Keeper(rawValue: String(words[0])), isInterface(String(words[1])) else { continue }
            found[String(words[1])] = keeper
        }
        return found
    }

    /// Best effort: without it a daemon that is killed leaves name servers behind, which is all.
    func write(_ keepers: Keepers) {
        guard !keepers.isEmpty else {
            unlink(path)
            return
        }
        _ = mkdir(folder, 0o700)
        let fresh = path + ".new"
        unlink(fresh)
        let descriptor = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return }
        var text = keepers.sorted { $0.key < $1.key }.map { "\($0.value.rawValue) \($0.key)\n" }.joined()
        let count = text.utf8.count
        let written = text.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
        if written == count { rename(fresh, path) } else { unlink(fresh) }
    }
}
