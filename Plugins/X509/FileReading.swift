// Takes files of certificates and keys apart for the host.

import CertificateKit
import Glibc
import PluginABI
import PluginKit

enum FileReading {
    typealias Found = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<martlet_found_credential>) -> Void
    typealias Explain = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>) -> Void

    static func read(_ file: martlet_bytes, _ passphrase: martlet_bytes, _ found: Found, _ explain: Explain, _ context: UnsafeMutableRawPointer?) -> martlet_status {
        do throws(CredentialFile.Problem) {
            try CredentialFile.read(file.buffer, passphrase: passphrase.buffer) { item in
                switch item {
                case .certificate(let certificate): report(certificate, found, context)
                case .crl(let der): report(der, found, context)
                case .privateKey(let der, let key):
                    var credential = empty(MARTLET_CREDENTIAL_PRIVATE_KEY, martlet_bytes(data: der.baseAddress, size: der.count))
                    describe(&credential, key.type, PublicKey(der: key.publicDER).map(keyIDs))
                    deliver(credential, key.type.name, [], found, context)
                case .publicKey(let key):
                    key.der.withUnsafeBufferPointer { der in
                        var credential = empty(MARTLET_CREDENTIAL_PUBLIC_KEY, martlet_bytes(data: der.baseAddress, size: der.count))
                        describe(&credential, key.type, keyIDs(key))
                        deliver(credential, key.type.name, [], found, context)
                    }
                }
            }
            return MARTLET_OK
        } catch {
            switch error {
            case .locked(let reason):
                reason.withCString { explain(context, $0) }
                return MARTLET_E_REJECTED
            case .unreadable(let reason):
                reason.withCString { explain(context, $0) }
                return MARTLET_E_INVALID
            }
        }
    }

    private static func empty(_ kind: martlet_credential_kind, _ der: martlet_bytes) -> martlet_found_credential {
        let nothing = martlet_bytes(data: nil, size: 0)
        let id: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8) =
            (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        return martlet_found_credential(
            struct_size: UInt32(MemoryLayout<martlet_found_credential>.size), kind: UInt16(kind.rawValue), flags: 0, der: der, key_id: id, key_info_id: id, subject: nothing, issuer: nothing,
            serial: nothing, not_before: 0, not_after: 0, key_type: noText, key_bits: 0, reserved: 0, remarks: nil, remark_count: 0, names: nil, name_count: 0)
    }

    private nonisolated(unsafe) static let noText = Immortal.string("")

    private static func describe(_ credential: inout martlet_found_credential, _ type: KeyType, _ ids: (key: [UInt8], info: [UInt8])?) {
        credential.key_bits = UInt32(type.bits)
        guard let ids, ids.key.count == 20, ids.info.count == 20 else { return }
        withUnsafeMutableBytes(of: &credential.key_id) { $0.copyBytes(from: ids.key) }
        withUnsafeMutableBytes(of: &credential.key_info_id) { $0.copyBytes(from: ids.info) }
    }

    private static func report(_ certificate: X509Certificate, _ found: Found, _ context: UnsafeMutableRawPointer?) {
        let (subject, issuer, serial) = (certificate.subject, certificate.issuer, certificate.serial)
        certificate.der.withUnsafeBufferPointer { der in
            subject.withUnsafeBufferPointer { subject in
                issuer.withUnsafeBufferPointer { issuer in
                    serial.withUnsafeBufferPointer { serial in
                        var credential = empty(MARTLET_CREDENTIAL_CERTIFICATE, martlet_bytes(data: der.baseAddress, size: der.count))
                        credential.flags = certificate.isAuthority ? UInt16(MARTLET_CREDENTIAL_CA.rawValue) : 0
                        credential.subject = martlet_bytes(data: subject.baseAddress, size: subject.count)
                        credential.issuer = martlet_bytes(data: issuer.baseAddress, size: issuer.count)
                        credential.serial = martlet_bytes(data: serial.baseAddress, size: serial.count)
                        (credential.not_before, credential.not_after) = (certificate.notBefore, certificate.notAfter)
                        if let key = certificate.key { describe(&credential, key.type, certificate.keyIDs) }
                        withNames(of: certificate) { names in
                            credential.names = names.baseAddress
                            credential.name_count = names.count
                            deliver(credential, certificate.key?.type.name ?? "", certificate.isAuthority ? [] : certificate.remarks, found, context)
                        }
                    }
                }
            }
        }
    }

    /// Its alternative names as IKE identities.
    private static func withNames(of certificate: X509Certificate, _ use: (UnsafeBufferPointer<martlet_identity>) -> Void) {
        let names = certificate.alternativeNames.prefix(4096).map { name -> (type: UInt8, data: UnsafeMutableBufferPointer<UInt8>) in
            func copy(_ bytes: [UInt8]) -> UnsafeMutableBufferPointer<UInt8> {
                let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(bytes.count, 1))
                for (index, byte) in bytes.enumerated() { memory[index] = byte }
                return UnsafeMutableBufferPointer(start: memory.baseAddress, count: bytes.count)
            }
            return switch name {
            case .host(let bytes): (IKEIdentity.fqdn, copy(bytes))
            case .mail(let bytes): (IKEIdentity.mail, copy(bytes))
            case .address(let bytes): (bytes.count == 4 ? IKEIdentity.ipv4 : IKEIdentity.ipv6, copy(bytes))
            case .directory(let bytes): (IKEIdentity.name, copy(bytes))
            }
        }
        defer { for name in names { name.data.baseAddress?.deallocate() } }
        names.map { martlet_identity(type: $0.type, reserved: (0, 0, 0, 0, 0, 0, 0), data: martlet_bytes(data: UnsafePointer($0.data.baseAddress), size: $0.data.count)) }
            .withUnsafeBufferPointer(use)
    }

    private static func report(_ crl: [UInt8], _ found: Found, _ context: UnsafeMutableRawPointer?) {
        guard let list = RevocationList(der: crl) else { return }
        let issuer = list.issuer
        crl.withUnsafeBufferPointer { der in
            issuer.withUnsafeBufferPointer { issuer in
                var credential = empty(MARTLET_CREDENTIAL_CRL, martlet_bytes(data: der.baseAddress, size: der.count))
                credential.issuer = martlet_bytes(data: issuer.baseAddress, size: issuer.count)
                (credential.not_before, credential.not_after) = (list.thisUpdate, list.nextUpdate ?? 0)
                var remarks = list.objection.map { [$0] } ?? []
                let now = Int64(time(nil))
                if !list.isFresh(at: now) { remarks.append(list.age(at: now)) }
                deliver(credential, "", remarks, found, context)
            }
        }
    }

    private static func deliver(_ credential: martlet_found_credential, _ keyType: String, _ remarks: [String], _ found: Found, _ context: UnsafeMutableRawPointer?) {
        var credential = credential
        let texts = remarks.map { remark -> UnsafeMutablePointer<CChar> in
            let bytes = remark.utf8CString
            let text = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
            for (index, byte) in bytes.enumerated() { text[index] = byte }
            return text
        }
        defer { for text in texts { text.deallocate() } }
        let pointers: [UnsafePointer<CChar>?] = texts.map { UnsafePointer($0) }
        keyType.withCString { type in
            pointers.withUnsafeBufferPointer { pointers in
                credential.key_type = type
                credential.remarks = pointers.isEmpty ? nil : pointers.baseAddress
                credential.remark_count = pointers.count
                withUnsafePointer(to: credential) { found(context, $0) }
            }
        }
    }
}
