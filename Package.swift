// swift-tools-version: 6.2
// One package: the pure protocol targets, the gateway around them, and the plugins shipped with it.
import PackageDescription

/// What every target is compiled with.
let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableExperimentalFeature("Lifetimes"),
    .enableExperimentalFeature("LifetimeDependence"),
    .treatAllWarnings(as: .error),
]
/// The pure targets, and everything a peer's bytes reach, also spell out each unsafe use.
let strict = common + [.strictMemorySafety()]

/// For what is installed, the Swift runtime is looked for in a folder of Martlet's own, relative to the file that wants it, instead of in
/// the toolchain. Such a build does not run from its own folder: `make install` asks for it.
func runtime(_ folder: String) -> [String] {
    guard Context.environment["MARTLET_PACKAGING"] == "1" else { return [] }
    return ["-no-toolchain-stdlib-rpath", "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/\(folder)"]
}

/// A program, in bin or sbin beside lib.
let programLinker: [LinkerSetting] = runtime("../lib/martlet/runtime").isEmpty ? [] : [.unsafeFlags(runtime("../lib/martlet/runtime"))]

/// A plugin: a shared library that shows one C symbol and is never unloaded.
func pluginLinker() -> [LinkerSetting] {
    [.unsafeFlags(["-Xlinker", "--version-script=Plugins/plugin.map", "-Xlinker", "-z", "-Xlinker", "nodelete"] + runtime("../runtime"))]
}

/// The compiler's release, for the note that the plugin loader compares. A snapshot's commit is added by the C compiler.
func swiftRelease() -> String {
    #if compiler(>=6.5)
    return "6.5 or later"
    #elseif compiler(>=6.4)
    return "6.4"
    #elseif compiler(>=6.3.3)
    return "6.3.3 or later"
    #elseif compiler(>=6.3.2)
    return "6.3.2"
    #elseif compiler(>=6.3.1)
    return "6.3.1"
    #elseif compiler(>=6.3)
    return "6.3"
    #else
    return "6.2"
    #endif
}

let package = Package(
    name: "martlet",
    products: [
        .executable(name: "martletd", targets: ["martletd"]),
        .executable(name: "martlet", targets: ["martlet"]),
        .library(name: "martlet-openssl", type: .dynamic, targets: ["OpenSSLPlugin"]),
        .library(name: "martlet-gcrypt", type: .dynamic, targets: ["GcryptPlugin"]),
        .library(name: "martlet-psk", type: .dynamic, targets: ["PSKPlugin"]),
        .library(name: "martlet-eap", type: .dynamic, targets: ["EAPPlugin"]),
        .library(name: "martlet-x509", type: .dynamic, targets: ["X509Plugin"]),
        .library(name: "martlet-tun", type: .dynamic, targets: ["TUNPlugin"]),
        .library(name: "martlet-xfrm", type: .dynamic, targets: ["XFRMPlugin"]),
        .library(name: "martlet-ldap", type: .dynamic, targets: ["LDAPPlugin"]),
        .library(name: "martlet-observer", type: .dynamic, targets: ["ObserverPlugin"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2")
    ],
    targets: [
        // Pure: no input or output, no clock, no Foundation.
        .target(name: "CSecret"),
        .target(name: "IKEWire", swiftSettings: strict),
        .target(name: "IKECrypto", dependencies: ["IKEWire", "CSecret"], swiftSettings: strict),
        .target(name: "IKECore", dependencies: ["IKEWire", "IKECrypto"], swiftSettings: strict),
        .target(name: "ESPCore", dependencies: ["IKEWire", "IKECrypto"], swiftSettings: strict),
        .target(name: "ViciWire", swiftSettings: strict),
        .target(name: "IPsecConf", dependencies: ["IKEWire"], swiftSettings: strict),

        // The plugin contract and both views of it.
        .target(name: "PluginABI"),
        .target(name: "CSwiftVersion", cSettings: [.define("MARTLET_SWIFT_VERSION", to: "\"\(swiftRelease())\"")]),
        .target(name: "PluginKit", dependencies: ["PluginABI", "CSwiftVersion", "CSecret"], swiftSettings: common),
        .target(name: "PluginCrypto", dependencies: ["PluginABI", "IKECrypto", "IKEWire"], swiftSettings: common),
        // X.509 on OpenSSL, for plugins that prove identities by it.
        .systemLibrary(name: "COpenSSLX509", path: "Sources/CertificateKit/COpenSSLX509", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .target(name: "CertificateKit", dependencies: ["COpenSSLX509", "PluginKit", "PluginABI"], exclude: ["COpenSSLX509"], swiftSettings: common),
        // Asking authorities who is revoked: libcurl is loaded when it is first needed, so nothing links it.
        .systemLibrary(name: "CCURL", path: "Sources/RevocationKit/CCURL", providers: [.apt(["libcurl4-openssl-dev"])]),
        .target(name: "RevocationKit", dependencies: ["CertificateKit", "PluginKit", "CCURL"], exclude: ["CCURL"], swiftSettings: common),
        .target(name: "PlaneKit", dependencies: ["PluginABI", "PluginKit", "ESPCore", "IKEWire", "CLinux"], swiftSettings: common),

        // What the client shows, as functions of what the control socket says.
        .target(name: "ClientView", dependencies: ["ViciWire"], swiftSettings: strict),

        // The gateway.
        .target(name: "CLinux"),
        // Leases survive a restart in it.
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(
            name: "Gateway",
            dependencies: ["IKECore", "IKECrypto", "IKEWire", "PluginABI", "PluginCrypto", "CSwiftVersion", "ViciWire", "CLinux", "CSQLite"],
            swiftSettings: common),
        .executableTarget(name: "martletd", dependencies: ["Gateway"], swiftSettings: common, linkerSettings: programLinker),
        .executableTarget(
            name: "martlet",
            dependencies: ["ClientView", "IPsecConf", "ViciWire", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: common, linkerSettings: programLinker),

        // The plugins.
        .systemLibrary(name: "COpenSSL", path: "Plugins/OpenSSL/COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CGcrypt", path: "Plugins/Gcrypt/CGcrypt", pkgConfig: "libgcrypt", providers: [.apt(["libgcrypt20-dev"])]),
        .target(
            name: "OpenSSLPlugin", dependencies: ["PluginKit", "COpenSSL"], path: "Plugins/OpenSSL",
            exclude: ["README.md", "COpenSSL"], swiftSettings: common, linkerSettings: pluginLinker()),
        .target(
            name: "GcryptPlugin", dependencies: ["PluginKit", "CGcrypt"], path: "Plugins/Gcrypt",
            exclude: ["README.md", "CGcrypt"], swiftSettings: common, linkerSettings: pluginLinker()),
        .target(
            name: "PSKPlugin", dependencies: ["PluginKit"], path: "Plugins/PSK",
            exclude: ["README.md"], swiftSettings: common, linkerSettings: pluginLinker()),
        // Methods of EAP, as conversations, and the plugin around them.
        .systemLibrary(name: "CTLS", path: "Plugins/EAP/CTLS", pkgConfig: "libssl", providers: [.apt(["libssl-dev"])]),
        .target(name: "EAPMethods", dependencies: ["PluginKit", "PluginABI", "CertificateKit", "CTLS"], path: "Plugins/EAP/Methods", swiftSettings: common),
        .target(
            name: "EAPPlugin", dependencies: ["PluginKit", "EAPMethods"], path: "Plugins/EAP",
            exclude: ["README.md", "CTLS", "Methods"], swiftSettings: common, linkerSettings: pluginLinker()),
        .target(
            name: "X509Plugin", dependencies: ["PluginKit", "CertificateKit", "RevocationKit"], path: "Plugins/X509",
            exclude: ["README.md"], swiftSettings: common, linkerSettings: pluginLinker()),
        .target(
            name: "TUNPlugin", dependencies: ["PluginKit", "PluginCrypto", "PlaneKit", "ESPCore", "CLinux"], path: "Plugins/TUN",
            exclude: ["README.md"], swiftSettings: common, linkerSettings: pluginLinker()),
        // The kernel's data plane: what is said to the kernel, as functions, and the plugin around it.
        .systemLibrary(name: "CXFRM", path: "Plugins/XFRM/CXFRM", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .target(name: "XFRMMessages", dependencies: ["CXFRM", "CSecret", "ESPCore", "IKEWire"], path: "Plugins/XFRM/Messages", swiftSettings: common),
        .target(
            name: "XFRMPlugin", dependencies: ["PluginKit", "PlaneKit", "XFRMMessages", "CXFRM", "CLinux", "CSecret", "IKEWire", "ESPCore"], path: "Plugins/XFRM",
            exclude: ["README.md", "CXFRM", "Messages"], swiftSettings: common, linkerSettings: pluginLinker()),
        // Directories of users: what is asked and what an answer means, as functions, and the plugin around them.
        .systemLibrary(name: "CLDAP", path: "Plugins/LDAP/CLDAP", pkgConfig: "ldap", providers: [.apt(["libldap-dev"])]),
        .target(name: "LDAPSchema", path: "Plugins/LDAP/Schema", swiftSettings: strict),
        .target(
            name: "LDAPPlugin", dependencies: ["PluginKit", "LDAPSchema", "CertificateKit", "COpenSSLX509", "CLDAP"], path: "Plugins/LDAP",
            exclude: ["README.md", "CLDAP", "Schema"], swiftSettings: common, linkerSettings: pluginLinker()),

        // Accounting: a record as a line and the file of lines, and the plugin around them.
        .target(name: "ObserverRecords", path: "Plugins/Observer/Records", swiftSettings: common),
        .target(
            name: "ObserverPlugin", dependencies: ["PluginKit", "ObserverRecords"], path: "Plugins/Observer",
            exclude: ["README.md", "Records"], swiftSettings: common, linkerSettings: pluginLinker()),

        // Benchmarks: run by hand or by `make bench`.
        .executableTarget(
            name: "SealBenchmark", dependencies: ["Gateway", "IKECrypto", "IKEWire", "COpenSSL"], path: "Tests/Benchmarks/Seal", swiftSettings: common),
        .target(name: "BenchmarkSupport", dependencies: ["Gateway", "IKECore", "IKECrypto", "IKEWire"], path: "Tests/Benchmarks/Support", swiftSettings: common),
        .executableTarget(
            name: "LoadGenerator", dependencies: ["BenchmarkSupport", "CertificateKit", "COpenSSLX509", "CLinux", "IKECore", "IKECrypto", "IKEWire"], path: "Tests/Benchmarks/Load",
            swiftSettings: common),
        .executableTarget(
            name: "ExchangeBenchmark", dependencies: ["BenchmarkSupport", "IKECore", "IKECrypto", "IKEWire"], path: "Tests/Benchmarks/Exchanges", swiftSettings: common),

        // Tests.
        .testTarget(name: "IKEWireTests", dependencies: ["IKEWire"], swiftSettings: common),
        .testTarget(name: "IKECryptoTests", dependencies: ["IKECrypto", "TestSupport"], swiftSettings: common),
        .testTarget(name: "IKECoreTests", dependencies: ["IKECore", "TestSupport"], swiftSettings: common),
        .testTarget(name: "CertificateKitTests", dependencies: ["CertificateKit"], swiftSettings: common),
        .testTarget(name: "RevocationKitTests", dependencies: ["RevocationKit", "CertificateKit", "COpenSSLX509"], swiftSettings: common),
        .testTarget(name: "ESPCoreTests", dependencies: ["ESPCore", "IKECrypto", "IKEWire", "COpenSSL"], swiftSettings: common),
        .testTarget(name: "IPsecConfTests", dependencies: ["IPsecConf", "Gateway", "IKEWire", "IKECore", "IKECrypto"], swiftSettings: common),
        .testTarget(name: "ViciWireTests", dependencies: ["ViciWire"], swiftSettings: common),
        .testTarget(name: "ClientViewTests", dependencies: ["ClientView", "Gateway", "ViciWire"], swiftSettings: common),
        .testTarget(name: "GatewayTests", dependencies: ["Gateway", "CLinux", "PluginABI", "TestSupport"], swiftSettings: common),
        // Loads the plugins as the daemon does: linked in, their entry symbols would collide.
        .testTarget(
            name: "PluginContractTests",
            dependencies: ["Gateway", "PluginCrypto", "PluginABI", "CSwiftVersion", "TestSupport"],
            exclude: ["CPlugin"], swiftSettings: common),
        // A host for one plane alone, and the planes in namespaces that it starts them in.
        .executableTarget(
            name: "PlaneHost", dependencies: ["PluginABI", "COpenSSL"], path: "Tests/PlaneHost",
            linkerSettings: [.linkedLibrary("dl"), .linkedLibrary("pthread")]),
        .testTarget(name: "EAPTests", dependencies: ["EAPMethods", "CertificateKit", "PluginKit", "PluginABI", "CTLS"], swiftSettings: common),
        // What the plane does with the kernel's replies, for the tests and the fuzzer.
        .target(name: "KernelReplies", dependencies: ["CLinux", "CXFRM", "XFRMMessages", "IKEWire"], path: "Tests/KernelReplies", swiftSettings: common),
        .testTarget(name: "XFRMTests", dependencies: ["CLinux", "KernelReplies", "XFRMMessages", "CXFRM", "ESPCore", "IKEWire"], swiftSettings: common),
        // Loads the plugin as the daemon does, opposite a slapd that it starts.
        .testTarget(name: "LDAPTests", dependencies: ["LDAPSchema", "Gateway", "PluginABI"], swiftSettings: common),
        .testTarget(name: "ObserverTests", dependencies: ["ObserverRecords", "Gateway", "IKECore", "IKEWire", "PluginABI"], swiftSettings: common),
        .testTarget(name: "PlaneTests", dependencies: ["PlaneHost"], swiftSettings: common),
        .target(
            name: "TestSupport", dependencies: ["IKECore", "IKECrypto", "IKEWire"], path: "Tests/Support", swiftSettings: common),
        .testTarget(
            name: "SimulationTests", dependencies: ["IKECore", "TestSupport"], path: "Tests/Simulation", swiftSettings: common),
    ]
)
