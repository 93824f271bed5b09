// Whether a file may become part of this process: who owns it and the folders above it, and who may write to them.
//
// Whoever can write the file, or rename it or one of its folders away, is the daemon. So the file and every folder above it belong
// to root, or to the daemon's own user where it does not run as root, and nobody else may write them. A folder that others may
// write but whose sticky bit is set, such as /tmp, is taken: nobody can rename or remove what is not theirs there, and what they
// add themselves has the wrong owner.
//
// No time passes between check and use in which anybody else could act: in such folders only root and the daemon's user can.

import CSwiftVersion
import Glibc

struct PluginFile {
    /// Without symbolic links.
    let path: String
    /// From the note of a Swift plugin.
    let swiftVersion: String?

    init(_ name: String) throws(PluginLoadError) {
        // A symbolic link must not lie in an unsafe folder either.
        let folder = name.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(name[..<$0]) } ?? "."
        guard let realFolder = Self.real(folder.isEmpty ? "/" : folder), let path = Self.real(name) else {
            throw PluginLoadError(file: name, reason: .unreadable(lastError()))
        }
        func refuse(_ reason: PluginLoadError.Reason) -> PluginLoadError { PluginLoadError(file: name, reason: reason) }
        for place in Self.folders(of: realFolder + "/") + Self.folders(of: path) {
            if let reason = Self.defect(of: place, isFile: false) { throw refuse(reason) }
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw refuse(.unreadable(lastError())) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw refuse(.unreadable(lastError())) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw refuse(.notARegularFile) }
        if let reason = Self.defect(status, path, isFile: true) { throw refuse(reason) }

        let elf = ELFFile(descriptor: descriptor)
        let ours = String(cString: martlet_swift_version())
        if let theirs = elf?.swiftVersion {
            guard theirs == ours else { throw refuse(.swiftVersion(plugin: theirs, host: ours)) }
        } else if elf?.needsSwiftRuntime == true {
            throw refuse(.swiftVersion(plugin: "unknown", host: ours))
        }
        self.path = path
        swiftVersion = elf?.swiftVersion
    }

    private static func real(_ path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    /// "/", "/a", "/a/b" for "/a/b/c".
    private static func folders(of path: String) -> [String] {
        ["/"] + path.utf8.indices.dropFirst().filter { path.utf8[$0] == UInt8(ascii: "/") }.map { String(path[..<$0]) }
    }

    private static func defect(of place: String, isFile: Bool) -> PluginLoadError.Reason? {
        var status = stat()
        guard lstat(place, &status) == 0 else { return .unreadable(lastError()) }
        return defect(status, place, isFile: isFile)
    }

    private static func defect(_ status: stat, _ place: String, isFile: Bool) -> PluginLoadError.Reason? {
        guard status.st_uid == 0 || status.st_uid == geteuid() else { return .wrongOwner(place: place, owner: status.st_uid) }
        let isSticky = !isFile && status.st_mode & S_ISVTX != 0
        guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 || isSticky else { return .writableByOthers(place: place) }
        return nil
    }
}

/// What errno stands for.
func lastError() -> String { String(cString: strerror(errno)) }
