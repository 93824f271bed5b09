// An endpoint for the fuzzers: brought to where keys are shared, and then given whatever the fuzzer makes up, sealed with those keys.
// What must hold whatever comes: it does not trap, and in the end nothing is left.
// RFC 7296 sections 1.2, 2.14 and 3.14, RFC 7383 section 2.5.

import IKECore
import IKECrypto
import IKEWire
import Synchronization

package final class FuzzedEndpoint {
    /// Where the endpoint is when the fuzzer begins.
    package enum Place: Int, CaseIterable {
        /// As the responder and as the initiator: IKE_AUTH is what it waits for.
        case awaitingAuth, authSent
        /// Both exchanges are over; as the original responder and as the initiator.
        case responder, initiator
        /// The same, with a request of its own on the way.
        case rekeyingChild, rekeyingIKE, creatingChild, deletingChild
        package var isInitiator: Bool { [.authSent, .initiator, .rekeyingIKE, .deletingChild].contains(self) }
    }

    private let target: Node
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var jobs: [(JobID, Job)] = []
    private var children: [ChildSAID] = []
    private var fromTarget: [Datagram] = []
    private let aead: any AEADAlgorithm
    private var sealing: (any AEADContext)?
    private var salt: [UInt8] = []
    private var spis = (initiator: IKESPI.none, responder: IKESPI.none)
    private var sealed: UInt32 = 0
    /// Jobs and the data plane answer at once, or when the fuzzer says so.
    package var worksAtOnce = true
    private let isInitiator: Bool
    private static let aead = NullCrypto.registry(seed: 3).aead(.aesGCM16(256))
    private static let connections = [true: connection(east: true), false: connection(east: false)]
    private static let addresses = (target: Fixtures.eastAddress, peer: Fixtures.westAddress)

    /// What the peer sends until a place is reached: the same every time, because both ends are functions of their seeds. So the peer is asked once, and
    /// an input costs the handshake of one end.
    private static let recordings = Mutex<[Place: [[UInt8]]]>([:])

    package init?(_ place: Place) {
        isInitiator = place.isInitiator
        target = Self.node(isTarget: true, isInitiator: place.isInitiator)
        guard let aead = Self.aead else { return nil }
        self.aead = aead
        if let recording = Self.recordings.withLock({ $0[place] }) {
            if isInitiator { give(.initiate(connection: "site", child: "net", packet: nil, local: target.local, remote: remote, request: nil)) }
            for bytes in recording { receive(bytes) }
        } else {
            let recording = shakeHands(with: Self.node(isTarget: false, isInitiator: !place.isInitiator), isOnlyInit: place == .awaitingAuth || place == .authSent)
            Self.recordings.withLock { $0[place] = recording }
        }
        guard sealing != nil else { return nil }
        if place == .awaitingAuth || place == .authSent { return }
        guard target.endpoint.status().first?.state == .established else { return nil }
        fromTarget = []
        switch place {
        case .rekeyingChild: give(.rekey(.child("net", connection: "site"), request: nil))
        case .rekeyingIKE: give(.rekey(.connection("site"), request: nil))
        case .creatingChild: give(.initiate(connection: "site", child: "second", packet: nil, local: target.local, remote: remote, request: nil))
        case .deletingChild: give(.terminate(.child("net", connection: "site"), request: nil))
        case .awaitingAuth, .authSent, .responder, .initiator: break
        }
    }

    private var remote: SocketAddress { SocketAddress(address: Self.addresses.peer, port: 500) }

    private static func node(isTarget: Bool, isInitiator east: Bool) -> Node {
        var limits = Limits()
        limits.exportKeys = true
        limits.retransmitTries = 2
        let address = isTarget ? addresses.target : addresses.peer
        return Node(east ? "east" : "west", address: address, connections: connections[east].map { [$0] } ?? [], limits: limits, seed: isTarget ? 1 : 2)
    }

    private static func connection(east: Bool) -> Connection {
        var connection = Fixtures.connection(east: east)
        connection.children = [
            Fixtures.child(local: east ? 1 : 2, remote: east ? 2 : 1, pfs: [.curve25519, .keyExchangeNone]), Fixtures.child("second", local: east ? 3 : 4, remote: east ? 4 : 3),
        ]
        return connection
    }

    /// IKE_SA_INIT and its answer, then IKE_AUTH and its answer, unless only the first is wanted. What the peer sent.
    private func shakeHands(with peer: Node, isOnlyInit: Bool) -> [[UInt8]] {
        var sent: [[UInt8]] = []
        var fromPeer: [Datagram] = []
        func tell(_ event: Event) {
            var actions = peer.endpoint.handle(event, now: now)[...]
            while let action = actions.popFirst() {
                switch action {
                case .transmit(let datagram): fromPeer.append(datagram)
                case .run(let id, let job): actions += peer.endpoint.handle(.jobFinished(id, peer.run(job)), now: now)
                case .installChildSA(let parameters): actions += peer.endpoint.handle(.childSAInstalled(parameters.id, failure: nil), now: now)
                default: break
                }
            }
        }
        func deliverToPeer() {
            let datagrams = fromTarget
            fromTarget = []
            for datagram in datagrams { tell(.datagramReceived(Datagram(local: peer.local, remote: target.local, marked: false, bytes: datagram.bytes))) }
        }
        func deliverToTarget() {
            let datagrams = fromPeer
            fromPeer = []
            sent += datagrams.map(\.bytes)
            for datagram in datagrams { receive(datagram.bytes) }
        }
        let initiate = Event.initiate(
            connection: "site", child: "net", packet: nil, local: isInitiator ? target.local : peer.local, remote: isInitiator ? peer.local : target.local, request: nil)
        if isInitiator { give(initiate) } else { tell(initiate) }
        for _ in 0..<(isOnlyInit ? 1 : 2) {
            if isInitiator {
                deliverToPeer()
                deliverToTarget()
            } else {
                deliverToTarget()
                deliverToPeer()
            }
        }
        // An IKE SA and its state hold each other until it ends.
        for sa in peer.endpoint.status() { tell(.forget(sa.id)) }
        return sent
    }

    private func give(_ event: Event) {
        var actions = target.endpoint.handle(event, now: now)[...]
        while let action = actions.popFirst() {
            switch action {
            case .transmit(let datagram): fromTarget.append(datagram)
            case .run(let id, let job):
                if worksAtOnce { actions += target.endpoint.handle(.jobFinished(id, target.run(job)), now: now) } else { jobs.append((id, job)) }
            case .installChildSA(let parameters):
                if children.count < 64 { children.append(parameters.id) }
                if worksAtOnce { actions += target.endpoint.handle(.childSAInstalled(parameters.id, failure: nil), now: now) }
            case .exportKeys(.ike(let initiator, let responder, _, _, let ei, let er, _, _)):
                // The first SA's: what a rekey makes is out of the fuzzer's hands.
                guard sealing == nil else { continue }
                spis = (initiator, responder)
                let key = (isInitiator ? er : ei).withSecret { $0.array } ?? []
                salt = Array(key.suffix(aead.saltLength))
                sealing = try? aead.makeContext(key: key.span.extracting(0..<min(aead.keyLength, key.count)), sealing: true)
            default: break
            }
        }
    }

    // MARK: What the fuzzer does

    package func receive(_ bytes: [UInt8]) { give(.datagramReceived(Datagram(local: target.local, remote: remote, marked: false, bytes: bytes))) }

    /// A message of the peer's with `chain` inside, whatever that is; or one fragment of it.
    package func receive(exchange: UInt8, id: UInt32, response: Bool, first: UInt8, chain: ArraySlice<UInt8>, padLength: UInt8 = 0, fragment: (number: UInt16, total: UInt16)? = nil) {
        guard let sealing else { return }
        sealed &+= 1
        func octets(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) } }
        func octets(_ spi: IKESPI) -> [UInt8] { octets(UInt32(truncatingIfNeeded: spi.rawValue >> 32)) + octets(UInt32(truncatingIfNeeded: spi.rawValue)) }
        let numbers = fragment.map { octets(UInt32($0.number) << 16 | UInt32($0.total)) } ?? []
        var text = Array(chain) + [padLength]
        let length = 4 + numbers.count + aead.ivLength + text.count + aead.tagLength
        guard length <= Int(UInt16.max) else { return }
        let flags: UInt8 = (isInitiator ? 0 : 0x08) | (response ? 0x20 : 0)
        let message =
            octets(spis.initiator) + octets(spis.responder) + [fragment == nil ? 46 : 53, 0x20, exchange, flags] + octets(id) + octets(UInt32(28 + length))
            + [first, 0, UInt8(length >> 8), UInt8(length & 0xff)] + numbers
        let iv = [0xf0, 0, 0, 0] + octets(sealed), nonce = salt + iv
        var tag = [UInt8](repeating: 0, count: aead.tagLength)
        var textSpan = text.mutableSpan, tagSpan = tag.mutableSpan
        guard (try? sealing.seal(nonce: nonce.span, aad: message.span, text: &textSpan, tag: &tagSpan)) != nil else { return }
        receive(message + iv + text + tag)
    }

    /// The identifier that the target's own outstanding request has.
    package var outstanding: UInt32 { fromTarget.last.flatMap { try? Header.parse($0.bytes.span) }?.messageID ?? 0 }

    package func pass(_ duration: Duration) {
        let end = now + duration
        var steps = 0
        while let next = target.endpoint.nextDeadline, next <= end, steps < 2000 {
            now = max(now, next)
            give(.deadlineReached)
            steps += 1
        }
        precondition(steps < 2000, "its deadlines do not end")
        now = end
    }

    package func finishJob(failing: Bool) {
        guard !jobs.isEmpty else { return }
        let (id, job) = jobs.removeFirst()
        give(.jobFinished(id, failing ? .failed(.crypto(.failed)) : target.run(job)))
    }

    package func answerPlane(failing: Bool) { for id in children { give(.childSAInstalled(id, failure: failing ? "no" : nil)) } }
    package func operate(_ what: UInt8) {
        switch what % 8 {
        case 0: give(.rekey(.child("net", connection: "site"), request: RequestID(rawValue: 9)))
        case 1: give(.rekey(.connection("site"), request: RequestID(rawValue: 9)))
        case 2: give(.initiate(connection: "site", child: "second", packet: nil, local: target.local, remote: remote, request: RequestID(rawValue: 9)))
        case 3: give(.terminate(.child("net", connection: "site"), request: RequestID(rawValue: 9)))
        case 4: give(.terminate(.connection("site"), request: RequestID(rawValue: 9)))
        case 5: for id in children { give(.childSAExpired(id, hard: what > 127)) }
        case 6: for id in children { give(.peerMoved(id, remote: SocketAddress(address: Fixtures.natAddress, port: UInt16(what)))) }
        default: for id in children { give(.useReported(id, lastInbound: now)) }
        }
    }

    /// Whatever happened: once everybody has gone, nothing is left.
    package func end() {
        worksAtOnce = true
        while !jobs.isEmpty { finishJob(failing: false) }
        answerPlane(failing: false)
        for sa in target.endpoint.status() { give(.forget(sa.id)) }
        pass(.seconds(120))
        for sa in target.endpoint.status() { give(.forget(sa.id)) }
        pass(.seconds(120))
        precondition(target.endpoint.ikeSACount == 0, "\(target.endpoint.status().map(\.state)) are left")
        precondition(target.endpoint.halfOpenCount == 0)
    }
}
