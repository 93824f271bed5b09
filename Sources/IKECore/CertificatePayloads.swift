// CERT and CERTREQ payloads: which come with a message, and which authorities a peer is told of.
// RFC 7296 sections 1.2, 3.6 and 3.7.

import IKEWire

enum CertificatePayloads {
    /// "X.509 Certificate - Signature".
    static let x509Signature: UInt8 = 4
    private static let hashLength = 20
    /// The most authorities that a peer is told of.
    private static let namedAuthorities = 48
    /// The most that is kept of what a peer sends: a certificate with a long chain; requests as those clients make that know many authorities.
    private static let certificateLimit = 32, requestLimit = 64, requestBytes = 16_384

    /// CERTREQ payloads for a peer that is to prove itself to one of `connections`. One that trusts every authority names them all.
    static func requests(_ connections: some Sequence<Connection>, trusted: [UInt8]) -> [Payload] {
        var hashes: [UInt8] = []
        for connection in connections where connection.sendCertificateRequests && connection.remote.showsCertificates {
            let wanted = connection.remote.certificates.authorityHashes
            hashes += wanted.isEmpty ? trusted : wanted
        }
        guard !hashes.isEmpty else { return [] }
        //= RFC 7296 §3.7: the SHA-1 hashes of the authorities' keys, one after the other.
        var named: [UInt8] = [], seen: Set<[UInt8]> = []
        for start in stride(from: 0, to: hashes.count - hashes.count % hashLength, by: hashLength) where seen.count < namedAuthorities {
            let hash = Array(hashes[start..<start + hashLength])
            if seen.insert(hash).inserted { named += hash }
        }
        return [.certificateRequest(CertificateRequest(encoding: x509Signature, authorities: named))]
    }
}

extension AuthenticationPolicy {
    /// Whether that side proves itself with a certificate in a CERT payload.
    var showsCertificates: Bool { method == "pubkey" }
}

extension [Payload] {
    /// In the order of the message.
    var certificates: [Certificate] {
        Array<Certificate>(lazy.compactMap { if case .certificate(let value) = $0 { value } else { nil } }.prefix(CertificatePayloads.kept))
    }

    var certificateRequests: [CertificateRequest] { CertificatePayloads.bounded(lazy.compactMap { if case .certificateRequest(let value) = $0 { value } else { nil } }) }
}

extension CertificatePayloads {
    fileprivate static var kept: Int { certificateLimit }

    fileprivate static func bounded(_ requests: some Sequence<CertificateRequest>) -> [CertificateRequest] {
        var kept: [CertificateRequest] = [], room = requestBytes
        for request in requests.prefix(requestLimit) where request.authorities.count <= room {
            room -= request.authorities.count
            kept.append(request)
        }
        return kept
    }
}

extension IKESA {
    /// What a method is told beside the octets to sign or check.
    func withCertificates(_ request: AuthenticationRequest, of connection: Connection, from payloads: [Payload] = []) -> AuthenticationRequest {
        var request = request
        request.localCertificates = connection.local.certificates
        request.remoteCertificates = connection.remote.certificates
        request.sendCertificate = connection.sendCertificate
        request.peerCertificates = payloads.certificates
        request.peerRequests = peerRequests
        request.peerHashes = peerHashes
        request.isInitiator = isInitiator
        return request
    }
}
