// A message that comes in fragments, until all of them are here. Every fragment was authentic before it came to this.
// RFC 7383 section 2.6.

import IKECrypto
import IKEWire

struct Reassembly {
    let messageID: UInt32
    let began: Instant
    private let total: Int
    private var pieces: [[UInt8]?]
    private var missing: Int
    private(set) var byteCount = 0
    private var first = PayloadType.none
    /// A critical payload of an unknown type that stood in clear before a fragment.
    private(set) var refused: PayloadType?
    /// The datagram of the first fragment: a retransmission of the message is known by it. Section 2.6.1.
    private(set) var firstDatagram: [UInt8] = []

    /// The most fragments of one message.
    static let fragmentLimit = 128
    /// After this what was collected is of no use: the peer has given up. Section 2.6.
    static let lifetime = Duration.seconds(180)

    init(messageID: UInt32, total: Int, began: Instant) {
        self.messageID = messageID
        self.total = total
        self.began = began
        pieces = Array(repeating: nil, count: min(total, Self.fragmentLimit))
        missing = total
    }

    enum Outcome {
        case incomplete
        case complete(first: PayloadType, chain: [UInt8])
        /// More than we hold for one message.
        case tooLarge
    }

    mutating func add(_ chain: [UInt8], first type: PayloadType, refused: PayloadType? = nil, _ fragment: MessageOpener.Fragment, datagram: [UInt8], byteLimit: Int) -> Outcome {
        //= RFC 7383 §2.6: a smaller total belongs to an earlier attempt of the peer's, and a fragment that is here already adds nothing.
        guard total <= Self.fragmentLimit else { return .tooLarge }
        guard fragment.total == total, pieces[fragment.number - 1] == nil else { return .incomplete }
        byteCount += chain.count
        guard byteCount <= byteLimit else { return .tooLarge }
        pieces[fragment.number - 1] = chain
        missing -= 1
        self.refused = self.refused ?? refused
        if fragment.number == 1 {
            first = type
            firstDatagram = datagram
        }
        guard missing == 0 else { return .incomplete }
        return .complete(first: first, chain: pieces.flatMap { $0 ?? [] })
    }

    /// Whether a fragment begins the collection anew: another message, or the same in smaller pieces.
    func isSuperseded(by fragment: MessageOpener.Fragment, of id: UInt32, now: Instant) -> Bool { id != messageID || fragment.total > total || now.since(began) > Self.lifetime }
}

/// The bytes that fragments of all messages of a kind may hold in a shard. RFC 7383 section 5.
final class FragmentRoom {
    private let limit: Int
    private(set) var held = 0
    /// Fragments that found no room.
    private(set) var refused: UInt64 = 0
    /// What every message may hold, however much others do: or a few strangers would keep all out whose messages come in fragments.
    private let assured: Int
    init(_ limit: Int, assured: Int = 0) {
        self.limit = limit
        self.assured = assured
    }

    /// For so many more bytes of a peer whose pieces hold `own`.
    func hasRoom(for count: Int, beside own: Int) -> Bool {
        if held + count <= limit || own + count <= assured { return true }
        refused += 1
        return false
    }
    func change(by count: Int) { held += count }
    func release(_ count: Int) { held -= count }
}
