// Authentication with certificates and public keys: the method `pubkey`, and the reader of files of certificates and keys.
// RFC 7296 section 2.15, RFC 7427, RFC 4754, RFC 5280.

import CertificateKit
import PluginABI
import PluginKit
import RevocationKit
import Synchronization

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "x509", version: "0.1", provides: [.auth("pubkey"), .credentials("x509")],
    initialize: { table in
        let host = Host(table)
        guard prepareOpenSSL() else {
            host.log(.error, "OpenSSL cannot be initialised")
            return MARTLET_E_FAILED
        }
        Plugin.remember(host)
        guard Settings.read(host) else { return MARTLET_E_INVALID }
        Revocation.start(Settings.current)
        let status = host.provide(.credentials("x509"), reader)
        return status == MARTLET_OK ? host.provide(.auth("pubkey"), method) : status
    })

/// The host, for log lines.
enum Plugin {
    private static let host = Mutex<Host?>(nil)
    static func remember(_ new: Host) { host.withLock { $0 = new } }
    static func log(_ level: Host.LogLevel, _ line: String) { host.withLock { $0 }?.log(level, line) }
}

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

private nonisolated(unsafe) let method = Immortal.table(
    martlet_auth_method(
        struct_size: UInt32(MemoryLayout<martlet_auth_method>.size), max_concurrency: 0, name: Immortal.string("pubkey"), methods: Immortal.array(AuthenticationMethod.all),
        method_count: AuthenticationMethod.all.count, sign: { table, output, size in Proof.sign(AuthRequest(table), output, size) },
        verify: { table in Proof.verify(AuthRequest(table)) }, cancel: nil, hashes: Immortal.array(hashes), hash_count: hashes.count, flags: 0, reserved: 0,
        check_certificate: { CertificateCheck.check($0) }))

/// Those that we take in signatures; never SHA-1. RFC 7427 section 4, RFC 8420.
private let hashes: [UInt16] = [Hash.sha256, .sha384, .sha512, .identity].map(\.rawValue)

private nonisolated(unsafe) let reader = Immortal.table(
    martlet_credential_reader(
        struct_size: UInt32(MemoryLayout<martlet_credential_reader>.size), reserved: 0, name: Immortal.string("x509"),
        read: { file, passphrase, found, explain, context in FileReading.read(file, passphrase, found, explain, context) },
        changed: { snapshot in Known.changed(snapshot) },
        forget: { kinds in
            var fetched: RevocationService.Fetched = []
            if kinds & MARTLET_FETCHED_CRLS.rawValue != 0 { fetched.insert(.lists) }
            if kinds & MARTLET_FETCHED_OCSP.rawValue != 0 { fetched.insert(.answers) }
            Revocation.service?.forget(fetched)
        }))
