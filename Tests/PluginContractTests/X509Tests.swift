// The X509 plugin through the loader's view of it: what it reads, what it signs, what it believes, and the reasons that it gives.
// RFC 7296 sections 2.15, 3.6 and 3.7, RFC 7427.

import Foundation
import Gateway
@testable import IKECore
import IKECrypto
import IKEWire
import TestSupport
import Testing

@Suite struct X509Tests {
    static let folder = Vectors.folder.appendingPathComponent("certificates")
    static let later = Built.services.now + 60_000_000_000
    static let none: SecretLookUp = { _, _ in false }

    static func read(_ name: String, trusted: TrustedPart = .nothing, passphrase: String = "") throws -> [Credential] {
        let reader = try #require(Built.plugins.credentialReader)
        let file = Array(try Data(contentsOf: folder.appendingPathComponent(name))), secret = Array(passphrase.utf8)
        var problem: CredentialProblem?, items: [Credential] = []
        do throws(CredentialProblem) { items = try reader.read(file.span, passphrase: secret.span, origin: name, trusted: trusted) } catch { problem = error }
        if let problem { throw problem }
        return items
    }

    static func der(_ name: String) throws -> [UInt8] { try #require(try read(name + ".pem").first).der }

    /// What one end has: its own certificate with its key, and what it trusts.
    struct End {
        var items: [Credential] = []
        var local = CertificatePolicy()
        var remote = CertificatePolicy()

        init(own: String? = nil, trusts: [String] = ["root"], knows: [String] = ["sub"]) throws {
            if let own {
                items += try X509Tests.read(own + ".pem") + X509Tests.read(own + ".key")
                local.certificates = [try X509Tests.der(own)]
            }
            for name in trusts { items += try X509Tests.read(name + ".pem", trusted: .authorities) }
            for name in knows { items += try X509Tests.read(name + ".pem") }
        }
        var snapshot: CredentialSnapshot { CredentialSnapshot(items: items, authorities: []) }
    }

    static let east = Identification(kind: .fqdn, data: Array("east.example".utf8)), west = Identification(kind: .fqdn, data: Array("west.example".utf8))

    static func request(_ end: End, local: Identification = east, remote: Identification = west, hashes: [UInt16] = [2, 3, 4, 5], weBegan: Bool = false) throws -> AuthenticationRequest {
        let prf = try #require(try Built.registry("openssl").prf(.prfHMACSHA256))
        var request = AuthenticationRequest(
            method: "pubkey", connection: "office", local: local, remote: remote, prf: prf, message: (0..<300).map { UInt8(truncatingIfNeeded: $0) }, nonce: [UInt8](repeating: 7, count: 32),
            macedIdentity: [UInt8](repeating: 9, count: prf.outputLength))
        (request.localCertificates, request.remoteCertificates, request.peerHashes, request.isInitiator) = (end.local, end.remote, hashes, weBegan)
        return request
    }

    static func sign(_ end: End, hashes: [UInt16] = [2, 3, 4, 5], local: Identification = east, _ change: (inout AuthenticationRequest) -> Void = { _ in }) throws -> (Authentication, [Certificate]) {
        let method = try #require(Built.plugins.authMethod(named: "pubkey"))
        var request = try request(end, local: local, hashes: hashes)
        change(&request)
        let made = try method.signWithCertificates(request, deadline: later, credentials: end.snapshot, secret: none)
        return (made.authentication, made.certificates)
    }

    /// The reasons of a refusal; nil where the peer is believed.
    static func judge(
        _ end: End, _ authentication: Authentication, _ certificates: [Certificate], of identity: Identification = east, hashes: [UInt16] = [2, 3, 4, 5], weBegan: Bool = false
    ) throws -> [String]? {
        let method = try #require(Built.plugins.authMethod(named: "pubkey"))
        var request = try request(end, local: west, remote: identity, hashes: hashes, weBegan: weBegan)
        request.peerCertificates = certificates
        var failure: JobFailure?
        do throws(JobFailure) { try method.verify(request, authentication, deadline: later, credentials: end.snapshot, secret: none) } catch { failure = error }
        guard let failure else { return nil }
        guard case .refused(let reasons) = failure else { throw failure }
        return reasons
    }

    @Test func itReadsWhatPeopleWantToSee() throws {
        let certificate = try #require(try Self.read("ecdsa.pem").first)
        #expect(certificate.kind == .certificate && !certificate.facts.isAuthority && certificate.facts.keyType == "ECDSA" && certificate.facts.keyBits == 256)
        #expect("\(Identification(kind: .derDN, data: certificate.facts.subject))" == "C=CH, O=Martlet Tests, CN=east.example")
        #expect(certificate.facts.names.map(\.description) == ["east.example", "second.example", "east@example.org", "192.0.2.1", "2001:db8::1"])
        #expect(certificate.facts.notBefore == 1_577_836_800)
        let key = try #require(try Self.read("ecdsa.key").first)
        #expect(key.kind == .privateKey && key.facts.keyID == certificate.facts.keyID && key.facts.keyID.count == 20)
        // A private key is never handed out again.
        #expect(key.der.isEmpty)
        #expect(try Self.read("root.pem").first?.facts.isAuthority == true)
        #expect(try Self.read("root.crl").first?.kind == .crl)
        #expect(try Self.read("direct.p12", passphrase: "swordfish").map(\.kind) == [.privateKey, .certificate, .certificate])
        #expect(throws: CredentialProblem.self) { try Self.read("encrypted.key", passphrase: "wrong") }
        #expect(throws: CredentialProblem.self) { try Self.read("make.py") }
    }

    @Test(arguments: ["ecdsa", "ecdsa384", "ecdsa521", "rsa", "ed25519", "ed448"]) func whatOneEndSignsTheOtherBelieves(_ name: String) throws {
        let judge = try End(knows: [])
        let (made, certificates) = try Self.sign(End(own: name))
        #expect(made.method == .digitalSignature)
        // Its own, and the authority between it and the root.
        #expect(certificates.map(\.data) == [try Self.der(name), try Self.der("sub")] && certificates.allSatisfy { $0.encoding == 4 })
        #expect(try Self.judge(judge, made, certificates) == nil)
        // In another order, and with others between: RFC 7296 section 3.6 has the first be the signer's, and some peers do not.
        let stray = Certificate(encoding: 4, data: try Self.der("other")), damaged = Certificate(encoding: 4, data: [0x30, 3, 1])
        #expect(try Self.judge(judge, made, [stray, damaged] + certificates.reversed()) == nil)
        #expect(try Self.judge(judge, made, Array(certificates.prefix(1)))?.first?.contains("is missing") == true)
        #expect(try Self.judge(judge, made, [])?.first?.contains("sent no certificate") == true)
        #expect(try Self.judge(judge, Authentication(method: made.method, data: Array(made.data.dropLast())), certificates)?.first?.contains("no signature by the key") == true)
    }

    @Test func aPeerWithoutRFC7427GetsTheOlderMethods() throws {
        for (name, method) in [("ecdsa", 9), ("ecdsa384", 10), ("ecdsa521", 11), ("rsa", 1)] as [(String, UInt8)] {
            let (made, certificates) = try Self.sign(End(own: name), hashes: [])
            #expect(made.method.rawValue == method)
            #expect(try Self.judge(End(knows: []), made, certificates, hashes: []) == nil, "\(name)")
        }
        // SHA-1 is not for a peer that knows better.
        let (made, certificates) = try Self.sign(End(own: "rsa"), hashes: [])
        #expect(try Self.judge(End(knows: []), made, certificates)?.first?.contains("SHA-1") == true)
        #expect(throws: JobFailure.self) { try Self.sign(End(own: "ed25519"), hashes: []) }
    }

    @Test func anIdentityOfAnotherIsNotBelieved() throws {
        let (made, certificates) = try Self.sign(End(own: "ecdsa"))
        let judge = try End(knows: [])
        for name in ["second.example"] { #expect(try Self.judge(judge, made, certificates, of: Identification(kind: .fqdn, data: Array(name.utf8))) == nil) }
        for identity in [
            Identification(kind: .fqdn, data: Array("west.example".utf8)), Identification(kind: .rfc822, data: Array("east.example".utf8)), Identification(kind: .ipv4, data: [192, 0, 2, 9]),
            Identification(kind: .keyID, data: Array("east.example".utf8)), Identification(kind: .derDN, data: []), Identification(kind: .derDN, data: [0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        ] {
            #expect(try Self.judge(judge, made, certificates, of: identity)?.first?.contains("of another name") == true, "\(identity)")
        }
        let subject = try #require(try Self.read("ecdsa.pem").first).facts.subject
        #expect(try Self.judge(judge, made, certificates, of: Identification(kind: .derDN, data: subject)) == nil)
    }

    @Test(
        arguments: [
            ("expired", "has expired"), ("future", "is not yet valid"), ("code-signing", "for another use"), ("of-other", "leads to no authority"), ("revoked", "was revoked"),
            ("by-no-authority", "which is no authority"), ("violating", "violates a name constraint"),
        ]) func aReasonIsGivenForTheLog(_ name: String, _ reason: String) throws
    {
        let own = try End(own: name)
        var judge = try End(knows: [])
        judge.items += try Self.read("root.crl")
        let (made, sent) = try Self.sign(own)
        let certificates = sent + ["bound", "no-authority"].map { Certificate(encoding: 4, data: (try? Self.der($0)) ?? []) }
        let said = try Self.judge(judge, made, certificates)
        #expect(said?.first?.contains(reason) == true, "\(said ?? [])")
    }

    @Test func aGatewayNeedsServerAuthAndAClientDoesNot() throws {
        let (made, certificates) = try Self.sign(End(own: "client"))
        #expect(try Self.judge(End(), made, certificates) == nil)
        #expect(try Self.judge(End(), made, certificates, weBegan: true)?.first?.contains("clientAuth") == true)
    }

    @Test func whatTheConnectionNamesIsEnforced() throws {
        let (made, certificates) = try Self.sign(End(own: "direct"))
        var judge = try End(trusts: ["root", "other"])
        judge.remote.authorities = [try Self.der("other")]
        #expect(try Self.judge(judge, made, certificates)?.first?.contains("another authority") == true)
        judge.remote.authorities = [try Self.der("root")]
        #expect(try Self.judge(judge, made, certificates) == nil)
        judge.remote.certificates = [try Self.der("ecdsa")]
        #expect(try Self.judge(judge, made, certificates)?.first?.contains("none of those") == true)
        // A certificate that is configured needs no authority, and need not be sent.
        var pinned = try End(trusts: [])
        pinned.remote.certificates = [try Self.der("direct")]
        #expect(try Self.judge(pinned, made, certificates) == nil)
        #expect(try Self.judge(pinned, made, []) == nil)
        pinned.remote.revocation = .strict
        #expect(try Self.judge(pinned, made, certificates)?.first?.contains("is not known") == true)
        var raw = try End(trusts: [])
        raw.remote.publicKeys = [try #require(try Self.read("direct.pub").first).der]
        #expect(try Self.judge(raw, made, []) == nil)
        let (others, theirs) = try Self.sign(End(own: "ecdsa"))
        #expect(try Self.judge(raw, others, theirs)?.first?.contains("`pubkeys`") == true)
        raw.remote.auth = "pubkey-ecdsa-384"
        #expect(try Self.judge(raw, made, [])?.first?.contains("384") == true)
    }

    @Test func aHashAndAURLAreNeverFollowed() throws {
        let (made, _) = try Self.sign(End(own: "direct"))
        let url = Certificate(encoding: 12, data: [UInt8](repeating: 1, count: 20) + Array("http://127.0.0.1/x".utf8))
        let said = try Self.judge(End(), made, [url])
        #expect(said?.contains { $0.contains("hash and a URL") } == true)
    }

    @Test func theCertificateGoesToWhomItShould() throws {
        func count(_ policy: SendCertificate, asked: Bool, weBegan: Bool) throws -> Int {
            try Self.sign(End(own: "ecdsa")) { request in
                (request.sendCertificate, request.isInitiator) = (policy, weBegan)
                if asked { request.peerRequests = (0..<50).map { CertificateRequest(encoding: 4, authorities: [UInt8](repeating: UInt8($0), count: 20)) } }
            }.1.count
        }
        // Apple never asks, and wants it all the same: a responder sends it unasked.
        #expect(try count(.ifasked, asked: false, weBegan: false) == 2)
        #expect(try count(.ifasked, asked: false, weBegan: true) == 0)
        #expect(try count(.ifasked, asked: true, weBegan: true) == 2)
        #expect(try count(.always, asked: false, weBegan: true) == 2)
        #expect(try count(.never, asked: true, weBegan: false) == 0)
    }

    @Test func ofSeveralCertificatesTheOneOfTheAuthorityThatWasNamedGoes() throws {
        var end = try End(own: "ecdsa", trusts: ["root", "other"])
        end.items += try Self.read("of-other.pem") + Self.read("of-other.key")
        end.local.certificates.append(try Self.der("of-other"))
        for (name, sent) in [("other", "of-other"), ("root", "ecdsa"), ("sub", "ecdsa")] {
            let hash = try #require(try Self.read(name + ".pem").first).facts.keyInfoID
            let (_, certificates) = try Self.sign(end) { $0.peerRequests = [CertificateRequest(encoding: 4, authorities: [UInt8](repeating: 1, count: 20) + hash)] }
            #expect(certificates.first?.data == (try Self.der(sent)), "\(name)")
        }
    }

    @Test func withoutAKeyNothingIsProven() throws {
        var end = try End(own: "ecdsa")
        end.items.removeAll { $0.kind == .privateKey }
        #expect {
            try Self.sign(end)
        } throws: { error in
            if case .unprovable(let reasons)? = error as? JobFailure { reasons.first?.contains("no private key") == true } else { false }
        }
    }

    @Test func aSnapshotHoldsEverythingOnce() throws {
        let root = try Self.read("root.pem"), trusted = try Self.read("root.pem", trusted: .authorities)
        let snapshot = CredentialSnapshot(items: root + trusted + root + (try Self.read("ecdsa.pem")), authorities: [])
        #expect(snapshot.items.count == 2 && snapshot.items.contains { $0.isTrusted })
        #expect(snapshot.authorityHashes == root.first?.facts.keyInfoID)
        #expect(CredentialSnapshot(items: [], authorities: []).generation != snapshot.generation)
    }
}
