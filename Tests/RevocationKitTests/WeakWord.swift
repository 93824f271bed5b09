// Word of an authority whose key is RSA, made when the test runs: signatures in PSS with hashes that are broken, and entries of lists that nobody understands.

import CertificateKit
import COpenSSLX509
import Testing

/// An authority with an RSA key.
final class RSAAuthority: @unchecked Sendable {
    static let shared = RSAAuthority()
    let certificate: X509Certificate?
    private let own: OpaquePointer
    private let key: OpaquePointer?

    private init() {
        var key: OpaquePointer?
        let context = EVP_PKEY_CTX_new_from_name(nil, "RSA", nil)
        defer { EVP_PKEY_CTX_free(context) }
        _ = EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_generate(context, &key) == 1
        self.key = key
        own = X509_new()
        X509_set_version(own, 2)
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(own), 77)
        X509_gmtime_adj(X509_getm_notBefore(own), -86_400)
        X509_gmtime_adj(X509_getm_notAfter(own), 864_000)
        X509_set_pubkey(own, key)
        let name = X509_get_subject_name(own)
        X509_NAME_add_entry_by_txt(name, "CN", 0x1001, "RSA Root", -1, -1, 0)
        X509_set_issuer_name(own, name)
        for (number, text) in [(NID_basic_constraints, "critical,CA:TRUE"), (NID_key_usage, "critical,keyCertSign,cRLSign")] {
            let piece = X509V3_EXT_conf_nid(nil, nil, number, text)
            X509_add_ext(own, piece, -1)
            X509_EXTENSION_free(piece)
        }
        X509_sign(own, key, EVP_sha256())
        var memory: UnsafeMutablePointer<UInt8>?
        let size = i2d_X509(own, &memory)
        certificate = memory.flatMap { X509Certificate(der: Array(UnsafeBufferPointer(start: $0, count: Int(max(size, 0))))) }
    }

    /// Hands out a context that signs in PSS with that hash, for the mask as well.
    private func signing(_ hash: String, _ use: (OpaquePointer?) -> Void) {
        let context = EVP_MD_CTX_new(), digest = EVP_get_digestbyname(hash)
        defer { EVP_MD_CTX_free(context) }
        var inner: OpaquePointer?
        guard EVP_DigestSignInit(context, &inner, digest, nil, key) == 1, martlet_set_rsa_padding(inner, 1, 16, digest) > 0 else { return }
        use(context)
    }

    /// A list with one entry; `critical`: an extension of it, dotted, that has to be understood; `part`: which part of all it is about, as OpenSSL writes it.
    func list(_ hash: String = "SHA256", critical: String? = nil, part: String? = nil, revokes: UInt64 = 4711, since: Int = -3_600) -> RevocationList? {
        let list = X509_CRL_new()
        defer { X509_CRL_free(list) }
        X509_CRL_set_version(list, 1)
        X509_CRL_set_issuer_name(list, X509_get_subject_name(own))
        let from = X509_gmtime_adj(nil, since), until = X509_gmtime_adj(nil, 86_400), entry = X509_REVOKED_new(), serial = ASN1_INTEGER_new()
        defer {
            for time in [from, until] { ASN1_TIME_free(time) }
            ASN1_INTEGER_free(serial)
        }
        X509_CRL_set1_lastUpdate(list, from)
        X509_CRL_set1_nextUpdate(list, until)
        ASN1_INTEGER_set_uint64(serial, revokes)
        X509_REVOKED_set_serialNumber(entry, serial)
        X509_REVOKED_set_revocationDate(entry, from)
        if let critical {
            let value = ASN1_OCTET_STRING_new(), kind = OBJ_txt2obj(critical, 1)
            ASN1_OCTET_STRING_set(value, [0x0a, 1, 1], 3)
            let piece = X509_EXTENSION_create_by_OBJ(nil, kind, 1, value)
            X509_REVOKED_add_ext(entry, piece, -1)
            X509_EXTENSION_free(piece)
            ASN1_OCTET_STRING_free(value)
            ASN1_OBJECT_free(kind)
        }
        X509_CRL_add0_revoked(list, entry)
        if let part {
            let piece = X509V3_EXT_conf_nid(nil, nil, NID_issuing_distribution_point, "critical," + part)
            X509_CRL_add_ext(list, piece, -1)
            X509_EXTENSION_free(piece)
        }
        signing(hash) { _ = X509_CRL_sign_ctx(list, $0) }
        var memory: UnsafeMutablePointer<UInt8>?
        let size = i2d_X509_CRL(list, &memory)
        return memory.flatMap { RevocationList(der: Array(UnsafeBufferPointer(start: $0, count: Int(max(size, 0))))) }
    }

    /// An answer to a request; `says`: status, thisUpdate and nextUpdate of each statement about the certificate, in seconds from now.
    func answer(_ request: [UInt8], _ hash: String, says: [(status: Int32, from: Int, until: Int)]) -> [UInt8] {
        request.withUnsafeBufferPointer { bytes -> [UInt8] in
            var next = bytes.baseAddress
            guard let asked = d2i_OCSP_REQUEST(nil, &next, bytes.count), let one = OCSP_request_onereq_get0(asked, 0), let id = OCSP_onereq_get0_id(one) else { return [] }
            let answer = OCSP_BASICRESP_new()
            defer {
                OCSP_REQUEST_free(asked)
                OCSP_BASICRESP_free(answer)
            }
            for statement in says {
                let times = [statement.from, statement.until, -86_400].map { X509_gmtime_adj(nil, $0) }
                let general = times.map { $0.flatMap { ASN1_TIME_to_generalizedtime($0, nil) } }
                _ = OCSP_basic_add1_status(answer, id, statement.status, OCSP_REVOKED_STATUS_NOSTATUS, general[2], general[0], general[1])
                for time in times + general { ASN1_TIME_free(time) }
            }
            signing(hash) { _ = OCSP_basic_sign_ctx(answer, own, $0, nil, UInt(OCSP_NOCERTS)) }
            let response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, answer)
            defer { OCSP_RESPONSE_free(response) }
            var memory: UnsafeMutablePointer<UInt8>?
            let size = i2d_OCSP_RESPONSE(response, &memory)
            return memory.map { Array(UnsafeBufferPointer(start: $0, count: Int(max(size, 0)))) } ?? []
        }
    }
}

@Suite struct WeakWord {
    private static func judge(_ hash: String, _ says: [(status: Int32, from: Int, until: Int)]) throws -> Result<RevocationAnswer.Status, OCSPProblem> {
        let root = try #require(RSAAuthority.shared.certificate), request = try #require(OCSPRequest(about: try Vector.certificate("good"), issuedBy: root))
        do throws(OCSPProblem) {
            return .success(try request.judge(RSAAuthority.shared.answer(request.der, hash, says: says), time: Int64(time(nil)), leastRSA: 2048).status)
        } catch { return .failure(error) }
    }
    private static let good = [(status: V_OCSP_CERTSTATUS_GOOD, from: -60, until: 3_600)]

    /// RFC 4055: the hash of PSS stands in its parameters, and "RSASSA-PSS" alone says nothing of it.
    @Test func aBrokenHashInPSSIsBroken() throws {
        let root = try #require(RSAAuthority.shared.certificate), good = try Vector.certificate("good"), now = Int64(time(nil))
        #expect(try #require(RSAAuthority.shared.list("SHA256")).judge(good, issuedBy: root, time: now) == .good)
        #expect(try Self.judge("SHA256", Self.good) == .success(.good))
        for hash in ["SHA1"] {
            #expect(try #require(RSAAuthority.shared.list(hash)).judge(good, issuedBy: root, time: now) == .silent, "\(hash)")
            guard case .failure(let problem) = try Self.judge(hash, Self.good) else {
                Issue.record("PSS with \(hash) is believed")
                continue
            }
            #expect(problem.reason.contains("hash that is broken"))
        }
    }

    /// RFC 5280 section 5.3: then nothing in the list counts, of no certificate.
    @Test func anEntryThatHasToBeUnderstood() throws {
        let root = try #require(RSAAuthority.shared.certificate), good = try Vector.certificate("good"), now = Int64(time(nil))
        // The reason is known, critical or not; certificateIssuer is for lists of several authorities; the last is nobody's.
        #expect(try #require(RSAAuthority.shared.list("SHA256", critical: "2.5.29.21")).judge(good, issuedBy: root, time: now) == .good)
        for unknown in ["2.5.29.29", "1.3.6.1.4.1.99999.7"] {
            let list = try #require(RSAAuthority.shared.list("SHA256", critical: unknown))
            #expect(list.hasUnknownCriticalExtension && list.judge(good, issuedBy: root, time: now) == .silent, "\(unknown)")
        }
    }

    /// Why a log-in is refused where no list says that the certificate is good.
    private static func refusal(_ lists: [RevocationList?], of leaf: X509Certificate) throws -> String? {
        let root = try #require(RSAAuthority.shared.certificate)
        let anchors = Anchors(trusted: [root], others: [], lists: lists.compactMap(\.self))
        var rules = PathRules(time: Int64(time(nil)))
        rules.revocation = .strict
        do throws(Refusal) {
            return try anchors.questions([leaf, root], rules).compactMap { $0.unknown(.strict) }.first?.reason
        } catch { return error.reason }
    }

    /// Of two complete lists the newer counts: who was on hold may have been released. One that is older takes nothing back.
    @Test func theNewerListCounts() throws {
        let good = try Vector.certificate("good"), serial = good.serial.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }, authority = RSAAuthority.shared
        let holding = authority.list(revokes: serial, since: -7_200), released = authority.list(since: -3_600), older = authority.list(since: -9_000)
        #expect(try Self.refusal([holding], of: good)?.contains("was revoked on") == true)
        for lists in [[holding, released], [released, holding]] { #expect(try Self.refusal(lists, of: good) == nil) }
        for lists in [[holding, older], [older, holding]] { #expect(try Self.refusal(lists, of: good)?.contains("was revoked on") == true) }
        // One about some reasons alone releases nobody.
        let partly = try #require(authority.list(part: "onlysomereasons:keyCompromise"))
        #expect(try Self.refusal([holding, partly], of: good)?.contains("was revoked on") == true)
        // One of the future, or with a broken hash, releases nobody.
        #expect(try Self.refusal([holding, authority.list(since: 7_200)], of: good)?.contains("was revoked on") == true)
        #expect(try Self.refusal([holding, authority.list("SHA1")], of: good)?.contains("was revoked on") == true)
    }

    /// A list that is there and says nothing is not missing: the reason is told.
    @Test func aListThatSaysNothingHasItsReason() throws {
        let good = try Vector.certificate("good"), authority = RSAAuthority.shared
        var forged = try #require(authority.list()).der
        forged[forged.count - 1] ^= 1
        for (list, words) in [
            (authority.list(since: 7_200), "is of the future: of"), (authority.list(critical: "2.5.29.29"), "an entry has a critical extension"),
            (RevocationList(der: forged), "is not signed by the key of its authority"), (authority.list("SHA1"), "signed with a hash that is broken"),
        ] {
            let said = try Self.refusal([list], of: good)
            #expect(said?.contains(words) == true, "\(said ?? "believed")")
        }
        #expect(try Self.refusal([], of: good)?.contains("there is no CRL of") == true)
        #expect(try Vector.list("delta.crl").objection?.contains("delta CRL") == true && Vector.list("root.crl").objection == nil)
    }

    /// Of several statements about one certificate that counts which counts now, wherever it stands; "revoked" before all.
    @Test func theFreshStatementCounts() throws {
        let old = (status: V_OCSP_CERTSTATUS_GOOD, from: -7_200, until: -3_600), fresh = Self.good[0]
        #expect(try Self.judge("SHA256", [old, fresh]) == .success(.good))
        #expect(try Self.judge("SHA256", [fresh, old]) == .success(.good))
        guard case .failure(let problem) = try Self.judge("SHA256", [old]) else {
            Issue.record("an old statement is believed")
            return
        }
        #expect(problem.reason.contains("out of date"))
        let unknown = (status: V_OCSP_CERTSTATUS_UNKNOWN, from: -60, until: 3_600), revoked = (status: V_OCSP_CERTSTATUS_REVOKED, from: -7_200, until: -3_600)
        for says in [[fresh, unknown], [unknown, fresh]] {
            guard case .failure = try Self.judge("SHA256", says) else {
                Issue.record("good counts beside unknown")
                continue
            }
        }
        for says in [[fresh, revoked], [revoked, fresh]] {
            guard case .success(.revoked) = try Self.judge("SHA256", says) else {
                Issue.record("revoked does not count")
                continue
            }
        }
    }
}
