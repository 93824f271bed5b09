// Responder: IKE_SA_INIT is answered, IKE_AUTH has not come.
// RFC 7296 sections 1.2 and 2.15.

import IKECrypto
import IKEWire

struct AwaitingAuth {
    let channel: SecureChannel
    let request: [UInt8]
    let response: [UInt8]
    let initiatorNonce: [UInt8]
    let nonce: [UInt8]
    let deadline: Instant
    private var forgeries = Forgeries()

    init(channel: SecureChannel, request: [UInt8], response: [UInt8], initiatorNonce: [UInt8], nonce: [UInt8], deadline: Instant) {
        self.channel = channel
        self.request = request
        self.response = response
        self.initiatorNonce = initiatorNonce
        self.nonce = nonce
        self.deadline = deadline
    }

    func received(_ header: Header, _ datagram: Datagram, _ sa: IKESA) -> State {
        guard !header.isResponse, header.isFromInitiator else { return .awaitingAuth(self) }
        if header.exchangeType == .ikeSAInit {
            //= RFC 7296 §2.1: a retransmitted request gets the same response.
            if datagram.bytes == request {
                sa.proof.receive(datagram.bytes.count)
                sa.transmit(response)
            }
            return .awaitingAuth(self)
        }
        guard header.exchangeType == .ikeAuth, header.messageID == sa.authMessageID else { return .awaitingAuth(self) }
        guard forgeries.allow(sa.now) else {
            sa.context.counters.authNotTried += 1
            return .awaitingAuth(self)
        }
        var window = MessageWindow(nextRequest: 0, expected: sa.authMessageID)
        let payloads: [Payload]
        switch channel.open(header, datagram.bytes, now: sa.now) {
        case .forged:
            var next = self
            next.forgeries.count(sa)
            return .awaitingAuth(next)
        case .incomplete: return .awaitingAuth(self)
        case .malformed(let error):
            window.accept(bytes: channel.takeOpenedDatagram())
            AwaitingAuth.move(sa, datagram, channel)
            return refuse(sa, &window, .badAnswer("its IKE_AUTH request is \(error.isOfSize ? "larger than what is taken of a peer" : "malformed: \(error.words)")", sa), Notify(.invalidSyntax))
        case .payloads(let opened): payloads = opened
        }
        sa.countReceived(header)
        window.accept(bytes: channel.takeOpenedDatagram())
        AwaitingAuth.move(sa, datagram, channel)

        var remote: Identification?, wanted: Identification?, authentication: Authentication?
        for payload in payloads {
            switch payload {
            case .identificationInitiator(let value): remote = value
            case .identificationResponder(let value): wanted = value
            case .authentication(let value): authentication = value
            case .notify(let notify) where notify.type == .initialContact: sa.initialContact = true
            case .unknown(let type, critical: true, _):
                return refuse(
                    sa, &window, .badAnswer("its IKE_AUTH request has a critical payload of the unknown type \(type.rawValue)", sa), Notify(.unsupportedCriticalPayload, data: [type.rawValue]))
            default: break
            }
        }
        guard let remote else { return refuse(sa, &window, .badAnswer("its IKE_AUTH request names no identity", sa), Notify(.invalidSyntax)) }
        sa.remoteIdentity = remote
        sa.peerRequests = payloads.certificateRequests
        let claim = ConnectionSelection.Claim(
            local: sa.local.address, remote: sa.remote.address, transforms: sa.transforms, identity: remote, wanted: wanted, method: authentication?.method, names: sa.context.names)
        guard let connection = ConnectionSelection.choose(sa.context.connections, claim) else {
            let losers = ConnectionSelection.losers(sa.context.connections, claim, chosen: nil, limit: Wording.lines)
            if let near = losers.first, case .method = near.loss { sa.connection = near.connection }
            return refuse(sa, &window, .noConnectionFits(claim, losers, sa), Notify(.authenticationFailed))
        }
        sa.connection = connection
        let own = connection.ownIdentity(sa.local.address)
        sa.localIdentity = own
        //= RFC 6023 §3: where childless IKE SAs are not served, a request without a child is malformed; so is half of one everywhere.
        let parts = payloads.count { [.securityAssociation, .trafficSelectorInitiator, .trafficSelectorResponder].contains($0.type) }
        guard parts == 3 || (parts == 0 && connection.childless != .never) else {
            return refuse(sa, &window, .badAnswer("its IKE_AUTH request has no proposals or no traffic selectors", sa), Notify(.invalidSyntax))
        }
        //= RFC 7296 §2.16: an initiator that leaves AUTH out asks for EAP; only a connection that says so takes it.
        guard let authentication else {
            let exchange = InitExchange(request: request, response: response, initiatorNonce: initiatorNonce, responderNonce: nonce)
            return AuthenticatingPeer.begin(sa, channel, window, payloads, exchange, claim)
        }
        do throws(CryptoError) {
            let ask = AuthenticationRequest(
                method: connection.remote.method, connection: connection.name, local: own, remote: remote, prf: channel.suite.prf, message: request, nonce: nonce,
                macedIdentity: try channel.macedIdentity(remote, ofInitiator: true))
            return .verifyingInitiator(
                VerifyingInitiator(
                    job: sa.context.run(.verify(sa.withCertificates(ask, of: connection, from: payloads), authentication), for: sa.localSPI), channel: channel, window: window, payloads: payloads,
                    response: response,
                    initiatorNonce: initiatorNonce, claim: claim, deadline: sa.now + sa.context.limits.jobTime))
        } catch {
            return refuse(sa, &window, .crypto(error, "checking the peer's proof of identity", sa), Notify(.authenticationFailed))
        }
    }

    /// IKE_AUTH comes from another port than IKE_SA_INIT when the initiator found a NAT. The message is authentic by now.
    static func move(_ sa: IKESA, _ datagram: Datagram, _ channel: SecureChannel) {
        // It could not be made without our IKE_SA_INIT, which the address has received therefore; another address may be anybody's.
        if datagram.remote.address == sa.remote.address || datagram.remote.address == sa.firstAddress {
            sa.proof.prove()
        } else {
            if sa.firstAddress == nil { sa.firstAddress = sa.remote.address }
            sa.proof = AddressProof(isProven: false, factor: sa.context.limits.amplification)
            sa.proof.receive(channel.openedByteCount)
        }
        sa.local = datagram.local
        sa.remote = datagram.remote
        sa.marked = datagram.marked
    }

    private func refuse(_ sa: IKESA, _ window: inout MessageWindow, _ failure: Failure, _ notify: Notify) -> State {
        AwaitingAuth.refuse(sa, channel, &window, failure, notify)
    }

    static func refuse(_ sa: IKESA, _ channel: SecureChannel, _ window: inout MessageWindow, _ failure: Failure?, _ notify: Notify) -> State {
        refuse(sa, channel, &window, failure, answer: .notify(notify))
    }

    /// Answers IKE_AUTH with an error alone and keeps nothing but the answer. RFC 7296 section 2.21.2.
    static func refuse(_ sa: IKESA, _ channel: SecureChannel, _ window: inout MessageWindow, _ failure: Failure?, answer: Payload) -> State {
        if let failure { sa.context.reportUnproven(sa.connection.name, sa) { failure } }
        guard let datagrams = try? channel.seal(sa.header(.ikeAuth, messageID: sa.authMessageID, response: true), [answer]) else { return .dead }
        window.store(response: datagrams)
        sa.transmit(datagrams)
        sa.userSession = nil
        return Closed.answering(sa, window, channel, proven: false)
    }

    func deadlineReached(_ sa: IKESA) -> State {
        guard deadline <= sa.now else { return .awaitingAuth(self) }
        sa.context.noteUnproven(.info, sa) { "\(sa.remote) did not go on with IKE_AUTH within \(sa.context.limits.halfOpenTime)" }
        return .dead
    }
}
