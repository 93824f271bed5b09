// A peer that says what a test wants it to say, with every key of the exchange in its hands, and the endpoint that it talks to.
// RFC 7296 sections 1.2, 2.14 and 2.15, done here a second time.

@testable import IKECore
import IKECrypto
import IKEWire
@testable import TestSupport

/// One endpoint with its clock. Jobs and the data plane answer at once unless told not to.
final class Target {
    let node: Node
    var now = Instant(nanoseconds: 1_000_000_000)
    private(set) var sent: [Datagram] = []
    private(set) var reports: [Report] = []
    private(set) var answers: [RequestID: [Result<String, Failure>]] = [:]
    private(set) var again: [Duration] = []
    private(set) var activated: [ChildSAID] = []
    private(set) var installed: [ChildSAParameters] = []
    private(set) var lookedUp: [String] = []
    /// Children whose outbound SA is gone while the inbound one stays.
    private(set) var stopped: [ChildSAID] = []
    private(set) var keepalives = 0
    /// What is for another shard.
    private(set) var handedOn: [(hint: Hint, shardsLeft: Int)] = []
    /// What this host has of a gateway now.
    private(set) var addresses: [IPAddress] = []
    private(set) var nameServers: [NameServers] = []
    /// What the data plane was told of the way of each child, the last at the end.
    private(set) var moves: [(child: ChildSAID, local: SocketAddress, remote: SocketAddress, encapsulated: Bool)] = []
    /// The address of this host that the routes choose towards one of the peer's; nil for no way there.
    var route: (IPAddress) -> IPAddress? = { _ in Fixtures.westAddress }
    /// From where and to where the last one went.
    private(set) var keepalivePath: (local: SocketAddress, remote: SocketAddress)?
    private(set) var jobs = 0
    var worksAtOnce = true
    private var waiting: [(JobID, Job)] = []

    init(east: Bool = false, limits: Limits = Limits(), pools: any AddressPools = NoPools(), _ change: (inout Connection) -> Void = { _ in }) {
        var connection = Fixtures.connection(east: east)
        change(&connection)
        node = Node(east ? "east" : "west", address: Fixtures.westAddress, connections: [connection], limits: limits, pools: pools, seed: 99)
    }

    var endpoint: Endpoint { node.endpoint }
    var held: (jobs: Int, inboundSPIs: Int, children: Int, reqids: Int) { endpoint.context.held }

    func handle(_ event: Event) {
        var actions = endpoint.handle(event, now: now)[...]
        while let action = actions.popFirst() {
            switch action {
            case .transmit(let datagram): sent.append(datagram)
            case .run(let id, .findPaths(let remotes)):
                let paths = remotes.compactMap { remote in route(remote).map { FoundPath(remote: remote, local: $0) } }
                actions += endpoint.handle(.jobFinished(id, .pathsFound(paths)), now: now)
            case .moveChildSA(let id, let local, let remote, let encapsulated): moves.append((id, local, remote, encapsulated))
            case .transmitKeepalive(let local, let remote):
                keepalives += 1
                keepalivePath = (local, remote)
            case .run(let id, let job):
                jobs += 1
                if worksAtOnce { actions += endpoint.handle(.jobFinished(id, node.run(job)), now: now) } else { waiting.append((id, job)) }
            case .installChildSA(let parameters):
                installed.append(parameters)
                if worksAtOnce { actions += endpoint.handle(.childSAInstalled(parameters.id, failure: nil), now: now) }
            case .activateChildSA(let id): activated.append(id)
            case .queryUse(let id): actions += endpoint.handle(.useReported(id, lastInbound: nil), now: now)
            case .report(let report): reports.append(report)
            case .answer(let request, let result): answers[request, default: []].append(result)
            case .initiateAgain(_, _, _, let after, _): again.append(after)
            case .removeChildSA(let id, keepInbound: true): if !stopped.contains(id) { stopped.append(id) }
            case .addAddress(let address): addresses.append(address)
            case .removeAddress(let address): addresses.removeAll { $0 == address }
            case .useNameServers(let servers): nameServers.append(servers)
            case .forgetNameServers(let servers): nameServers.removeAll { $0 == servers }
            case .handOn(let hint, let shardsLeft): handedOn.append((hint, shardsLeft))
            case .lookUpNames(let names): lookedUp.append(contentsOf: names)
            case .removeChildSA, .exportKeys: break
            }
        }
    }

    /// Does the jobs that waited.
    func work() {
        worksAtOnce = true
        let jobs = waiting
        waiting = []
        for (id, job) in jobs { handle(.jobFinished(id, node.run(job))) }
    }

    /// Does the first job that waits.
    func workOnce() {
        guard !waiting.isEmpty else { return }
        let (id, job) = waiting.removeFirst()
        handle(.jobFinished(id, node.run(job)))
    }

    /// Lets the endpoint have `bytes`; returns what it sent for it.
    @discardableResult
    func receive(_ bytes: [UInt8], from remote: SocketAddress = HostilePeer.address) -> [[UInt8]] {
        let before = sent.count
        handle(.datagramReceived(Datagram(local: node.local, remote: remote, marked: false, bytes: bytes)))
        return sent[before...].map(\.bytes)
    }

    /// Lets time pass, every deadline in its turn.
    func pass(_ duration: Duration) {
        let end = now + duration
        var steps = 0
        while let next = endpoint.nextDeadline, next <= end, steps < 100_000 {
            now = max(now, next)
            handle(.deadlineReached)
            steps += 1
        }
        now = end
    }

    /// What is left of a peer that went away: nothing, once this long has passed.
    var remnants: [String] {
        pass(.seconds(400))
        var found: [String] = []
        if endpoint.ikeSACount != 0 { found.append("\(endpoint.ikeSACount) IKE SAs") }
        if !endpoint.status().isEmpty { found.append("\(endpoint.status().map(\.state))") }
        if endpoint.halfOpenCount != 0 { found.append("\(endpoint.halfOpenCount) half-open") }
        if held != (0, 0, 0, 0) { found.append("\(held)") }
        return found
    }

    var failures: [Failure] {
        reports.compactMap { report in
            if case .failed(let failure, _, _) = report { failure } else { nil }
        }
    }
    var closed: Int { reports.filter { if case .ikeSAClosed = $0 { true } else { false } }.count }
}

final class HostilePeer {
    static let address = SocketAddress(address: Fixtures.eastAddress, port: 500)
    let isInitiator: Bool
    let registry: Registry
    private(set) var suite: IKESuite
    var spi: IKESPI
    var targetSPI = IKESPI.none
    var nonce: [UInt8]
    var targetNonce: [UInt8] = []
    let key: any KeyExchangeKey
    var identity: Payload
    var identityBody: [UInt8]
    var secret = Array("the secret that both have".utf8)
    var request: [UInt8] = []
    var response: [UInt8] = []
    private var keys: IKEKeys?
    /// SK_d, from which the keys of children and of the next IKE SA are made.
    private(set) var d: [UInt8] = []
    /// The key and the salt with which this peer seals: for `Draft`, which seals by hand.
    private(set) var sealingKey: [UInt8] = []
    /// How often `Draft` did: its IVs are apart from the sealer's.
    var rawSealed: UInt32 = 0
    private var sealer: MessageSealer?
    private var opener: MessageOpener?
    /// The ID of the next request.
    var nextID: UInt32 = 1
    struct Broken: Error { let what: String }

    init(isInitiator: Bool = true, seed: UInt64 = 4711) throws {
        self.isInitiator = isInitiator
        registry = NullCrypto.registry(seed: seed)
        guard let aead = registry.aead(.aesGCM16(256)), let prf = registry.prf(.prfHMACSHA256), let exchange = registry.keyExchange(.curve25519) else { throw Broken(what: "registry") }
        suite = IKESuite(encryption: .aead(aead), integrity: nil, prf: prf, keyExchange: exchange)
        key = try exchange.generate()
        let random = NullRandom(seed: seed &+ 1)
        // The shortest there may be: whatever is cut from it is too short.
        nonce = (0..<2).flatMap { _ in IKESPI(rawValue: random.next()).bytes }
        spi = IKESPI(rawValue: random.next() | 1)
        let name = Fixtures.identity(isInitiator ? "east.example" : "west.example")
        identity = isInitiator ? .identificationInitiator(name) : .identificationResponder(name)
        identityBody = name.body
    }

    // MARK: IKE_SA_INIT

    func header(_ exchange: ExchangeType, id: UInt32, response: Bool) -> Header {
        var flags: HeaderFlags = isInitiator ? .initiator : []
        if response { flags.insert(.response) }
        return Header(initiatorSPI: isInitiator ? spi : targetSPI, responderSPI: isInitiator ? targetSPI : spi, exchangeType: exchange, flags: flags, messageID: id)
    }

    var initPayloads: [Payload] {
        [.securityAssociation(SecurityAssociation(proposals: [Fixtures.ikeProposal()])), .keyExchange(KeyExchange(method: 31, data: key.publicValue)), .nonce(nonce)] + announced
    }
    /// What else it says in IKE_SA_INIT.
    var announced: [Payload] = []

    func initRequest(_ payloads: [Payload]? = nil) -> [UInt8] {
        request = Message(header: header(.ikeSAInit, id: 0, response: false), payloads: payloads ?? initPayloads).serialized()
        return request
    }

    func initResponse(to bytes: [UInt8], _ payloads: [Payload]? = nil) throws -> [UInt8] {
        let message = try Message.parse(bytes.span)
        request = bytes
        targetSPI = message.header.initiatorSPI
        response = Message(header: header(.ikeSAInit, id: 0, response: true), payloads: payloads ?? initPayloads).serialized()
        try deriveKeys(from: message)
        return response
    }

    func take(initResponse bytes: [UInt8]) throws {
        let message = try Message.parse(bytes.span)
        response = bytes
        targetSPI = message.header.responderSPI
        try deriveKeys(from: message)
    }

    private func deriveKeys(from message: Message) throws {
        guard case .keyExchange(let value)? = message.payloads.first(where: { $0.type == .keyExchange }), let theirs = message.payloads.nonce else {
            throw Broken(what: "no KE or nonce: \(message.payloads)")
        }
        targetNonce = theirs
        let shared = try key.agree(value.data.span)
        let made = try KeySchedule.initial(
            suite: suite, sharedSecret: shared, initiatorNonce: isInitiator ? nonce : theirs, responderNonce: isInitiator ? theirs : nonce,
            initiatorSPI: isInitiator ? spi : targetSPI, responderSPI: isInitiator ? targetSPI : spi)
        sealer =
            isInitiator
            ? try MessageSealer(suite: suite, key: made.ei, integrityKey: made.ai, random: registry.random)
            : try MessageSealer(suite: suite, key: made.er, integrityKey: made.ar, random: registry.random)
        sealingKey = isInitiator ? made.ei.array : made.er.array
        opener = isInitiator ? try MessageOpener(suite: suite, key: made.er, integrityKey: made.ar) : try MessageOpener(suite: suite, key: made.ei, integrityKey: made.ai)
        d = made.d.array
        keys = consume made
    }

    // MARK: Keys after a rekey

    /// prf+ of section 2.13, done here a second time.
    static func prfPlus(_ prf: any PRFAlgorithm, key: [UInt8], seed: [UInt8], count: Int) throws -> [UInt8] {
        var all: [UInt8] = [], last: [UInt8] = [], number: UInt8 = 1
        while all.count < count {
            let data = last + seed + [number]
            let next = try KeySchedule.prf(prf, key: key.span, data: data.span)
            last = next.array
            all += last
            number += 1
        }
        return Array(all.prefix(count))
    }

    /// The same peer on the IKE SA that a rekey has made. `began`: who began the rekey.
    /// Section 2.18: SKEYSEED is the old PRF's, and all that comes of it the new one's.
    func successor(_ began: Bool, prf: Transform, ownSPI: IKESPI, otherSPI: IKESPI, otherNonce: [UInt8], otherValue: [UInt8]) throws -> HostilePeer {
        let new = try HostilePeer(isInitiator: began)
        guard let algorithm = registry.prf(prf) else { throw Broken(what: "no \(prf)") }
        new.suite = IKESuite(encryption: suite.encryption, integrity: nil, prf: algorithm, keyExchange: suite.keyExchange)
        (new.spi, new.targetSPI, new.nextID) = (ownSPI, otherSPI, 0)
        let nonces = began ? nonce + otherNonce : otherNonce + nonce
        let shared = try key.agree(otherValue.span)
        let data = shared.array + nonces
        let oldD = d
        let seed = try KeySchedule.prf(suite.prf, key: oldD.span, data: data.span)
        let spis = began ? ownSPI.bytes + otherSPI.bytes : otherSPI.bytes + ownSPI.bytes
        let length = algorithm.keyLength, sealing = suite.encryption.keyLength
        let material = try Self.prfPlus(algorithm, key: seed.array, seed: nonces + spis, count: 3 * length + 2 * sealing)
        new.d = Array(material.prefix(length))
        let ei = Array(material[length..<length + sealing]), er = Array(material[length + sealing..<length + 2 * sealing])
        let initiators = SecretBytes(copying: ei.span), responders = SecretBytes(copying: er.span)
        let none = SecretBytes(count: 0)
        if began {
            new.sealer = try MessageSealer(suite: new.suite, key: initiators, integrityKey: none, random: registry.random)
            new.opener = try MessageOpener(suite: new.suite, key: responders, integrityKey: none)
        } else {
            new.sealer = try MessageSealer(suite: new.suite, key: responders, integrityKey: none, random: registry.random)
            new.opener = try MessageOpener(suite: new.suite, key: initiators, integrityKey: none)
        }
        return new
    }

    // MARK: IKE_AUTH

    /// Over our own IKE_SA_INIT message, the other's nonce and our identity.
    func authentication() throws -> Payload {
        let body = identityBody
        func proof(_ keys: borrowing IKEKeys) throws -> [UInt8] {
            let maced: [UInt8]
            if isInitiator {
                let mac = try KeySchedule.prf(suite.prf, key: keys.pi.span, data: body.span)
                maced = mac.array
            } else {
                let mac = try KeySchedule.prf(suite.prf, key: keys.pr.span, data: body.span)
                maced = mac.array
            }
            return try sharedKeyMAC((isInitiator ? request : response) + targetNonce + maced)
        }
        switch keys {
        case .some(let keys): return .authentication(Authentication(method: .sharedKey, data: try proof(keys)))
        case .none: throw Broken(what: "no keys")
        }
    }

    /// RFC 7296 section 2.15.
    private func sharedKeyMAC(_ octets: [UInt8]) throws -> [UInt8] {
        let secret = secret, pad = Array("Key Pad for IKEv2".utf8)
        let padded = try KeySchedule.prf(suite.prf, key: secret.span, data: pad.span)
        let mac = try KeySchedule.prf(suite.prf, key: padded.span, data: octets.span)
        return mac.array
    }

    /// What the other's has to be, over its IKE_SA_INIT request.
    func authentication(of request: [UInt8], _ identity: Identification) throws -> Payload {
        let ownNonce = nonce, body = identity.body
        func proof(_ keys: borrowing IKEKeys) throws -> [UInt8] {
            let maced = try KeySchedule.prf(suite.prf, key: keys.pi.span, data: body.span)
            return try sharedKeyMAC(request + ownNonce + maced.array)
        }
        switch keys {
        case .some(let keys): return .authentication(Authentication(method: .sharedKey, data: try proof(keys)))
        case .none: throw Broken(what: "no keys")
        }
    }

    /// What the other's has to be as the responder, over its IKE_SA_INIT response.
    func authentication(ofResponder identity: Identification) throws -> Payload {
        let ownNonce = nonce, body = identity.body, response = response
        func proof(_ keys: borrowing IKEKeys) throws -> [UInt8] {
            let maced = try KeySchedule.prf(suite.prf, key: keys.pr.span, data: body.span)
            return try sharedKeyMAC(response + ownNonce + maced.array)
        }
        switch keys {
        case .some(let keys): return .authentication(Authentication(method: .sharedKey, data: try proof(keys)))
        case .none: throw Broken(what: "no keys")
        }
    }

    func child(spi: UInt32 = 0x0102_0304) -> [Payload] {
        var proposal = Fixtures.espProposal()
        proposal.spi = spi.bytes
        return [.securityAssociation(SecurityAssociation(proposals: [proposal])), .trafficSelectorInitiator([Fixtures.network(1)]), .trafficSelectorResponder([Fixtures.network(2)])]
    }

    func authPayloads() throws -> [Payload] { [identity, try authentication()] + child() + added }
    /// What else it says in IKE_AUTH.
    var added: [Payload] = []

    // MARK: Encrypted messages

    func seal(_ exchange: ExchangeType, _ payloads: [Payload], id: UInt32? = nil, response: Bool = false) throws -> [UInt8] {
        guard let sealer else { throw Broken(what: "no keys") }
        return try sealer.seal(header: header(exchange, id: id ?? nextID, response: response), payloads: payloads)
    }

    func open(_ bytes: [UInt8]) throws -> [Payload] {
        guard let opener else { throw Broken(what: "no keys") }
        let inner = try opener.open(bytes.span)
        guard let chain = inner.chain else { throw Broken(what: "padding") }
        return try Payload.parseChain(first: inner.first, chain.span)
    }

    /// A request, and the one answer to it, opened; nil when there is none.
    func ask(_ target: Target, _ exchange: ExchangeType, _ payloads: [Payload]) throws -> [Payload]? {
        let sent = target.receive(try seal(exchange, payloads))
        // What says that the SA is not there has no protection, and is no answer.
        guard let bytes = sent.first(where: { (try? Header.parse($0.span)).map { $0.isResponse && $0.isProtected } == true }) else { return nil }
        nextID += 1
        return try open(bytes)
    }

    /// IKE_SA_INIT as the initiator.
    func begin(_ target: Target) throws {
        guard let answer = target.receive(initRequest()).first else { throw Broken(what: "IKE_SA_INIT was not answered") }
        try take(initResponse: answer)
    }

    /// Both first exchanges as the initiator.
    func connect(_ target: Target) throws {
        try begin(target)
        guard let answer = try ask(target, .ikeAuth, try authPayloads()), answer.contains(where: { $0.type == .authentication }) else { throw Broken(what: "IKE_AUTH was refused") }
    }

    func createChildPayloads(spi: UInt32 = 0x0a0b_0c0d) -> [Payload] { child(spi: spi) + [.nonce(nonce)] }
}

/// A message's payloads, each absent, twice, cut short, with a strange companion; with a word for the failing test's text.
func mutations(_ payloads: [Payload]) -> [(String, [Payload])] {
    var all: [(String, [Payload])] = []
    for (index, payload) in payloads.enumerated() {
        var absent = payloads
        absent.remove(at: index)
        all.append(("\(payload.type) absent", absent))
        var twice = payloads
        twice.insert(payload, at: index)
        all.append(("\(payload.type) twice", twice))
        let body = Array(Payload.serializeChain([payload]).bytes.dropFirst(4))
        for count in [0, 1, body.count / 2, body.count - 1] where count < body.count && count >= 0 {
            var cut = payloads
            cut[index] = .unknown(payload.type, critical: false, body: Array(body.prefix(count)))
            all.append(("\(payload.type) cut to \(count)", cut))
        }
    }
    all.append(("nothing", []))
    all.append(("critical unknown", payloads + [.unknown(PayloadType(rawValue: 200), critical: true, body: [1])]))
    all.append(("critical unknown first", [.unknown(PayloadType(rawValue: 200), critical: true, body: [])] + payloads))
    all.append(("nested SK", payloads + [.encrypted(first: .notify, body: Array(repeating: 7, count: 40))]))
    all.append(("nested SKF", payloads + [.encryptedFragment(first: .notify, number: 1, total: 2, body: Array(repeating: 7, count: 40))]))
    return all
}

extension Endpoint {
    /// The established part of the first IKE SA there is.
    var firstEstablished: Established? { status().first.flatMap { established($0.id) } }
}

extension [Payload] {
    var notifications: [NotifyType] {
        compactMap { payload in
            if case .notify(let notify) = payload { notify.type } else { nil }
        }
    }
}
