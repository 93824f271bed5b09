// A shard's queue is bounded in datagrams and bytes, and failures that strangers cause fill no log.

import IKECore
import IKECrypto
import IKEWire
import Testing

@testable import Gateway

private final class NoRandom: RandomSource {
    func fill(_ bytes: inout MutableSpan<UInt8>) {}
}

@Suite struct ShardTests {
    private func shard(limit: Int, bytes: Int) throws -> (Shard, SocketSet) {
        var options = SocketOptions()
        options.listen = [IPAddress(v4: 0x7f00_0001)]
        // Port 0 is any; two of them are not the same.
        options.port = UInt16.random(in: 20_000...32_000)
        options.natPort = options.port + 1
        let sockets = try SocketSet(options)
        let transport = Transport(sockets, log: try Log(level: .error))
        let crypto = Crypto(preferred: Registry(random: NoRandom()))
        return (try Shard(number: 0, crypto: crypto, connections: [], limits: Limits(), transport: transport, queueLimit: limit, queueBytes: bytes), sockets)
    }

    private func datagrams(_ count: Int, bytes: Int) -> [Datagram] {
        let address = SocketAddress(address: IPAddress(v4: 1), port: 500)
        return (0..<count).map { _ in Datagram(local: address, remote: address, marked: false, bytes: [UInt8](repeating: 0, count: bytes)) }
    }

    @Test func aFullQueueSaysWhatItDropped() throws {
        let (shard, sockets) = try shard(limit: 10, bytes: 1 << 20)
        defer { sockets.closeAll() }
        // The loop does not run: all of it waits.
        #expect(shard.deliver(datagrams(7, bytes: 10)) == 0)
        #expect(shard.deliver(datagrams(7, bytes: 10)) == 4)
        #expect(shard.deliver(datagrams(1, bytes: 10)) == 1)
    }

    @Test func largeDatagramsFillTheQueueByTheirBytes() throws {
        let (shard, sockets) = try shard(limit: 1000, bytes: 200_000)
        defer { sockets.closeAll() }
        #expect(shard.deliver(datagrams(10, bytes: 60_000)) == 7)
        #expect(shard.deliver(datagrams(1, bytes: 100)) == 0)
    }

    @Test func failuresOfOneKindAreWrittenSoOften() throws {
        let lines = ReportLines(log: try Log(level: .error))
        let start = Instant(nanoseconds: 1_000_000_000)
        let written = (0..<1000).count { _ in lines.passedOver(.noConnection, now: start) != nil }
        #expect(written == 20)
        // Another kind has an allowance of its own.
        #expect(lines.passedOver(.noCommonProposal, now: start) == 0)
        // One more after half a second, which says how many were not written.
        #expect(lines.passedOver(.noConnection, now: start + .milliseconds(600)) == 980)
        #expect(lines.passedOver(.noConnection, now: start + .milliseconds(600)) == nil)
        #expect(lines.passedOver(.noConnection, now: start + .milliseconds(1200)) == 1)
    }
}
