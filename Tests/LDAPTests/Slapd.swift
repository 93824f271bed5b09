// An OpenLDAP server of the test's own, on loopback, with the accounts that the tests ask for; and servers that do not answer.

import Foundation
import Testing

final class Slapd: Sendable {
    let folder: URL
    let port: UInt16
    let securePort: UInt16
    var uri: String { "ldap://127.0.0.1:\(port)" }
    var secureURI: String { "ldaps://127.0.0.1:\(securePort)" }
    var authority: String { folder.appendingPathComponent("ca.pem").path }
    var anotherAuthority: String { folder.appendingPathComponent("other.pem").path }
    private let standardInput = Pipe()

    static let base = "dc=example,dc=org"
    static let service = "uid=svc,ou=services,dc=example,dc=org"
    static let servicePassword = "service-secret-1"
    /// The NT hash of "password".
    static let hash: [UInt8] = [0x88, 0x46, 0xf7, 0xea, 0xee, 0x8f, 0xb1, 0x17, 0xad, 0x06, 0xbd, 0xd8, 0x30, 0xb7, 0x58, 0x6c]

    /// One for all tests. It ends with the process that reads nothing more into its shell's standard input.
    static let shared = Result { try Slapd() }

    private init() throws {
        folder = URL(fileURLWithPath: NSTemporaryDirectory()).appendingPathComponent("martlet-slapd-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: folder.appendingPathComponent("db"), withIntermediateDirectories: true)
        (port, securePort) = (try Self.freePort(), try Self.freePort())
        let tls = [
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=Test-CA",
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.pem -days 30 -subj /CN=Other-CA",
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=directory",
            "printf 'subjectAltName=IP:127.0.0.1' >extensions",
            "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out server.pem",
            // Others of the same key, each with one fault.
            "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -extfile extensions -out expired.pem",
            "printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=clientAuth' >client",
            "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile client -out client.pem",
        ]
        try run("/bin/sh", ["-ec", tls.joined(separator: "\n")])
        try Self.configuration(folder).write(to: folder.appendingPathComponent("slapd.conf"), atomically: true, encoding: .utf8)
        try Self.entries.write(to: folder.appendingPathComponent("seed.ldif"), atomically: true, encoding: .utf8)
        try run("/usr/sbin/slapadd", ["-f", "slapd.conf", "-l", "seed.ldif"])
        let server = Process()
        server.executableURL = URL(fileURLWithPath: "/bin/sh")
        server.currentDirectoryURL = folder
        server.arguments = ["-c", "/usr/sbin/slapd -f slapd.conf -h '\(uri) \(secureURI)' -d 0 >slapd.log 2>&1 & read line; kill -9 $!; rm -rf '\(folder.path)'"]
        server.standardInput = standardInput
        // Whoever reads what the tests say must not wait for the server's end. Its signals are those that a test's thread blocks, so that only SIGKILL ends it.
        server.standardOutput = FileHandle.nullDevice
        server.standardError = FileHandle.nullDevice
        try server.run()
        try waitUntilItListens()
    }

    private func run(_ program: String, _ arguments: [String]) throws {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.standardError = output
        process.standardOutput = output
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(program): \(String(decoding: text, as: UTF8.self))")
    }

    private func waitUntilItListens() throws {
        for _ in 0..<600 {
            if let socket = try? Sockets.connect(port: securePort) {
                close(socket)
                return
            }
            usleep(100_000)
        }
        Issue.record("slapd does not start: \((try? String(contentsOf: folder.appendingPathComponent("slapd.log"), encoding: .utf8)) ?? "")")
    }

    static func freePort() throws -> UInt16 {
        let (socket, port) = try Sockets.listen()
        close(socket)
        return port
    }

    private static func configuration(_ folder: URL) -> String {
        let samba = [("25", "sambaNTPassword", "26"), ("26", "sambaAcctFlags", "26"), ("20", "sambaSID", "26"), ("30", "sambaKickoffTime", "27")]
        // Of other servers: only their names and forms count here. 1.3.6.1.4.1.32473 is for examples (RFC 5612).
        let others = ["sAMAccountName", "userAccountControl", "accountExpires", "lockoutTime", "pwdLastSet", "nsAccountLock", "objectCategory", "userPrincipalName", "ipaNTHash"]
        return """
            include /etc/ldap/schema/core.schema
            include /etc/ldap/schema/cosine.schema
            include /etc/ldap/schema/inetorgperson.schema
            include /etc/ldap/schema/nis.schema
            \(samba.map { "attributetype ( 1.3.6.1.4.1.7165.2.1.\($0.0) NAME '\($0.1)' SYNTAX 1.3.6.1.4.1.1466.115.121.1.\($0.2) SINGLE-VALUE )" }.joined(separator: "\n"))
            objectclass ( 1.3.6.1.4.1.7165.2.2.6 NAME 'sambaSamAccount' SUP top AUXILIARY MUST ( uid $ sambaSID ) MAY ( sambaNTPassword $ sambaAcctFlags $ sambaKickoffTime ) )
            \(others.enumerated().map { "attributetype ( 1.3.6.1.4.1.32473.1.\($0 + 1) NAME '\($1)' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )" }.joined(separator: "\n"))
            objectclass ( 1.3.6.1.4.1.32473.2.1 NAME 'otherAccount' SUP top AUXILIARY MAY ( \(others.joined(separator: " $ ")) ) )
            objectclass ( 1.3.6.1.4.1.32473.2.2 NAME 'user' SUP top AUXILIARY )
            modulepath /usr/lib/ldap
            moduleload back_mdb
            moduleload memberof
            moduleload ppolicy
            pidfile \(folder.path)/pid
            TLSCACertificateFile \(folder.path)/ca.pem
            TLSCertificateFile \(folder.path)/server.pem
            TLSCertificateKeyFile \(folder.path)/server.key
            database mdb
            suffix "\(base)"
            rootdn "cn=admin,\(base)"
            rootpw admin-secret-1
            directory \(folder.path)/db
            maxsize 67108864
            limits dn.exact="\(service)" size.soft=500 size.hard=500 size.prtotal=unlimited
            overlay memberof
            overlay ppolicy
            ppolicy_default "cn=default,ou=policies,\(base)"
            ppolicy_use_lockout
            access to attrs=userPassword by anonymous auth by * none
            access to attrs=sambaNTPassword by dn.exact="\(service)" read by * none
            access to * by dn.exact="\(service)" read by * none

            """
    }

    /// Everybody's password is "secret-" and the name but for those of whom the tests say something else.
    private static var entries: String {
        var text = ""
        func add(_ name: String, _ attributes: [(String, String)]) {
            func line(_ key: String, _ value: String) -> String { "\(key):: \(Data(value.utf8).base64EncodedString())\n" }
            text += line("dn", name) + attributes.map { line($0, $1) }.joined() + "\n"
        }
        add(base, [("objectClass", "dcObject"), ("objectClass", "organization"), ("o", "Example"), ("dc", "example")])
        for unit in ["people", "elsewhere", "groups", "services", "policies"] { add("ou=\(unit),\(base)", [("objectClass", "organizationalUnit"), ("ou", unit)]) }
        add(service, [("objectClass", "account"), ("objectClass", "simpleSecurityObject"), ("uid", "svc"), ("userPassword", servicePassword)])
        add(
            "cn=default,ou=policies,\(base)",
            [
                ("objectClass", "device"), ("objectClass", "pwdPolicy"), ("cn", "default"), ("pwdAttribute", "userPassword"), ("pwdLockout", "TRUE"), ("pwdMaxFailure", "3"),
                ("pwdLockoutDuration", "3600"),
            ])
        var number = 0
        func person(_ uid: String, _ more: [(String, String)] = [], name: String? = nil, unit: String = "people", password: String? = nil, hash: Bool = true) {
            number += 1
            var attributes = [
                ("objectClass", "inetOrgPerson"), ("objectClass", "sambaSamAccount"), ("objectClass", "otherAccount"), ("uid", uid), ("cn", "user\(number)"), ("sn", "x"),
                ("sambaSID", "S-1-\(number)"), ("userPassword", password ?? "secret-\(uid)"),
            ]
            if hash { attributes.append(("sambaNTPassword", "8846F7EAEE8FB117AD06BDD830B7586C")) }
            if !more.contains(where: { $0.0 == "sambaAcctFlags" }) { attributes.append(("sambaAcctFlags", "[U          ]")) }
            add("cn=\(name ?? "user\(number)"),ou=\(unit),\(base)", (name.map { _ in [("cn", "named, \(number)")] } ?? []) + attributes + more)
        }
        person(
            "alice",
            [
                ("memberOf", "cn=vpn,ou=groups,\(base)"), ("objectClass", "user"), ("objectCategory", "person"), ("userPrincipalName", "alice@corp.example"), ("sAMAccountName", "alice"),
                ("userAccountControl", "512"), ("accountExpires", "9223372036854775807"),
            ])
        person("dave", [("sambaAcctFlags", "[UD         ]"), ("sAMAccountName", "dave"), ("userAccountControl", "514")])
        person("erin", [("sambaAcctFlags", "[UL         ]"), ("sAMAccountName", "erin"), ("userAccountControl", "512"), ("lockoutTime", "132223104000000000")])
        person("peter", [("pwdAccountLockedTime", "000001010000Z")])
        person("judy", [("sambaKickoffTime", "1000000000"), ("sAMAccountName", "judy"), ("userAccountControl", "512"), ("accountExpires", "132223104000000000")])
        person("frank", [("sAMAccountName", "frank"), ("userAccountControl", "nonsense")], hash: false)
        person("jürgen", password: "pässwörd")
        person("heidi(x)*")
        person("ivan\\2a,+", name: "named\\, 9")
        person("mallory")
        person("guessed")
        person("bob")
        person("grace")
        let posix = [("objectClass", "posixAccount"), ("uidNumber", "1000"), ("gidNumber", "100"), ("homeDirectory", "/")]
        person("paul", posix + [("ipaNTHash", "8846F7EAEE8FB117AD06BDD830B7586C"), ("memberOf", "cn=vpn,ou=groups,\(base)")])
        person("pete", posix + [("objectClass", "shadowAccount"), ("shadowExpire", "10000")])
        person("petra", posix + [("nsAccountLock", "TRUE")])
        person("bulk")
        person("deep")
        for unit in ["people", "elsewhere"] {
            add(
                "uid=dup,ou=\(unit),\(base)",
                [
                    ("objectClass", "inetOrgPerson"), ("objectClass", "sambaSamAccount"), ("sambaSID", "S-1-\(unit)"), ("sambaAcctFlags", "[U          ]"), ("uid", "dup"), ("cn", "dup"),
                    ("sn", "dup"), ("userPassword", "secret-dup"),
                ])
        }
        func group(_ name: String, _ members: [String]) {
            add("cn=\(name),ou=groups,\(base)", [("objectClass", "groupOfNames"), ("cn", name.replacing("\\", with: ""))] + members.map { ("member", $0) })
        }
        func user(_ number: Int) -> String { "cn=user\(number),ou=people,\(base)" }
        add("cn=unix,ou=groups,\(base)", [("objectClass", "posixGroup"), ("cn", "unix"), ("gidNumber", "100"), ("memberUid", "paul")])
        group("vpn", [user(1), user(7), "cn=named\\, 9,ou=people,\(base)"])
        group("inner", [user(10), "cn=outer,ou=groups,\(base)"])
        group("outer", ["cn=inner,ou=groups,\(base)"])
        group("outermost", ["cn=outer,ou=groups,\(base)"])
        group("odd\\, one", [user(12)])
        // By its name alone another one.
        add("cn=looks,ou=groups,\(base)", [("objectClass", "groupOfNames"), ("cn", "cn=vpn,ou=groups,\(base)"), ("cn", "looks"), ("member", user(12))])
        // More than the server hands out at once, and deeper than anybody follows.
        for number in 0..<600 { group("bulk\(number)", [user(17)]) }
        for number in 0..<66 { group("deep\(number)", [number == 0 ? user(18) : "cn=deep\(number - 1),ou=groups,\(base)"]) }
        return text
    }
}

enum Sockets {
    private static func address(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    static func listen() throws -> (socket: Int32, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = address(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) | getsockname(descriptor, $0, &size) }
        }
        try #require(descriptor >= 0 && result == 0 && Glibc.listen(descriptor, 128) == 0)
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    static func connect(port: UInt16) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = address(port)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else {
            close(descriptor)
            throw POSIXError(.ECONNREFUSED)
        }
        return descriptor
    }
}

/// A server of TLS with one of the certificates in slapd's folder, of which more than the handshake is never asked.
final class TLSServer: Sendable {
    let port: UInt16
    private let standardInput = Pipe()

    init(_ slapd: Slapd, certificate: String) throws {
        port = try Slapd.freePort()
        let server = Process()
        server.executableURL = URL(fileURLWithPath: "/bin/sh")
        server.currentDirectoryURL = slapd.folder
        server.arguments = ["-c", "openssl s_server -accept 127.0.0.1:\(port) -cert \(certificate) -key server.key -quiet </dev/null >/dev/null 2>&1 & read line; kill -9 $!"]
        server.standardInput = standardInput
        server.standardOutput = FileHandle.nullDevice
        server.standardError = FileHandle.nullDevice
        try server.run()
        for _ in 0..<600 {
            if let socket = try? Sockets.connect(port: port) {
                close(socket)
                return
            }
            usleep(100_000)
        }
        Issue.record("openssl s_server does not start")
    }

    deinit { try? standardInput.fileHandleForWriting.close() }
}

/// A server that takes connections, answers the first message of each with `answer`, and says nothing more.
final class SilentServer: Sendable {
    let port: UInt16
    private let socket: Int32

    init(answer: [UInt8] = []) throws {
        (socket, port) = try Sockets.listen()
        let socket = socket
        let thread = Thread {
            while true {
                let client = accept(socket, nil, nil)
                guard client >= 0 else { return }
                guard !answer.isEmpty else { continue }
                var request = [UInt8](repeating: 0, count: 1024)
                guard read(client, &request, request.count) > 0 else { continue }
                _ = write(client, answer, answer.count)
            }
        }
        thread.start()
    }

    deinit {
        shutdown(socket, Int32(SHUT_RDWR))
        close(socket)
    }
}

/// Stands between the plugin and slapd: a connection whose first message is of the service account goes through, any other is taken and nothing more.
final class StallingProxy: Sendable {
    let port: UInt16
    private let socket: Int32
    private let stalled = DispatchSemaphore(value: 0)

    init(to server: UInt16) throws {
        (socket, port) = try Sockets.listen()
        let (socket, stalled) = (socket, stalled)
        Thread {
            while true {
                let client = accept(socket, nil, nil)
                guard client >= 0 else { return }
                Thread {
                    var first = [UInt8](repeating: 0, count: 4096)
                    let count = read(client, &first, first.count)
                    guard count > 0, String(decoding: first[..<count], as: UTF8.self).contains("uid=svc"), let behind = try? Sockets.connect(port: server) else {
                        if count > 0 { stalled.signal() }
                        return
                    }
                    _ = write(behind, first, count)
                    Thread { Self.copy(behind, client) }.start()
                    Self.copy(client, behind)
                }.start()
            }
        }.start()
    }

    private static func copy(_ from: Int32, _ to: Int32) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(from, &buffer, buffer.count)
            guard count > 0, write(to, buffer, count) == count else { break }
        }
        shutdown(to, Int32(SHUT_RDWR))
    }

    /// Until so many connections hang.
    func waitForStalled(_ count: Int) -> Bool { (0..<count).allSatisfy { _ in stalled.wait(timeout: .now() + 60) == .success } }

    deinit {
        shutdown(socket, Int32(SHUT_RDWR))
        close(socket)
    }
}
