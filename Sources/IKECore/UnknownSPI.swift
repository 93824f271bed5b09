// Messages for IKE SAs that are not there, and what anybody can say of those that are, without protection.
// RFC 7296 sections 1.5 and 2.21.4.

import IKEWire

extension Endpoint {
    func unknownSPI(_ header: Header, _ datagram: Datagram) {
        counters.unknownSPI += 1
        context.messages.count(.invalidSPI, nil)
        //= RFC 7296 §2.21.4: a response to nothing is not answered; neither is what is not protected: it may itself be such an answer.
        guard header.majorVersion == 2, !header.isResponse, header.exchangeType != .ikeSAInit, header.isProtected else { return }
        // With an SPI of none, or of an SA that is there with another, it is no message of an earlier life.
        guard header.initiatorSPI != .none, header.responderSPI != .none, sas[header.initiatorSPI] == nil, sas[header.responderSPI] == nil else { return }
        counters.invalidSPISent += 1
        reply(header, datagram, [.notify(Notify(.invalidIKESPI))])
    }

    /// A request without SPIs and without protection: the peer may have got ESP of ours that it has no SA for. Never answered.
    func heardOfESP(_ datagram: Datagram) {
        guard let message = try? Message.parse(datagram.bytes.span) else { return countInvalid() }
        for case .notify(let notify) in message.payloads where notify.type == .invalidSPI {
            guard let spi = UInt32(bytes: notify.data), searches.take(now: context.now) else { return }
            let meant = inOrder { sa in sa.remote.address == datagram.remote.address && sa.established?.children.contains { $0.outboundSPI == spi && $0.isCurrent } == true }.first
            guard let meant, let established = meant.established else { return }
            return touch(meant) {
                established.suspect()
                meant.state = established.settled()
            }
        }
        countInvalid()
    }
}

extension Header {
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

    //= RFC 7296 §2.21.4: a hint, which changes no SA: the peer is asked whether it is alive, and not often.
    func suspect() {
        context.counters.invalidSPIReceived += 1
        guard phase == .active, suspectedAt.map({ now.since($0) >= context.limits.hintInterval }) ?? true else { return }
        suspectedAt = now
        // A request that is on its way asks already.
        if case .idle = outgoing, queue.isEmpty { enqueue(.liveness) }
    }
}
