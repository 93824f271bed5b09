// Message IDs and the stored response: a window of one in each direction.
// RFC 7296 sections 2.1 to 2.3.

import IKEWire

struct MessageWindow {
    /// The ID of our next request.
    private(set) var nextRequest: UInt32
    /// The ID of the peer's next request.
    private(set) var expected: UInt32
    /// No request of ours, or none of the peer's, can have a number any more.
    private(set) var requestsAreUsedUp = false
    private var peerIsUsedUp = false
    private var lastRequest: Fingerprint?
    private(set) var storedResponse: [[UInt8]]?
    /// The ID of the request accepted last.
    private var answered: UInt32?

    /// The length and last bytes of a request (its ICV): enough to tell a retransmission from anything else.
    private struct Fingerprint: Equatable {
        let count: Int
        /// As numbers, in place: one is kept for every SA.
        private var tail: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        init(_ bytes: [UInt8]) {
            count = bytes.count
            for byte in bytes.suffix(32) { tail = (tail.0 << 8 | tail.1 >> 56, tail.1 << 8 | tail.2 >> 56, tail.2 << 8 | tail.3 >> 56, tail.3 << 8 | UInt64(byte)) }
        }
        static func == (a: Self, b: Self) -> Bool { a.count == b.count && a.tail == b.tail }
    }

    init(nextRequest: UInt32 = 0, expected: UInt32 = 0) {
        self.nextRequest = nextRequest
        self.expected = expected
    }

    enum Verdict: Equatable {
        case fresh
        /// A retransmission of the last request; answer with the stored response if there is one already.
        case duplicate
        case outside
    }

    //= RFC 7296 §2.3: a request outside the window is not processed; a retransmitted one gets the old response.
    func judge(request id: UInt32, bytes: [UInt8]) -> Verdict {
        if let lastRequest, lastRequest == Fingerprint(bytes) { return .duplicate }
        return id == expected && !peerIsUsedUp ? .fresh : .outside
    }

    /// Whether the ID is that of the request answered last.
    func isAnswered(request id: UInt32) -> Bool { id == answered && storedResponse != nil }

    /// The request that `judge` called fresh was authentic.
    mutating func accept(bytes: [UInt8]) {
        lastRequest = Fingerprint(bytes)
        storedResponse = nil
        answered = expected
        if expected == .max { peerIsUsedUp = true } else { expected += 1 }
    }

    /// `response`: its datagrams.
    mutating func store(response: [[UInt8]]) { storedResponse = response }

    /// The ID of our next request; nil when there is none left.
    mutating func takeRequestID() -> UInt32? {
        guard !requestsAreUsedUp else { return nil }
        defer { if nextRequest == .max { requestsAreUsedUp = true } else { nextRequest += 1 } }
        return nextRequest
    }

    //= RFC 7296 §2.2: before the numbers of either direction are used up, the SA is rekeyed, or else closed.
    var isNearItsEnd: Bool { max(nextRequest, expected) > .max - 65_536 || isUsedUp }
    var isUsedUp: Bool { requestsAreUsedUp || peerIsUsedUp }
}

extension MessageWindow {
    //= RFC 7383 §2.6.1: number and total count as well. The first fragment of an answered request repeats the answer, also where the request is cut
    //  into other fragments than those that were answered; the others do not.
    func isCutAnew(_ header: Header, _ bytes: [UInt8], _ channel: SecureChannel?) -> Bool {
        guard header.nextPayload == .encryptedFragment, isAnswered(request: header.messageID), let channel else { return false }
        return channel.isFirstFragment(bytes)
    }
}

extension Established {
    /// A long-lived SA takes new keys before it runs out of Message IDs, and ends where that fails. RFC 7296 section 2.2.
    func renumber() {
        guard phase == .active, next == nil, window.isNearItsEnd else { return }
        if window.requestsAreUsedUp { return end("its Message IDs are used up") }
        if window.isUsedUp { return isToBeDeleted ? () : enqueueFirst(.deleteIKE([], reason: "the peer's Message IDs are used up")) }
        guard !renumbers else { return }
        renumbers = true
        enqueue(.rekeyIKE([]))
    }

    //= RFC 7296 §2.3: SET_WINDOW_SIZE says how many requests its sender takes at once: four octets, and one at least. It gets one, which is within any window:
    // what takes time in an exchange are calculations, and each one more under way is one more that the peer's can collide with.
    func noteWindowSize(_ payloads: [Payload]) {
        for case .notify(let notify) in payloads where notify.type == .setWindowSize {
            guard let size = UInt32(bytes: notify.data), size > 0 else { continue }
            context.note(.debug, "the peer takes \(size) requests at once; it gets one", sa)
        }
    }
}
