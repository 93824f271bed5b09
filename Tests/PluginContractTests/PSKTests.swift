// The PSK plugin through the loader's view of it. RFC 7296 section 2.15.

import Gateway
@testable import IKECore
import IKECrypto
import IKEWire
import TestSupport
import Testing

@Suite struct PSKTests {
    func request(_ prf: any PRFAlgorithm) -> AuthenticationRequest {
        AuthenticationRequest(
            method: "psk", connection: "office", local: Identification(kind: .fqdn, data: Array("a.example".utf8)), remote: Identification(kind: .fqdn, data: Array("b.example".utf8)),
            prf: prf, message: (0..<300).map { UInt8(truncatingIfNeeded: $0) }, nonce: [UInt8](repeating: 7, count: 32), macedIdentity: [UInt8](repeating: 9, count: prf.outputLength))
    }

    let later = Built.services.now + 10_000_000_000

    func look(_ secret: String?) -> SecretLookUp {
        { request, use in
            guard let secret, request.connection == "office" else { return false }
            use(Array(secret.utf8).span)
            return true
        }
    }

    @Test(arguments: Built.providers) func theAUTHDataIsThatOfSection215(_ provider: String) throws {
        let method = try #require(Built.plugins.authMethod(named: "psk"))
        #expect(method.methods == [2])
        for prf in try Built.registry(provider).prfs {
            let request = request(prf)
            let made = try method.sign(request, deadline: later, secret: look("swordfish"))
            let pad = try CipherContractTests.prf(prf, Array("swordfish".utf8), Array("Key Pad for IKEv2".utf8))
            let expected = try CipherContractTests.prf(prf, pad, request.message + request.nonce + request.macedIdentity)
            #expect(made.method == .sharedKey)
            #expect(made.data == expected)
            try method.verify(request, made, deadline: later, secret: look("swordfish"))
        }
    }

    @Test func wrongDataAWrongSecretAndAnotherMethodAreRejected() throws {
        let method = try #require(Built.plugins.authMethod(named: "psk"))
        let request = request(try #require(try Built.registry("openssl").prf(.prfHMACSHA256)))
        let made = try method.sign(request, deadline: later, secret: look("swordfish"))
        #expect(throws: JobFailure.rejected) { try method.verify(request, made, deadline: later, secret: look("swordfisH")) }
        for index in [0, 15, 31] {
            var wrong = made
            wrong.data[index] ^= 1
            #expect(throws: JobFailure.rejected) { try method.verify(request, wrong, deadline: later, secret: look("swordfish")) }
        }
        for data in [[], Array(made.data.dropLast()), made.data + [0]] {
            #expect(throws: JobFailure.rejected) { try method.verify(request, Authentication(method: .sharedKey, data: data), deadline: later, secret: look("swordfish")) }
        }
        #expect(throws: JobFailure.rejected) { try method.verify(request, Authentication(method: .null, data: made.data), deadline: later, secret: look("swordfish")) }
        #expect(throws: JobFailure.noSecret) { try method.sign(request, deadline: later, secret: look(nil)) }
        #expect(throws: JobFailure.noSecret) { try method.verify(request, made, deadline: later, secret: look(nil)) }
    }
}
