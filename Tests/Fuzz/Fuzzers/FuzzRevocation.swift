// Whatever a server sends as a CRL or as an answer of OCSP: it is refused, or judged without a trap; and nothing but what the authority has signed says
// anything of a certificate.

import CertificateKit

/// Of Tests/Vectors/revocation: an authority and a certificate of it.
private let pem = """
    -----BEGIN CERTIFICATE-----
    MIIBnjCCAUOgAwIBAgIDEAAAMAoGCCqGSM49BAMCMDQxCzAJBgNVBAYTAkNIMRYw
    FAYDVQQKDA1NYXJ0bGV0IFRlc3RzMQ0wCwYDVQQDDARSb290MCAXDTIwMDEwMTAw
    MDAwMFoYDzIxMTkwMTAxMDAwMDAwWjA0MQswCQYDVQQGEwJDSDEWMBQGA1UECgwN
    TWFydGxldCBUZXN0czENMAsGA1UEAwwEUm9vdDBZMBMGByqGSM49AgEGCCqGSM49
    AwEHA0IABC42djqZhSzYjcDyN3iMaDd7V7DDi4Iazp0d/BlGthN7+3n9TAw74fT/
    yuyzDCAhrcJ/2Unt4DX7GNKxIrUZacajQjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYD
    VR0PAQH/BAQDAgEGMB0GA1UdDgQWBBQLlShChedaysnrcTtrbW4YG5NDuzAKBggq
    hkjOPQQDAgNJADBGAiEAnUQRLMmQiz4/suX+LoI89/rrTMIg0yKGLCOgpvsZQtUC
    IQDWqt6CfqWWtL0Blxy9O3RljEBO/BdQUKGwwrFnZ1zbVg==
    -----END CERTIFICATE-----
    -----BEGIN CERTIFICATE-----
    MIIB/DCCAaOgAwIBAgIDEAABMAoGCCqGSM49BAMCMDQxCzAJBgNVBAYTAkNIMRYw
    FAYDVQQKDA1NYXJ0bGV0IFRlc3RzMQ0wCwYDVQQDDARSb290MCAXDTIwMDEwMTAw
    MDAwMFoYDzIxMTkwMTAxMDAwMDAwWjA8MQswCQYDVQQGEwJDSDEWMBQGA1UECgwN
    TWFydGxldCBUZXN0czEVMBMGA1UEAwwMZ29vZC5leGFtcGxlMFkwEwYHKoZIzj0C
    AQYIKoZIzj0DAQcDQgAESGVX9bdbum7+NVNzgLXptSJ8CNCdR/DMRWr67kg8u+3x
    fCT0gEPsrFv8+Tvt1Usi88XkcQbtKsiUkFuclcCTxqOBmTCBljAMBgNVHRMBAf8E
    AjAAMA4GA1UdDwEB/wQEAwIHgDAdBgNVHQ4EFgQUyMgXClosMEoD4U82PQKWYVRs
    ts4wHwYDVR0jBBgwFoAUC5UoQoXnWsrJ63E7a21uGBuTQ7swFwYDVR0RBBAwDoIM
    Z29vZC5leGFtcGxlMB0GA1UdJQQWMBQGCCsGAQUFBwMBBggrBgEFBQcDAjAKBggq
    hkjOPQQDAgNHADBEAiBFIHgi5WJ0vw33r7fy64aSy+ZSOyttqT8IjqyCOLFgWgIg
    Hu4v+ZTJ512FHGWVoDLMhn+xg/od21RJhqdjdGiA8GE=
    -----END CERTIFICATE-----
    """

private let certificates: [X509Certificate] = {
    var found: [X509Certificate] = []
    Array(pem.utf8).withUnsafeBufferPointer { file in
        try? CredentialFile.read(file, passphrase: UnsafeBufferPointer(start: nil, count: 0)) { if case .certificate(let certificate) = $0 { found.append(certificate) } }
    }
    precondition(found.count == 2, "the certificates cannot be read")
    return found
}()

private let request: OCSPRequest = {
    guard let request = OCSPRequest(about: certificates[1], issuedBy: certificates[0]) else { fatalError("no request can be made") }
    return request
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRevocation(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count)), now: Int64 = 1_893_456_000
    if let list = RevocationList(der: bytes) {
        _ = (list.issuerText, list.age(at: now), list.objection, list.isFresh(at: now), list.hasUnknownCriticalExtension)
        let said = list.judge(certificates[1], issuedBy: certificates[0], time: now)
        precondition(said == .silent || list.isSigned(by: certificates[0]), "it says something that nobody has signed")
    }
    // Its nonce is a new one in each process: an answer that says something is signed for that, and no input is.
    if let answer = try? request.judge(bytes, time: now, leastRSA: 2048), case .revoked = answer.status { precondition(answer.thisUpdate > 0) }
    return 0
}
