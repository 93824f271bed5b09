// Whether a certificate is believed that was shown beside an AUTH payload, in TLS: the question in the contract's form (auth.h), until it is answered.
// RFC 5280.

import IKECore
import IKEWire
import PluginABI
import Synchronization

extension AuthMethod {
    /// Whether it judges certificates beside those of an AUTH payload.
    var judgesCertificates: Bool { table.pointee.check_certificate != nil }

    /// `then` is called once, before this returns or later from any thread: with nothing where the certificate is believed, else with why not, the reason first.
    /// `certificates`: DER, the one in question first.
    func judge(
        _ certificates: [[UInt8]], use: martlet_certificate_use, identities: [Identification], side: CertificatePolicy, connection: String, credentials: CredentialSnapshot,
        deadline: UInt64, _ then: @escaping @Sendable ([String]) -> Void
    ) {
        guard let check = table.pointee.check_certificate else { return then(["no plugin that is loaded judges certificates"]) }
        let judgement = CertificateJudgement(certificates, use, identities, side, connection, credentials, deadline, then)
        let token = CertificateJudgements.shared.add(judgement)
        let status = withExtendedLifetime(judgement) { check(judgement.table) }
        if status != MARTLET_PENDING { CertificateJudgements.shared.complete(token, status) }
    }
}

/// Everything that it lends lives as long as it does.
private final class CertificateJudgement: @unchecked Sendable {
    let table: UnsafeMutablePointer<martlet_certificate_check>
    private let memory: [UnsafeMutableRawPointer]
    private let credentials: CredentialSnapshot
    private let reasons = Mutex<[String]>([])
    private let then: @Sendable ([String]) -> Void

    init(
        _ certificates: [[UInt8]], _ use: martlet_certificate_use, _ identities: [Identification], _ side: CertificatePolicy, _ connection: String, _ credentials: CredentialSnapshot,
        _ deadline: UInt64, _ then: @escaping @Sendable ([String]) -> Void
    ) {
        self.credentials = credentials
        self.then = then
        table = .allocate(capacity: 1)
        var lender = Lender()
        let names = identities.map { lender.identity($0) }, shown = certificates.map { lender.bytes($0) }
        table.initialize(
            to: martlet_certificate_check(
                struct_size: UInt32(MemoryLayout<martlet_certificate_check>.size), use: use.rawValue, connection: lender.text(connection), identities: lender.array(names),
                identity_count: names.count, certificates: lender.array(shown), certificate_count: shown.count, credentials: UnsafePointer(credentials.table),
                side: lender.side(side, auth: "pubkey"), deadline_ns: deadline,
                explain: { check, text in Unmanaged<CertificateJudgement>.fromOpaque(check.pointee.opaque).takeUnretainedValue().explain(PluginText.line(text)) },
                opaque: UnsafeMutableRawPointer(table), complete: { token, status in CertificateJudgements.shared.complete(token, status) }, token: 0))
        memory = lender.memory
        table.pointee.opaque = Unmanaged.passUnretained(self).toOpaque()
    }

    deinit {
        for piece in memory { piece.deallocate() }
        table.deinitialize(count: 1)
        table.deallocate()
    }

    private func explain(_ text: String) { reasons.withLock { if $0.count < AuthNotes.limit { $0.append(text) } } }

    func end(_ status: martlet_status) {
        let said = reasons.withLock { $0 }
        then(status == MARTLET_OK ? [] : said.isEmpty ? ["its certificate is not believed (status \(status))"] : said)
    }
}

/// Questions that are not answered yet, by token. Tokens are never used twice, so a late or second answer finds nobody.
private final class CertificateJudgements: Sendable {
    static let shared = CertificateJudgements()
    private let state = Mutex<(last: UInt64, all: [UInt64: CertificateJudgement])>((0, [:]))

    func add(_ judgement: CertificateJudgement) -> UInt64 {
        state.withLock { state in
            state.last += 1
            judgement.table.pointee.token = state.last
            state.all[state.last] = judgement
            return state.last
        }
    }

    func complete(_ token: UInt64, _ status: martlet_status) { state.withLock { $0.all.removeValue(forKey: token) }?.end(status) }
}
