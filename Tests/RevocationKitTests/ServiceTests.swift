// The service with an HTTP server of the test's on loopback: who is asked, how often, and what a log-in learns.

import CertificateKit
import COpenSSLX509
import Foundation
import RevocationKit
import Synchronization
import Testing

@Suite struct ServiceTests {
    private static let uris = ["ocsp", "crl"]

    /// What a log-in with the certificate `name` comes to: nil where it is let in.
    private static func verdict(
        _ service: RevocationService, _ name: String = "good", ocsp: [String] = [], crl: [String] = [], rule: RevocationRule = .strict, lists: [String] = [], seconds: UInt64 = 600
    ) async throws -> Refusal? {
        let root = try Vector.certificate("root"), leaf = try Vector.certificate(name)
        let anchors = Anchors(trusted: [root], others: [], lists: try lists.map(Vector.list))
        var rules = PathRules(time: Int64(time(nil)))
        rules.revocation = rule
        let questions = try anchors.questions([leaf, root], rules).map { SourcedQuestion($0, ocspURIs: ocsp, crlURIs: crl) }
        let deadline = DispatchTime.now().uptimeNanoseconds + seconds * 1_000_000_000, final = rules
        return await withCheckedContinuation { continuation in service.ask(Inquiry(questions, final, deadline: deadline) { continuation.resume(returning: $0) }) }
    }

    private static func service(_ change: (inout RevocationService.Options) -> Void = { _ in }) -> RevocationService {
        var options = RevocationService.Options()
        // A slow machine is not a server that hangs.
        options.timeout = 30_000
        // Between two steps of a test other tests may have had the processors for minutes.
        options.rest = 3_600
        change(&options)
        return RevocationService(options) { _, _ in }
    }

    private static func folder() -> String { FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString)").path + "/crls" }

    @Test func aListIsFetchedOnceAndFoundAgainAfterARestart() async throws {
        let list = try Vector.bytes("root.crl"), folder = Self.folder()
        defer { try? FileManager.default.removeItem(atPath: (folder as NSString).deletingLastPathComponent) }
        let server = try TestServer { _, _ in .octets(list) }
        let first = Self.service { $0.folder = folder }
        #expect(try await Self.verdict(first, crl: [server.uri("crl")]) == nil)
        let refusal = try await Self.verdict(first, "bad", crl: [server.uri("crl")], rule: .relaxed)
        #expect(refusal?.reason.contains("was revoked on") == true && refusal?.reason.contains(server.uri("crl")) == true)
        #expect(server.requests == ["crl"])
        server.stop()
        let second = Self.service { $0.folder = folder }
        #expect(try await Self.verdict(second, crl: [server.uri("crl")]) == nil)
        #expect(try await Self.verdict(second, "bad", crl: [server.uri("crl")]) != nil)
        #expect(server.requests == ["crl"])
        // What stands there is believed for its signature alone.
        let file = try #require(try FileManager.default.contentsOfDirectory(atPath: folder).first)
        try Data(try Vector.bytes("other.crl")).write(to: URL(fileURLWithPath: folder + "/" + file))
        let third = Self.service { $0.folder = folder }
        #expect(try await Self.verdict(third, crl: [server.uri("crl")]) != nil)
        #expect(try FileManager.default.attributesOfItem(atPath: folder)[.posixPermissions] as? Int == 0o700)
    }

    @Test func whatIsForgottenIsAskedForAgain() async throws {
        let list = try Vector.bytes("root.crl"), folder = Self.folder()
        defer { try? FileManager.default.removeItem(atPath: (folder as NSString).deletingLastPathComponent) }
        let server = try TestServer { path, body in path == "crl" ? .octets(list) : path == "ocsp" ? .octets(Responder().answer(body)) : .status(503) }
        let service = Self.service { $0.folder = folder }
        func ask() async throws {
            #expect(try await Self.verdict(service, crl: [server.uri("dead"), server.uri("crl")]) == nil)
            #expect(try await Self.verdict(service, ocsp: [server.uri("ocsp")]) == nil)
        }
        try await ask()
        try await ask()
        #expect(server.requests == ["dead", "crl", "ocsp"])
        service.forget(.lists)
        try await ask()
        #expect(server.requests == ["dead", "crl", "ocsp", "dead", "crl"])
        service.forget(.answers)
        try await ask()
        #expect(server.requests == ["dead", "crl", "ocsp", "dead", "crl", "dead", "ocsp"])
        service.forget([])
        try await ask()
        #expect(server.requests.count == 7)
        // By one that has asked nobody in its life, too.
        server.stop()
        let second = Self.service { $0.folder = folder }
        #expect(try await Self.verdict(second, crl: [server.uri("crl")]) == nil)
        let third = Self.service { $0.folder = folder }
        third.forget([.lists, .answers])
        #expect(try await Self.verdict(third, crl: [server.uri("crl")]) != nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }

    @Test func aFolderOfOthersIsNotUsed() async throws {
        let list = try Vector.bytes("root.crl"), folder = Self.folder()
        defer { try? FileManager.default.removeItem(atPath: (folder as NSString).deletingLastPathComponent) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        chmod(folder, 0o777)
        let server = try TestServer { _, _ in .octets(list) }
        #expect(try await Self.verdict(Self.service { $0.folder = folder }, crl: [server.uri("crl")]) == nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }

    @Test func aResponderIsAskedOnceForManyLogIns() async throws {
        let server = try TestServer { _, body in .octets(Responder().answer(body)) }
        let service = Self.service(), uri = server.uri("ocsp")
        try await withThrowingTaskGroup(of: Refusal?.self) { group in
            for _ in 0..<50 { group.addTask { try await Self.verdict(service, ocsp: [uri]) } }
            for try await refusal in group { #expect(refusal == nil) }
        }
        #expect(try await Self.verdict(service, ocsp: [uri]) == nil)
        #expect(server.requests.count == 1)
    }

    @Test func revokedByOCSPIsRefusedUnderEveryRule() async throws {
        let server = try TestServer { _, body in .octets(Responder(status: V_OCSP_CERTSTATUS_REVOKED).answer(body)) }
        for rule in [RevocationRule.relaxed, .ifURI, .strict] {
            let refusal = try await Self.verdict(Self.service(), ocsp: [server.uri("ocsp")], rule: rule)
            #expect(refusal?.reason.contains("was revoked on") == true && refusal?.reason.contains("the OCSP responder") == true)
        }
    }

    /// What answers say is one thing; that a place that gives none is refused, passed over or let pass is the rule's.
    @Test(arguments: [
        (TestServer.Answer.status(500), "answers with the status 500"), (.octets([0x30, 0]), "is no"), (.octets([]), "is no"), (.redirect("file:///etc/passwd"), "cannot be asked"),
        (.flood, "sends more than"),
    ])
    func aPlaceWithoutAnAnswer(_ answer: TestServer.Answer, _ reason: String) async throws {
        let server = try TestServer { _, _ in answer }
        let uri = server.uri("ocsp")
        let refusal = try await Self.verdict(Self.service(), ocsp: [uri])
        #expect(refusal?.reason.contains("is not known") == true && refusal?.reason.contains(reason) == true, "\(refusal?.reason ?? "it was let in")")
        #expect(try await Self.verdict(Self.service(), ocsp: [uri], rule: .ifURI) != nil)
        #expect(try await Self.verdict(Self.service(), ocsp: [uri], rule: .relaxed) == nil)
        // A CRL at hand is enough.
        #expect(try await Self.verdict(Self.service(), ocsp: [uri], lists: ["root.crl"]) == nil)
    }

    @Test func anAnswerThatIsALieIsPassedOver() async throws {
        let list = try Vector.bytes("root.crl")
        let server = try TestServer { path, body in path == "crl" ? .octets(list) : .octets(Responder(signer: "impostor", carries: ["impostor"]).answer(body)) }
        let service = Self.service()
        #expect(try await Self.verdict(service, ocsp: [server.uri("ocsp")])?.reason.contains("no OCSPSigning") == true)
        #expect(try await Self.verdict(service, ocsp: [server.uri("ocsp")], crl: [server.uri("crl")]) == nil)
        #expect(try await Self.verdict(service, "bad", ocsp: [server.uri("ocsp")], crl: [server.uri("crl")])?.reason.contains("was revoked") == true)
        // A lie is remembered for a while, of that certificate alone.
        #expect(server.requests == ["ocsp", "crl", "ocsp"])
    }

    @Test(arguments: [("other.crl", "of another authority"), ("stale.crl", "is out of date since"), ("delta.crl", "delta CRL"), ("part.crl", "says nothing of it"), ("root.pem", "is no CRL")])
    func aListThatSaysNothing(_ name: String, _ reason: String) async throws {
        let bytes = try Vector.bytes(name)
        let server = try TestServer { _, _ in .octets(bytes) }
        let service = Self.service()
        for _ in 0..<2 {
            let refusal = try await Self.verdict(service, crl: [server.uri("crl")])
            #expect(refusal?.reason.contains(reason) == true, "\(refusal?.reason ?? "it was let in")")
        }
        #expect(server.requests.count == 1)
    }

    @Test func anOlderListTakesNothingBack() async throws {
        let list = try Vector.bytes("root.crl"), before = try Vector.bytes("before.crl"), isSecond = Mutex(false)
        let server = try TestServer { _, _ in .octets(isSecond.withLock { $0 } ? before : list) }
        let clock = Mutex(Int64(time(nil)))
        let service = Self.service { $0.clock = { clock.withLock { $0 } } }
        #expect(try await Self.verdict(service, crl: [server.uri("crl")]) == nil)
        isSecond.withLock { $0 = true }
        // A day later it is asked for again.
        clock.withLock { $0 += 90_000 }
        #expect(try await Self.verdict(service, crl: [server.uri("crl")]) == nil)
        #expect(try await Self.verdict(service, "bad", crl: [server.uri("crl")]) != nil)
        #expect(server.requests.count == 2)
    }

    /// Neither an older word that it is good nor silence lets in who is known to be revoked.
    @Test(arguments: [false, true]) func whoIsRevokedStaysSo(isSilent: Bool) async throws {
        let isSecond = Mutex(false)
        let server = try TestServer { _, body in
            if !isSecond.withLock({ $0 }) { return .octets(Responder(status: V_OCSP_CERTSTATUS_REVOKED).answer(body)) }
            return isSilent ? .silence : .octets(Responder(thisUpdate: -600, nextUpdate: 90_000, nonce: .none).answer(body))
        }
        let clock = Mutex(Int64(time(nil)))
        let service = Self.service { $0.clock = { clock.withLock { $0 } } }
        for rule in [RevocationRule.strict, .relaxed] { #expect(try await Self.verdict(service, ocsp: [server.uri("ocsp")], rule: rule)?.reason.contains("was revoked") == true) }
        isSecond.withLock { $0 = true }
        // More than an hour later it is asked for again.
        clock.withLock { $0 += 4_000 }
        #expect(try await Self.verdict(service, ocsp: [server.uri("ocsp")], rule: .relaxed, seconds: isSilent ? 2 : 600)?.reason.contains("was revoked") == true)
        #expect(server.requests.count == 2)
    }

    /// The authority has put the key of its responder on a list that the administrator has installed.
    @Test func aResponderThatAListAtHandRevokesIsNotBelieved() async throws {
        let server = try TestServer { _, body in .octets(Responder(signer: "revoked-responder", carries: ["revoked-responder"], nonce: .none).answer(body)) }
        let service = Self.service()
        // The list is out of date: of the certificate itself it settles nothing.
        #expect(try await Self.verdict(service, ocsp: [server.uri("a")], lists: ["stale.crl"])?.reason.contains("which is revoked") == true)
        // Nor is what was believed before the list was there.
        #expect(try await Self.verdict(service, "named", ocsp: [server.uri("b")]) == nil)
        #expect(try await Self.verdict(service, "named", ocsp: [server.uri("b")], lists: ["stale.crl"])?.reason.contains("which is revoked") == true)
        #expect(try await Self.verdict(service, "named", ocsp: [server.uri("b")]) == nil)
    }

    @Test func whoeverHangsCostsThatLogInAlone() async throws {
        let list = try Vector.bytes("root.crl")
        let server = try TestServer { path, _ in path == "crl" ? .octets(list) : .silence }
        let service = Self.service { $0.timeout = 600_000 }
        // As many as there may be at once from one place, and more.
        let hanging = try ["good", "named", "responder", "impostor", "revoked-responder", "expired-responder", "foreign-responder", "other", "root"].map { name in
            let uri = server.uri("ocsp"), name = try Vector.certificate(name).der.isEmpty ? "" : name
            return Task { try await Self.verdict(service, name, ocsp: [uri], seconds: 2) }
        }
        // Whoever asks elsewhere is answered while they wait.
        #expect(try await Self.verdict(service, crl: [server.uri("crl")]) == nil)
        for task in hanging { #expect(try await task.value?.reason.contains("did not answer in the time") == true) }
    }

    @Test func aPlaceThatIsDownIsLeftAloneForAWhile() async throws {
        let server = try TestServer { _, _ in .octets([]) }
        server.stop()
        let clock = Mutex(Int64(time(nil))), lines = Mutex<[String]>([])
        var options = RevocationService.Options()
        options.timeout = 30_000
        options.clock = { clock.withLock { $0 } }
        let service = RevocationService(options) { _, line in lines.withLock { $0.append(line) } }
        for _ in 0..<3 { #expect(try await Self.verdict(service, ocsp: [server.uri("ocsp")])?.reason.contains("cannot be asked") == true) }
        #expect(lines.withLock { $0.count { $0.contains("cannot be asked") } } == 1)
    }
}
