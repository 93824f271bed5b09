// Pools of inner addresses: who gets which.

import IKEWire
import Testing
import TestSupport

@testable import Gateway
@testable import IKECore

extension AddressPoolSet {
    /// From one outer address.
    func lease(
        _ family: IPAddress.Family, from pools: [String], to identity: Identification, asking: IPAddress?, takingOver: LeaseRequest.Takeover, connection: String = "rw",
        at: Instant = Instant(nanoseconds: 0), remote: IPAddress = IPAddress(v4: 0xc000_0201), port: UInt16 = 4500, beside: [IPAddress] = []
    ) -> Lease? {
        let origin = Lease.Origin(connection: connection, local: nil, remote: SocketAddress(address: remote, port: port), at: at)
        return lease(LeaseRequest(family, from: pools, to: identity, origin: origin, asking: asking, takingOver: takingOver, beside: beside))
    }
}

@Suite struct PoolTests {
    private func address(_ last: UInt32) -> IPAddress { IPAddress(v4: 0x0a03_0000 | last) }
    private func set(_ first: UInt32, _ last: UInt32) -> AddressPoolSet {
        AddressPoolSet([PoolConfiguration(name: "rw", start: address(first), end: address(last))])
    }
    private func lease(_ set: AddressPoolSet, _ who: String, asking: IPAddress? = nil) -> Lease? { set.lease(.v4, from: ["rw"], to: Fixtures.identity(who), asking: asking, takingOver: .nothing) }

    @Test func everyoneGetsAnotherAndTheSameAgain() throws {
        let pool = set(1, 3)
        let alice = try #require(lease(pool, "alice")), bob = try #require(lease(pool, "bob"))
        #expect(alice.address == address(1) && bob.address == address(2))
        pool.release(alice)
        #expect(lease(pool, "carol")?.address == address(3))
        #expect(lease(pool, "alice")?.address == address(1))
        #expect(lease(pool, "dave") == nil)
    }

    @Test func theLongestGoneLosesItsAddressFirst() throws {
        let pool = set(1, 2)
        let alice = try #require(lease(pool, "alice")), bob = try #require(lease(pool, "bob"))
        pool.release(bob)
        pool.release(alice)
        #expect(lease(pool, "carol")?.address == address(2))
        #expect(lease(pool, "bob")?.address == address(1))
        #expect(lease(pool, "alice") == nil)
    }

    @Test func aWishIsHeardUnlessItIsAnothers() throws {
        let pool = set(1, 9)
        let alice = try #require(lease(pool, "alice", asking: address(7)))
        #expect(alice.address == address(7))
        #expect(lease(pool, "bob", asking: address(7))?.address == address(1))
        pool.release(alice)
        #expect(lease(pool, "eve", asking: address(7))?.address == address(2))
        #expect(lease(pool, "eve", asking: address(200))?.address == address(3))
        #expect(lease(pool, "alice")?.address == address(7))
    }

    @Test func twoDevicesOfOneUserHaveTwo() throws {
        let pool = set(1, 3)
        let one = try #require(lease(pool, "alice")), two = try #require(lease(pool, "alice"))
        #expect(one.address != two.address)
        pool.release(one)
        pool.release(two)
        // Twice the same give-back does nothing.
        pool.release(two)
        let snapshot = try #require(pool.snapshots(withLeases: true).first)
        #expect(snapshot.online == 0 && snapshot.offline == 2 && snapshot.size == 3 && snapshot.base == address(1))
        // Both are remembered, and all three can be had.
        #expect(Set(["a", "b", "c"].compactMap { lease(pool, $0)?.address }).count == 3)
    }

    @Test func aPoolThatMovesKeepsWhatIsLent() throws {
        let pool = set(1, 3)
        let alice = try #require(lease(pool, "alice"))
        pool.configure([PoolConfiguration(name: "rw", start: address(10), end: address(11))])
        #expect(lease(pool, "bob")?.address == address(10))
        pool.release(alice)
        #expect(lease(pool, "alice")?.address == address(11))
        #expect(lease(pool, "carol") == nil)
    }

    /// Against a model: no address twice, none outside, all of them reachable. The seed replays alone.
    @Test func randomLivesNeverShareAnAddress() {
        for seed in 1...200 as ClosedRange<UInt64> {
            let random = NullRandom(seed: seed)
            let pool = set(1, 8)
            var held: [Lease] = []
            for _ in 0..<200 {
                // Each from elsewhere: who asks from the same place for what it has is the same client.
                let wish = random.next() % 3 == 0 ? address(UInt32(random.next() % 12)) : nil, remote = IPAddress(family: .v6, value: UInt128(random.next()))
                if random.next() % 2 == 0,
                    let lease = pool.lease(.v4, from: ["rw"], to: Fixtures.identity("user\(random.next() % 12)"), asking: wish, takingOver: .nothing, remote: remote)
                {
                    #expect(!held.contains { $0.address == lease.address }, "seed \(seed)")
                    #expect(lease.address.value >= address(1).value && lease.address.value <= address(8).value, "seed \(seed)")
                    held.append(lease)
                } else if !held.isEmpty {
                    pool.release(held.remove(at: Int(random.next() % UInt64(held.count))))
                }
            }
            while let lease = lease(pool, "filler") { held.append(lease) }
            #expect(Set(held.map(\.address)).count == 8, "seed \(seed)")
        }
    }

    @Test func hugePoolsCostNothing() throws {
        let set = AddressPoolSet([PoolConfiguration(name: "six", start: IPAddress(family: .v6, value: 1), end: IPAddress(family: .v6, value: .max))])
        #expect(set.snapshots(withLeases: false).first?.size == .max)
        #expect(set.lease(.v6, from: ["six"], to: Fixtures.identity("alice"), asking: nil, takingOver: .nothing)?.address.value == 1)
        #expect(set.lease(.v4, from: ["six"], to: Fixtures.identity("alice"), asking: nil, takingOver: .nothing) == nil)
        let last = AddressPoolSet([PoolConfiguration(name: "six", start: IPAddress(family: .v6, value: .max - 1), end: IPAddress(family: .v6, value: .max))])
        for _ in 0..<4 { _ = last.lease(.v6, from: ["six"], to: Fixtures.identity("alice"), asking: nil, takingOver: .nothing) }
    }

    /// A pool under another name, and one that overlaps: an address is lent once.
    @Test func whatIsLentIsNobodyElsesWhateverThePoolsAreCalled() throws {
        let set = set(1, 2)
        let anna = try #require(lease(set, "anna"))
        set.configure([PoolConfiguration(name: "users", start: address(1), end: address(3)), PoolConfiguration(name: "others", start: address(2), end: address(4))])
        func from(_ pool: String, _ who: String) -> Lease? { set.lease(.v4, from: [pool], to: Fixtures.identity(who), asking: address(1), takingOver: .nothing) }
        let boris = try #require(from("users", "boris")), carl = try #require(from("others", "carl")), dora = try #require(from("others", "dora"))
        #expect(Set([anna, boris, carl, dora].map(\.address)).count == 4)
        #expect(from("users", "emil") == nil)
        set.release(anna)
        #expect(from("users", "emil")?.address == anna.address)
    }

    @Test func anAddressOutsideAShrunkPoolIsNotLent() throws {
        let set = set(1, 4)
        let leases = try ["a", "b", "c", "d"].map { try #require(lease(set, $0)) }
        set.configure([PoolConfiguration(name: "rw", start: address(1), end: address(2))])
        for lease in leases { set.release(lease) }
        #expect(Set(["e", "f", "g", "h"].compactMap { lease(set, $0)?.address }) == [address(1), address(2)])
    }

    /// A client that begins anew has its address before its old SA is gone; what the old one gives back then is no longer its.
    @Test func whoBeginsAnewKeepsTheAddress() throws {
        let set = set(1, 1)
        let old = try #require(lease(set, "anna"))
        #expect(lease(set, "anna") == nil && lease(set, "boris") == nil)
        let new = try #require(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: nil, takingOver: .ofPeer(before: Instant(nanoseconds: 1))))
        #expect(new.address == old.address)
        set.release(old)
        #expect(lease(set, "boris") == nil && set.snapshots(withLeases: false).first?.online == 1)
        set.release(new)
        #expect(lease(set, "boris")?.address == new.address)
    }

    @Test func noAddressIsLostWhenAPoolIsRenamed() throws {
        let set = set(1, 8)
        let leases = try (0..<8).map { try #require(lease(set, "user\($0)")) }
        set.configure([PoolConfiguration(name: "users", start: address(1), end: address(8))])
        func from(_ who: String) -> Lease? { set.lease(.v4, from: ["users"], to: Fixtures.identity(who), asking: nil, takingOver: .nothing) }
        #expect(from("new") == nil)
        for lease in leases { set.release(lease) }
        #expect(Set((0..<8).compactMap { from("new\($0)")?.address }).count == 8)
    }

    @Test func comingAndGoingCostsNothing() throws {
        var pool = AddressPool(PoolConfiguration(name: "rw", start: address(1), end: address(4)))
        for _ in 0..<20_000 {
            let one = pool.lease(to: Fixtures.identity("anna"), asking: nil, .before) { _ in false } ?? pool.lease(to: Fixtures.identity("anna"), asking: nil, .fresh) { _ in false }
            pool.release(try #require(one), of: Fixtures.identity("anna"))
        }
        #expect(pool.queued < 4096)
    }

    // MARK: Several pools

    private func pair() -> AddressPoolSet {
        AddressPoolSet([PoolConfiguration(name: "one", start: address(1), end: address(2)), PoolConfiguration(name: "two", start: address(101), end: address(102))])
    }
    private func from(_ set: AddressPoolSet, _ who: String, asking: IPAddress? = nil, beside: [IPAddress] = []) -> Lease? {
        set.lease(.v4, from: ["one", "two"], to: Fixtures.identity(who), asking: asking, takingOver: .nothing, beside: beside)
    }

    @Test func theSecondPoolIsForWhatTheFirstCannotHold() throws {
        let set = pair()
        let leases = try ["a", "b", "c", "d"].map { try #require(from(set, $0)) }
        #expect(leases.map(\.address) == [address(1), address(2), address(101), address(102)] && leases.map(\.pool) == ["one", "one", "two", "two"])
        #expect(from(set, "e") == nil)
        // Whoever was in the second pool returns to it, although the first has room.
        set.release(leases[0])
        set.release(leases[2])
        #expect(from(set, "c")?.address == address(101))
        // What nobody has had before comes before what somebody may come back for: in either pool.
        set.release(leases[3])
        #expect(from(set, "e")?.address == address(1))
    }

    @Test func anAddressOfTheSecondPoolCanBeAskedFor() throws {
        let set = pair()
        #expect(from(set, "a", asking: address(102))?.address == address(102))
        #expect(from(set, "b", asking: address(102))?.address == address(1))
    }

    @Test func bothFamiliesAtOnce() throws {
        let set = AddressPoolSet([
            PoolConfiguration(name: "six", start: IPAddress(family: .v6, value: 1), end: IPAddress(family: .v6, value: 9)), PoolConfiguration(name: "rw", start: address(1), end: address(9)),
        ])
        let four = set.lease(.v4, from: ["six", "rw"], to: Fixtures.identity("a"), asking: nil, takingOver: .nothing)
        let six = set.lease(.v6, from: ["six", "rw"], to: Fixtures.identity("a"), asking: nil, takingOver: .nothing)
        #expect(four?.pool == "rw" && six?.pool == "six" && six?.address.value == 1)
    }

    /// RFC 7296 section 3.15.1: with IPv6 a client may name the low bits alone.
    @Test func theLowBitsOfAnIPv6AddressAreAWish() throws {
        let base: UInt128 = 0xfd03 << 112
        let set = AddressPoolSet([PoolConfiguration(name: "six", start: IPAddress(family: .v6, value: base + 1), end: IPAddress(family: .v6, value: base + 0xffff))])
        func lease(_ wish: UInt128) -> UInt128? {
            set.lease(.v6, from: ["six"], to: Fixtures.identity("a"), asking: IPAddress(family: .v6, value: wish), takingOver: .nothing)?.address.value
        }
        #expect(lease(0x1234) == base + 0x1234)
        // More bits than the pool has: any.
        #expect(lease(0x1_0005) == base + 1)
    }

    // MARK: One user

    /// An identity that authenticates itself again before the old SA ends asks for its address, from where it was; another device of the same user does not get it.
    @Test func whoAuthenticatesAgainKeepsTheAddress() throws {
        let set = set(1, 5)
        let here = IPAddress(v4: 0xc000_0201), there = IPAddress(v4: 0xc000_0202)
        let old = try #require(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: nil, takingOver: .nothing, remote: here))
        let other = try #require(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: old.address, takingOver: .nothing, remote: there))
        #expect(other.address == address(2))
        #expect(set.lease(.v4, from: ["rw"], to: Fixtures.identity("boris"), asking: old.address, takingOver: .nothing, remote: here)?.address == address(3))
        let new = try #require(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: old.address, takingOver: .nothing, remote: here))
        #expect(new.address == old.address)
        // What the old SA gives back then is not free.
        set.release(old)
        #expect(lease(set, "carl")?.address == address(4))
    }

    /// Two devices of one user behind one NAT, each with a tunnel of its own: the second does not get the first one's address by asking for it.
    @Test func anotherDeviceBehindTheSameNATGetsItsOwn() throws {
        let set = set(1, 5), anna = Fixtures.identity("anna")
        let old = try #require(set.lease(.v4, from: ["rw"], to: anna, asking: nil, takingOver: .nothing, port: 40_001))
        #expect(set.lease(.v4, from: ["rw"], to: anna, asking: old.address, takingOver: .nothing, port: 40_002)?.address == address(2))
        // A NAT that has begun anew.
        set.moved(old, to: SocketAddress(address: IPAddress(v4: 0xc000_0201), port: 40_003))
        #expect(set.lease(.v4, from: ["rw"], to: anna, asking: old.address, takingOver: .nothing, port: 40_003)?.address == old.address)
    }

    /// The new SA comes to nothing and the old one stays: the address is still its own.
    @Test func whatComesToNothingTakesNoAddressWithIt() throws {
        let set = set(1, 1)
        let old = try #require(lease(set, "anna"))
        let new = try #require(lease(set, "anna", asking: old.address))
        #expect(new.address == old.address)
        set.release(new)
        #expect(lease(set, "boris") == nil && set.snapshots(withLeases: false).first?.online == 1)
        set.release(old)
        set.release(old)
        #expect(lease(set, "boris")?.address == old.address)
    }

    /// INITIAL_CONTACT ends the peer's SAs of one family of addresses, and `unique` those of one connection. What stays keeps its address.
    @Test func whatStaysKeepsItsAddress() throws {
        let set = set(1, 9)
        let here = IPAddress(v4: 0xc000_0201), six = IPAddress(family: .v6, value: 0x2001_0db8 << 96 | 1)
        func next(_ takingOver: LeaseRequest.Takeover, _ connection: String = "rw", from remote: IPAddress) -> IPAddress? {
            set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: nil, takingOver: takingOver, connection: connection, remote: remote)?.address
        }
        #expect(next(.nothing, from: six) == address(1))
        #expect(next(.ofPeer(before: Instant(nanoseconds: 1)), from: here) == address(2))
        #expect(next(.ofConnection, "other", from: here) == address(3))
        #expect(next(.ofConnection, "other", from: here) == address(3))
        #expect(next(.ofPeer(before: Instant(nanoseconds: 1)), "third", from: here) == address(2))
        #expect(next(.ofPeer(before: Instant(nanoseconds: 1)), "third", from: six) == address(1))
        // Two that begin at the same time: neither ends the other.
        #expect(next(.ofPeer(before: Instant(nanoseconds: 0)), from: here) == address(4))
    }

    /// A client that moved asks for its address from where it is now.
    @Test func whoMovedKeepsTheAddress() throws {
        let set = set(1, 9)
        let here = IPAddress(v4: 0xc000_0201), there = IPAddress(v4: 0xc000_0202)
        let old = try #require(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: nil, takingOver: .nothing, remote: here))
        set.moved(old, to: SocketAddress(address: there, port: 4500))
        #expect(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: old.address, takingOver: .nothing, remote: here)?.address == address(2))
        #expect(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: old.address, takingOver: .nothing, remote: there)?.address == old.address)
    }

    @Test func aUserHasAllHisAddressesAgain() throws {
        let set = set(1, 9)
        let first = try (0..<3).map { _ in try #require(lease(set, "anna")) }
        for lease in first { set.release(lease) }
        #expect(Set((0..<3).compactMap { _ in lease(set, "anna")?.address }) == Set(first.map(\.address)))
    }

    @Test func aNameInOtherLettersIsTheSameUsers() throws {
        let set = set(1, 9)
        let one = try #require(lease(set, "Anna.Example"))
        set.release(one)
        _ = lease(set, "boris")
        #expect(lease(set, "anna.example")?.address == one.address)
    }

    /// One IKE SA that asks for two is not given the same twice, even where it takes over.
    @Test func twoWishesOfOneSA() throws {
        let set = set(1, 9)
        let old = try #require(lease(set, "anna"))
        let one = try #require(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: nil, takingOver: .ofPeer(before: Instant(nanoseconds: 1))))
        let two = try #require(set.lease(.v4, from: ["rw"], to: Fixtures.identity("anna"), asking: nil, takingOver: .ofPeer(before: Instant(nanoseconds: 1)), beside: [one.address]))
        #expect(one.address == old.address && two.address != one.address)
    }

    // MARK: What is said of a full pool

    @Test func whoHoldsAFullPool() throws {
        let set = set(1, 4)
        for who in ["a", "b", "c", "d"] { _ = lease(set, who) }
        let full = try #require(set.occupancy(.v4, of: ["rw", "nobody"]).first)
        #expect(full.name == "rw" && full.size == 4 && full.lent == 4 && full.lentByOthers == 0 && full.holders.map(\.address) == [address(1), address(2), address(3)])
        #expect(set.occupancy(.v6, of: ["rw"]).isEmpty)
        set.configure([PoolConfiguration(name: "users", start: address(3), end: address(4))])
        #expect(set.occupancy(.v4, of: ["users"]) == [PoolOccupancy(name: "users", first: address(3), last: address(4), size: 2, lent: 0, lentByOthers: 2)])
    }
}
