// The messages of an established IKE SA: which are taken, to which exchange they go, and how requests and answers are sent.
// RFC 7296 sections 2.1 to 2.5, 2.11, 2.21.3 and 2.23.

import IKEWire

extension Established {
    // MARK: Receiving

    func received(_ header: Header, _ datagram: Datagram) -> State {
        //= RFC 7296 §2.2: the flags say who was the original initiator.
        guard header.isFromInitiator != sa.isInitiator else { return .established(self) }
        if header.nextPayload == .notify, heard(unprotected: datagram) {
            suspect()
            return settled()
        }
        if header.isResponse { receivedResponse(header, datagram) } else { receivedRequest(header, datagram) }
        return settled()
    }

    private func receivedRequest(_ header: Header, _ datagram: Datagram) {
        switch window.judge(request: header.messageID, bytes: datagram.bytes) {
        case .duplicate:
            // The stored answer; none while the exchange is still worked on, or was forgotten.
            sa.repeatAnswer(window.storedResponse ?? [], to: datagram)
            return sendHeldBack()
        case .outside:
            if window.isCutAnew(header, datagram.bytes, channel) { sa.repeatAnswer(window.storedResponse ?? [], to: datagram) }
            return
        case .fresh: break
        }
        guard incoming.isIdle else { return }
        switch channel.open(header, datagram.bytes, now: now) {
        case .forged, .incomplete: return
        case .malformed(let error):
            sa.count(.invalid)
            window.accept(bytes: channel.takeOpenedDatagram())
            requestPath = (datagram.local, datagram.remote, datagram.marked)
            heard(from: datagram, inAnswer: false, whileChecking: isCheckingPath)
            refuseAsInvalid(header.exchangeType, header.messageID, "it sent a malformed request (\(error))")
        case .payloads(let payloads):
            sa.countReceived(header)
            window.accept(bytes: channel.takeOpenedDatagram())
            requestPath = (datagram.local, datagram.remote, datagram.marked)
            heard(from: datagram, inAnswer: false, whileChecking: isCheckingPath)
            for case .unknown(let type, critical: true, _) in payloads {
                //= RFC 7296 §2.5: an unknown critical payload is refused, and nothing else in the message is done.
                respond(header.exchangeType, header.messageID, [.notify(Notify(.unsupportedCriticalPayload, data: [type.rawValue]))])
                return
            }
            adoptEarly(payloads)
            noteWindowSize(payloads)
            switch header.exchangeType {
            case .createChildSA: answerCreateChildSA(header.messageID, payloads)
            case .informational: answerInformational(header.messageID, payloads)
            default: refuseAsInvalid(header.exchangeType, header.messageID, "it sent a request of an exchange that has no place here (\(header.exchangeType))")
            }
        }
    }

    private func receivedResponse(_ header: Header, _ datagram: Datagram) {
        guard case .sent(let exchange, _, let messageID) = outgoing, header.messageID == messageID, header.exchangeType == exchange.type else { return }
        switch channel.open(header, datagram.bytes, now: now) {
        case .forged, .incomplete: return
        case .malformed(let error):
            sa.count(.invalid)
            outgoing = .idle
            giveUp(after: exchange, "it sent a malformed response (\(error))")
        case .payloads(let payloads):
            sa.countReceived(header)
            let isChecking = isCheckingPath
            outgoing = .idle
            heard(from: datagram, inAnswer: true, whileChecking: isChecking)
            answered(over: datagram)
            for payload in payloads {
                switch payload {
                //= RFC 7296 §2.5: what is critical and not understood makes the message one that we cannot act on.
                case .unknown(let type, critical: true, _): return giveUp(after: exchange, "its response has a critical payload of the unknown type \(type.rawValue)")
                //= RFC 7296 §2.21.3: INVALID_SYNTAX is fatal at both ends, without a Delete.
                case .notify(let notify) where notify.type == .invalidSyntax: return peerGaveUp(after: exchange)
                default: break
                }
            }
            switch exchange {
            case .createChild(let creation): childAnswered(creation, payloads)
            case .rekeyIKE(let rekey): ikeRekeyAnswered(rekey, payloads)
            case .deleteChild(let id, let requests): childDeleted(id, requests)
            case .deleteIKE(let requests, let reason): ikeDeleted(requests, reason)
            case .informational: compareMapping(payloads)
            case .updateAddresses(let update): sa.mobility == nil ? answeredFromThere(update) : addressesUpdated(update, payloads, from: datagram.remote)
            }
        }
    }

    /// An authentic message came. RFC 7296 section 2.23: an end that is not behind a NAT follows a peer that is.
    private func heard(from datagram: Datagram, inAnswer isAnswer: Bool, whileChecking isChecking: Bool) {
        lastInbound = now
        if datagram.remote.address == sa.remote.address, sa.proof.isProven || !isChecking {
            // The peer would not go on without our last answer, or answers what went there.
            sa.proof.prove()
        } else {
            // Its sender holds the keys, and may have written any address on it. While the path is checked nothing but the answer to that shows where it is.
            sa.countReceived(channel.openedByteCount, from: datagram.remote.address)
        }
        //= RFC 4555 §3.8: with MOBIKE it does not: a message without UPDATE_SA_ADDRESSES changes nothing, and may serve to try a path.
        guard sa.mobility == nil, sa.nat.remoteBehindNAT, !sa.nat.localBehindNAT, datagram.remote != sa.remote, datagram.marked == sa.marked else { return }
        moved(to: datagram.remote)
        // What waits for its answer follows; the answer to this message comes first.
        if !isAnswer { sendsAgainAfterAnswer = true }
    }

    /// Between which addresses the peer's last request came.
    var requestEnds: AddressPair? { requestPath.map { AddressPair(local: $0.local, remote: $0.remote) } }
    var requestIsMarked: Bool { requestPath?.marked ?? sa.marked }

    // MARK: Sending

    func respond(_ exchange: ExchangeType, _ messageID: UInt32, _ payloads: [Payload]) {
        incoming = .idle
        guard let datagrams = try? channel.seal(sa.header(exchange, messageID: messageID, response: true), payloads) else {
            return end("a message could not be sealed")
        }
        window.store(response: datagrams)
        // IKE_AUTH is answered to an address that may have shown nothing.
        guard let path = requestPath else {
            sa.transmit(datagrams)
            return
        }
        if sa.maySend(datagrams.byteCount, to: path.remote.address) {
            for bytes in datagrams { context.emit(.transmit(Datagram(local: path.local, remote: path.remote, marked: path.marked, bytes: bytes))) }
        } else {
            context.counters.answersHeldBack += 1
        }
        // After the answer: an address that has shown nothing yet gets only so much.
        if sendsAgainAfterAnswer {
            sendsAgainAfterAnswer = false
            sendAgainFromHere()
        } else if case .sent(_, let retransmission, _) = outgoing, retransmission.isHeldBack {
            // The peer lives, and could not hear it.
            sendAgainFromHere()
        }
    }

    /// A request of ours that the peer's new address had shown too little for goes out as soon as more has come from there: without that a check
    /// of the path, or what stands before it, would wait for its next turn, and find as little.
    func sendHeldBack() {
        guard case .sent(let exchange, var retransmission, let messageID) = outgoing, retransmission.isHeldBack, sa.proof.allows(retransmission.datagrams.byteCount) else { return }
        retransmission.resume(limits: context.limits, now: now)
        sa.transmit(retransmission.datagrams)
        outgoing = .sent(exchange, retransmission, messageID: messageID)
    }

    //= RFC 7296 §2.21.3: INVALID_SYNTAX, and the SA is over, at both ends.
    func refuseAsInvalid(_ exchange: ExchangeType, _ messageID: UInt32, _ reason: String) {
        respond(exchange, messageID, [.notify(Notify(.invalidSyntax))])
        context.emit(.report(.failed(.badAnswer(reason, sa), connection: sa.connection.name, ikeSA: sa.status)))
        let wanted = wantedChildren()
        end("the peer sent what is no valid request")
        for policy in wanted { follow(policy.closeAction, policy, after: context.limits.retryDelay) }
    }

    /// The peer's response cannot be acted on, so the two ends may differ in what they hold: the SA is deleted.
    private func giveUp(after exchange: Exchange, _ reason: String) {
        let failure = Failure.badAnswer(reason, sa)
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        fail(exchange, failure)
        if case .deleteIKE = exchange { return end("the peer sent an invalid response") }
        for policy in wantedChildren(besides: exchange) { follow(policy.closeAction, policy, after: context.limits.retryDelay) }
        enqueueFirst(.deleteIKE([], reason: "the peer sent an invalid response"))
    }

    /// The peer could not read our request, and has dropped the SA.
    private func peerGaveUp(after exchange: Exchange) {
        let failure = Failure(.peerRefused, "\(sa.remote.address) could not read our request (INVALID_SYNTAX), and has closed the IKE SA", evidence: [Wording.ends(sa)])
        context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        fail(exchange, failure)
        let wanted = wantedChildren(besides: exchange)
        end("the peer could not read our request")
        for policy in wanted { follow(policy.closeAction, policy, after: .seconds(1)) }
    }

    /// `remote`: where it goes first, if that is not where the peer is.
    func send(_ exchange: Exchange, _ payloads: [Payload], to remote: SocketAddress? = nil) {
        guard let messageID = window.takeRequestID() else {
            fail(exchange, Failure(.internalError, "The Message IDs of the IKE SA with \(sa.remote) are used up"))
            return end("its Message IDs are used up")
        }
        guard let datagrams = try? channel.seal(sa.header(exchange.type, messageID: messageID, response: false), payloads) else {
            fail(exchange, Failure(.internalError, "A message to \(sa.remote) could not be sealed"))
            return end("a message could not be sealed")
        }
        var retransmission = Retransmission(datagrams, limits: context.limits, now: now)
        if let remote, remote != sa.remote { transmit(datagrams, to: remote) } else { retransmission.isHeldBack = !sa.transmit(datagrams) }
        outgoing = .sent(exchange, retransmission, messageID: messageID)
    }
}
