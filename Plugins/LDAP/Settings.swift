// The section `plugins { ldap { } }`, read once: which servers, how they are trusted, who we are to them, and the schema.

import CLDAP
import Glibc
import LDAPSchema
import PluginKit

/// One server.
struct Server: Sendable {
    enum Transport: Sendable {
        case plain, startTLS, tls
        /// A Unix socket.
        case local
    }
    let uri: String
    let host: String
    let port: UInt16
    let transport: Transport
}

struct Settings: Sendable {
    var servers: [Server]
    var verifiesCertificates: Bool
    var caFile: String
    var bindName: String?
    var bindPassword: SecretCopy?
    /// Nanoseconds.
    var timeout: UInt64
    var connectTimeout: UInt64
    var searchWorkers: Int
    var bindWorkers: Int
    var queue: Int
    var schema: DirectorySchema
    var userBase: String
    /// With `%u`; then users are read and not searched for.
    var userName: String?
    var groupBase: String

    /// Why the section cannot be used.
    struct Defect: Error { let text: String }

    /// `prefix` is "" or that of a directory among several, "corp.".
    init(_ host: Host, prefix: String) throws(Defect) {
        func text(_ key: String) -> String? { (host.setting(prefix + key) ?? host.setting(key)).flatMap { $0.isEmpty ? nil : $0 } }
        func required(_ key: String) throws(Defect) -> String {
            guard let value = text(key) else { throw Defect(text: "there is no \(key): write plugins { ldap { \(prefix.isEmpty ? "" : prefix.dropLast() + " { ")\(key) = ... } }") }
            return value
        }
        func flag(_ key: String, _ standard: Bool) -> Bool { text(key).map { ["yes", "true", "1", "on", "enabled"].contains($0.lowercased()) } ?? standard }
        func number(_ key: String, _ standard: Int, _ range: ClosedRange<Int>) -> Int { text(key).flatMap { Int($0) }.map { min(max($0, range.lowerBound), range.upperBound) } ?? standard }
        func nanoseconds(_ key: String, _ standard: UInt64) -> UInt64 { text(key).flatMap { Self.seconds($0) }.map { min(max($0, 1), 300) * 1_000_000_000 } ?? standard * 1_000_000_000 }

        let startsTLS = flag("start_tls", true)
        servers = []
        // Such a line would be in the log, and who is asked by it is said by bind_dn.
        guard try !required("uri").contains("@") else { throw Defect(text: "uri takes no user and no password: write bind_dn = ... and bind_password_file = ...") }
        for uri in try required("uri").split(whereSeparator: { $0 == "," || $0 == " " }) { servers.append(try Self.server(String(uri), startsTLS: startsTLS)) }
        verifiesCertificates = flag("verify", true)
        caFile = text("ca_file") ?? "/etc/ssl/certs/ca-certificates.crt"
        bindName = text("bind_dn")
        let password = text("bind_password")
        let file = text("bind_password_file")
        if let password {
            var bytes = Array(password.utf8)
            bindPassword = bytes.withUnsafeBytes { SecretCopy(host, $0) }
            bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { wipe(base, $0.count) } }
        } else if let file {
            bindPassword = try Self.secret(host, file: file)
        }
        // A bind with a name and no password succeeds at many servers, and means nothing.
        if bindName != nil, bindPassword.map({ $0.count == 0 }) ?? true { throw Defect(text: "bind_dn needs a password: write bind_password_file = ...") }
        timeout = nanoseconds("timeout", 10)
        connectTimeout = nanoseconds("connect_timeout", 3)
        searchWorkers = number("search_connections", 4, 1...64)
        bindWorkers = number("bind_connections", 4, 1...64)
        queue = number("queue", 256, 1...100_000)

        let preset = text("schema") ?? DirectorySchema.Preset.posix.rawValue
        guard let preset = DirectorySchema.Preset(rawValue: preset) else { throw Defect(text: "there is no schema \(preset)") }
        schema = DirectorySchema(preset)
        let base = try required("base")
        userBase = text("user_base") ?? base
        groupBase = text("group_base") ?? base
        userName = text("user_dn")
        func filter(_ key: String, _ needed: Character, _ path: WritableKeyPath<DirectorySchema, String?>) throws(Defect) {
            guard let value = text(key) else { return }
            guard value.lowercased() != "no" else { return schema[keyPath: path] = nil }
            if let complaint = FilterText.complaint(about: value, needed: needed) { throw Defect(text: "\(key) \(complaint)") }
            guard FilterText.isBalanced(value) else { throw Defect(text: "\(key) is no filter: its parentheses do not match") }
            schema[keyPath: path] = value
        }
        var holder: String? = schema.userFilter
        if let value = text("user_filter") {
            if let complaint = FilterText.complaint(about: value, needed: "u") { throw Defect(text: "user_filter \(complaint)") }
            guard FilterText.isBalanced(value) else { throw Defect(text: "user_filter is no filter: its parentheses do not match") }
            holder = value
        }
        schema.userFilter = holder ?? schema.userFilter
        if let userName, let complaint = FilterText.complaint(about: userName, needed: "u") { throw Defect(text: "user_dn \(complaint)") }
        try filter("group_filter", "d", \.groupFilter)
        try filter("group_nested_filter", "d", \.nestedGroupFilter)
        schema.userAttribute = text("user_attribute") ?? schema.userAttribute
        schema.groupNameAttribute = text("group_name_attribute") ?? schema.groupNameAttribute
        schema.ntHashAttribute = text("nt_hash_attribute").map { $0.lowercased() == "no" ? nil : $0 } ?? schema.ntHashAttribute
        schema.memberOfAttribute = text("member_of_attribute").map { $0.lowercased() == "no" ? nil : $0 } ?? schema.memberOfAttribute
        schema.stripsDomain = flag("strip_domain", schema.stripsDomain)
        schema.lockTime = text("lock_time").flatMap { Self.seconds($0) }.map { Int64(clamping: $0) } ?? 0
        if let name = text("disabled_attribute") { schema.checks = schema.checks.filter { if case .disabled = $0 { false } else { true } } + [.disabled(name)] }
        if let name = text("locked_attribute") { schema.checks = schema.checks.filter { if case .lockedTime = $0 { false } else { true } } + [.lockedTime(name)] }
        if let name = text("expiry_attribute") {
            let format = text("expiry_format").flatMap { DirectoryTime.Format(rawValue: $0.lowercased()) } ?? .generalized
            schema.checks = schema.checks.filter { if case .expiry = $0 { false } else { true } } + [.expiry(name, format)]
        }
    }

    /// Seconds, or with s, m, h, d.
    static func seconds(_ text: String) -> UInt64? {
        let units: [Character: UInt64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let last = text.last else { return nil }
        guard let unit = units[last] else { return UInt64(text) }
        return UInt64(text.dropLast()).flatMap {
            let (product, overflows) = $0.multipliedReportingOverflow(by: unit); return overflows ? nil : product
        }
    }

    private static func server(_ uri: String, startsTLS: Bool) throws(Defect) -> Server {
        var parsed: UnsafeMutablePointer<LDAPURLDesc>?
        guard ldap_url_parse(uri, &parsed) == LDAP_SUCCESS, let parsed else { throw Defect(text: "uri \(uri) is none: write ldaps://host, ldap://host or ldapi://path") }
        defer { ldap_free_urldesc(parsed) }
        let scheme = String(cString: parsed.pointee.lud_scheme)
        let host = parsed.pointee.lud_host.map { String(cString: $0) } ?? ""
        let port = UInt16(exactly: parsed.pointee.lud_port) ?? 0
        switch scheme.lowercased() {
        case "ldapi": return Server(uri: uri, host: host.isEmpty ? "/var/run/slapd/ldapi" : host, port: 0, transport: .local)
        case "ldap", "ldaps":
            guard !host.isEmpty else { throw Defect(text: "uri \(uri) names no host") }
            let isTLS = scheme.lowercased() == "ldaps"
            return Server(uri: uri, host: host, port: port == 0 ? (isTLS ? 636 : 389) : port, transport: isTLS ? .tls : startsTLS ? .startTLS : .plain)
        default: throw Defect(text: "uri \(uri) has a scheme that is not there: write ldaps://, ldap:// or ldapi://")
        }
    }

    /// The first line of a file that others must not be able to read.
    private static func secret(_ host: Host, file: String) throws(Defect) -> SecretCopy {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { throw Defect(text: "bind_password_file \(file) cannot be read: \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw Defect(text: "bind_password_file \(file) is no regular file") }
        guard status.st_mode & 0o007 == 0 else { throw Defect(text: "bind_password_file \(file) can be read or written by everybody: chmod 0600 \(file)") }
        var bytes = [UInt8](repeating: 0, count: 1024)
        defer { bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { wipe(base, $0.count) } } }
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0, count < bytes.count else { throw Defect(text: "bind_password_file \(file) is empty or longer than \(bytes.count - 1) bytes") }
        let length = bytes.prefix(count).firstIndex { $0 == 10 || $0 == 13 } ?? count
        guard let secret = bytes.withUnsafeBytes({ SecretCopy(host, UnsafeRawBufferPointer(rebasing: $0[..<length])) }) else { throw Defect(text: "there is no memory for a secret") }
        return secret
    }
}
