// CERT and CERTREQ payloads: what is sent, what is kept of a peer's, and identities that are names. RFC 7296 sections 3.5, 3.6 and 3.7.

@testable import IKECore
import IKEWire
import TestSupport
import Testing

@Suite struct Certificates {
    static func connection(_ method: String = "pubkey", _ change: (inout Connection) -> Void = { _ in }) -> Connection {
        var connection = Connection(name: "office", proposals: [])
        connection.remote = AuthenticationPolicy(method: method)
        change(&connection)
        return connection
    }

    static func hash(_ number: UInt8) -> [UInt8] { [UInt8](repeating: number, count: 20) }

    static func named(_ connections: [Connection], _ trusted: [UInt8]) -> [UInt8]? {
        let payloads = CertificatePayloads.requests(connections, trusted: trusted)
        guard case .certificateRequest(let request)? = payloads.first else { return nil }
        #expect(payloads.count == 1 && request.encoding == 4)
        return request.authorities
    }

    @Test func authoritiesAreNamedByTheirHashes() {
        let trusted = Self.hash(1) + Self.hash(2) + Self.hash(1)
        #expect(Self.named([Self.connection()], trusted) == Self.hash(1) + Self.hash(2))
        #expect(Self.named([Self.connection { $0.remote.certificates.authorityHashes = Self.hash(7) }], trusted) == Self.hash(7))
        // Which connection a peer means is not known yet: those of all.
        #expect(Self.named([Self.connection { $0.remote.certificates.authorityHashes = Self.hash(7) }, Self.connection()], trusted) == Self.hash(7) + Self.hash(1) + Self.hash(2))
        #expect(Self.named([Self.connection("psk")], trusted) == nil)
        #expect(Self.named([Self.connection { $0.sendCertificateRequests = false }], trusted) == nil)
        #expect(Self.named([Self.connection()], []) == nil)
        #expect(Self.named([Self.connection()], (0..<200).flatMap { Self.hash(UInt8($0)) })?.count == 48 * 20)
    }

    @Test func whatIsKeptOfAPeersIsBounded() {
        let certificates = (0..<50).map { Payload.certificate(Certificate(encoding: 4, data: [UInt8($0)])) }
        #expect(certificates.certificates.map(\.data) == (0..<32).map { [UInt8($0)] })
        let small = (0..<100).map { Payload.certificateRequest(CertificateRequest(encoding: 4, authorities: Self.hash(UInt8($0)))) }
        #expect(small.certificateRequests.count == 64)
        let large = (0..<10).map { _ in Payload.certificateRequest(CertificateRequest(encoding: 4, authorities: [UInt8](repeating: 0, count: 6_000))) }
        #expect(large.certificateRequests.count == 2)
    }

    static func name(_ text: String) -> Identification { Identification(kind: .derDN, data: DistinguishedName(text: text)?.der ?? []) }

    @Test func namesAreComparedByValue() throws {
        let name = Self.name("C=CH, O=Example, CN=east")
        #expect(name.description == "C=CH, O=Example, CN=east")
        for same in ["C=ch,O=EXAMPLE,CN=East", "/C=CH/O=Example/CN=east", "C=CH, O= Example , CN=east"] { #expect(name.matches(Self.name(same)), "\(same)") }
        for other in ["C=CH, O=Example, CN=west", "O=Example, C=CH, CN=east", "C=CH, O=Example", "C=CH, O=Example, CN=east, CN=east", "C=CH, O=Example, OU=east"] {
            #expect(!name.matches(Self.name(other)), "\(other)")
        }
        // The same text as UTF8String.
        var bytes = name.data
        let place = try #require(bytes.lastIndex(of: 0x13))
        bytes[place] = 0x0c
        #expect(name.matches(Identification(kind: .derDN, data: bytes)))
        #expect(name.lowercased == Identification(kind: .derDN, data: bytes).lowercased)
        bytes[place] = 0x04
        #expect(!name.matches(Identification(kind: .derDN, data: bytes)))
    }

    @Test func aWildcardStandsForAnyValueAndForNoAttribute() throws {
        let wildcards = try #require(DistinguishedName(text: "C=CH, O=Example, CN=*"))
        let pattern = IdentityPattern.name(wildcards)
        #expect(pattern.matches(Self.name("C=CH, O=Example, CN=anybody")))
        #expect(!pattern.matches(Self.name("C=CH, O=Other, CN=anybody")))
        #expect(!pattern.matches(Self.name("C=CH, O=Example, OU=x, CN=anybody")))
        #expect(!pattern.matches(Identification(kind: .fqdn, data: Array("anybody".utf8))))
        // An asterisk that a peer shows is an asterisk.
        #expect(!IdentityPattern.exactly(Self.name("C=CH, CN=x")).matches(Self.name("C=CH, CN=*")))
    }

    @Test func whatIsNoNameIsNone() {
        let der = Self.name("C=CH, O=Example, CN=east").data
        for length in 0..<der.count { #expect(DistinguishedName(der: Array(der.prefix(length))) == nil) }
        #expect(DistinguishedName(der: der + [0]) == nil)
        for text in ["", "east", "X=1", "CN=", "CN=a,,O=b", "CN=a\\", "=x"] { #expect(DistinguishedName(text: text) == nil, "\(text)") }
        #expect(DistinguishedName(text: "CN=a\\, b, O=C++")?.description == "CN=a\\, b, O=C++")
        #expect(DistinguishedName(der: DistinguishedName(text: "CN=\u{e4}")?.der ?? [])?.description == "CN=\u{e4}")
    }
}
