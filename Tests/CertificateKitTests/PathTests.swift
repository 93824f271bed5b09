// Paths: what is believed, and the reason of what is not.

import CertificateKit
import Testing

@Suite struct PathTests {
    static func anchors(_ trusted: [String] = ["root"], others: [String] = [], lists: [String] = []) throws -> Anchors {
        Anchors(trusted: try trusted.map(Vector.certificate), others: try others.map(Vector.certificate), lists: try lists.map(Vector.list))
    }

    static func rules(_ change: (inout PathRules) -> Void = { _ in }) -> PathRules {
        var rules = PathRules(time: now)
        change(&rules)
        return rules
    }

    static func refusal(_ leaf: String, sent: [String] = [], _ anchors: Anchors, _ rules: PathRules) throws -> String? {
        do {
            _ = try anchors.validate(try Vector.certificate(leaf), sent: try sent.map(Vector.certificate), rules)
            return nil
        } catch let error as Refusal { return error.reason }
    }

    @Test(arguments: ["ecdsa", "ecdsa384", "ecdsa521", "rsa", "ed25519", "ed448"]) func aPathOverAnIntermediateAuthorityHolds(_ name: String) throws {
        let path = try Self.anchors().validate(try Vector.certificate(name), sent: [try Vector.certificate("sub")], Self.rules())
        #expect(path.map(\.subjectText).last?.contains("CN=Root") == true && path.count == 3)
        // Known here, it need not be sent.
        #expect(try Self.refusal(name, try Self.anchors(others: ["sub"]), Self.rules()) == nil)
        #expect(try Self.refusal(name, try Self.anchors(["root", "sub"]), Self.rules()) == nil)
        // An authority that is trusted ends a path, without its own.
        #expect(try Self.refusal(name, try Self.anchors(["sub"]), Self.rules()) == nil)
        #expect(try Self.refusal(name, try Self.anchors(), Self.rules())?.contains("is missing") == true)
    }

    @Test(
        arguments: [
            ("expired", "has expired: it was valid until 2020-02-01 00:00:00 UTC"), ("future", "is not yet valid: it will be from 2110-01-01"),
            ("code-signing", "its extended key usage (EKU) is codeSigning"),
            ("of-other", "leads to no authority that is trusted"), ("violating", "violates a name constraint"), ("by-no-authority", "which is no authority"),
            ("client", "its extended key usage (EKU) is clientAuth"),
        ]) func aCertificateIsRefusedForItsOwnReason(_ name: String, _ reason: String) throws
    {
        let said = try Self.refusal(name, sent: ["bound", "no-authority"], try Self.anchors(), Self.rules())
        #expect(said?.contains(reason) == true, "\(said ?? "believed")")
    }

    @Test func aClientNeedsNoServerAuth() throws {
        #expect(try Self.refusal("client", try Self.anchors(), Self.rules { $0.purposes = PathRules.clientPurposes }) == nil)
        #expect(try Self.refusal("plain", try Self.anchors(), Self.rules()) == nil)
    }

    @Test func theConnectionsAuthoritiesArePartOfThePath() throws {
        let other = try Vector.certificate("other"), root = try Vector.certificate("root"), sub = try Vector.certificate("sub")
        let anchors = try Self.anchors(["root", "other"])
        #expect(try Self.refusal("direct", anchors, Self.rules { $0.authorities = [root] }) == nil)
        #expect(try Self.refusal("direct", anchors, Self.rules { $0.authorities = [other] })?.contains("another authority (CA)") == true)
        #expect(try Self.refusal("direct", anchors, Self.rules { $0.authorities = [sub] })?.contains("another authority (CA)") == true)
        #expect(try Self.refusal("ecdsa", sent: ["sub"], anchors, Self.rules { $0.authorities = [sub] }) == nil)
        // Named by the connection, it is trusted for that connection.
        #expect(try Self.refusal("of-other", try Self.anchors(), Self.rules { $0.authorities = [other] }) == nil)
        #expect(try Self.refusal("direct", anchors, Self.rules { $0.authorityIdentity = IKEIdentity(type: IKEIdentity.name, data: root.subject) }) == nil)
        #expect(try Self.refusal("direct", anchors, Self.rules { $0.authorityIdentity = IKEIdentity(type: IKEIdentity.name, data: other.subject) })?.contains("`ca_id`") == true)
    }

    @Test func everyPolicyThatIsAskedForIsThere() throws {
        let one = "1.3.6.1.4.1.99999.1", two = "1.3.6.1.4.1.99999.2", three = "1.3.6.1.4.1.99999.3"
        for (policies, isGood) in [([one], true), ([one, two], true), ([three], false), ([one, three], false)] {
            #expect(try (Self.refusal("policy", try Self.anchors(), Self.rules { $0.policies = policies }) == nil) == isGood, "\(policies)")
        }
        #expect(try Self.refusal("direct", try Self.anchors(), Self.rules { $0.policies = [one] })?.contains("certificate policies") == true)
    }

    @Test func aListSaysWhatWasRevoked() throws {
        let anchors = try Self.anchors(lists: ["root.crl"])
        #expect(try Self.refusal("revoked", anchors, Self.rules())?.contains("was revoked on") == true)
        #expect(try Self.refusal("revoked", try Self.anchors(), Self.rules()) == nil)
        #expect(try Self.refusal("direct", anchors, Self.rules { $0.revocation = .strict }) == nil)
        #expect(try Self.refusal("direct", try Self.anchors(), Self.rules { $0.revocation = .strict })?.contains("there is no CRL of") == true)
        // Of the authority between nobody has said anything.
        #expect(try Self.refusal("ecdsa", sent: ["sub"], anchors, Self.rules { $0.revocation = .strict })?.contains("there is no CRL of") == true)
        // A century later the list is out of date, and the certificate has expired: before that, only the list.
        #expect(try Self.refusal("revoked", anchors, PathRules(time: 1_600_000_000))?.contains("was revoked") == true)
    }

    @Test func aListOfAnotherKeySaysNothing() throws {
        // The same octets with one bit of the signature changed.
        var der = try Vector.list("root.crl").der
        der[der.count - 1] ^= 1
        let forged = try #require(RevocationList(der: der))
        let anchors = Anchors(trusted: [try Vector.certificate("root")], others: [], lists: [forged])
        #expect(try Self.refusal("revoked", anchors, Self.rules()) == nil)
        #expect(try Self.refusal("direct", anchors, Self.rules { $0.revocation = .strict })?.contains("is not signed by the key of its authority") == true)
    }
}
