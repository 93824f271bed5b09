// Why a plugin is not loaded: which file, what it wants or is, and what the host offers. One line each.

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
