// Why a plugin is not loaded: which file, what it wants or is, and what the host offers. One line each.

import PluginABI

package struct PluginLoadError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Reason: Hashable, Sendable {
        /// A folder cannot be read, or the file not be opened.
        case unreadable(String)
        case notARegularFile
        /// `place` is the file or a folder above it.
        case wrongOwner(place: String, owner: UInt32)
        case writableByOthers(place: String)
        case swiftVersion(plugin: String, host: String)
        /// The dynamic linker's own words.
        case notLinked(String)
        case noSymbol
        case noDescriptor
        case wrongMagic(UInt32)
        case abi(major: UInt16, minor: UInt16)
        case truncated(size: UInt32, need: Int)
        case missingField(String)
        case badName(String)
        case duplicate(name: String, first: String)
        case missingDependency(String)
        case initFailed(status: Int32)
        /// Its settings have changed, and it takes none but those that the daemon started with.
        case beginsOnce
        /// `init` did not hand over what the descriptor promises.
        case notProvided(String)
        case badTable(String)
    }

    package let file: String
    package let reason: Reason

    package init(file: String, reason: Reason) {
        self.file = file
        self.reason = reason
    }

    package var description: String { "plugin \(file) is not loaded: \(reason)" }
}

extension PluginLoadError.Reason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreadable(let error): "it cannot be read: \(error)"
        case .notARegularFile: "it is not a regular file"
        case .wrongOwner(let place, let owner): "\(place) belongs to user \(owner); it must belong to root or to the daemon's own user"
        case .writableByOthers(let place): "\(place) can be written by its group or by others; only its owner may"
        case .swiftVersion(let plugin, let host):
            "it was built by Swift \(plugin), the daemon by Swift \(host); both must be the same (plugins in C are free of this)"
        case .notLinked(let error): "the dynamic linker refuses it: \(error)"
        case .noSymbol: "it does not export martlet_plugin_query; it is not a plugin for Martlet"
        case .noDescriptor: "martlet_plugin_query returns no descriptor"
        case .wrongMagic(let magic): "its descriptor begins with 0x\(String(magic, radix: 16)) instead of 0x\(String(MARTLET_PLUGIN_MAGIC, radix: 16))"
        case .abi(let major, let minor):
            "it wants plugin contract \(major).\(minor), the daemon offers \(MARTLET_ABI_MAJOR).\(MARTLET_ABI_MINOR); while the major is 0 both numbers must match"
        case .truncated(let size, let need): "its descriptor has \(size) bytes, the daemon needs \(need)"
        case .missingField(let field): "its descriptor has no \(field)"
        case .badName(let name): "\"\(name)\" is not a name: names are made of a-z, 0-9 and '-'"
        case .duplicate(let name, let first): "\(name) is already provided by \(first)"
        case .missingDependency(let name): "it needs \(name), which no loaded plugin provides"
        case .initFailed(let status): "its init function failed with status \(status)"
        case .beginsOnce: "its settings count from a start of the daemon on"
        case .notProvided(let name): "it promises \(name) but its init function did not provide it"
        case .badTable(let defect): "what it provides is unusable: \(defect)"
        }
    }
}
