// How the sides authenticate, and as whom. Only preshared keys are there yet.

extension ConnTranslator {
    mutating func authenticate(_ connection: inout OutputConnection, _ local: ConnEnd, _ remote: ConnEnd) {
        let authby = take("authby")
        let ours = identity(local, isLocal: true)
        let theirs = identity(remote, isLocal: false)
        connection.local = method(local, authby)
        connection.remote = method(remote, authby)
        if let ours, ours.value != .any { connection.local.append(OutputSetting(key: "id", value: ours.text, origins: (local.identity ?? local.host).map { [$0.origin] } ?? [])) }
        if let theirs, theirs.value != .any { connection.remote.append(OutputSetting(key: "id", value: theirs.text, origins: (remote.identity ?? remote.host).map { [$0.origin] } ?? [])) }
        guard !isLeftOut, let theirs else { return }
        let known = ours.flatMap { $0.value == .any ? nil : $0 }
        (connection.localIdentity, connection.remoteIdentity) = (known, theirs)
        if !context.secrets.serves(local: known, remote: theirs) {
            leaveOut("no preshared key for \(known?.text ?? "our address") and \(theirs.text)" + (context.secretsProblem.map { ": \($0)" } ?? " in ipsec.secrets"))
        }
    }

    private mutating func method(_ end: ConnEnd, _ authby: Setting?) -> [OutputSetting] {
        let psk: Set<String> = ["psk", "secret"]
        if let auth = end.auth {
            guard !psk.contains(auth.value.lowercased()) else { return [OutputSetting(key: "auth", value: "psk", origins: [auth.origin])] }
            let value = auth.value.lowercased()
            leaveOut(auth, value.hasPrefix("eap") ? "EAP is not there yet" : value.hasPrefix("xauth") ? "XAUTH is for IKEv1" : "certificates are not translated yet: only preshared keys are")
            return []
        }
        guard let authby else {
            leaveOut("neither authby nor \(end.side.rawValue)auth is set, which means certificates; those are not translated yet")
            return []
        }
        let methods = elements(authby.value.lowercased(), spaces: true).flatMap { $0.split(separator: "|").map(String.init) }
        let others = methods.filter { !psk.contains($0) }
        guard others.count < methods.count else {
            switch methods.first {
            case "never": leaveOut(authby, "it is no tunnel, and shunts are not there yet")
            case "xauthpsk", "xauthrsasig": leaveOut(authby, "XAUTH is for IKEv1")
            case "null": leaveOut(authby, "peers without authentication are not taken")
            default: leaveOut(authby, "certificates are not translated yet: only preshared keys are")
            }
            return []
        }
        if !others.isEmpty { drop(authby, "only the preshared key is taken; certificates are not translated yet") }
        return [OutputSetting(key: "auth", value: "psk", origins: [authby.origin])]
    }

    /// Nil, with the connection left out, where nobody can say who it is.
    private mutating func identity(_ end: ConnEnd, isLocal: Bool) -> Identity? {
        guard var setting = end.identity ?? end.host else { return .any }
        if end.identity == nil {
            guard let address = end.single else {
                if end.addresses == [.any] && !end.allowsAny || end.addresses == [.defaultRoute] { return .any }
                leaveOut(setting, "who is meant is unclear: write \(end.side.rawValue)id")
                return nil
            }
            switch address {
            case .address(let address): return .address(address)
            case .any, .defaultRoute: return .any
            case .network:
                // The original would compare an identity with the text of the network.
                leaveOut(setting, "who is meant is unclear: write \(end.side.rawValue)id")
                return nil
            case .name: break
            }
        } else if dialect == .strongSwan, setting.value.hasPrefix("%"), !["%any", "%any4", "%any6"].contains(setting.value) {
            if !isLocal { note(setting, "the peer must prove this identity, also if it does not name it") }
            setting.value.removeFirst()
        }
        do throws(Untranslatable) {
            let identity = try Identity(setting.value, dialect)
            if isLocal, case .suffix = identity.value { throw Untranslatable("our own identity cannot be a pattern") }
            return identity
        } catch {
            leaveOut(setting, error.reason)
            return nil
        }
    }
}
