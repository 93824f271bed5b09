// Message IDs and the stored response: a window of one in each direction.
// RFC 7296 sections 2.1 to 2.3.

import IKEWire

struct MessageWindow {
    /// The ID of our next request.
    private(set) var nextRequest: UInt32
    /// The ID of the peer's next request.
    private(set) var expected: UInt32
    private var lastRequest: Fingerprint?
    private(set) var storedResponse: [[UInt8]]?

    /// The length and last bytes of a request (its ICV): enough to tell a retransmission from anything else.
    private struct Fingerprint: Equatable {
        let count: Int
        let tail: [UInt8]
        init(_ bytes: [UInt8]) {
            count = bytes.count
            tail = Array(bytes.suffix(32))
        }
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
        return id == expected ? .fresh : .outside
    }

    /// The request that `judge` called fresh was authentic.
    mutating func accept(bytes: [UInt8]) {
        lastRequest = Fingerprint(bytes)
        storedResponse = nil
        expected &+= 1
    }

    /// `response`: its datagrams.
    mutating func store(response: [[UInt8]]) { storedResponse = response }

    mutating func takeRequestID() -> UInt32 {
        defer { nextRequest &+= 1 }
        return nextRequest
    }
}
