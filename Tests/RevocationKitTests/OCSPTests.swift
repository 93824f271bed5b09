// Answers of OCSP: which are believed, and the reason of those that are not.

import CertificateKit
import COpenSSLX509
import Testing

@Suite struct OCSPTests {
    static func problem(_ responder: Responder, about name: String = "good", time: Int64 = Int64(time(nil)), revoked: String? = nil) throws -> String? {
        let request = try #require(OCSPRequest(about: try Vector.certificate(name), issuedBy: try Vector.certificate("root")))
        let revoked = try revoked.map { try Vector.certificate($0).der }
        do throws(OCSPProblem) {
            _ = try request.judge(responder.answer(request.der), time: time, leastRSA: 2048) { $0.der == revoked }
            return nil
        } catch { return error.reason }
    }

    @Test func theAuthorityAndWhomItHasNamedAreBelieved() throws {
        #expect(try Self.problem(Responder()) == nil)
        #expect(try Self.problem(Responder(signer: "responder", carries: ["responder"])) == nil)
        // RFC 5019: one that was made before the request has no nonce of it.
        #expect(try Self.problem(Responder(nonce: .none)) == nil)
        #expect(try Self.problem(Responder(nextUpdate: nil)) == nil)
    }

    /// RFC 6960 section 4.2.1: certificates in an answer are optional. One that is at hand will do, by the same rules.
    @Test func aResponderWhoseCertificateIsAtHandIsBelieved() throws {
        let request = try #require(OCSPRequest(about: try Vector.certificate("good"), issuedBy: try Vector.certificate("root")))
        for (name, isGood) in [("responder", true), ("impostor", false), ("foreign-responder", false), ("expired-responder", false)] {
            let answer = Responder(signer: name).answer(request.der), known = [try Vector.certificate("responder"), try Vector.certificate(name)]
            let said = try? request.judge(answer, time: Int64(time(nil)), leastRSA: 2048, responders: known)
            #expect((said?.status == .good) == isGood, "\(name)")
        }
    }

    @Test func revokedCounts() throws {
        let request = try #require(OCSPRequest(about: try Vector.certificate("bad"), issuedBy: try Vector.certificate("root")))
        let answer = try request.judge(Responder(status: V_OCSP_CERTSTATUS_REVOKED).answer(request.der), time: Int64(time(nil)), leastRSA: 2048)
        guard case .revoked(_, ": key compromise") = answer.status else {
            Issue.record("it says \(answer.status)")
            return
        }
    }

    @Test(arguments: [
        (Responder(signer: "impostor", carries: ["impostor"]), "no OCSPSigning"),
        (Responder(signer: "foreign-responder", carries: ["foreign-responder"]), "has not issued"),
        (Responder(signer: "other"), "not signed by"),
        // Its certificate is not in the answer, and nobody knows it.
        (Responder(signer: "responder"), "not signed by"),
        (Responder(signer: "expired-responder", carries: ["expired-responder"]), "has expired on"),
        (Responder(about: "bad"), "about another certificate"),
        (Responder(status: V_OCSP_CERTSTATUS_UNKNOWN), "does not know the certificate"),
        (Responder(thisUpdate: -7_200, nextUpdate: -3_600), "out of date since"),
        (Responder(thisUpdate: -7_200, nextUpdate: nil), "is old"),
        (Responder(thisUpdate: 7_200, nextUpdate: 9_000), "of the future"),
        (Responder(nonce: .other), "nonce is another one"),
        (Responder(hash: "SHA1"), "hash that is broken"),
        (Responder(error: OCSP_RESPONSE_STATUS_TRYLATER), "the error trylater"),
        (Responder(error: OCSP_RESPONSE_STATUS_UNAUTHORIZED), "the error unauthorized"),
    ])
    func aWrongAnswerHasItsReason(_ responder: Responder, _ reason: String) throws {
        let problem = try Self.problem(responder)
        #expect(problem?.contains(reason) == true, "\(problem ?? "it is believed")")
    }

    @Test func aResponderThatIsRevokedIsNotBelieved() throws {
        let responder = Responder(signer: "revoked-responder", carries: ["revoked-responder"])
        #expect(try Self.problem(responder, revoked: "revoked-responder")?.contains("which is revoked") == true)
        #expect(try Self.problem(responder) == nil)
    }

    @Test func everyCutAndFlipIsRefused() throws {
        let request = try #require(OCSPRequest(about: try Vector.certificate("good"), issuedBy: try Vector.certificate("root")))
        let answer = Responder().answer(request.der), time = Int64(time(nil))
        for length in 0..<answer.count { #expect(throws: OCSPProblem.self) { try request.judge(Array(answer.prefix(length)), time: time, leastRSA: 2048) } }
        for index in answer.indices {
            var flipped = answer
            flipped[index] ^= 1
            // Some octets stand outside of what is signed, and mean nothing.
            let said = try? request.judge(flipped, time: time, leastRSA: 2048)
            #expect(said == nil || said?.status == .good)
        }
    }

    @Test func whereACertificateIsAskedAfter() throws {
        let named = try Vector.certificate("named")
        #expect(named.crlURIs == ["http://crl.example/part1.crl"] && named.ocspURIs == ["http://ocsp.example/"] && named.namesRevocationSource)
        let good = try Vector.certificate("good")
        #expect(good.crlURIs.isEmpty && good.ocspURIs.isEmpty && !good.namesRevocationSource)
    }

    @Test(arguments: [
        "file:///etc/passwd", "ldap://x/", "http://", "http:///x", "http://user@x/", "http://x/\n", "http://x/\"", "gopher://x/", "http://x/\u{e9}", "http://" + String(repeating: "x", count: 2_000),
    ])
    func aPlaceThatIsNotAsked(_ uri: String) { #expect(RevocationURI.checked(uri) == nil) }

    @Test func aListIsAboutWhatItSays() throws {
        let root = try Vector.certificate("root"), named = try Vector.certificate("named"), good = try Vector.certificate("good"), time = Int64(time(nil))
        #expect(try Vector.list("root.crl").judge(good, issuedBy: root, time: time) == .good)
        #expect(try Vector.list("stale.crl").judge(good, issuedBy: root, time: time) == .stale)
        #expect(try Vector.list("other.crl").judge(good, issuedBy: root, time: time) == .silent)
        #expect(try Vector.list("delta.crl").judge(good, issuedBy: root, time: time) == .silent)
        // A part of the certificates: those whose distribution point names it.
        #expect(try Vector.list("part.crl").judge(named, issuedBy: root, time: time) == .good)
        #expect(try Vector.list("part.crl").judge(good, issuedBy: root, time: time) == .silent)
        #expect(try Vector.list("other-part.crl").judge(named, issuedBy: root, time: time) == .silent)
        let bad = try Vector.certificate("bad")
        for name in ["root.crl", "stale.crl", "part.crl", "delta.crl"] {
            guard case .revoked = try Vector.list(name).judge(bad, issuedBy: root, time: time) else {
                Issue.record("\(name) does not say that it was revoked")
                continue
            }
        }
    }
}
