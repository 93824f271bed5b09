// A backend that answers when the test says so, and snapshots to answer with.
import Glibc
import IKECore
import IKECrypto
import Synchronization
import ViciWire

@testable import Gateway

final class ScriptedBackend: ControlBackend {
    let daemonVersion = "0.1-test"
    var sas: [IKESASnapshot] = []
    var connections: [ConnectionSnapshot] = []
    var initiations: [(request: InitiateRequest, progress: ControlProgress, completion: @Sendable (Result<InitiateOutcome, FailureSnapshot>) -> Void)] = []
    /// What the command line tests let an initiation end with.
    var initiationResult: Result<InitiateOutcome, FailureSnapshot> = .success(InitiateOutcome(wasUp: false))
    var terminations: [TerminateRequest] = []
    var terminationOutcome = SelectionOutcome(matches: 0, completed: 0)
    var rekeys: [RekeyRequest] = []
    var loads: [(name: String, root: ConfigurationSection)] = []
    var loadResult = LoadResult.success([])
    var secrets: [(id: String, owners: [String], data: SecretBox)] = []
    var kinds: [SecretKind] = []
    var policies: [PolicySnapshot] = []
    var forgotten: [FetchedCredentials] = []
    var loadedPools: [PoolSnapshot] = []

    func stats(_ completion: @escaping @Sendable (StatsSnapshot) -> Void) {
        var stats = StatsSnapshot()
        stats.uptimeSeconds = 61
        stats.ikeSAs = sas.count
        stats.plugins = ["openssl", "tun"]
        stats.drops = [CounterSnapshot(name: "unknown_spi", value: 3)]
        completion(stats)
    }
    func listSAs(_ filter: SAFilter, _ completion: @escaping @Sendable (Result<Listing<IKESASnapshot>, FailureSnapshot>) -> Void) {
        completion(missing.map { .failure($0) } ?? .success(listing ?? Listing(sas)))
    }
    /// In place of `sas`, where a test wants to see how they are asked for.
    var listing: Listing<IKESASnapshot>?
    var missing: FailureSnapshot?
    func listConnections(_ completion: @escaping @Sendable ([ConnectionSnapshot]) -> Void) { completion(connections) }
    func initiate(
        _ request: InitiateRequest, _ progress: ControlProgress,
        _ completion: @escaping @Sendable (Result<InitiateOutcome, FailureSnapshot>) -> Void
    ) { initiations.append((request, progress, completion)) }
    func terminate(_ request: TerminateRequest, _ progress: ControlProgress, _ completion: @escaping @Sendable (SelectionOutcome) -> Void) {
        terminations.append(request)
        completion(terminationOutcome)
    }
    func rekey(_ request: RekeyRequest, _ progress: ControlProgress, _ completion: @escaping @Sendable (SelectionOutcome) -> Void) {
        rekeys.append(request)
        completion(SelectionOutcome(matches: 1, completed: 1))
    }
    func algorithms(_ completion: @escaping @Sendable ([AlgorithmSnapshot]) -> Void) {
        completion([
            AlgorithmSnapshot(kind: .aead, name: "AES_GCM_16", provider: "openssl", state: .active),
            AlgorithmSnapshot(kind: .aead, name: "AES_GCM_16", provider: "gcrypt", state: .standby),
            AlgorithmSnapshot(kind: .keyExchange, name: "CURVE_25519", provider: "openssl", state: .active),
        ])
    }
    func counters(_ selection: CounterSelection, _ completion: @escaping @Sendable ([NamedCounters]?) -> Void) {
        switch selection {
        case .global: completion([NamedCounters("", MessageCounters())])
        case .connection(let name): completion(name == "gw" ? [NamedCounters(name, MessageCounters())] : nil)
        case .allConnections: completion([])
        }
    }
    func resetCounters(_ selection: CounterSelection, _ completion: @escaping @Sendable (Bool) -> Void) { completion(selection != .connection("nobody")) }
    func plugins(_ completion: @escaping @Sendable ([PluginSnapshot]) -> Void) {
        var refused = PluginSnapshot(name: "evil", path: "/p/evil.so", isLoaded: false)
        refused.reason = "writable by others"
        completion([PluginSnapshot(name: "openssl", path: "/p/openssl.so", isLoaded: true), refused])
    }
}

extension ScriptedBackend {
    func loadConnection(_ name: String, _ root: ConfigurationSection, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        loads.append((name, root))
        completion(loadResult)
    }
    func unloadConnection(_ name: String) -> LoadResult { .failure(FailureSnapshot(code: "configuration-refused", summary: "no \(name)")) }
    var loadedConnections: [String] { loads.map(\.name) }
    func loadSecret(_ kind: SecretKind, id: String, owners: [String], data: SecretBox) -> LoadResult {
        secrets.append((id, owners, data))
        kinds.append(kind)
        return .success(["it is short"])
    }
    func loadCertificate(_ kind: LoadedCertificateKind, data: SecretBox) -> LoadResult { .success([]) }
    func loadKey(data: SecretBox) -> Result<String, FailureSnapshot> { .success("00ff") }
    func unloadKey(id: String) -> LoadResult { .success([]) }
    var loadedKeys: [String] { [] }
    func loadAuthority(_ name: String, _ root: ConfigurationSection) -> LoadResult { .success([]) }
    func unloadAuthority(_ name: String) -> LoadResult { .success([]) }
    var loadedAuthorities: [String] { [] }
    var authorities: [Authority] { [] }
    var certificates: [Credential] { [] }
    func loadPool(_ name: String, _ root: ConfigurationSection, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        loadedPools.append(PoolSnapshot(name: name, base: "10.3.0.1", size: 254, online: 1, offline: 0))
        completion(.success([]))
    }
    func unloadPool(_ name: String) -> LoadResult { .failure(FailureSnapshot(code: "configuration-refused", summary: "1 addresses of the pool \(name) are lent")) }
    func pools(withLeases: Bool) -> [PoolSnapshot] {
        loadedPools.map { pool in
            var pool = pool
            if withLeases { pool.leases = [PoolSnapshot.Lease(address: "10.3.0.1", identity: "rw.example", isOnline: true)] }
            return pool
        }
    }
    func unloadSecret(id: String) -> LoadResult {
        secrets.removeAll { $0.id == id }
        return .success([])
    }
    var loadedSecrets: [String] { secrets.map(\.id) }
    func clearSecrets() { secrets = [] }
    func forget(_ fetched: FetchedCredentials) { forgotten.append(fetched) }
    func reloadFiles(_ completion: @escaping @Sendable (LoadResult) -> Void) { completion(.success([])) }
    func installPolicy(child: String, connection: String?, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        policies.append(PolicySnapshot(kind: .trap, connection: connection ?? "gw", child: child, mode: "TUNNEL"))
        completion(.success([]))
    }
    func uninstallPolicy(child: String, connection: String?) -> LoadResult { .failure(FailureSnapshot(code: "configuration-refused", summary: "no policy of \(child)")) }
}

func sampleSA(name: String = "gw", id: UInt64 = 1, children: Int = 1) -> IKESASnapshot {
    var sa = IKESASnapshot(
        name: name, uniqueID: id, state: .established, local: EndpointSnapshot(host: "192.0.2.1", port: 4500, id: "left@example.org"),
        remote: EndpointSnapshot(host: "198.51.100.7", port: 4500, id: "right@example.org"), isInitiator: true, initiatorSPI: 0xab,
        responderSPI: 0x0123_4567_89ab_cdef)
    sa.isRemoteBehindNAT = true
    var suite = SuiteSnapshot()
    suite.encryption = "AES_GCM_16"
    suite.encryptionBits = 256
    suite.prf = "PRF_HMAC_SHA2_384"
    suite.keyExchange = "ECP_384"
    sa.suite = suite
    sa.establishedSeconds = 12
    sa.rekeySeconds = 3_600
    sa.children = (0..<children).map { index in
        var child = ChildSASnapshot(
            name: "net\(index)", uniqueID: UInt64(index + 1), requestID: 1, state: .installed, inboundSPI: 0xc0ff_ee01, outboundSPI: 0x1d)
        child.isUDPEncapsulated = true
        child.suite.encryption = "AES_GCM_16"
        child.suite.encryptionBits = 128
        child.suite.hasExtendedSequenceNumbers = true
        child.inbound = TrafficSnapshot(bytes: 1_234, packets: 5, idleSeconds: 2)
        child.outbound = TrafficSnapshot(bytes: 99, packets: 1)
        child.rekeySeconds = 100
        child.lifeSeconds = 200
        child.installedSeconds = 11
        child.localSelectors = ["10.1.0.0/16"]
        child.remoteSelectors = ["10.2.0.0/16", "2001:db8::/64"]
        child.replayed = 4
        return child
    }
    return sa
}

func logEntry(_ message: String, level: Int = 1, sa: String? = nil) -> LogEntrySnapshot {
    LogEntrySnapshot(group: "IKE", level: level, ikeSAName: sa, message: message, unixMilliseconds: 1_000)
}

/// A blocking client on a real socket, with a time-out on every read so that a server that hangs fails the test.
final class TestClient {
    let fd: Int32
    private var framer = ViciFramer()

    init?(path: String) {
        fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        if result != 0 { return nil }
    }
    deinit { close(fd) }

    func send(_ packet: ViciPacket) throws { send(bytes: try packet.framed()) }
    func send(bytes: [UInt8]) { _ = bytes.withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) } }

    /// The next packet, or nil at the end of the stream. `pump` lets the server run while there is nothing to read.
    func receive(_ pump: () -> Void) throws -> ViciPacket? {
        while true {
            if let frame = try framer.next() { return try ViciPacket(decoding: frame) }
            pump()
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let count = recv(fd, &buffer, buffer.count, 0)
            guard count > 0 else { return nil }
            framer.append(buffer[..<count])
        }
    }
}

/// Runs a server by poll(2) until nothing is ready, as a loop would.
func runUntilIdle(_ server: ControlServer) {
    for _ in 0..<10_000 {
        let interests = server.fds
        var polled = interests.map { fd, interest in
            pollfd(fd: fd, events: Int16((interest.contains(.read) ? POLLIN : 0) | (interest.contains(.write) ? POLLOUT : 0)), revents: 0)
        }
        guard poll(&polled, nfds_t(polled.count), 0) > 0 else { return }
        for one in polled where one.revents != 0 {
            if Int32(one.revents) & (POLLIN | POLLHUP | POLLERR) != 0 { server.handleReadable(one.fd) }
            if Int32(one.revents) & POLLOUT != 0 { server.handleWritable(one.fd) }
        }
    }
}

/// Lines the server logged.
final class CapturedLog: Sendable {
    private let lines = Mutex<[String]>([])
    func append(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
    func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }
}

/// A folder of its own, gone with its owner.
final class ScratchFolder {
    let path: String
    init() {
        var template = Array("/tmp/martlet-control-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in mkdtemp(buffer.baseAddress!).map { String(cString: $0) } ?? "/nonexistent" }
    }
    deinit {
        for name in ["vici.sock", "vici.sock.lock", "file", "martlet", "martletd"] { unlink(path + "/" + name) }
        rmdir(path)
    }
}

/// A clock that stands still until it is set.
final class SetClock: Sendable {
    private let instant = Mutex(Instant(nanoseconds: 1_000_000_000))
    var now: Instant {
        get { instant.withLock { $0 } }
        set { instant.withLock { $0 = newValue } }
    }
}
