// What a plugin says of itself. A plugin in Swift is this and one function:
//
//     private nonisolated(unsafe) let descriptor = Descriptor.make(name: "demo", ..., initialize: { host in ... })
//     @c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

import CSwiftVersion
import PluginABI

/// A kind and a name that a plugin provides or needs.
public struct Provision: Sendable {
    public let kind: UInt32
    public let name: String
    public static func crypto(_ name: String) -> Provision { Provision(kind: MARTLET_CLASS_CRYPTO.rawValue, name: name) }
    public static func auth(_ name: String) -> Provision { Provision(kind: MARTLET_CLASS_AUTH.rawValue, name: name) }
    public static func credentials(_ name: String) -> Provision { Provision(kind: MARTLET_CLASS_CREDENTIALS.rawValue, name: name) }
    public static func eap(_ name: String) -> Provision { Provision(kind: MARTLET_CLASS_EAP.rawValue, name: name) }
    public static func plane(_ name: String) -> Provision { Provision(kind: MARTLET_CLASS_PLANE.rawValue, name: name) }
    public static func observer(_ name: String) -> Provision { Provision(kind: MARTLET_CLASS_OBSERVER.rawValue, name: name) }
    public static func directory(_ name: String) -> Provision { Provision(kind: MARTLET_CLASS_DIRECTORY.rawValue, name: name) }
}

public enum Descriptor {
    /// The C descriptor. `initialize` is the plugin's `init` and provides its tables; both functions are called on the main thread. `beginsAgain`: what it does may be
    /// done again, on any thread, when the plugin's section has changed.
    public static func make(
        name: String, version: String, vendor: String = "Martlet", licence: String = "Apache-2.0", provides: [Provision], depends: [Provision] = [], beginsAgain: Bool = false,
        initialize: @convention(c) (UnsafePointer<martlet_host>) -> martlet_status, shutDown: (@convention(c) () -> Void)? = nil
    ) -> UnsafePointer<martlet_plugin> {
        // Naming the note's file here keeps it in a library that uses nothing else of it.
        _ = martlet_swift_version()
        return Immortal.table(
            martlet_plugin(
                magic: UInt32(MARTLET_PLUGIN_MAGIC), abi_major: UInt16(MARTLET_ABI_MAJOR), abi_minor: UInt16(MARTLET_ABI_MINOR),
                struct_size: UInt32(MemoryLayout<martlet_plugin>.size), flags: beginsAgain ? MARTLET_PLUGIN_BEGINS_AGAIN.rawValue : 0, name: Immortal.string(name), version: Immortal.string(version),
                vendor: Immortal.string(vendor), licence: Immortal.string(licence), provides: table(provides), provides_count: provides.count,
                depends: depends.isEmpty ? nil : table(depends), depends_count: depends.count, init: initialize, shutdown: shutDown))
    }

    private static func table(_ provisions: [Provision]) -> UnsafePointer<martlet_provision> {
        Immortal.array(
            provisions.map {
                martlet_provision(struct_size: UInt32(MemoryLayout<martlet_provision>.size), kind: $0.kind, name: Immortal.string($0.name))
            })
    }
}
