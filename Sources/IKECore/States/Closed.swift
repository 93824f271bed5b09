// After the end: answers retransmissions of the peer's last request for a while, or tells the peer once that it was refused.
// RFC 7296 sections 1.4.1, 2.1 and 2.21.2.

import IKECrypto
import IKEWire

struct Closed {
    private let window: MessageWindow
    private let until: Instant
    /// A last request of ours, sent until it is answered.
    private var retransmission: Retransmission?
    private let channel: SecureChannel?

    /// Whether the peer had shown who it is. One that had not still counts against the limit of half-open SAs.
    let isProven: Bool

    /// The peer closed the SA, or was refused; `window` holds our answer.
    static func answering(_ sa: IKESA, _ window: MessageWindow, _ channel: SecureChannel? = nil, proven: Bool = true) -> State {
        guard window.storedResponse != nil else { return .dead }
        return .closed(Closed(window: window, until: sa.now + sa.context.limits.closedTime, retransmission: nil, channel: channel, isProven: proven))
    }

    /// The responder believes in an SA that we refuse: tells it so, and is done.
    static func refusing(_ sa: IKESA, _ channel: SecureChannel) -> State {
        let payloads: [Payload] = [.notify(Notify(.authenticationFailed)), .delete(Delete(protocolID: .ike))]
        guard let datagrams = try? channel.seal(sa.header(.informational, messageID: sa.authMessageID &+ 1, response: false), payloads) else { return .dead }
        sa.transmit(datagrams)
        return .closed(
            Closed(
                window: MessageWindow(), until: sa.now + sa.context.limits.closedTime, retransmission: Retransmission(datagrams, limits: sa.context.limits, now: sa.now), channel: channel,
                isProven: true))
    }

    var nextDeadline: Instant { min(until, retransmission?.deadline ?? until) }

    func received(_ header: Header, _ datagram: Datagram, _ sa: IKESA) -> State {
        if header.isResponse {
            guard let channel, retransmission != nil, header.messageID == sa.authMessageID &+ 1, case .payloads = channel.open(header, datagram.bytes, now: sa.now) else { return .closed(self) }
            sa.countReceived(header)
            return .dead
        }
        if window.judge(request: header.messageID, bytes: datagram.bytes) == .duplicate || window.isCutAnew(header, datagram.bytes, channel), let response = window.storedResponse {
            sa.repeatAnswer(response, to: datagram)
        }
        return .closed(self)
    }

    func deadlineReached(_ sa: IKESA) -> State {
        guard until > sa.now else { return .dead }
        guard var next = retransmission, next.deadline <= sa.now else { return .closed(self) }
        guard case .sendAgain = next.fire(now: sa.now) else { return .dead }
        sa.transmit(next.datagrams)
        var closed = self
        closed.retransmission = next
        return .closed(closed)
    }
}
