// What went wrong in EAP, in both roles. Of all this the peer is told EAP-Failure and AUTHENTICATION_FAILED.

import IKEWire

extension Wording {
    /// The user of EAP, and the identity of IKE where that is another.
    static func user(_ sa: IKESA) -> String {
        let account = sa.account.flatMap { $0 == sa.eapUser ? nil : ", in the directory \($0)" } ?? ""
        guard let user = sa.remoteEAPIdentity, let identity = sa.remoteIdentity, user != identity else { return sa.eapUser.description + account }
        return "\(user)\(account), in IKE \(identity)"
    }
}

extension Failure {
    /// As the server: who it is, and why not.
    static func eapRefused(_ refusal: EAPRefusal, _ sa: IKESA) -> Failure {
        let connection = sa.connection
        let evidence = ["connection \(connection.name) asks for `\(connection.remote.method)`, from \(connection.setting("remote.auth"))", Wording.ends(sa)]
        let code: Code, advice: [String]
        switch refusal.kind {
        case .wrong: (code, advice) = (.authenticationFailed, ["The user has to give the right proof; a password counts to the last character."])
        case .unknownUser:
            let user = sa.eapUser.description
            (code, advice) = (
                .unknownIdentity, ["If the user is welcome, add a section eap-NAME with \(SettingText.setting("id", user)) and its secret to `secrets`; or correct the name at the peer."]
            )
        case .misbehaved: (code, advice) = (.peerMisbehaved, ["This is a fault of the peer's software, or an attack."])
        case .unavailable: (code, advice) = (.internalError, ["The lines before this one say what could not be asked; the user may try again."])
        case .tooMany: (code, advice) = (.limit, ["Nothing need be done: the wait ends by itself, and the user gets in from elsewhere."])
        case .noMethod:
            (code, advice) = (.authenticationFailed, ["Set the peer to one of the methods that \(connection.setting("remote.auth")) allows, or allow its own there: eap-dynamic takes what both have."])
        case .notInGroup:
            (code, advice) = (.authenticationFailed, ["If the user is welcome, add one of the groups to \(connection.setting("remote.groups")), or the user to a group in the directory."])
        case .accountRefused: (code, advice) = (.authenticationFailed, ["The directory decides that: mend the account there, or the name that is looked for."])
        case .tooManySessions:
            (code, advice) = (
                .limit, ["The user can end another session; \(connection.setting("sessions_per_user")) says how many there may be, and `martlet status` who is connected."]
            )
        case .byPeer: (code, advice) = (.peerRefused, ["The peer's log says why."])
        }
        return Failure(code, "\(Wording.user(sa)) at \(sa.remote.address) \(refusal.reason)", evidence: evidence, advice: advice)
    }

    /// As the client.
    static func eapFailed(_ refusal: EAPRefusal, _ sa: IKESA) -> Failure {
        let connection = sa.connection
        let who = (connection.local.ownEAPIdentity.map { Identification(eap: $0) } ?? sa.localIdentity)?.description ?? "?"
        let evidence = ["we are \(who) in EAP, by `\(connection.local.method)`, from \(connection.setting("local.auth"))", Wording.ends(sa)]
        let code: Code, advice: [String]
        switch refusal.kind {
        case .byPeer, .wrong:
            (code, advice) = (
                .authenticationFailed, ["Compare the secret of \(who) in `secrets` with what the gateway knows, to the last character.", "The gateway's log says why. It does not tell us."]
            )
        case .unknownUser: (code, advice) = (.noSecret, ["Add a section eap-NAME with \(SettingText.setting("id", who)) and the secret to `secrets`."])
        case .misbehaved: (code, advice) = (.peerMisbehaved, ["This is a fault of the peer's software, or an attack."])
        case .noMethod: (code, advice) = (.authenticationFailed, ["Set \(connection.setting("local.auth")) to a method that the gateway asks for."])
        case .unavailable, .tooMany, .tooManySessions, .notInGroup, .accountRefused: (code, advice) = (.internalError, ["The lines before this one say more."])
        }
        return Failure(code, "\(sa.remote.address) \(refusal.reason)", evidence: evidence, advice: advice)
    }

    /// The client has gone before it was in. Most do so when they do not believe the gateway, which has proven itself by then.
    static func loginEnded(byRefusal refuses: Bool, _ sa: IKESA) -> Failure {
        let connection = sa.connection
        return Failure(
            .peerRefused, "\(Wording.user(sa)) at \(sa.remote.address) \(refuses ? "refused to go on with the log-in (AUTHENTICATION_FAILED)" : "ended the log-in")",
            evidence: ["we are \(sa.localIdentity?.description ?? "?") and prove it by `\(connection.local.method)`, from \(connection.setting("local.auth"))", Wording.ends(sa)],
            advice: [
                "The client may not believe us: it needs the authority of our certificate, or our secret, and \(connection.setting("local.id")) as the gateway's name.", "The client's log says why.",
            ])
    }

    static func eapNotContinued(_ sa: IKESA) -> Failure {
        Failure(
            .noAnswer, "\(Wording.user(sa)) at \(sa.remote.address) did not go on with EAP in time", evidence: [Wording.ends(sa)],
            advice: ["The client has gone, or its user did not answer within \(sa.context.limits.eapTime): the log-in may begin anew."])
    }

    static func eapProofWrong(_ sa: IKESA) -> Failure {
        Failure(
            .authenticationFailed, "EAP has succeeded with \(sa.remote.address), and the AUTH payload after it does not fit: the two ends do not have the same key",
            evidence: [Wording.ends(sa)], advice: ["Somebody may stand between the two ends, or the peer derives the key of the method in another way."])
    }

    static func eapOnlyNotOffered(_ sa: IKESA) -> Failure {
        Failure(
            .authenticationFailed, "\(sa.remote.address) wants us to prove ourselves before EAP, and connection \(sa.connection.name) does so by EAP alone (RFC 5998)",
            evidence: ["the peer has not sent EAP_ONLY_AUTHENTICATION", Wording.ends(sa)],
            advice: ["Write a certificate or a shared secret to \(sa.connection.setting("local.auth")), or set the peer to do without."])
    }

    static func gatewayUnproven(_ sa: IKESA) -> Failure {
        Failure(
            .authenticationFailed, "\(sa.remote.address) begins EAP and has not proven who it is", evidence: [Wording.ends(sa)],
            advice: [
                "Have the gateway prove itself as \(sa.connection.setting("remote.auth")) says.",
                "Or, with a method that proves both ends (eap-tls, eap-ttls, eap-peap), write that to `auth` of both sides here and there.",
            ])
    }

    static func eapTookTooLong(_ sa: IKESA) -> Failure {
        Failure(
            .noAnswer, "\(sa.remote.address) goes on with EAP for longer than \(sa.context.limits.eapTime)", evidence: [Wording.ends(sa)], advice: ["The gateway's log says what it waits for."])
    }
}
