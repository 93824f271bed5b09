// Messages for IKE SAs that are not there, ESP for SAs that are not there, and what anybody can say of those that are, without protection.
// RFC 7296 sections 1.5 and 2.21.4.

import IKEWire

extension Endpoint {
    func unknownSPI(_ header: Header, _ datagram: Datagram) {
        counters.unknownSPI += 1
        context.messages.count(.invalidSPI, nil)
        if header.isWordOfESP { return _ = heardOfESP(datagram) }
        //= RFC 7296 §2.21.4: a response to nothing is not answered; neither is what is not protected: it may itself be such an answer.
        guard header.majorVersion == 2, !header.isResponse, header.exchangeType != .ikeSAInit, header.isProtected else { return }
        // With an SPI of none, or of an SA that is there with another, it is no message of an earlier life.
        guard header.initiatorSPI != .none, header.responderSPI != .none, sas[header.initiatorSPI] == nil, sas[header.responderSPI] == nil else { return }
        counters.invalidSPISent += 1
        reply(header, datagram, [.notify(Notify(.invalidIKESPI))])
    }

    /// Without protection: the peer may have got ESP of ours that it has no SA for. Never answered. Whether the message is one of those.
    //= RFC 7296 §1.5: with any SPIs, zero ones as well: they name no SA.
    func heardOfESP(_ datagram: Datagram) -> Bool {
        guard let message = try? Message.parse(datagram.bytes.span) else { return false }
        for case .notify(let notify) in message.payloads where notify.type == .invalidSPI {
            if let spi = UInt32(bytes: notify.data), searches.take(now: context.now) { hinted(.invalidSPI(spi, remote: datagram.remote), shardsLeft: max(limits.shards, 1) - 1) }
            return true
        }
        return false
    }

    /// Finds whom a word about ESP concerns: an IKE SA of this shard, else what the next one has.
    func hinted(_ hint: Hint, shardsLeft: Int) {
        switch hint {
        case .invalidSPI(let spi, let remote):
            let meant = inOrder { sa in sa.remote.address == remote.address && sa.established?.children.contains { $0.outboundSPI == spi && $0.isCurrent } == true }.first
            if let meant, let established = meant.established {
                touch(meant) {
                    established.suspect()
                    meant.state = established.settled()
                }
            } else if shardsLeft > 0 {
                context.emit(.handOn(hint, shardsLeft: shardsLeft - 1))
            }
        case .strayESP(let stray):
            guard !shuttingDown, !context.usesInboundSPI(stray.spi), shardsLeft + 1 < limits.shards || strays.take(now: context.now) else { return }
            // Behind a NAT the port tells peers apart.
            let peers = sas.values.filter { sa in
                (stray.encapsulated ? sa.remote == stray.remote : sa.remote.address == stray.remote.address) && sa.established.map { $0.phase == .active && !$0.isToBeDeleted } == true
            }
            if let newest = peers.max(by: { $0.id.rawValue < $1.id.rawValue }), let established = newest.established {
                touch(newest) {
                    established.tellOfStray(stray.spi)
                    newest.state = established.settled()
                }
            } else if shardsLeft > 0 {
                context.emit(.handOn(hint, shardsLeft: shardsLeft - 1))
            } else {
                tellStranger(of: stray)
            }
        }
    }

    /// Whoever sends ESP here has lost its way, or we have begun anew: a word to where it came from. Few, and shorter than what came.
    //= RFC 7296 §1.5: an informational message without protection; zero SPIs, the Initiator flag set, the Response flag not.
    private func tellStranger(of stray: StrayESP) {
        let header = Header(initiatorSPI: .none, responderSPI: .none, exchangeType: .informational, flags: .initiator, messageID: 0)
        let bytes = Message(header: header, payloads: [.notify(Notify(.invalidSPI, data: stray.spi.bytes))]).serialized()
        // The UDP header and the non-ESP marker count as well.
        guard bytes.count + 12 <= stray.length, unprovenReplies.take(now: context.now) else { return }
        counters.invalidSPISent += 1
        //= RFC 7296 §1.5: to the source port, if the packet was in UDP.
        let port: UInt16 = stray.encapsulated ? stray.remote.port : 500
        context.emit(
            .transmit(
                Datagram(
                    local: SocketAddress(address: stray.local.address, port: stray.encapsulated ? stray.local.port : 500), remote: SocketAddress(address: stray.remote.address, port: port),
                    marked: stray.encapsulated, bytes: bytes)))
    }
}

extension Header {
    /// What INVALID_SPI comes in from who has no IKE SA with us.
    var isWordOfESP: Bool { majorVersion == 2 && exchangeType == .informational && !isResponse && isFromInitiator && !isProtected }
    var isProtected: Bool { nextPayload == .encrypted || nextPayload == .encryptedFragment }
}

extension Established {
    /// What is said of this SA without protection. Whether it was a word that should make us ask the peer.
    func heard(unprotected datagram: Datagram) -> Bool {
        guard let message = try? Message.parse(datagram.bytes.span), !message.payloads.contains(where: { $0.type == .encrypted || $0.type == .encryptedFragment }) else { return false }
        return message.payloads.contains { payload in
            if case .notify(let notify) = payload { notify.type == .invalidIKESPI || notify.type == .invalidSPI } else { false }
        }
    }

    /// ESP has come from the peer's address that no SA takes. It may be anybody's: the peer is told, and not often.
    //= RFC 7296 §1.5: over the IKE SA with that address, in an INFORMATIONAL exchange.
    func tellOfStray(_ spi: UInt32) {
        guard toldOfStrayAt.map({ now.since($0) >= context.limits.hintInterval }) ?? true else { return }
        toldOfStrayAt = now
        context.counters.invalidSPISent += 1
        context.note(.notice, "ESP from \(sa.remote.address) has the SPI \(spi.hex), which no SA here has: the peer is told (INVALID_SPI)", sa)
        enqueue(.invalidSPI(spi))
    }

    //= RFC 7296 §2.21.4: a hint, which changes no SA: the peer is asked whether it is alive, and not often.
    func suspect() {
        context.counters.invalidSPIReceived += 1
        guard phase == .active, suspectedAt.map({ now.since($0) >= context.limits.hintInterval }) ?? true else { return }
        suspectedAt = now
        // A request that is on its way asks already.
        if case .idle = outgoing, queue.isEmpty { enqueue(.liveness) }
    }
}
