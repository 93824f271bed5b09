// The certificates of `Tests/Vectors/certificates`, and keys and signatures made of them.

import CertificateKit
import Foundation
import Testing

enum Vector {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors/certificates")

    static func bytes(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: folder.appendingPathComponent(name))) }

    static func items(_ bytes: [UInt8], passphrase: String = "") throws -> [CredentialFile.Item] {
        var items: [CredentialFile.Item] = []
        try bytes.withUnsafeBufferPointer { file in
            try Array(passphrase.utf8).withUnsafeBufferPointer { try CredentialFile.read(file, passphrase: $0) { items.append($0) } }
        }
        return items
    }

    static func certificate(_ name: String) throws -> X509Certificate {
        guard case .certificate(let certificate)? = try items(bytes(name + ".pem")).first else { throw CocoaError(.fileReadCorruptFile) }
        return certificate
    }

    static func key(_ name: String) throws -> SigningKey {
        guard case .privateKey(_, let key)? = try items(bytes(name + ".key")).first else { throw CocoaError(.fileReadCorruptFile) }
        return key
    }

    static func list(_ name: String) throws -> RevocationList {
        guard case .crl(let der)? = try items(bytes(name)).first, let list = RevocationList(der: der) else { throw CocoaError(.fileReadCorruptFile) }
        return list
    }
}

/// Seconds of 1970 in 2030.
let now: Int64 = 1_893_456_000
