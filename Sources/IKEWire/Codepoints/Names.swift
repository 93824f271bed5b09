// The names of exchanges, payloads, protocols and authentication methods, and a message in one line.
// RFC 7296 sections 1.2, 3.1, 3.2, 3.3.1 and 3.8; IANA "IKEv2 Parameters".

extension ExchangeType: CustomStringConvertible {
    /// `IKE_SA_INIT`. A number in brackets for a type without a name.
    package var name: String {
        switch rawValue {
        case 34: "IKE_SA_INIT"
        case 35: "IKE_AUTH"
        case 36: "CREATE_CHILD_SA"
        case 37: "INFORMATIONAL"
        case 38: "IKE_SESSION_RESUME"
        case 39: "GSA_AUTH"
        case 40: "GSA_REGISTRATION"
        case 41: "GSA_REKEY"
        case 43: "IKE_INTERMEDIATE"
        case 44: "IKE_FOLLOWUP_KE"
        default: "(\(rawValue))"
        }
    }
    package var description: String { name }
}

extension PayloadType: CustomStringConvertible {
    /// The notation of RFC 7296 section 1.2: `SA`, `KE`, `IDi`, `SK`. A number in brackets for a type without one.
    package var name: String {
        switch rawValue {
        case 0: "none"
        case 33: "SA"
        case 34: "KE"
        case 35: "IDi"
        case 36: "IDr"
        case 37: "CERT"
        case 38: "CERTREQ"
        case 39: "AUTH"
        case 40: "Nonce"
        case 41: "N"
        case 42: "D"
        case 43: "V"
        case 44: "TSi"
        case 45: "TSr"
        case 46: "SK"
        case 47: "CP"
        case 48: "EAP"
        case 49: "GSPM"
        case 50: "IDg"
        case 51: "GSA"
        case 52: "KD"
        case 53: "SKF"
        case 54: "PS"
        default: "(\(rawValue))"
        }
    }
    package var description: String { name }
}

extension ProtocolID: CustomStringConvertible {
    package var description: String {
        switch rawValue {
        case 0: "NONE"
        case 1: "IKE"
        case 2: "AH"
        case 3: "ESP"
        default: "PROTO(\(rawValue))"
        }
    }
}

extension Authentication.Method: CustomStringConvertible {
    package var description: String {
        switch rawValue {
        case 1: "RSA_SIGNATURE"
        case 2: "SHARED_KEY"
        case 3: "DSS_SIGNATURE"
        case 9: "ECDSA_256"
        case 10: "ECDSA_384"
        case 11: "ECDSA_521"
        case 12: "SECURE_PASSWORD"
        case 13: "NULL"
        case 14: "DIGITAL_SIGNATURE"
        default: "AUTH(\(rawValue))"
        }
    }
}

extension Message {
    /// A line for a log, of names alone: `IKE_SA_INIT request 0 [ SA KE Nonce N(COOKIE) ]`.
    package var summary: String {
        let names = payloads.map { payload in
            switch payload {
            case .notify(let notify): "N(\(notify.type))"
            case .encryptedFragment(_, let number, let total, _): "SKF(\(number)/\(total))"
            default: payload.type.name
            }
        }
        let direction = header.isResponse ? "response" : "request"
        return ([header.exchangeType.name, direction, String(header.messageID), "["] + names + ["]"]).joined(separator: " ")
    }
}
