// The listening end of the control socket in the file system: who may have it, and whose it is already.
import Glibc

/// Why the control socket cannot be opened. The description is a sentence for the log.
package enum ControlSocketError: Error, Hashable, CustomStringConvertible {
    /// A running daemon has it.
    case inUse(path: String)
    /// Something that is no socket is in its place; it is not ours to remove.
    case notASocket(path: String)
    case pathTooLong(path: String, limit: Int)
    case failed(step: String, path: String, errno: Int32)

    package var description: String {
        switch self {
        case .inUse(let path): "control socket \(path) belongs to a running daemon; choose another path with gateway.control"
        case .notASocket(let path): "\(path) is not a socket; the control socket does not replace it"
        case .pathTooLong(let path, let limit): "the control socket's path is longer than \(limit) bytes: \(path)"
        case .failed(let step, let path, let code): "cannot \(step) \(path): \(errorText(code))"
        }
    }
}

/// What the C library says about an error number. Its buffer belongs to the calling thread.
func errorText(_ code: Int32) -> String {
    guard let text = strerror(code) else { return "error \(code)" }
    return String(cString: text)
}

/// A bound and listening AF_UNIX socket. `~Copyable`: whoever owns it removes it.
struct ControlSocket: ~Copyable {
    let fd: Int32
    let path: String
    /// Held locked as long as the socket lives; the kernel lets go of it even after SIGKILL.
    private let lock: Int32
    private let device: dev_t
    private let inode: ino_t

    /// The group whose members may use the socket.
    static let groupName = "martlet"

    /// Binds `path`, removes what a dead daemon left there, and leaves alone what a living one has.
    init(path: String) throws(ControlSocketError) {
        var address = try Self.address(path)
        try Self.makeFolder(of: path)
        let lock = try Self.takeLock(path)
        var fd: Int32 = -1
        func fail(_ step: String, _ code: Int32 = errno) -> ControlSocketError {
            if fd >= 0 { Glibc.close(fd) }
            Glibc.close(lock)
            return .failed(step: step, path: path, errno: code)
        }

        do throws(ControlSocketError) {
            try Self.removeStale(path)
        } catch {
            Glibc.close(lock)
            throw error
        }
        fd = socket(AF_UNIX, streamType, 0)
        guard fd >= 0 else { throw fail("open a socket for") }
        // Nobody else's until owner and mode are right: bind gives the file the socket's own mode.
        guard fchmod(fd, 0o600) == 0 else { throw fail("set the mode of") }
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(fd, $0, length) }
        }
        guard bound == 0 else { throw fail("bind") }
        var entry = stat()
        guard lstat(path, &entry) == 0 else { throw fail("look at") }
        if let group = getgrnam(Self.groupName)?.pointee.gr_gid, chown(path, uid_t.max, group) != 0 {
            // Not root: the file keeps the daemon's own group.
        }
        guard chmod(path, 0o660) == 0 else {
            let code = errno
            unlink(path)
            throw fail("set the mode of", code)
        }
        guard listen(fd, 32) == 0 else {
            let code = errno
            unlink(path)
            throw fail("listen on", code)
        }
        self.fd = fd
        self.path = path
        self.lock = lock
        device = entry.st_dev
        inode = entry.st_ino
    }

    deinit {
        Glibc.close(fd)
        // Only what is still ours: an administrator may have put something else there.
        var entry = stat()
        if lstat(path, &entry) == 0, entry.st_dev == device, entry.st_ino == inode { unlink(path) }
        Glibc.close(lock)
    }

    private static func address(_ path: String) throws(ControlSocketError) -> sockaddr_un {
        var address = sockaddr_un()
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count < capacity, !bytes.contains(0) else { throw .pathTooLong(path: path, limit: capacity - 1) }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return address
    }

    /// Makes the folder that holds the socket where its own parent is there.
    private static func makeFolder(of path: String) throws(ControlSocketError) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        let folder = String(path[..<slash])
        if mkdir(folder, 0o755) != 0, errno != EEXIST { throw .failed(step: "make the folder", path: folder, errno: errno) }
    }

    /// A lock beside the socket closes the gap between the probe and bind when two daemons start at once.
    private static func takeLock(_ path: String) throws(ControlSocketError) -> Int32 {
        let name = path + ".lock"
        let fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard fd >= 0 else { throw .failed(step: "open", path: name, errno: errno) }
        guard flock(fd, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            Glibc.close(fd)
            throw code == EWOULDBLOCK ? .inUse(path: path) : .failed(step: "lock", path: name, errno: code)
        }
        return fd
    }

    /// Removes a socket that nobody listens on.
    private static func removeStale(_ path: String) throws(ControlSocketError) {
        var entry = stat()
        guard lstat(path, &entry) == 0 else {
            guard errno == ENOENT else { throw .failed(step: "look at", path: path, errno: errno) }
            return
        }
        guard entry.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path: path) }
        let probe = socket(AF_UNIX, streamType, 0)
        guard probe >= 0 else { throw .failed(step: "open a socket for", path: path, errno: errno) }
        defer { Glibc.close(probe) }
        var address = try address(path)
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(probe, $0, length) }
        }
        // EAGAIN is a listener whose queue is full.
        if connected == 0 || errno == EAGAIN { throw .inUse(path: path) }
        guard errno == ECONNREFUSED else { throw .failed(step: "probe", path: path, errno: errno) }
        guard unlink(path) == 0 else { throw .failed(step: "remove the stale", path: path, errno: errno) }
    }
}

/// A non-blocking stream that children do not inherit.
private let streamType = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
