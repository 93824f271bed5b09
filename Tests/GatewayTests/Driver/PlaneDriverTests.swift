// When the SAs of a pair leave the data plane.
// RFC 7296 sections 1.4.1 and 2.8.3.

import Glibc
import IKECrypto
import IKEWire
import PluginABI
import Synchronization
import TestSupport
import Testing

@testable import Gateway
@testable import IKECore

/// The SPIs that the plane below has, inbound and outbound.
private let held = Mutex<[Set<UInt32>]>([[], []])
/// The inbound SPIs that the plane has had a packet of, and how often it was asked for counters.
private let heard = Mutex<(spis: Set<UInt32>, questions: Int)>(([], 0))
/// The children that were told to carry the traffic, in order.
private let activated = Mutex<[UInt64]>([])

@Suite(.serialized) struct PlaneDriverTests {
    private static func side(_ direction: UInt8) -> Int { UInt32(direction) == MARTLET_INBOUND.rawValue ? 0 : 1 }

    /// A plane that notes which SAs it has. The process keeps it: a driver's plane is never unloaded.
    private func plane(yieldTime: Duration = .seconds(3600), yieldTurns: Int = .max) throws -> PlaneDriver {
        held.withLock { $0 = [[], []] }
        activated.withLock { $0 = [] }
        heard.withLock { $0 = ([], 0) }
        let table = UnsafeMutablePointer<martlet_plane>.allocate(capacity: 1)
        let made = martlet_plane(
            struct_size: UInt32(MemoryLayout<martlet_plane>.size), flags: UInt32(MARTLET_PLANE_HEARS_ALL.rawValue), name: UnsafePointer(strdup("noting")),
            start: { _, _, _, _, _ in MARTLET_OK }, stop: {},
            add_sa: { sa in
                let (spi, side) = (sa.pointee.spi, PlaneDriverTests.side(sa.pointee.direction))
                held.withLock { _ = $0[side].insert(spi) }
                return MARTLET_OK
            },
            activate: { child in
                activated.withLock { $0.append(child) }
                return MARTLET_OK
            },
            remove_sa: { spi, direction, _ in
                let side = PlaneDriverTests.side(direction)
                return held.withLock { $0[side].remove(spi) } == nil ? MARTLET_E_NOT_FOUND : MARTLET_OK
            },
            update: { _, _, _, _ in MARTLET_OK },
            counters: { spi, _, _, counters in
                counters.pointee.packets = heard.withLock {
                    $0.questions += 1
                    return $0.spis.contains(spi) ? 1 : 0
                }
                if counters.pointee.packets > 0 { counters.pointee.last_use_ns = Instant.now().nanoseconds }
                return MARTLET_OK
            }, drops: { _, _ in 0 }, set_policy: { _ in MARTLET_OK }, remove_policy: { _ in MARTLET_OK },
            add_address: { _ in MARTLET_OK }, remove_address: { _ in MARTLET_OK }, probe: nil, supports: nil, features: nil)
        table.initialize(to: made)
        let driver = try PlaneDriver(name: "noting", table: table, log: try Log(level: .error), yieldTime: yieldTime, yieldTurns: yieldTurns)
        #expect(try driver.start(sockets: [], workers: 1, mark: 0) { _, _ in } == nil)
        return driver
    }

    private func pair(_ id: UInt64, to network: IPAddress = Fixtures.natAddress, yields: Bool = false, activates: Bool = true) -> ChildSAParameters {
        func key() -> SecretBox { SecretBox(SecretBytes(count: 36)) }
        var parameters = ChildSAParameters(
            id: ChildSAID(rawValue: id), ikeSA: IKESAID(rawValue: id), reqid: UInt32(id), name: "site", inboundSPI: UInt32(1000 + id), outboundSPI: UInt32(2000 + id),
            encryption: .aesGCM16(256), integrity: nil, extendedSequenceNumbers: false, isTransport: false, localTS: [TrafficSelector(host: Fixtures.westAddress)],
            remoteTS: [TrafficSelector(prefix: network, length: 32)], originalLocal: nil, originalRemote: nil, local: SocketAddress(address: Fixtures.westAddress, port: 500),
            remote: SocketAddress(address: Fixtures.eastAddress, port: 500), encapsulated: false, replayWindow: 32, carriage: Carriage(), softBytes: 0, hardBytes: 0, softPackets: 0,
            hardPackets: 0, provider: nil, peer: Fixtures.identity("east.example"), activates: activates, inboundKey: key(), inboundIntegrityKey: key(), outboundKey: key(),
            outboundIntegrityKey: key())
        parameters.yields = yields
        return parameters
    }

    /// What the plane has once it has done everything that was asked for so far.
    private func settled(_ driver: PlaneDriver) async -> [Set<UInt32>] {
        await withCheckedContinuation { done in driver.traffic(of: []) { _ in done.resume() } }
        return held.withLock { $0 }
    }

    /// While `goesOn`, of which there is an end.
    private func wait(while goesOn: () async -> Bool) async throws {
        for _ in 0..<6000 {
            guard await goesOn() else { return }
            try await Task.sleep(for: .milliseconds(5))
        }
        Issue.record("it goes on")
    }

    /// As after a re-authentication: what the peer sent before its plane changed over is on its way when the old IKE SA ends.
    @Test func aPairWithASuccessorHearsWhatIsOnItsWay() async throws {
        let driver = try plane()
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2), shard: 0)
        driver.remove(ChildSAID(rawValue: 1), keepInbound: false)
        #expect(await settled(driver) == [[1001, 1002], [2002]])
    }

    /// The end of the IKE SA comes on the heels of a rekey.
    @Test func soDoesAPairThatWasReplacedJustNow() async throws {
        let driver = try plane()
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2), shard: 0)
        driver.remove(ChildSAID(rawValue: 1), keepInbound: true)
        driver.remove(ChildSAID(rawValue: 1), keepInbound: false)
        #expect(await settled(driver) == [[1001, 1002], [2002]])
    }

    @Test func andThenGoes() async throws {
        let driver = try plane(yieldTime: .milliseconds(1))
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2), shard: 0)
        driver.remove(ChildSAID(rawValue: 1), keepInbound: false)
        try await wait { await settled(driver)[0].contains(1001) }
        #expect(await settled(driver) == [[1002], [2002]])
    }

    @Test func aPairWithoutOneGoesAtOnce() async throws {
        let driver = try plane()
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2, to: Fixtures.eastAddress), shard: 0)
        driver.remove(ChildSAID(rawValue: 1), keepInbound: false)
        #expect(await settled(driver) == [[1002], [2002]])
        driver.remove(ChildSAID(rawValue: 2), keepInbound: true)
        #expect(await settled(driver) == [[1002], []])
        driver.remove(ChildSAID(rawValue: 2), keepInbound: false)
        #expect(await settled(driver) == [[], []])
    }

    /// Where two re-authentications overlap: the peer may not have the newest pair yet, and has the others.
    @Test func aNewPairWaitsForAllThatThePeerHas() async throws {
        let driver = try plane()
        defer { driver.stop() }
        for id in [1, 2] as [UInt64] { driver.install(pair(id), shard: 0) }
        driver.install(pair(3, yields: true), shard: 0)
        driver.remove(ChildSAID(rawValue: 2), keepInbound: false)
        #expect(await settled(driver)[1] == [2001, 2003] && activated.withLock { $0 } == [1, 2])
        driver.remove(ChildSAID(rawValue: 1), keepInbound: false)
        #expect(await settled(driver)[1] == [2003] && activated.withLock { $0 } == [1, 2, 3])
    }

    /// The other end of a rekey has not yet been told to send on the new pair, and may never be.
    @Test func butNotForOneThatCarriesNothingYet() async throws {
        let driver = try plane()
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2, activates: false), shard: 0)
        driver.install(pair(3, yields: true), shard: 0)
        #expect(await settled(driver)[1] == [2001, 2002, 2003] && activated.withLock { $0 } == [1])
        driver.remove(ChildSAID(rawValue: 1), keepInbound: false)
        #expect(await settled(driver)[1] == [2002, 2003] && activated.withLock { $0 } == [1, 3])
    }

    /// Once it was activated it carries the traffic as any other.
    @Test func aRekeyedPairCountsOnceItIsActivated() async throws {
        let driver = try plane()
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2, activates: false), shard: 0)
        driver.install(pair(3, yields: true), shard: 0)
        driver.activate(ChildSAID(rawValue: 2))
        driver.remove(ChildSAID(rawValue: 1), keepInbound: false)
        #expect(await settled(driver)[1] == [2002, 2003] && activated.withLock { $0 } == [1, 2])
    }

    /// Its answer to the peer may have been lost: a packet on the new pair shows that it has come.
    @Test func aNewPairWaitsForAPacketOfThePeers() async throws {
        let driver = try plane(yieldTime: .milliseconds(1))
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2, yields: true), shard: 0)
        try await wait { heard.withLock { $0.questions } < 3 && activated.withLock { $0.count } < 2 }
        #expect(activated.withLock { $0 } == [1])
        heard.withLock { $0.spis = [1002] }
        try await wait { activated.withLock { $0.count } < 2 }
        #expect(activated.withLock { $0 } == [1, 2])
    }

    /// The peer may have nothing to send, and have lost the pair before.
    @Test func andNotForEver() async throws {
        let driver = try plane(yieldTime: .milliseconds(1), yieldTurns: 3)
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2, yields: true), shard: 0)
        try await wait { activated.withLock({ $0.count }) < 2 }
        #expect(activated.withLock { $0 } == [1, 2])
        // Three times about the new one, and once about the one before.
        #expect(heard.withLock { $0.questions } == 4)
    }

    /// The peer sends through the pair before: it has that one, and may be waiting for the answer still (seed 5227 of Lossless).
    @Test func butAsLongAsThePeerUsesTheOneBefore() async throws {
        let driver = try plane(yieldTime: .milliseconds(10), yieldTurns: 3)
        defer { driver.stop() }
        heard.withLock { $0.spis = [1001] }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2, yields: true), shard: 0)
        try await wait { heard.withLock({ $0.questions }) < 20 && activated.withLock({ $0.count }) < 2 }
        #expect(activated.withLock { $0 } == [1])
        heard.withLock { $0.spis = [] }
        try await wait { activated.withLock({ $0.count }) < 2 }
        #expect(activated.withLock { $0 } == [1, 2])
    }

    /// Its turn does not come when another has taken its place: the peer may have deleted it (seed 5587 of Lossless).
    @Test func aPairThatWasRekeyedWhileItWaitedDoesNotTakeOver() async throws {
        let driver = try plane(yieldTime: .milliseconds(1))
        defer { driver.stop() }
        driver.install(pair(1), shard: 0)
        driver.install(pair(2, yields: true), shard: 0)
        var next = pair(3)
        (next.activates, next.replaces) = (false, ChildSAID(rawValue: 2))
        driver.install(next, shard: 0)
        driver.activate(next.id)
        _ = await settled(driver)
        heard.withLock { $0.spis = [1002, 1005] }
        // A pair whose turn comes later than that of the second would.
        driver.install(pair(4, to: Fixtures.eastAddress), shard: 0)
        driver.install(pair(5, to: Fixtures.eastAddress, yields: true), shard: 0)
        try await wait { !activated.withLock({ $0.contains(5) }) }
        #expect(activated.withLock { $0 } == [1, 3, 4, 5])
    }
}
