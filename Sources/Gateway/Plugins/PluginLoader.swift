// From a file to a running plugin: found, checked, linked, asked for its descriptor, started. Every step that fails is one reason.

import Glibc
import PluginABI

/// A plugin whose descriptor is believed and whose `init` has not run.
struct PluginCandidate: @unchecked Sendable {
    let file: PluginFile
    let name: String
    let version: String
    let vendor: String
    let licence: String
    let provides: [Provision]
    let depends: [Provision]
    fileprivate let descriptor: UnsafePointer<martlet_plugin>

    struct Provision: Hashable, CustomStringConvertible {
        let kind: UInt32
        let name: String
        var description: String {
            switch kind {
            case MARTLET_CLASS_CRYPTO.rawValue: "crypto:\(name)"
            case MARTLET_CLASS_AUTH.rawValue: "auth:\(name)"
            case MARTLET_CLASS_PLANE.rawValue: "plane:\(name)"
            case MARTLET_CLASS_DIRECTORY.rawValue: "directory:\(name)"
            case MARTLET_CLASS_CREDENTIALS.rawValue: "credentials:\(name)"
            case MARTLET_CLASS_EAP.rawValue: "eap:\(name)"
            case MARTLET_CLASS_OBSERVER.rawValue: "observer:\(name)"
            default: "class \(kind):\(name)"
            }
        }
    }

    var shutDown: (@convention(c) () -> Void)? { descriptor.pointee.shutdown }

    /// Checks the file, links it, and reads its descriptor. Nothing is ever unlinked: a Swift library does not survive it.
    init(path: String) throws(PluginLoadError) {
        let file = try PluginFile(path)
        func refuse(_ reason: PluginLoadError.Reason) -> PluginLoadError { PluginLoadError(file: path, reason: reason) }
        // The path and not the descriptor of the check: the library's own $ORIGIN must stay its folder. See PluginFile for why nobody can
        // have put another file there meanwhile.
        guard let library = dlopen(file.path, RTLD_NOW | RTLD_LOCAL) else {
            throw refuse(.notLinked(dlerror().map { String(cString: $0) } ?? "unknown error"))
        }
        guard let symbol = dlsym(library, MARTLET_PLUGIN_SYMBOL) else { throw refuse(.noSymbol) }
        let query = unsafeBitCast(symbol, to: (@convention(c) () -> UnsafeRawPointer?).self)
        guard let raw = query() else { throw refuse(.noDescriptor) }

        // The first 12 bytes are the same in every version of the contract.
        let magic = raw.loadUnaligned(as: UInt32.self)
        guard magic == MARTLET_PLUGIN_MAGIC else { throw refuse(.wrongMagic(magic)) }
        let major = raw.loadUnaligned(fromByteOffset: 4, as: UInt16.self), minor = raw.loadUnaligned(fromByteOffset: 6, as: UInt16.self)
        guard UInt32(major) == MARTLET_ABI_MAJOR, UInt32(minor) == MARTLET_ABI_MINOR else { throw refuse(.abi(major: major, minor: minor)) }
        let size = raw.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_plugin>.size) else { throw refuse(.truncated(size: size, need: MemoryLayout<martlet_plugin>.size)) }
        if let field = Self.nullField(of: raw) { throw refuse(.missingField(field)) }

        let descriptor = raw.assumingMemoryBound(to: martlet_plugin.self)
        let plugin = descriptor.pointee
        self.file = file
        self.descriptor = descriptor
        name = String(cString: plugin.name)
        version = String(cString: plugin.version)
        vendor = String(cString: plugin.vendor)
        licence = String(cString: plugin.licence)
        guard Self.isName(name) else { throw refuse(.badName(name)) }
        provides = try Self.provisions(plugin.provides, plugin.provides_count, path)
        depends = try Self.provisions(plugin.depends, plugin.depends_count, path)
    }

    /// Whether `init` may be called again. Of that in `PluginSet.renewed` alone.
    var beginsAgain: Bool { descriptor.pointee.flags & MARTLET_PLUGIN_BEGINS_AGAIN.rawValue != 0 }

    /// Runs the plugin's `init`.
    func start(_ host: UnsafePointer<martlet_host>) -> martlet_status { descriptor.pointee.`init`(host) }

    /// The first field that must not be null and is. Read as numbers: Swift takes a field's type at its word.
    private static func nullField(of descriptor: UnsafeRawPointer) -> String? {
        let fields: [(PartialKeyPath<martlet_plugin>, String)] = [
            (\.name, "name"), (\.version, "version"), (\.vendor, "vendor"), (\.licence, "licence"), (\.`init`, "init"), (\.provides, "provides"),
        ]
        for (field, name) in fields {
            // A plugin may provide nothing.
            if name == "provides", descriptor.assumingMemoryBound(to: martlet_plugin.self).pointee.provides_count == 0 { continue }
            guard let offset = MemoryLayout<martlet_plugin>.offset(of: field), descriptor.load(fromByteOffset: offset, as: UInt.self) != 0 else { return name }
        }
        return nil
    }

    private static func provisions(_ list: UnsafePointer<martlet_provision>?, _ count: Int, _ path: String) throws(PluginLoadError) -> [Provision] {
        guard count > 0 else { return [] }
        guard let list, count <= 64 else { throw PluginLoadError(file: path, reason: .missingField("list of what it provides or depends on")) }
        let stride = Int(list.pointee.struct_size)
        guard stride >= MemoryLayout<martlet_provision>.size else {
            throw PluginLoadError(file: path, reason: .truncated(size: list.pointee.struct_size, need: MemoryLayout<martlet_provision>.size))
        }
        var provisions: [Provision] = []
        for index in 0..<count {
            let element = UnsafeRawPointer(list) + index * stride
            guard element.load(fromByteOffset: 8, as: UInt.self) != 0 else { throw PluginLoadError(file: path, reason: .missingField("name of a provision")) }
            let provision = element.assumingMemoryBound(to: martlet_provision.self).pointee
            let name = String(cString: provision.name)
            guard isName(name) else { throw PluginLoadError(file: path, reason: .badName(name)) }
            provisions.append(Provision(kind: provision.kind, name: name))
        }
        return provisions
    }

    private static func isName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 64
            && name.utf8.allSatisfy { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "-") }
    }
}

/// The plugins' files in a folder, by name.
enum PluginFolder {
    /// The paths, and the name that each file gives its plugin; nil where the folder cannot be read.
    static func files(in folder: String) -> [(path: String, name: String)]? {
        guard let stream = opendir(folder) else { return nil }
        defer { closedir(stream) }
        var files: [(path: String, name: String)] = []
        while let entry = readdir(stream) {
            let file = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            guard file.hasSuffix(".so"), let prefix = ["libmartlet-", "martlet-"].first(where: { file.hasPrefix($0) }) else { continue }
            files.append((folder + "/" + file, String(file.dropFirst(prefix.count).dropLast(3))))
        }
        return files.sorted { $0.path < $1.path }
    }
}
