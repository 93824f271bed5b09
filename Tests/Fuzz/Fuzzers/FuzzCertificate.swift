// Whatever bytes a peer sends as a certificate, a name or a signature, or a file holds: they are refused, or taken apart, judged against authorities and
// compared with identities without a trap; and a name that is read is written the same way.

import CertificateKit
import IKEWire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCertificate(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = UnsafeBufferPointer(start: start, count: count), bytes = Array(input)
    if let name = DistinguishedName(der: bytes) {
        // Not the same octets where lengths were written longer than they are; the same name always.
        guard let again = DistinguishedName(der: name.der) else { fatalError("wrote a name that it cannot read: \(name)") }
        precondition(again == name && name.matches(again) && name.description.utf8.count < 200_000)
    }
    if let text = String(validating: bytes, as: UTF8.self), let name = DistinguishedName(text: text) {
        precondition(DistinguishedName(der: name.der) == name, "wrote another name than it read: \(name)")
    }
    if let scheme = SignatureScheme(algorithmIdentifier: bytes), scheme.weakness == nil, let written = scheme.algorithmIdentifier {
        precondition(SignatureScheme(algorithmIdentifier: written) == scheme)
    }
    for method in AuthenticationMethod.all { _ = try? ReceivedSignature(method: method, data: bytes) }
    if let list = RevocationList(der: bytes) { _ = (list.issuerText, list.thisUpdate, list.nextUpdate) }
    var found: [X509Certificate] = [], lists: [RevocationList] = []
    try? CredentialFile.read(input, passphrase: UnsafeBufferPointer(start: nil, count: 0)) { item in
        switch item {
        case .certificate(let certificate): found.append(certificate)
        case .crl(let der): if let list = RevocationList(der: der) { lists.append(list) }
        case .privateKey, .publicKey: break
        }
    }
    for certificate in found.prefix(4) {
        _ = (certificate.subjectText, certificate.serial, certificate.remarks, certificate.identitiesText, certificate.keyIDs, certificate.isSelfSigned)
        precondition(certificate.isOf(IKEIdentity(type: IKEIdentity.name, data: certificate.subject)) || certificate.subject.count <= 2, "a certificate is not of its subject")
        var rules = PathRules(time: 1_893_456_000)
        rules.policies = ["1.2.3"]
        for trusted in [found, []] {
            _ = try? Anchors(trusted: trusted, others: found, lists: lists).validate(certificate, sent: found, PathRules(time: 1_893_456_000))
            _ = try? Anchors(trusted: trusted, others: [], lists: lists).validate(certificate, sent: found, rules)
        }
    }
    return 0
}
