// Keys of live SAs for a protocol analyser, as Wireshark's tables `ikev2_decryption_table` and `esp_sa`. A debugging aid: whoever reads
// the files reads the traffic, so it is off by default and says so each time.

import Glibc
import IKECore
import IKECrypto
import IKEWire

final class KeyExport: @unchecked Sendable {
    private let folder: String
    private let log: Log
    private let loop: EventLoop

    init(folder: String, log: Log) throws(SystemError) {
        self.folder = folder
        self.log = log
        loop = try EventLoop("key export", capacity: 256)
        if mkdir(folder, 0o700) != 0, errno != EEXIST { throw SystemError("make the folder \(folder)") }
        // Whoever may write the folder reads the keys: a file of their own could lie in it already.
        var status = stat()
        guard lstat(folder, &status) == 0 else { throw SystemError("look at the folder \(folder)") }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw SystemError("write keys to \(folder)", ENOTDIR) }
        guard status.st_uid == geteuid(), status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            throw SystemError("write keys to \(folder), which others may write", EPERM)
        }
        try loop.start()
        log.write(.error, "DMN", "KEYS ARE WRITTEN to \(folder) as gateway.debug_export_keys says: whoever reads them reads the traffic")
    }

    func write(_ keys: ExportedKeys) { loop.offer { self.append(keys) } }

    func stop() {
        loop.end()
        loop.join()
    }

    private func append(_ keys: ExportedKeys) {
        switch keys {
        case .ike(let initiatorSPI, let responderSPI, let encryption, let integrity, let ei, let er, let ai, let ar):
            guard let cipher = Self.ikeCipher(encryption), let mac = Self.ikeIntegrity(integrity) else {
                return log.write(.error, "DMN", "the analyser has no name for \(encryption.name): the keys of IKE SA \(initiatorSPI) are not written")
            }
            let line = "\(initiatorSPI),\(responderSPI),\(hex(ei)),\(hex(er)),\"\(cipher)\",\(hex(ai)),\(hex(ar)),\"\(mac)\"\n"
            append(line, to: "ikev2_decryption_table", of: "IKE SA \(initiatorSPI)")
        case .esp(let source, let destination, let spi, let encryption, let integrity, let key, let integrityKey):
            guard let cipher = Self.espCipher(encryption), let mac = Self.espIntegrity(integrity) else {
                return log.write(.error, "DMN", "the analyser has no name for \(encryption.name): the keys of ESP SA \(hexadecimal(spi)) are not written")
            }
            let family = source.family == .v4 ? "IPv4" : "IPv6"
            let text = hex(integrityKey)
            let line =
                "\"\(family)\",\"\(source)\",\"\(destination)\",\"0x\(hexadecimal(spi))\",\"\(cipher)\",\"0x\(hex(key))\",\"\(mac)\",\"\(text.isEmpty ? "" : "0x" + text)\"\n"
            append(line, to: "esp_sa", of: "ESP SA \(hexadecimal(spi))")
        }
    }

    private func append(_ line: String, to name: String, of what: String) {
        let path = folder + "/" + name
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { return log.write(.error, "DMN", "keys are not exported: cannot open \(path): \(errorText(errno))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            return log.write(.error, "DMN", "keys are not exported: \(path) is not a file of the daemon alone, mode 0600")
        }
        var line = line
        let count = line.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard count == line.utf8.count else { return log.write(.error, "DMN", "keys are not exported: cannot write \(path): \(errorText(errno))") }
        log.write(.error, "DMN", "the keys of \(what) were written to \(path)")
    }

    private func hex(_ box: SecretBox) -> String {
        box.withSecret { (secret: borrowing SecretBytes) -> String in
            var text = ""
            for index in secret.span.indices { text += hexadecimal(secret.span[index]) }
            return text
        } ?? ""
    }

    // Names as Wireshark 4 spells them in its user accessible tables (epan/dissectors/packet-isakmp.c, packet-ipsec.c).

    private static func ikeCipher(_ transform: Transform) -> String? {
        switch (transform.id, transform.keyLength) {
        case (12, let bits?): "AES-CBC-\(bits) [RFC3602]"
        case (20, let bits?): "AES-GCM-\(bits) with 16 octet ICV [RFC5282]"
        default: nil
        }
    }

    private static func ikeIntegrity(_ transform: Transform?) -> String? {
        switch transform?.id {
        case nil, 0: "NONE [RFC4306]"
        case 12: "HMAC_SHA2_256_128 [RFC4868]"
        case 13: "HMAC_SHA2_384_192 [RFC4868]"
        case 14: "HMAC_SHA2_512_256 [RFC4868]"
        default: nil
        }
    }

    private static func espCipher(_ transform: Transform) -> String? {
        switch transform.id {
        case 12: "AES-CBC [RFC3602]"
        case 20: "AES-GCM with 16 octet ICV [RFC4106]"
        case 28: "ChaCha20 with Poly1305 [RFC7634]"
        default: nil
        }
    }

    private static func espIntegrity(_ transform: Transform?) -> String? {
        switch transform?.id {
        case nil, 0: "NULL"
        case 12: "HMAC-SHA-256-128 [RFC4868]"
        case 13: "HMAC-SHA-384-192 [RFC4868]"
        case 14: "HMAC-SHA-512-256 [RFC4868]"
        default: nil
        }
    }
}
