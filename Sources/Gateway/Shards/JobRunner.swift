// What a job of the core comes to: key exchange by the crypto that the job brings, AUTH by the plugin of its method.
// RFC 7296 sections 2.14 and 2.15.

import IKECore
import IKECrypto
import IKEWire
import Synchronization

package final class JobRunner: Sendable {
    private let methods: @Sendable (String) -> AuthMethod?
    private let eapMethods: @Sendable (String) -> EAPMethodTable?
    /// Knows the users that the configuration does not: the directory of that name, or the first.
    private let directory: @Sendable (String?) -> UserDirectory?
    private let secrets: Mutex<SharedSecrets>
    private let credentials = Mutex(CredentialSnapshot.empty)
    private let users: Mutex<UserSecrets>

    package init(
        methods: @escaping @Sendable (String) -> AuthMethod?, eapMethods: @escaping @Sendable (String) -> EAPMethodTable? = { _ in nil },
        directory: @escaping @Sendable (String?) -> UserDirectory? = { _ in nil }, secrets: SharedSecrets
    ) {
        self.directory = directory
        self.methods = methods
        self.eapMethods = eapMethods
        self.secrets = Mutex(secrets.preshared)
        users = Mutex(UserSecrets(secrets))
    }

    /// After a reload.
    package func replaceSecrets(_ new: SharedSecrets) {
        secrets.withLock { $0 = new.preshared }
        users.withLock { $0 = UserSecrets(new) }
    }

    /// Whether a user is one of `secrets`, whom no directory is asked about.
    package func knows(_ user: [UInt8]) -> Bool { users.withLock { $0.knows(user, isServer: true) } }

    /// A step of EAP ends when its plugin says so: `completion` is called once, before this returns or later, on any thread.
    func begin(_ step: EAPStep, deadline: Instant, _ completion: @escaping @Sendable (JobResult) -> Void) {
        guard let method = eapMethods(step.method.name) else { return completion(.failed(.noMethod(step.method.name))) }
        method.run(
            step, users: GatewayUsers(secrets: users.withLock { $0 }, directory: directory(step.directory), looksUp: step.looksUp), credentials: credentials.withLock { $0 }, judge: methods("pubkey"),
            deadline: deadline.nanoseconds, completion)
    }

    /// A peer's proof, for which a plugin may have to ask somebody: `completion` is called once, before this returns or later, on any thread.
    func begin(_ request: AuthenticationRequest, _ authentication: Authentication, deadline: Instant, _ completion: @escaping @Sendable (JobResult) -> Void) {
        guard let method = methods(request.method) else { return completion(.failed(.noMethod(request.method))) }
        method.verify(request, authentication, deadline: deadline.nanoseconds, credentials: credentials.withLock { $0 }, secret: lend) { failure in
            completion(failure.map { .failed($0) } ?? .verified)
        }
    }

    /// What a directory says of a user. `completion` is called once, before this returns or later, on any thread; no thread waits.
    func lookUp(_ user: [UInt8], in name: String?, deadline: Instant, _ completion: @escaping @Sendable (JobResult) -> Void) {
        func refuse(_ kind: EAPRefusal.Kind, _ reason: String) { completion(.failed(.account(EAPRefusal(kind, reason)))) }
        guard let directory = directory(name) else { return refuse(.unavailable, "cannot be looked up: " + (name.map { "the directory \($0) is not loaded" } ?? "no directory is loaded")) }
        let token = directory.ask(.account, user: user, deadline: deadline.nanoseconds) { answer, _ in
            guard answer.isGood else {
                return completion(
                    .failed(
                        .account(
                            EAPRefusal(
                                answer.isOfDirectory ? .unavailable : .accountRefused,
                                "\(answer.isOfDirectory ? "could not be looked up in" : "is refused by") the directory\(answer.reason.isEmpty ? "" : ": " + answer.reason)"))))
            }
            completion(.account(UserAccount(name: answer.user.isEmpty ? user : Array(answer.user.utf8), groups: answer.groupNames)))
        }
        if token == nil { refuse(.unavailable, "cannot be asked of the directory \(directory.name)") }
    }

    /// The certificates and keys from now on; a call under way keeps those that it began with.
    package func replaceCredentials(_ new: CredentialSnapshot) { credentials.withLock { $0 = new } }

    /// Where so many calls of a plugin may run at once. One that says nothing has some threads, not all of them, to hang in. `threads`: how many there are.
    func lane(_ job: Job, threads: Int) -> JobPool.Lane? {
        switch job {
        case .sign(let request), .verify(let request, _): methods(request.method).map { JobPool.Lane(name: request.method, limit: $0.maximumConcurrency ?? Self.callsAtOnce) }
        case .eap(let step): eapMethods(step.method.name)?.maximumConcurrency.map { JobPool.Lane(name: step.method.name, limit: $0) }
        // Anybody may ask for the slowest group that is configured: one thread is never theirs.
        case .generateAndAgree(let algorithm, _, ofStranger: true) where !algorithm.isQuick: JobPool.Lane(name: "the slow key exchanges with strangers", limit: max(1, threads - 1))
        case .generateKey, .agree, .generateAndAgree, .findPaths, .lookUp: nil
        }
    }
    private static let callsAtOnce = 8

    /// Whether it takes microseconds and never waits, as the plugin that does it promises: then to hand it to a thread costs more than to do it.
    func isQuick(_ job: Job) -> Bool {
        switch job {
        case .sign(let request), .verify(let request, _): methods(request.method)?.isQuick == true && secrets.withLock { $0.all.count } <= Self.quickSecrets
        case .generateKey, .agree, .generateAndAgree, .findPaths, .lookUp, .eap: false
        }
    }

    /// Among more, it takes long to find the one that fits.
    private static let quickSecrets = 256

    /// Takes as long as it takes, or until `deadline` where a plugin answers later.
    func run(_ job: Job, deadline: Instant) -> JobResult {
        switch job {
        case .generateKey(let algorithm):
            return crypto { () throws(CryptoError) in .keyGenerated(try algorithm.generate()) }
        case .agree(let key, let peerValue):
            return crypto { () throws(CryptoError) in .agreed(SecretBox(try key.agree(peerValue.span))) }
        case .generateAndAgree(let algorithm, let peerValue, _):
            return crypto { () throws(CryptoError) in
                let key = try algorithm.generate()
                return .generatedAndAgreed(publicValue: key.publicValue, SecretBox(try key.agree(peerValue.span)))
            }
        case .sign(let request):
            return authenticate(request) { (method) throws(JobFailure) in
                let made = try method.signWithCertificates(request, deadline: deadline.nanoseconds, credentials: self.credentials.withLock { $0 }, secret: self.lend)
                return .signed(made.authentication, certificates: made.certificates)
            }
        case .verify(let request, let authentication):
            return authenticate(request) { (method) throws(JobFailure) in
                try method.verify(request, authentication, deadline: deadline.nanoseconds, credentials: self.credentials.withLock { $0 }, secret: self.lend)
                return .verified
            }
        // `begin` and `lookUp` do those.
        case .eap(let step): return .failed(.noMethod(step.method.name))
        case .lookUp: return .failed(.deadline)
        case .findPaths(let remotes):
            return .pathsFound(remotes.compactMap { remote in Resolution.source(towards: SocketAddress(address: remote, port: 4500)).map { FoundPath(remote: remote, local: $0) } })
        }
    }

    private func crypto(_ body: () throws(CryptoError) -> JobResult) -> JobResult {
        do throws(CryptoError) { return try body() } catch { return .failed(.crypto(error)) }
    }

    private func authenticate(_ request: AuthenticationRequest, _ body: (AuthMethod) throws(JobFailure) -> JobResult) -> JobResult {
        guard let method = methods(request.method) else { return .failed(.noMethod(request.method)) }
        do throws(JobFailure) { return try body(method) } catch { return .failed(error) }
    }

    private func lend(_ request: AuthenticationRequest, _ use: (Span<UInt8>) -> Void) -> Bool {
        guard let secret = secrets.withLock({ $0 }).best(local: request.local, remote: request.remote) else { return false }
        return secret.secret.withSecret { (bytes: borrowing SecretBytes) -> Bool in
            use(bytes.span)
            return true
        } ?? false
    }
}
