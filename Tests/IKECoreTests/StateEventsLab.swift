// One endpoint whose jobs and data plane wait to be told, a peer that says what it should, and words for what comes of it.

import IKECrypto
import IKEWire
@testable import TestSupport
import Testing

@testable import IKECore

final class Lab {
    let node: Node
    let peer: HostilePeer
    var now = Instant(nanoseconds: 1_000_000_000)
    private(set) var jobs: [(JobID, Job)] = []
    private(set) var installs: [ChildSAID] = []
    /// The endpoint's request that the peer has not answered.
    private(set) var lastRequest: Header?
    private(set) var lastSent: [UInt8] = []
    /// What the peer asked last.
    private(set) var lastAsked: [UInt8]?
    private(set) var child: ChildSAID?
    private(set) var hasKeys = false
    let request = RequestID(rawValue: 1)
    private let hasMobike: Bool
    /// The initiator proves itself by EAP (StateEventsEAP.swift).
    let hasEAP: Bool
    /// What the peer says next in EAP, or as its AUTH, if it is its turn.
    var due: [Payload] = []

    init(east: Bool, mobike: Bool = false, eap: Bool = false) throws {
        hasMobike = mobike
        hasEAP = eap
        var connection = Fixtures.connection(east: east, methods: [.curve25519, .ecp256])
        connection.dpdDelay = .seconds(30)
        connection.mobike = mobike
        connection.keyingTries = 0
        let (local, remote): (UInt32, UInt32) = east ? (1, 2) : (2, 1)
        connection.children = [
            Fixtures.child(local: local, remote: remote), Fixtures.child("second", local: local + 2, remote: remote + 2),
            Fixtures.child("pfs", local: local + 4, remote: remote + 4, pfs: [.curve25519]),
        ]
        connection.children[0].startAction = .start
        connection.children[0].closeAction = .start
        connection.children[0].dpdAction = .start
        if eap, east { (connection.local.method, connection.local.eapIdentity) = ("eap-test", .exactly(Fixtures.identity("carol"))) }
        if eap, !east { (connection.remote.method, connection.remote.eapIdentity) = ("eap-test", .any) }
        node = Node(east ? "east" : "west", address: Fixtures.westAddress, connections: [connection], seed: 99)
        node.eapRounds = 0
        // The name that it shows is that of the other end.
        peer = try HostilePeer(isInitiator: !east)
        if east { peer.nextID = 0 }
        handle(.localAddressesChanged([node.local.address]))
    }

    var endpoint: Endpoint { node.endpoint }

    // MARK: What happens

    @discardableResult
    func handle(_ event: Event) -> [Action] {
        switch event {
        case .jobFinished(let id, _): jobs.removeAll { $0.0 == id }
        case .childSAInstalled(let id, _): installs.removeAll { $0 == id }
        default: break
        }
        let actions = endpoint.handle(event, now: now)
        for action in actions {
            switch action {
            case .run(let id, let job): jobs.append((id, job))
            case .installChildSA(let parameters):
                installs.append(parameters.id)
                child = child ?? parameters.id
            case .transmit(let datagram):
                if let header = try? Header.parse(datagram.bytes.span), !header.isResponse {
                    lastRequest = header
                    lastSent = datagram.bytes
                }
            default: break
            }
        }
        return actions
    }

    /// Does the first jobs, one after the other.
    func work(_ count: Int = 1) { for _ in 0..<count { if let (id, job) = jobs.first { handle(.jobFinished(id, node.run(job))) } } }
    func install() { if let id = installs.first { handle(.childSAInstalled(id, failure: nil)) } }

    /// The next deadline at which something is done. What was waited for before leaves deadlines behind that mean nothing any more.
    @discardableResult
    func deadline() -> [Action] {
        let before = situation
        for _ in 0..<8 {
            guard let next = endpoint.nextDeadline else { break }
            now = max(now, next)
            let actions = handle(.deadlineReached)
            if !actions.isEmpty || situation != before { return actions }
        }
        return []
    }

    /// Where the peer may be as well.
    static let elsewhere = SocketAddress(address: IPAddress(v4: 0xc633_6401), port: 500)
    func datagram(_ bytes: [UInt8], from remote: SocketAddress = HostilePeer.address) -> Event {
        .datagramReceived(Datagram(local: node.local, remote: remote, marked: false, bytes: bytes))
    }
    @discardableResult
    func receive(_ bytes: [UInt8], from remote: SocketAddress = HostilePeer.address) -> [[UInt8]] {
        handle(datagram(bytes, from: remote)).compactMap { if case .transmit(let datagram) = $0 { datagram.bytes } else { nil } }
    }

    func initiation(_ child: String) -> Event {
        .initiate(connection: "site", child: child, packet: nil, local: node.local, remote: HostilePeer.address, request: RequestID(rawValue: 99))
    }
    func initiate(_ child: String) { handle(.initiate(connection: "site", child: child, packet: nil, local: node.local, remote: HostilePeer.address, request: request)) }

    // MARK: As the initiator

    func start() {
        initiate("net")
        // The peer answers to SPIs that it has seen.
        peer.targetSPI = endpoint.status().first?.initiatorSPI ?? .none
    }
    func answerInit() throws {
        start()
        let (id, job) = try #require(jobs.first)
        let actions = handle(.jobFinished(id, node.run(job)))
        for case .transmit(let datagram) in actions {
            hasKeys = true
            receive(try peer.initResponse(to: datagram.bytes))
        }
    }
    func answerAuth() throws {
        try answerInit()
        work(2)
        receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + peer.child() + mobility, id: 1, response: true))
        lastRequest = nil
    }

    // MARK: As the responder

    func begin() throws {
        receive(peer.initRequest())
        let (id, job) = try #require(jobs.first)
        for case .transmit(let datagram) in handle(.jobFinished(id, node.run(job))) { try peer.take(initResponse: datagram.bytes) }
        hasKeys = true
    }
    func authenticate() throws {
        try begin()
        try ask(.ikeAuth, try peer.authPayloads() + mobility)
    }
    func connectAsInitiator() throws {
        try answerAuth()
        work()
        install()
    }
    /// This host has another address.
    func moveHere() {
        node.roam(to: Fixtures.natAddress)
        handle(.localAddressesChanged([Fixtures.natAddress]))
    }
    func connect() throws {
        try authenticate()
        work(2)
        install()
    }

    /// A request of the peer's.
    func ask(_ exchange: ExchangeType, _ payloads: [Payload], from remote: SocketAddress = HostilePeer.address) throws {
        let bytes = try peer.seal(exchange, payloads)
        peer.nextID += 1
        lastAsked = bytes
        receive(bytes, from: remote)
    }
    /// The peer's answer to our last request.
    func respond(_ exchange: ExchangeType, _ payloads: [Payload]) throws {
        let asked = try #require(lastRequest)
        lastRequest = nil
        receive(try peer.seal(exchange, payloads, id: asked.messageID, response: true))
    }

    // MARK: What the peer says

    private var mobility: [Payload] { hasMobike ? [.notify(Notify(.mobikeSupported))] : [] }

    /// What goes back of our request as it came. RFC 4555 section 3.7.
    var cookie: [Payload] {
        let sent = (try? peer.open(lastSent)) ?? []
        return sent.firstNotify(.cookie2).map { [.notify($0)] } ?? []
    }

    /// The answer to our last request that says yes.
    func answer() throws -> [Payload] {
        guard lastRequest?.exchangeType == .createChildSA else { return cookie }
        return situation.joined().contains { $0.contains("rekeyIKE") } ? ikeAnswer() : childAnswer()
    }

    private var keyExchange: Payload { .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue)) }

    func newChild(pfs: Bool = false) -> [Payload] { newChild(of: pfs ? 5 : 3, pfs: pfs) }
    private func newChild(of third: UInt32, pfs: Bool = false) -> [Payload] {
        var proposal = Fixtures.espProposal(pfs ? [.curve25519] : [])
        proposal.spi = (0x0a0b_0c0d as UInt32).bytes
        return [
            .securityAssociation(SecurityAssociation(proposals: [proposal])), .trafficSelectorInitiator([Fixtures.network(peer.isInitiator ? third : third + 1)]),
            .trafficSelectorResponder([Fixtures.network(peer.isInitiator ? third + 1 : third)]),
        ] + (pfs ? [keyExchange] : []) + [.nonce(peer.nonce)]
    }
    func rekeyChild(spi: UInt32 = 0x0102_0304) -> [Payload] { [.notify(Notify(.rekeySA, protocolID: .esp, spi: spi.bytes))] + newChild(of: 1) }
    func rekeyIKE() -> [Payload] {
        var proposal = Fixtures.ikeProposal()
        proposal.spi = IKESPI(rawValue: 0x1122_3344_5566_7788).bytes
        return [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), keyExchange]
    }
    /// The answer to our rekey of the IKE SA.
    func ikeAnswer() -> [Payload] { rekeyIKE() }
    /// The answer to our request for a child: it takes all that was offered.
    func childAnswer(pfs: Bool = false) -> [Payload] {
        let name = endpoint.tables.sas.values.compactMap { sa -> ChildOffer? in
            if case .createChild(let creation)? = sa.established?.outgoing.exchange { creation.offer } else { nil }
        }.first
        var proposal = Fixtures.espProposal(pfs || name?.policy.name == "pfs" ? [.curve25519] : [])
        proposal.spi = (0x0a0b_0c0e as UInt32).bytes
        return [
            .securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .trafficSelectorInitiator(name?.localTS ?? []), .trafficSelectorResponder(name?.remoteTS ?? []),
        ] + (pfs || name?.policy.name == "pfs" ? [keyExchange] : [])
    }

    /// A message that nobody protected.
    func clear(_ exchange: ExchangeType, id: UInt32, response: Bool, _ payloads: [Payload]) -> [UInt8] {
        var header = peer.header(exchange, id: id, response: response)
        if let sa = endpoint.tables.sas.values.first, peer.targetSPI == .none {
            header = Header(
                initiatorSPI: sa.initiatorSPI, responderSPI: sa.isInitiator ? .none : sa.localSPI, exchangeType: exchange, flags: header.flags, messageID: id)
        }
        return Message(header: header, payloads: payloads).serialized()
    }
    func forged(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        bytes[bytes.count - 1] ^= 1
        return bytes
    }

    // MARK: Words

    /// What came of it; nil where there is no such event here.
    func outcome(_ stimulus: Stimulus) throws -> [String]? {
        guard let event = try stimulus.event(self) else { return nil }
        let pairs = endpoint.context.holdings.children
        let actions = if case .deadlineReached = event { deadline() } else { handle(event) }
        var told = actions.map(words)
        // A reason is the failure's, where one is told.
        if told.contains(where: { $0.hasPrefix("report failure ") }) { told = told.map { $0.hasPrefix("report IKE SA closed") ? "report IKE SA closed" : $0 } }
        guard endpoint.tables.sas.values.allSatisfy({ $0.isClosed }) else { return told }
        // What stood goes, whatever ended it.
        #expect(endpoint.context.holdings.children.isEmpty && endpoint.context.holdings.inboundSPIs.isEmpty)
        let cleared = actions.filter { if case .removeChildSA(_, keepInbound: false) = $0 { true } else { false } }
        #expect(cleared.count == pairs.count)
        return told.filter { !$0.hasPrefix("remove ") && !($0.hasPrefix("report child ") && $0.hasSuffix(" down")) && $0 != "answer: failed (closed)" }
    }

    /// Each IKE SA with what it holds.
    var situation: [[String]] {
        endpoint.tables.sas.values.sorted { $0.id.rawValue < $1.id.rawValue }.map { sa in sa.established.map(words) ?? [name(sa.state)] }
    }
    var shown: String { situation.isEmpty ? "gone" : situation.map { $0.joined(separator: ", ") }.joined(separator: " + another: ") }

    /// What `situation` has now that it had not, and the other way round. SAs that came after the first ones are whole.
    func change(since before: [[String]]) -> String {
        let after = situation
        guard after != before else { return "" }
        guard !after.isEmpty else { return "gone" }
        var words: [String] = []
        for (index, parts) in after.enumerated() {
            guard index < before.count else {
                words.append("another: " + parts.joined(separator: ", "))
                continue
            }
            if parts == before[index] { continue }
            if parts.count == 1, !["established"].contains(parts[0]) {
                words.append((index > 0 ? "the other is " : "") + parts[0])
                continue
            }
            let (gone, new) = (before[index].filter { !parts.contains($0) }, parts.filter { !before[index].contains($0) })
            words.append((index > 0 ? "the other: " : "") + (gone.map { "-" + $0 } + new.map { "+" + $0 }).joined(separator: " "))
        }
        if after.count < before.count { words.append("an SA is gone") }
        return words.joined(separator: ", ")
    }

    private func name(_ state: State) -> String { String(String(describing: state).prefix { $0 != "(" }) }

    private func words(_ established: Established) -> [String] {
        func name(_ exchange: Established.Exchange) -> String {
            switch exchange {
            case .createChild(let creation): creation.replacing == nil ? "createChild" : "rekeyChild"
            case .rekeyIKE: "rekeyIKE"
            case .deleteChild: "deleteChild"
            case .deleteIKE: "deleteIKE"
            case .informational: "informational"
            case .updateAddresses: "updateAddresses"
            }
        }
        func name(_ task: Established.Task) -> String { String(String(describing: task).prefix { $0 != "(" }) }
        var parts = ["established"]
        switch established.phase {
        case .active: break
        case .rekeyed: parts.append("rekeyed")
        case .redundant: parts.append("redundant")
        case .deleting: parts.append("deleting")
        }
        switch established.outgoing {
        case .idle: break
        case .preparing(_, let exchange): parts.append("out: preparing \(name(exchange))")
        case .sent(let exchange, _, _): parts.append("out: \(name(exchange)) sent")
        case .agreeing(_, let exchange, _): parts.append("out: agreeing \(name(exchange))")
        case .installing: parts.append("out: installing")
        }
        switch established.incoming {
        case .idle: break
        case .agreeingChild: parts.append("in: agreeing child")
        case .agreeingIKE: parts.append("in: agreeing IKE SA")
        case .installing: parts.append("in: installing")
        }
        if established.peerSuccessor != nil { parts.append("a successor waits") }
        for child in established.children { parts.append("\(child.policy.name) \(child.removeAt == nil ? "\(child.state)" : "fading")\(child.peerRekey == nil ? "" : " (rekeyed by the peer)")") }
        if !established.queue.isEmpty { parts.append("queue: \(established.queue.map(name).joined(separator: ", "))") }
        if !established.delayed.isEmpty { parts.append("later: \(established.delayed.map { name($0.task) }.joined(separator: ", "))") }
        return parts
    }

    private func words(_ action: Action) -> String {
        switch action {
        case .transmit(let datagram): message(datagram.bytes)
        case .run(_, let job): "job \(String(String(describing: job).prefix { $0 != "(" }))"
        case .installChildSA(let parameters): "install \(parameters.name)\(parameters.activates ? "" : ", to carry traffic later")"
        case .activateChildSA(let id): "activate \(named(id))"
        case .removeChildSA(let id, let keepInbound): "remove \(named(id))\(keepInbound ? ", outbound alone" : "")"
        case .moveChildSA(let id, _, let remote, _): "move \(named(id)) to \(remote)"
        case .queryUse(let id): "ask for the use of \(named(id))"
        case .answer(_, .success(let text)): "answer: \(plain(text))"
        case .answer(_, .failure(let failure)): "answer: failed (\(failure.code.rawValue))"
        case .initiateAgain(_, let child, _, let after, let request): "initiate \(child ?? "?") in \(after)\(request == nil ? "" : " for who asked")"
        case .report(.initiating): "report initiating"
        case .report(.ikeSAEstablished): "report IKE SA established"
        case .report(.ikeSARekeyed): "report IKE SA rekeyed"
        case .report(.ikeSAMoved): "report IKE SA moved"
        case .report(.ikeSAClosed(_, let reason)): "report IKE SA closed: \(plain(reason.text))"
        case .report(.childSAUp(_, let child)): "report child \(child.name) up"
        case .report(.childSARekeyed(_, let old, _)): "report child \(old.name) rekeyed"
        case .report(.childSADown(_, let child)): "report child \(child.name) down"
        case .report(.failed(let failure, _, _)): "report failure \(failure.code.rawValue)"
        case .report(.note(_, let text, _, _)): "note: \(plain(text))"
        default: String(String(describing: action).prefix { $0 != "(" })
        }
    }

    private func named(_ id: ChildSAID) -> String { id == child ? "the first pair" : "the new pair" }

    /// Without what differs from run to run of other code: SPIs.
    private func plain(_ text: String) -> String {
        text.split(separator: " ").map { word in
            let bare = word.filter { $0.isHexDigit }, rest = word.filter { !$0.isHexDigit }
            return (bare.count == 8 || bare.count == 16) && rest.allSatisfy { "(),/".contains($0) } ? "SPI\(rest)" : String(word)
        }.joined(separator: " ")
    }

    private func message(_ bytes: [UInt8]) -> String {
        guard let header = try? Header.parse(bytes.span) else { return "send what is no message" }
        let kind = header.isResponse ? "respond" : "ask \(header.exchangeType)"
        if let payloads = try? peer.open(bytes) { return kind + " {\(payloads.map(words).joined(separator: ", "))}" }
        guard let clear = try? Message.parse(bytes.span), header.exchangeType == .ikeSAInit else { return kind + " {sealed for another SA}" }
        return kind + " {\(clear.payloads.map(words).joined(separator: ", "))}"
    }

    private func words(_ payload: Payload) -> String {
        switch payload {
        case .notify(let notify): "N(\(notify.type))"
        case .delete(let delete): delete.protocolID == .ike ? "D(IKE)" : "D(ESP)"
        default: "\(payload.type)"
        }
    }
}
