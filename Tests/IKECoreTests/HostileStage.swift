// Every message that a peer may have to send, each on a stage of its own: an endpoint brought to where the message is due, and the
// message as an honest peer would send it. What became of the one sent instead is told in a few words, after a look at what is left.
// RFC 7296 sections 1.2 to 1.4.

@testable import IKECore
import IKECrypto
import IKEWire
@testable import TestSupport

enum Scene: String, CaseIterable {
    case initRequest, initResponse, authRequest, authResponse
    case newChildRequest, rekeyChildRequest, rekeyIKERequest, deleteChildRequest, deleteIKERequest, livenessRequest, notifyRequest
    case newChildResponse, rekeyChildResponse, rekeyIKEResponse, deleteChildResponse, deleteIKEResponse, livenessResponse
    /// The same messages with more in them: COOKIE; CP, CERT, CERTREQ, Vendor ID and what is announced; a mode and what a child may be; CP alone; RFC 4555's.
    case cookieRequest, authWithMoreRequest, authWithMoreResponse, childWithMoreRequest, configurationRequest, mobikeRequest

    /// The scene whose rules it has.
    var kind: Scene {
        switch self {
        case .cookieRequest: .initRequest
        case .authWithMoreRequest: .authRequest
        case .authWithMoreResponse: .authResponse
        case .childWithMoreRequest: .newChildRequest
        case .configurationRequest, .mobikeRequest: .notifyRequest
        default: self
        }
    }
    var isRequest: Bool { rawValue.hasSuffix("Request") }
    /// After the first exchanges.
    var isEstablished: Bool { ![.initRequest, .initResponse, .authRequest, .authResponse].contains(kind) }
    var makesChild: Bool { [.newChildRequest, .rekeyChildRequest, .newChildResponse, .rekeyChildResponse].contains(kind) }
}

enum Outcome: Hashable {
    /// As an honest message.
    case accepted
    /// Answered without an error, and nothing was done.
    case answered
    /// Neither answered nor acted on: the honest message that follows is accepted.
    case silence
    /// Answered with this error; what stood before stands.
    case refused(NotifyType)
    /// Answered with this error, and the IKE SA is over, or not made.
    case fatal(NotifyType)
    /// A response: what was asked for has failed, and the IKE SA stands.
    case failed
    /// A response: what was asked for has failed, and the IKE SA goes.
    case closes
    /// What must never be.
    case broken(String)
}

final class Stage {
    /// Of `setting`, the kind.
    let scene: Scene
    let setting: Scene
    let target: Target
    let peer: HostilePeer
    /// The honest message.
    private(set) var draft: Draft
    /// The target's request that the message answers.
    private var asked: [UInt8] = []
    private var drained = 0
    private let request: RequestID
    private var oldSPI: UInt32 { 0x0102_0304 }

    /// `targetInitiates`: who is the original initiator, where the IKE SA stands already. `fragments`: the peer says that it takes them.
    init(_ setting: Scene, targetInitiates: Bool, fragments: Bool = false) throws {
        let scene = setting.kind
        self.scene = scene
        self.setting = setting
        let initiates = scene == .initResponse || scene == .authResponse || (scene.isEstablished && targetInitiates)
        request = RequestID(rawValue: scene.isEstablished ? 2 : 1)
        var limits = Limits()
        if setting == .cookieRequest { limits.cookieThreshold = 0 }
        let lends = setting == .authWithMoreRequest || setting == .configurationRequest
        target = Target(east: initiates, limits: limits, pools: lends ? CountingPools(4, others: []) : NoPools()) { connection in
            if lends { connection.pools = ["rw"] }
            connection.children = [
                Fixtures.child(local: initiates ? 1 : 2, remote: initiates ? 2 : 1, pfs: [.curve25519]),
                Fixtures.child("second", local: initiates ? 3 : 4, remote: initiates ? 4 : 3, pfs: [.curve25519]),
            ]
            if scene == .livenessResponse { connection.dpdDelay = .seconds(10) }
        }
        peer = try HostilePeer(isInitiator: !initiates)
        if fragments { peer.announced = [.notify(Notify(.fragmentationSupported))] }
        draft = Draft(peer.header(.ikeSAInit, id: 0, response: false))
        if initiates {
            target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        }
        switch scene {
        case .initRequest:
            let nat = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: HostilePeer.address, remote: target.node.local, hidden: false)
            draft.clear = (peer.initPayloads + nat + [.notify(Notify(.fragmentationSupported))]).map(Raw.init)
            if setting == .cookieRequest {
                let demanded = try target.receive(peer.initRequest()).first.map { try Message.parse($0.span).payloads } ?? []
                guard case .notify(let notify)? = demanded.first, notify.type == .cookie else { throw HostilePeer.Broken(what: "no cookie: \(demanded)") }
                draft.clear.insert(contentsOf: [.notify(notify), .vendorID(Array("somebody".utf8))].map(Raw.init), at: 0)
            }
        case .initResponse:
            try take(asked: target.sent.count - 1)
            let bytes = asked
            peer.targetSPI = try Header.parse(bytes.span).initiatorSPI
            let nat = NATDetection.notifications(initiatorSPI: peer.targetSPI, responderSPI: peer.spi, local: HostilePeer.address, remote: target.node.local, hidden: false)
            draft = Draft(peer.header(.ikeSAInit, id: 0, response: true))
            draft.clear = (peer.initPayloads + nat + [.notify(Notify(.fragmentationSupported))]).map(Raw.init)
        case .authRequest:
            try peer.begin(target)
            draft = Draft(peer.header(.ikeAuth, id: 1, response: false))
            draft.inner = ([peer.identity, .identificationResponder(Fixtures.identity("west.example")), try peer.authentication()] + peer.child()).map(Raw.init)
            if setting == .authWithMoreRequest { draft.inner? += more }
        case .authResponse:
            target.receive(try peer.initResponse(to: target.sent[0].bytes))
            try take(asked: target.sent.count - 1)
            draft = Draft(peer.header(.ikeAuth, id: 1, response: true))
            draft.inner = try peer.authPayloads().map(Raw.init)
            if setting == .authWithMoreResponse { draft.inner? += more }
        default: try establish()
        }
    }

    private let asksForAddress = Payload.configuration(Configuration(kind: Configuration.request, attributes: [Configuration.Attribute(type: 1, value: [])]))

    /// What IKE_AUTH may hold beside what it must.
    private var more: [Raw] {
        [
            Raw(47, [scene.isRequest ? 1 : 2, 0, 0, 0, 0, 1, 0, 0]), Raw(37, [4, 0x30, 0]), Raw(38, [4] + Array(repeating: 9, count: 20)),
            Raw(43, Array("somebody".utf8)), .notify(16396), .notify(16394),
        ]
    }

    private func establish() throws {
        if setting == .mobikeRequest { peer.added = [.notify(Notify(.mobikeSupported))] }
        if setting == .configurationRequest { peer.added = [asksForAddress] }
        if peer.isInitiator {
            try peer.connect(target)
        } else {
            target.receive(try peer.initResponse(to: target.sent[0].bytes))
            target.receive(try peer.seal(.ikeAuth, try peer.authPayloads(), id: 1, response: true))
            peer.nextID = 0
        }
        guard target.endpoint.status().map(\.state) == [.established], target.installed.count == 1 else { throw HostilePeer.Broken(what: "not established") }
        let old = Payload.notify(Notify(.rekeySA, protocolID: .esp, spi: oldSPI.bytes))
        switch scene {
        case .newChildRequest:
            ask(.createChildSA, childPayloads(second: true))
            if setting == .childWithMoreRequest {
                draft.inner? += [.notify(16391), .notify(16387, [0x12, 0x34, 3]), .notify(16394), .notify(16395)]
            }
        case .rekeyChildRequest: ask(.createChildSA, [old] + childPayloads(second: false))
        case .rekeyIKERequest: ask(.createChildSA, ikePayloads(number: 1))
        case .deleteChildRequest: ask(.informational, [.delete(Delete(protocolID: .esp, spis: [oldSPI]))])
        case .deleteIKERequest: ask(.informational, [.delete(Delete(protocolID: .ike))])
        case .livenessRequest: ask(.informational, [])
        case .notifyRequest where setting == .configurationRequest: ask(.informational, [asksForAddress])
        case .notifyRequest where setting == .mobikeRequest:
            let nat = NATDetection.notifications(
                initiatorSPI: peer.isInitiator ? peer.spi : peer.targetSPI, responderSPI: peer.isInitiator ? peer.targetSPI : peer.spi, local: HostilePeer.address, remote: target.node.local,
                hidden: false)
            ask(.informational, [.notify(Notify(.updateSAAddresses))] + nat + [.notify(Notify(.cookie2, data: Array(repeating: 7, count: 16)))])
        case .notifyRequest: ask(.informational, [.notify(Notify(.invalidSelectors, protocolID: .esp, spi: oldSPI.bytes, data: [1, 2, 3])), .notify(Notify(.setWindowSize, data: [0, 0, 0, 1]))])
        case .newChildResponse:
            target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: request))
            try answer(.createChildSA, childPayloads(second: true))
        case .rekeyChildResponse:
            target.handle(.rekey(.child("net", connection: "site"), request: request))
            try answer(.createChildSA, childPayloads(second: false))
        case .rekeyIKEResponse:
            target.handle(.rekey(.connection("site"), request: request))
            try answer(.createChildSA, ikePayloads(number: 1))
        case .deleteChildResponse:
            target.handle(.terminate(.child("net", connection: "site"), request: request))
            try answer(.informational, [.delete(Delete(protocolID: .esp, spis: [oldSPI]))])
        case .deleteIKEResponse:
            target.handle(.terminate(.connection("site"), request: request))
            try answer(.informational, [])
        case .livenessResponse:
            target.pass(.milliseconds(10_500))
            try answer(.informational, [])
        default: break
        }
    }

    private func take(asked index: Int) throws {
        asked = target.sent[index].bytes
        drained = target.sent.count
    }

    private func ask(_ exchange: ExchangeType, _ payloads: [Payload]) {
        draft = Draft(peer.header(exchange, id: peer.nextID, response: false))
        draft.inner = payloads.map(Raw.init)
        drained = target.sent.count
    }

    private func answer(_ exchange: ExchangeType, _ payloads: [Payload]) throws {
        try take(asked: target.sent.count - 1)
        let bytes = asked
        let header = try Header.parse(bytes.span)
        guard header.exchangeType == exchange, !header.isResponse else { throw HostilePeer.Broken(what: "the target asked \(header)") }
        draft = Draft(peer.header(exchange, id: header.messageID, response: true))
        draft.inner = payloads.map(Raw.init)
    }

    /// SA, Ni or Nr, KE, TSi and TSr; the exchange's initiator is the peer in a request, the target in a response.
    private func childPayloads(second: Bool) -> [Payload] {
        var proposal = Fixtures.espProposal([.curve25519])
        proposal.spi = [0x0a, 0x0b, 0x0c, 0x0d]
        let (east, west) = (Fixtures.network(second ? 3 : 1), Fixtures.network(second ? 4 : 2))
        let eastAsks = peer.isInitiator == scene.isRequest
        return [
            .securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue)),
            .trafficSelectorInitiator([eastAsks ? east : west]), .trafficSelectorResponder([eastAsks ? west : east]),
        ]
    }

    private func ikePayloads(number: UInt8) -> [Payload] {
        var proposal = Fixtures.ikeProposal()
        proposal.spi = [1, 2, 3, 4, 5, 6, 7, 8]
        return [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue))]
    }

    // MARK: What becomes of a message

    /// Sends `draft` and says what it led to. Everything that must hold whatever was sent is looked at on the way.
    func send(_ draft: Draft) throws -> Outcome {
        let outcome = try react(draft)
        if case .broken = outcome { return outcome }
        for sa in target.endpoint.status() { target.handle(.forget(sa.id)) }
        let remnants = target.remnants
        return remnants.isEmpty ? outcome : .broken("\(outcome), and left \(remnants)")
    }

    /// Several datagrams, of which only the last may lead to anything.
    func send(pieces: [Draft]) throws -> Outcome {
        guard let last = pieces.last else { return .silence }
        for piece in pieces.dropLast() where !target.receive(try piece.bytes(peer)).isEmpty { return .broken("answered before it was whole") }
        return try send(last)
    }

    private func react(_ draft: Draft) throws -> Outcome {
        let bytes = try draft.bytes(peer)
        let before = (target.installed.count, target.endpoint.ikeSACount, target.held.jobs)
        if scene == .initRequest || scene == .initResponse { peer.sends(bytes, draft) }
        let answers = target.receive(bytes).filter { (try? Header.parse($0.span))?.isResponse == true }
        guard scene.isRequest else { return try reactedToResponse(bytes) }
        guard answers.count <= 1 else { return .broken("\(answers.count) answers") }
        guard let answer = answers.first else {
            guard (target.installed.count, target.endpoint.ikeSACount, target.held.jobs) == before else { return .broken("no answer, and something was begun") }
            return try then(.silence)
        }
        let message = try Message.parse(answer.span)
        guard case .encrypted? = message.payloads.first else {
            let errors = message.payloads.notifications.filter(\.isError)
            if case .notify(let notify)? = message.payloads.first, notify.type == .cookie, setting == .cookieRequest { return try then(.answered) }
            guard let error = errors.first else { return scene == .initRequest ? try finish(initResponse: answer) : .broken("answered in the clear") }
            guard message.payloads.count == 1, answer.count <= bytes.count else { return .broken("an error with something else: \(message.payloads)") }
            guard (target.installed.count, target.endpoint.ikeSACount, target.held.jobs) == before else { return .broken("refused, and something was begun") }
            return try then(.refused(error))
        }
        peer.nextID = message.header.messageID &+ 1
        let payloads = try peer.open(answer)
        for case .notify(let notify) in payloads {
            if notify.spi.isEmpty, notify.protocolID != .none { return .broken("a protocol without an SPI: \(notify), section 3.10") }
            if notify.type == .unsupportedCriticalPayload, notify.data.count != 1 { return .broken("\(notify): one octet, section 2.5") }
        }
        try drain()
        let lives = try isAlive()
        if let error = payloads.notifications.first(where: \.isError) {
            if error == .unsupportedCriticalPayload || error == .invalidSyntax, payloads.count > 1 { return .broken("\(error) is not alone: \(payloads)") }
            if let lives { return lives ? .refused(error) : .fatal(error) }
            return .broken("half alive after \(error): \(target.endpoint.status().map(\.state)), \(target.held)")
        }
        guard let lives else { return .broken("half alive: \(target.endpoint.status().map(\.state)), \(target.held)") }
        if succeeded { return lives == (scene != .deleteIKERequest) ? .accepted : .broken("accepted, and alive: \(lives)") }
        return lives ? .answered : .broken("answered without an error, and gone")
    }

    private func reactedToResponse(_ bytes: [UInt8]) throws -> Outcome {
        if scene == .livenessResponse {
            // Nobody waits for its result: whether it goes on being asked shows it.
            let before = target.sent.count
            target.pass(.seconds(3))
            if target.sent[before...].contains(where: { $0.bytes == asked }) { return try then(.silence) }
            try drain()
            guard let lives = try isAlive() else { return .broken("half alive") }
            return lives ? .accepted : .closes
        }
        if scene == .initResponse { try finishAuth(after: bytes) }
        try drain()
        let results = target.answers[request] ?? []
        guard let result = results.first else { return try then(.silence) }
        guard results.count == 1 else { return .broken("\(results.count) results") }
        guard let lives = try isAlive() else { return .broken("half alive after \(result): \(target.endpoint.status().map(\.state)), \(target.held)") }
        switch result {
        // Who wants a pair gone, and loses the IKE SA with it, has what it wants.
        case .success where scene == .deleteChildResponse && !lives && target.endpoint.status().isEmpty: return .closes
        // The target deletes what it has rekeyed.
        case .success: return succeeded && lives == (scene != .deleteIKEResponse && scene != .rekeyIKEResponse) ? .accepted : .broken("said to be done, and it is not; alive: \(lives)")
        case .failure: return lives ? .failed : .closes
        }
    }

    /// The honest message still does what it does.
    private func then(_ outcome: Outcome) throws -> Outcome {
        let honest = try react(draft)
        if case .accepted = honest { return outcome }
        return .broken("\(outcome), and then the honest message: \(honest)")
    }

    private func finish(initResponse answer: [UInt8]) throws -> Outcome {
        try peer.take(initResponse: answer)
        guard let auth = try peer.ask(target, .ikeAuth, try peer.authPayloads()) else { return .broken("IKE_SA_INIT was answered, IKE_AUTH not") }
        guard auth.contains(where: { $0.type == .authentication }) else { return .broken("IKE_AUTH was refused: \(auth)") }
        return try isAlive() == true ? .accepted : .broken("not alive")
    }

    /// The target goes on with IKE_AUTH, if it took our IKE_SA_INIT.
    private func finishAuth(after bytes: [UInt8]) throws {
        guard let auth = target.sent.last?.bytes, try Header.parse(auth.span).exchangeType == .ikeAuth else { return }
        _ = try peer.initResponse(to: asked)
        peer.response = bytes
        target.receive(try peer.seal(.ikeAuth, try peer.authPayloads(), id: 1, response: true))
        peer.nextID = 0
        drained = target.sent.count
    }

    /// Answers what the target asks meanwhile, with nothing; again until it asks no more.
    private func drain() throws {
        while drained < target.sent.count {
            let bytes = target.sent[drained].bytes
            drained += 1
            guard bytes != asked, let header = try? Header.parse(bytes.span), !header.isResponse, header.exchangeType != .ikeSAInit, header.exchangeType != .ikeAuth else { continue }
            // A rekeyed SA's own keys are not at hand here.
            guard (peer.isInitiator ? header.initiatorSPI : header.responderSPI) == peer.spi else { continue }
            target.receive(try peer.seal(header.exchangeType, [], id: header.messageID, response: true))
        }
    }

    /// Whether the IKE SA answers; nil where it does neither that nor be gone, or holds what belongs to nobody.
    private func isAlive() throws -> Bool? {
        let status = target.endpoint.status()
        let children = status.flatMap(\.children).count
        guard target.held.jobs == 0, target.held.children == children, target.held.inboundSPIs == children else { return nil }
        if scene == .authResponse { peer.nextID = 0 }
        // Nobody can ask before there are keys.
        if peer.sealingKey.isEmpty { return status.isEmpty ? false : nil }
        let answer = try peer.ask(target, .informational, [])
        if let answer { return answer.isEmpty ? true : nil }
        // What a rekey made has other keys.
        let left = target.endpoint.status().filter { $0.initiatorSPI == (peer.isInitiator ? peer.spi : peer.targetSPI) }
        return left.isEmpty ? false : nil
    }

    /// Whether what an honest message brings about is there.
    private var succeeded: Bool {
        let status = target.endpoint.status()
        switch scene {
        case .initRequest, .initResponse, .authRequest, .authResponse: return status.map(\.state) == [.established] && target.installed.count == 1
        case .newChildRequest, .newChildResponse, .rekeyChildRequest, .rekeyChildResponse: return status.map(\.state) == [.established] && target.installed.count == 2
        case .rekeyIKERequest, .rekeyIKEResponse: return status.contains { $0.state == .established && $0.initiatorSPI != (peer.isInitiator ? peer.spi : peer.targetSPI) && $0.children.count == 1 }
        case .deleteChildRequest, .deleteChildResponse: return target.stopped == target.installed.map(\.id)
        case .deleteIKERequest, .deleteIKEResponse: return status.isEmpty
        default: return true
        }
    }
}

extension HostilePeer {
    /// IKE_SA_INIT went out as these octets: what AUTH covers, and the nonce that the keys come from.
    func sends(_ bytes: [UInt8], _ draft: Draft) {
        if let sent = draft.clear.first(where: { $0.type == 40 && (16...256).contains($0.body.count) }) { nonce = sent.body }
        if isInitiator { request = bytes } else { response = bytes }
    }
}
