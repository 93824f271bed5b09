// What a directory of users can do, as far as a configuration has to know it.

package struct DirectoryAbilities: Sendable {
    package let name: String
    /// Whether it can say that a password is right.
    package let verifiesPasswords: Bool
    package let hasNTHashes: Bool
    /// Why it cannot do what it cannot, and what to do instead.
    package let advice: String

    package init(name: String, verifiesPasswords: Bool, hasNTHashes: Bool, advice: String) {
        (self.name, self.verifiesPasswords, self.hasNTHashes, self.advice) = (name, verifiesPasswords, hasNTHashes, advice)
    }

    /// As far as a method of EAP asks it for something; MSCHAPv2 needs the NT hash, MD5 the password itself, which no directory hands out.
    package func canServe(_ method: String) -> Bool {
        switch method {
        case "eap-md5": false
        case "eap-gtc": verifiesPasswords
        case "eap-mschapv2", "eap-peap": hasNTHashes
        // By PAP or GTC inside, or by MSCHAPv2.
        case "eap-ttls": verifiesPasswords || hasNTHashes
        default: true
        }
    }

    /// Why it cannot serve a method, and what to do instead.
    package func complaint(about method: String) -> String {
        let others = ["eap-tls", hasNTHashes ? "eap-mschapv2" : nil, verifiesPasswords ? "eap-gtc" : nil, "eap-ttls"].compactMap { $0 }.joined(separator: ", ")
        switch method {
        case "eap-md5": return "eap-md5 needs the users' passwords themselves, which no directory hands out: write one of \(others)"
        case "eap-peap" where !hasNTHashes: return "eap-peap has MSCHAPv2 inside, which needs the users' NT hashes" + (advice.isEmpty ? "" : ": " + advice)
        default: return "\(method) needs \(method == "eap-gtc" ? "a directory that verifies passwords" : "the users' NT hashes")" + (advice.isEmpty ? "" : ": " + advice)
        }
    }
}
