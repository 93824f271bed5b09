// Which of the kernel's messages answers a request, and what the answer is. RFC 3549 section 2.3.2.2. Whatever comes beside it is somebody else's: an
// answer that was given up, an event, a copy.

import CXFRM

/// Of one request.
package struct PendingAnswer {
    package enum Kind: Sendable { case acknowledgement, single, dump }

    private let sequence: UInt32
    private let port: UInt32
    private let kind: Kind
    /// 0 or a negative errno, once it is there.
    package private(set) var result: Int32?

    package init(sequence: UInt32, port: UInt32, kind: Kind) {
        self.sequence = sequence
        self.port = port
        self.kind = kind
    }

    /// `each` sees what a single answer or a dump holds.
    package mutating func take(_ message: ReceivedMessage, _ each: (ReceivedMessage) -> Void) {
        guard result == nil, message.header.nlmsg_seq == sequence, message.header.nlmsg_pid == port else { return }
        if message.isError {
            result = message.error
        } else if message.isEnd {
            result = 0
        } else {
            each(message)
            if kind == .single { result = 0 }
        }
    }
}

/// Of many requests that went together.
package struct PendingAnswers {
    private let first: UInt32
    private let port: UInt32
    private var results: [Int32?]
    private var left: Int
    package var isComplete: Bool { left == 0 }

    package init(first: UInt32, count: Int, port: UInt32) {
        self.first = first
        self.port = port
        results = [Int32?](repeating: nil, count: count)
        left = count
    }

    package mutating func take(_ message: ReceivedMessage) {
        let place = Int(message.header.nlmsg_seq &- first)
        guard place < results.count, message.header.nlmsg_pid == port, message.isError, results[place] == nil else { return }
        results[place] = message.error
        left -= 1
    }

    /// One for each request: 0 or a negative errno; `missing` where none has come.
    package func all(missing: Int32) -> [Int32] { results.map { $0 ?? missing } }
}

/// Of a transaction of nf_tables: a beginning, changes, and an end, all of them or none. The changes alone are acknowledged; where nothing at all is taken,
/// the beginning is refused.
package struct PendingTransaction {
    private let first: UInt32
    private let port: UInt32
    private let count: Int
    private var seen: Set<Int> = []
    /// The first refusal, a negative errno, or 0.
    package private(set) var result: Int32 = 0
    package private(set) var isComplete: Bool

    /// `count`: of the messages, both ends included.
    package init(first: UInt32, count: Int, port: UInt32) {
        self.first = first
        self.port = port
        self.count = count
        isComplete = count <= 2
    }

    package mutating func take(_ message: ReceivedMessage) {
        let place = Int(message.header.nlmsg_seq &- first)
        guard !isComplete, place < count, message.header.nlmsg_pid == port, message.isError, seen.insert(place).inserted else { return }
        if result == 0 { result = message.error }
        isComplete = (place == 0 && message.error != 0) || seen.subtracting([0, count - 1]).count == count - 2
    }
}
