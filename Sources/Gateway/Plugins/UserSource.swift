// Who knows the users of EAP: the secrets of the configuration, and directories for the others. What they cannot say at once they say later, from any thread.

import IKECore
import IKECrypto
import IKEWire
import PluginABI
import Synchronization

package enum UserSecretKind: Sendable {
    case password, ntHash
    /// None: whether one who has proven to be the user may log in.
    case account
}

/// How a user's proof can be checked: as in eap.h of the plugin contract.
package struct UserMeans: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static let password = UserMeans(rawValue: 1), ntHash = UserMeans(rawValue: 2), check = UserMeans(rawValue: 4)
    package static let all: UserMeans = [.password, .ntHash, .check]
}

/// What is known of a user. A secret is lent, not taken.
package enum UserAnswer: Sendable {
    case secret(SecretBox)
    case right
    case no(UserRefusal, String)
}

package enum UserRefusal: Sendable {
    case unknown
    /// The user is known, and there is no secret of that kind.
    case noSuchSecret
    /// The password is wrong, or the user may not log in.
    case rejected
    case unavailable

    var status: martlet_status {
        switch self {
        case .unknown: MARTLET_E_NOT_FOUND
        case .noSuchSecret: MARTLET_E_UNSUPPORTED
        case .rejected: MARTLET_E_REJECTED
        case .unavailable: MARTLET_E_FAILED
        }
    }
}

package protocol UserSource: Sendable {
    /// The groups of the user who was last found, or whose password was last right; nil where nobody knows of any.
    var groups: [String]? { get }
    /// The name of the user who was last asked about as the directory writes it, whatever it said of the user.
    var account: [UInt8]? { get }
    /// How one of that name can be checked; of a stranger it says what it would of most.
    func means(of user: [UInt8]) -> UserMeans
    /// `then` is called once, before this returns or later.
    func find(_ kind: UserSecretKind, of user: [UInt8], connection: String, isServer: Bool, deadline: UInt64, _ then: @escaping @Sendable (UserAnswer) -> Void)
    func check(_ password: SecretBox, of user: [UInt8], connection: String, deadline: UInt64, _ then: @escaping @Sendable (UserAnswer) -> Void)
}

extension UserSource {
    package var groups: [String]? { nil }
    package var account: [UInt8]? { nil }
    package func means(of user: [UInt8]) -> UserMeans { .all }
}

extension UserSecrets: UserSource {
    package func means(of user: [UInt8]) -> UserMeans {
        let known = secrets(of: user, isServer: true)
        return known.isEmpty || known.contains { $0.kind == .eap } ? .all : .ntHash
    }

    package func find(_ kind: UserSecretKind, of user: [UInt8], connection: String, isServer: Bool, deadline: UInt64, _ then: @escaping @Sendable (UserAnswer) -> Void) {
        // A certificate that holds makes a user where nobody keeps a list of them: those of `secrets` are the ones with passwords.
        if kind == .account { return then(.right) }
        let known = secrets(of: user, isServer: isServer)
        guard !known.isEmpty else { return then(.no(.unknown, stranger)) }
        guard let secret = known.first(where: { $0.kind == (kind == .ntHash ? .ntlm : .eap) }) else {
            return then(.no(.noSuchSecret, kind == .ntHash ? "has no NT hash in `secrets`" : "has an NT hash in `secrets` and no password, which the method needs"))
        }
        then(.secret(secret.secret))
    }

    private var stranger: String {
        "is no user of `secrets`" + (namelessSection.map { ": \(quoted($0.isEmpty ? "a secret" : $0)) has no `id`, and a password without a name lets nobody in" } ?? "")
    }

    package func check(_ password: SecretBox, of user: [UInt8], connection: String, deadline: UInt64, _ then: @escaping @Sendable (UserAnswer) -> Void) {
        let known = secrets(of: user, isServer: true)
        guard !known.isEmpty else { return then(.no(.unknown, stranger)) }
        guard let secret = known.first(where: { $0.kind == .eap }) else { return then(.no(.noSuchSecret, "has an NT hash in `secrets` and no password, which the method needs")) }
        let isRight = secret.secret.withSecret { expected in password.withSecret { given in constantTimeEqual(expected.span, given.span) } ?? false } ?? false
        then(isRight ? .right : .no(.rejected, "gave a wrong password"))
    }
}

/// The users of the configuration first; whom it does not know is asked of the directory.
package struct GatewayUsers: UserSource {
    let secrets: UserSecrets
    let directory: UserDirectory?
    /// Whether the directory is asked about users whom it proves nothing of.
    private let looksUp: Bool
    /// One conversation's.
    private let found = Found()
    private final class Found: Sendable {
        let groups = Mutex<[String]?>(nil)
        let account = Mutex<[UInt8]?>(nil)
        func note(_ answer: DirectoryAnswer) {
            groups.withLock { $0 = answer.isGood ? answer.groupNames : nil }
            account.withLock { $0 = answer.user.isEmpty ? nil : Array(answer.user.utf8) }
        }
    }
    package var groups: [String]? { found.groups.withLock { $0 } }
    package var account: [UInt8]? { found.account.withLock { $0 } }

    package init(secrets: UserSecrets, directory: UserDirectory?, looksUp: Bool = true) {
        self.looksUp = looksUp
        self.secrets = secrets
        self.directory = directory
    }

    package func means(of user: [UInt8]) -> UserMeans {
        guard let directory, !secrets.knows(user, isServer: true) else { return secrets.means(of: user) }
        return UserMeans(directory.hasNTHashes ? [.ntHash] : []).union(directory.verifiesPasswords ? [.check] : [])
    }

    package func find(_ kind: UserSecretKind, of user: [UInt8], connection: String, isServer: Bool, deadline: UInt64, _ then: @escaping @Sendable (UserAnswer) -> Void) {
        guard isServer, let directory, looksUp || kind != .account, !secrets.knows(user, isServer: true) else {
            return secrets.find(kind, of: user, connection: connection, isServer: isServer, deadline: deadline, then)
        }
        if kind == .account {
            let isAsked = directory.ask(.account, user: user, deadline: deadline) { [found] answer, _ in
                found.note(answer)
                then(answer.isGood ? .right : Self.refusal(answer))
            }
            if isAsked == nil { then(.no(.unavailable, "cannot be asked of the directory \(directory.name)")) }
            return
        }
        guard kind == .ntHash, directory.hasNTHashes else {
            return then(
                .no(
                    .noSuchSecret,
                    "is a user of the directory \(directory.name), which hands out no \(kind == .ntHash ? "NT hash" + (directory.advice.isEmpty ? "" : ": " + directory.advice) : "password")"))
        }
        let isAsked = directory.ask(.ntHash, user: user, deadline: deadline) { [found] answer, hash in
            found.note(answer)
            guard answer.isGood, hash.count == 16 else { return then(Self.refusal(answer)) }
            var secret = SecretBytes(count: 16)
            var span = secret.mutableSpan
            for index in span.indices { span[index] = hash[index] }
            then(.secret(SecretBox(secret)))
        }
        if isAsked == nil { then(.no(.unavailable, "cannot be asked of the directory \(directory.name)")) }
    }

    package func check(_ password: SecretBox, of user: [UInt8], connection: String, deadline: UInt64, _ then: @escaping @Sendable (UserAnswer) -> Void) {
        guard let directory, !secrets.knows(user, isServer: true) else { return secrets.check(password, of: user, connection: connection, deadline: deadline, then) }
        guard directory.verifiesPasswords else {
            return then(.no(.noSuchSecret, "is a user of the directory \(directory.name), which checks no passwords\(directory.advice.isEmpty ? "" : ": " + directory.advice)"))
        }
        // Copied by the directory before `ask` returns.
        var octets =
            password.withSecret { (secret: borrowing SecretBytes) -> [UInt8] in
                let span = secret.span
                return span.indices.map { span[$0] }
            } ?? []
        defer { wipe(&octets) }
        let isAsked = directory.ask(.password, user: user, password: octets, deadline: deadline) { [found] answer, _ in
            found.note(answer)
            then(answer.isGood ? .right : Self.refusal(answer))
        }
        if isAsked == nil { then(.no(.unavailable, "cannot be asked of the directory \(directory.name)")) }
    }

    private static func refusal(_ answer: DirectoryAnswer) -> UserAnswer {
        let why: UserRefusal =
            switch martlet_directory_outcome(answer.outcome) {
            case MARTLET_DIRECTORY_NO_SUCH_USER, MARTLET_DIRECTORY_AMBIGUOUS, MARTLET_DIRECTORY_BAD_NAME: .unknown
            case MARTLET_DIRECTORY_NO_HASH: .noSuchSecret
            default: answer.isOfDirectory ? .unavailable : .rejected
            }
        return .no(why, answer.reason.isEmpty ? "is refused by the directory" : "is refused by the directory: " + answer.reason)
    }
}
