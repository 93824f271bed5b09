// What common clients dislike in a gateway's certificate: said when it is loaded, before they say "policy match error" or nothing at all.
// Sources: Windows and Apple want the name of the gateway in subjectAltName and serverAuth; Apple takes no TLS server certificate valid for more
// than 825 days (HT210176); Android's and Apple's system clients take no RSA key below 2048 bits and no SHA-1.

import COpenSSLX509

extension X509Certificate {
    /// One sentence each.
    package var remarks: [String] {
        var remarks: [String] = []
        if !alternativeNames.contains(where: { if case .directory = $0 { false } else { true } }) {
            remarks.append("it has no subjectAltName with a host name or an address: Windows, Apple and Android look for the gateway's name there, and refuse it")
        }
        if let purposes {
            if !purposes.contains(PathRules.serverAuth), !purposes.contains(PathRules.anyPurpose) {
                remarks.append("its extended key usage has no serverAuth: as a gateway's certificate, Windows and Apple refuse it")
            }
        } else {
            remarks.append("it has no extended key usage serverAuth: as a gateway's certificate, Windows and Apple refuse it")
        }
        if !maySignMessages { remarks.append("its key usage has no digitalSignature: it proves nothing to anybody") }
        switch key?.type {
        case .rsa(let bits) where bits < 2048, .rsaPSS(let bits) where bits < 2048: remarks.append("its RSA key has \(bits) bits: clients want 2048")
        case .rsaPSS: remarks.append("its key is for RSA-PSS alone: Windows and Android do not know such certificates")
        case .ed25519, .ed448: remarks.append("its key is \(key?.type.description ?? ""): Windows, Apple and Android do not know it; strongSwan does")
        case .ecdsa(521): remarks.append("its key is of P-521: Windows and Apple may refuse it")
        case nil: remarks.append("its key is of a kind that nothing here can use")
        default: break
        }
        if let signature, [NID_md5, NID_sha1].contains(signature.hash) { remarks.append("it is signed with a hash that clients no longer take") }
        if notAfter > notBefore, notAfter - notBefore > 825 * 86_400 {
            remarks.append("it is valid for \((notAfter - notBefore) / 86_400) days: Apple takes no server certificate for more than 825")
        }
        return remarks
    }
}
