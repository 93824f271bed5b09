// Authentication methods that answer later: from another thread, inside the call, twice, too late, or with too much.

import Foundation
import Gateway
@testable import IKECore
import IKECrypto
import IKEWire
import Testing

@Suite struct PendingAuthTests {
    /// The plugin in C, loaded once: its folder is kept, and its method lives as long as the process.
    static let log = LogLines()
    nonisolated(unsafe) static let folder = try? LoaderTests.Folder()
    static let plugins: PluginSet? = {
        guard let folder, (try? folder.compile(LoaderTests.defect.deletingLastPathComponent().appendingPathComponent("later.c"), name: "martlet-later.so")) != nil else { return nil }
        return PluginSet.load(paths: [folder.path], settings: PluginSettings(), services: Built.services, log: { log.add($0, $1) })
    }()

    func method() throws -> AuthMethod { try #require(Self.plugins?.authMethod(named: "later"), "\(Self.log.all)") }

    func request(_ connection: String) throws -> AuthenticationRequest {
        let prf = try #require(try Built.registry("openssl").prf(.prfHMACSHA256))
        return AuthenticationRequest(
            method: "later", connection: connection, local: Identification(kind: .fqdn, data: [97]), remote: Identification(kind: .fqdn, data: [98]), prf: prf, message: [1],
            nonce: [UInt8](repeating: 7, count: 32), macedIdentity: [])
    }

    func later(_ milliseconds: UInt64 = 30_000) -> UInt64 { Built.services.now + milliseconds * 1_000_000 }
    let none: SecretLookUp = { _, _ in false }

    @Test func anAnswerFromAnotherThreadIsWaitedFor() throws {
        let made = try method().sign(request("plain"), deadline: later(), secret: none)
        #expect(made == Authentication(method: Authentication.Method(rawValue: 201), data: [1, 2, 3, 32]))
        try method().verify(request("plain"), made, deadline: later(), secret: none)
        #expect(throws: JobFailure.rejected) { try method().verify(request("reject"), made, deadline: later(), secret: none) }
    }

    @Test func onlyTheFirstCompletionCounts() throws {
        for _ in 0..<20 { #expect(try method().sign(request("twice"), deadline: later(), secret: none).data == [1, 2, 3, 32]) }
    }

    @Test func aCompletionInsideTheCallIsTaken() throws {
        #expect(try method().sign(request("inside"), deadline: later(), secret: none).data == [9])
    }

    @Test func aPluginThatDoesNotAnswerIsCancelledAtTheDeadline() throws {
        #expect(throws: JobFailure.deadline) { try method().sign(request("never"), deadline: later(20), secret: none) }
        #expect(Self.log.all.contains("later: cancelled"))
        // An answer that comes after the deadline finds nobody.
        #expect(throws: JobFailure.deadline) { try method().sign(request("plain"), deadline: later(0), secret: none) }
    }

    @Test func moreDataThanTheContractAllowsIsRefused() throws {
        #expect(throws: JobFailure.crypto(.failed)) { try method().sign(request("too-much"), deadline: later(), secret: none) }
    }

    @Test func theLimitOfCallsIsKnown() throws { #expect(try method().maximumConcurrency == 2) }
}
