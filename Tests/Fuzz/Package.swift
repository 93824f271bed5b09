// swift-tools-version: 6.2
// The fuzzers: a package of their own, because a plain build cannot link them. Sources/ points at the project's own
// targets, so that they belong to this package: the fuzzers reach what is `package`, and the code under test itself is
// compiled with the fuzzer's counters.
//
// run.sh names the fuzzers in the environment, one for each file in Fuzzers/: `FuzzMessage:IKEWire FuzzX:IKEWire,ESPCore`,
// the file's imports after the colon. Nothing here changes when a file is added.
import PackageDescription

let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableExperimentalFeature("Lifetimes"),
    .enableExperimentalFeature("LifetimeDependence"),
]

let named = (Context.environment["FUZZERS"] ?? "").split(separator: " ").map { $0.split(separator: ":", omittingEmptySubsequences: false) }
let fuzzers: [Target] = named.map { parts in
    .executableTarget(
        name: String(parts[0]), dependencies: parts.dropFirst().joined().split(separator: ",").map { .byName(name: String($0)) },
        path: "Fuzzers", exclude: named.map { "\($0[0]).swift" }.filter { $0 != "\(parts[0]).swift" }, sources: ["\(parts[0]).swift"], swiftSettings: common + [.unsafeFlags(["-parse-as-library"])])
}

let package = Package(
    name: "martlet-fuzz",
    targets: [
        .target(name: "CSecret"),
        .target(name: "FuzzCounters"),
        .target(name: "IKEWire", swiftSettings: common),
        .target(name: "IKECrypto", dependencies: ["IKEWire", "CSecret"], swiftSettings: common),
        .target(name: "IKECore", dependencies: ["IKEWire", "IKECrypto"], swiftSettings: common),
        .target(name: "TestSupport", dependencies: ["IKECore", "IKECrypto", "IKEWire"], swiftSettings: common),
        .target(name: "ESPCore", dependencies: ["IKEWire", "IKECrypto"], swiftSettings: common),
        .target(name: "ViciWire", swiftSettings: common),
        .target(name: "IPsecConf", dependencies: ["IKEWire"], swiftSettings: common),
        .target(name: "CLinux"),
        .systemLibrary(name: "CXFRM", path: "Sources/CXFRM", pkgConfig: "libmnl"),
        .target(name: "XFRMMessages", dependencies: ["CXFRM", "CSecret", "ESPCore", "IKEWire"], swiftSettings: common),
        .target(name: "KernelReplies", dependencies: ["CLinux", "CXFRM", "XFRMMessages", "IKEWire"], swiftSettings: common),
        .target(name: "LDAPSchema", swiftSettings: common),
        .systemLibrary(name: "COpenSSLX509", path: "Sources/CertificateKit/COpenSSLX509", pkgConfig: "libcrypto"),
        .target(name: "PluginABI"),
        .target(name: "CSwiftVersion", cSettings: [.define("MARTLET_SWIFT_VERSION", to: "\"fuzzing\"")]),
        .target(name: "PluginKit", dependencies: ["PluginABI", "CSwiftVersion", "CSecret"], swiftSettings: common),
        .systemLibrary(name: "CTLS", path: "Sources/CTLS", pkgConfig: "libssl"),
        .target(name: "EAPMethods", dependencies: ["PluginKit", "PluginABI", "CertificateKit", "CTLS"], swiftSettings: common),
        .target(name: "CertificateKit", dependencies: ["COpenSSLX509", "PluginKit", "PluginABI"], exclude: ["COpenSSLX509"], swiftSettings: common),
        .target(name: "Configuration", dependencies: ["IKECore", "IKECrypto", "IKEWire", "ViciWire", "CSecret"], swiftSettings: common),
    ] + fuzzers
)
