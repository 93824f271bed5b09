// What a vici client asked for: command names and arguments as typed requests.
// Source of the names: strongSwan's src/libcharon/plugins/vici/README.md, "Client-initiated commands".
import IKECrypto
import ViciWire

enum ControlRequest: Sendable, Hashable {
    case version
    case stats
    case reloadSettings
    case listSAs(SAFilter)
    case listConnections(name: String?)
    case listPolicies(PolicyFilter)
    case initiate(InitiateRequest, ControlWait)
    case terminate(TerminateRequest, ControlWait)
    case rekey(RekeyRequest)
    case algorithms
    case counters(CounterSelection)
    case resetCounters(CounterSelection)
    case install(child: String, ike: String?)
    case uninstall(child: String, ike: String?)

    // What clients load beside the files.
    case loadConnection(ViciMessage)
    case unloadConnection(String)
    case loadedConnections
    case loadShared(SharedKey)
    case unloadShared(String)
    case loadedShared
    case loadPool(ViciMessage)
    case unloadPool(String)
    case pools(withLeases: Bool)
    case loadCertificate(LoadedCertificateKind, SecretData)
    case loadKey(SecretData)
    case unloadKey(String)
    case loadedKeys
    case loadAuthority(ViciMessage)
    case unloadAuthority(String)
    case loadedAuthorities
    case listAuthorities(name: String?)
    case listCertificates(CertificateFilter)
    case clearCredentials
    case flushCertificates(FetchedCredentials)

    // Lists of what Martlet does not have yet are empty: an honest answer.
    case emptyList(String)
    case emptyStream(ControlEventName)

    /// Martlet's own: every algorithm of every provider, the plugin files, and the last lines of the log.
    case allAlgorithms
    case plugins
    case logBacklog(limit: Int)

    /// A command of vici that is not there yet, and why.
    case unsupported(String)
    /// A command that is there, with arguments that say nothing it could do.
    case invalid(String)
    /// No command of vici at all.
    case unknown(String)

    /// A change is logged with who asked for it.
    var audited: String? {
        switch self {
        case .initiate(let request, _):
            "initiate" + (request.child.map { " child=\($0)" } ?? "") + (request.ike.map { " ike=\($0)" } ?? "")
        case .terminate(let request, _): "terminate" + request.filter.arguments + (request.force ? " force" : "")
        case .rekey(let request): "rekey" + request.filter.arguments
        case .install(let child, let ike): "install" + SAFilter(ike: ike, child: child).arguments
        case .uninstall(let child, let ike): "uninstall" + SAFilter(ike: ike, child: child).arguments
        case .reloadSettings: "reload-settings"
        case .resetCounters: "reset-counters"
        case .loadConnection(let message): "load-conn " + (message.elements.first.map { quoted($0.name) } ?? "")
        case .unloadConnection(let name): "unload-conn " + quoted(name)
        case .loadShared(let key): "load-shared " + quoted(key.id)
        case .unloadShared(let id): "unload-shared " + quoted(id)
        case .loadPool(let message): "load-pool " + (message.elements.first.map { quoted($0.name) } ?? "")
        case .unloadPool(let name): "unload-pool " + quoted(name)
        case .loadCertificate: "load-cert"
        case .loadKey: "load-key"
        case .unloadKey(let id): "unload-key " + quoted(id)
        case .loadAuthority(let message): "load-authority " + (message.elements.first.map { quoted($0.name) } ?? "")
        case .unloadAuthority(let name): "unload-authority " + quoted(name)
        case .clearCredentials: "clear-creds"
        case .flushCertificates(let fetched): fetched.isEmpty ? nil : "flush-certs"
        case .version, .stats, .listSAs, .listConnections, .listPolicies, .algorithms, .counters, .loadedConnections, .loadedShared, .pools, .emptyList, .emptyStream,
            .loadedKeys, .loadedAuthorities, .listAuthorities, .listCertificates,
            .allAlgorithms, .plugins, .logBacklog, .unsupported, .invalid, .unknown:
            nil
        }
    }
}

extension ControlRequest {
    /// The commands of vici that Martlet does not have yet, and why. They are refused: a client must not take silence for success.
    static let notThereYet: [String: String] = [
        "load-token": "tokens are not there yet",
        "redirect": "redirecting a peer (RFC 5685) is not there yet",
    ]

    static let backlogLimit = 1_000

    /// The names of the values that hold a secret in the requests that bring one: keys have `data`, tokens a `pin`.
    static let secretNames: Set<String> = ["data", "pin"]

    /// `secret` is the value `data`, which `message` is without.
    init(name: String, _ message: ViciMessage, secret: SecretBox? = nil) {
        do throws(BadArgument) {
            switch name {
            case "version": self = .version
            case "stats": self = .stats
            case "reload-settings": self = .reloadSettings
            case "list-sas": self = .listSAs(try SAFilter(message))
            case "list-conns": self = .listConnections(name: message.text("ike"))
            case "list-policies": self = .listPolicies(PolicyFilter(message))
            case "initiate":
                let wait = try ControlWait(message)
                let request = InitiateRequest(child: message.text("child"), ike: message.text("ike"), timeout: wait.timeout)
                guard request.child != nil || request.ike != nil else { throw BadArgument("initiate needs child or ike") }
                self = .initiate(request, wait)
            case "terminate":
                let wait = try ControlWait(message)
                let filter = try SAFilter(message)
                guard !filter.isEmpty else { throw BadArgument("terminate needs one of child, child-id, ike and ike-id") }
                self = .terminate(TerminateRequest(filter: filter, force: message.boolean("force"), timeout: wait.timeout), wait)
            case "rekey":
                let filter = try SAFilter(message)
                guard !filter.isEmpty else { throw BadArgument("rekey needs one of child, child-id, ike and ike-id") }
                let reauthenticates = message.boolean("reauth")
                guard !reauthenticates || !filter.selectsChildren else { throw BadArgument("reauth is for an IKE SA: name it with ike or ike-id") }
                self = .rekey(RekeyRequest(filter: filter, reauthenticates: reauthenticates))
            case "install": self = .install(child: try message.needed("child", by: name), ike: message.text("ike"))
            case "uninstall": self = .uninstall(child: try message.needed("child", by: name), ike: message.text("ike"))
            case "get-algorithms": self = .algorithms
            case "get-counters": self = .counters(CounterSelection(message))
            case "reset-counters": self = .resetCounters(CounterSelection(message))
            case "load-conn": self = .loadConnection(message)
            case "unload-conn": self = .unloadConnection(try message.needed("name", by: name))
            case "get-conns": self = .loadedConnections
            case "load-shared": self = .loadShared(try SharedKey(message, secret))
            case "unload-shared": self = .unloadShared(try message.needed("id", by: name))
            case "get-shared": self = .loadedShared
            case "clear-creds": self = .clearCredentials
            case "flush-certs": self = try Self.flushCertificates(message)
            case "load-cert": self = try Self.loadCertificate(message, secret)
            case "load-key":
                guard let secret else { throw BadArgument("load-key needs data, once") }
                self = .loadKey(SecretData(box: secret))
            case "unload-key": self = .unloadKey(try message.needed("id", by: name))
            case "get-keys": self = .loadedKeys
            case "load-authority": self = .loadAuthority(message)
            case "unload-authority": self = .unloadAuthority(try message.needed("name", by: name))
            case "get-authorities": self = .loadedAuthorities
            case "load-pool": self = .loadPool(message)
            case "unload-pool": self = .unloadPool(try message.needed("name", by: name))
            case "get-pools": self = .pools(withLeases: message.boolean("leases"))
            case "list-certs": self = .listCertificates(CertificateFilter(message))
            case "list-authorities": self = .listAuthorities(name: message.text("name"))
            case "martlet-algorithms": self = .allAlgorithms
            case "martlet-plugins": self = .plugins
            case "martlet-log":
                let limit = try message.number("limit", as: UInt32.self) ?? UInt32(Self.backlogLimit)
                self = .logBacklog(limit: min(Int(limit), Self.backlogLimit))
            default:
                self = Self.notThereYet[name].map { .unsupported("\(name): \($0)") } ?? .unknown(name)
            }
        } catch {
            self = error.isMissing ? .unsupported(error.reason) : .invalid(error.reason)
        }
    }
}

/// The value `data` of a request: the same where it is the same memory.
struct SecretData: Sendable, Hashable {
    let box: SecretBox
    static func == (a: Self, b: Self) -> Bool { a.box === b.box }
    func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(box)) }
}

extension ControlRequest {
    /// What is kept are CRLs and answers of OCSP that were fetched: of the other types there is nothing to forget.
    private static func flushCertificates(_ message: ViciMessage) throws(BadArgument) -> ControlRequest {
        let type = (message.text("type") ?? "ANY").uppercased()
        switch type {
        case "ANY", "": return .flushCertificates([.revocationLists, .statusAnswers])
        case "X509_CRL": return .flushCertificates(.revocationLists)
        case "OCSP_RESPONSE": return .flushCertificates(.statusAnswers)
        case "X509", "X509_AC", "OCSP_REQUEST", "PUBKEY", "PKCS10_REQUEST", "PGP": return .flushCertificates([])
        default: throw BadArgument("there is no certificate of the type \(quoted(type)): X509_CRL, OCSP_RESPONSE or ANY")
        }
    }

    private static func loadCertificate(_ message: ViciMessage, _ secret: SecretBox?) throws(BadArgument) -> ControlRequest {
        let type = (message.text("type") ?? "").uppercased(), flag = (message.text("flag") ?? "NONE").uppercased()
        let kind: LoadedCertificateKind
        switch (type, flag) {
        case ("X509", "NONE"), ("X509", ""): kind = .endEntity
        case ("X509", "CA"): kind = .authority
        case ("X509", "OCSP"), ("X509", "AA"): kind = .other
        case ("X509_CRL", _): kind = .revocationList
        case ("PUBKEY", _): kind = .publicKey
        case ("X509_AC", _): throw BadArgument("attribute certificates are not there", isMissing: true)
        case ("X509", _): throw BadArgument("there is no certificate of the flag \(quoted(flag)): NONE, CA, AA or OCSP")
        default: throw BadArgument("there is no certificate of the type \(quoted(type)): X509, X509_CRL or PUBKEY")
        }
        guard let secret else { throw BadArgument("load-cert needs data, once") }
        return .loadCertificate(kind, SecretData(box: secret))
    }
}
