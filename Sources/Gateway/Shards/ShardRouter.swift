// Which shard a datagram is for: read off the SPI that we chose, without a table that shards would share.
// RFC 7296 sections 2.6 and 3.1.

import Glibc
import IKEWire

package struct ShardRouter: Sendable {
    package let count: Int
    /// Keeps a peer from choosing the shard that its requests meet.
    private let seed: UInt64

    package init(count: Int, seed: UInt64) {
        self.count = count
        self.seed = seed
    }

    /// Nil where the message is too short for a header or its SPI names no shard.
    package func shard(of message: [UInt8], from remote: IPAddress) -> Int? {
        guard message.count >= Header.byteCount else { return nil }
        func spi(_ offset: Int) -> UInt64 { message[offset..<offset + 8].reduce(0) { $0 << 8 | UInt64($1) } }
        let (initiator, responder) = (spi(0), spi(8))
        // The sender is the original initiator: the SPI that we chose is the responder's.
        let isFromInitiator = HeaderFlags(rawValue: message[19]).contains(.initiator)
        let ours = isFromInitiator ? responder : initiator
        if ours == 0 { return isFromInitiator ? shard(forRequestFrom: remote, initiatorSPI: initiator) : nil }
        let shard = Int(ours >> 56)
        if shard < count { return shard }
        // A request for an SA of an earlier life, with more shards: any of them can say that it is not there. A response is nobody's.
        return HeaderFlags(rawValue: message[19]).contains(.response) ? nil : self.shard(forRequestFrom: remote, initiatorSPI: initiator)
    }

    /// A retransmitted IKE_SA_INIT request meets the same shard.
    func shard(forRequestFrom remote: IPAddress, initiatorSPI: UInt64) -> Int {
        Int(mix(mix(mix(seed ^ initiatorSPI) ^ UInt64(truncatingIfNeeded: remote.value >> 64)) ^ UInt64(truncatingIfNeeded: remote.value)) % UInt64(count))
    }

    /// The children of one connection share a shard, and so an IKE SA.
    package func shard(forConnection name: String) -> Int {
        Int(name.utf8.reduce(seed) { mix($0 ^ UInt64($1)) } % UInt64(count))
    }

    /// A finaliser with full avalanche: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
    private func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
