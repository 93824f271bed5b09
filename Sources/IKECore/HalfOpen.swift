// Who may become a half-open IKE SA: counts those that have proven nothing, in all, by address and by network, and says from when on a
// cookie comes first, and from when on nothing helps. Also what may be sent to an address that has not shown that it answers.
// RFC 7296 section 2.6, RFC 8019 sections 4.1 to 4.3.

import IKEWire

/// The half-open IKE SAs of one shard.
struct HalfOpen {
    enum Verdict: Equatable {
        case open
        /// Nothing is kept of a request that does not bring a cookie.
        case cookieFirst
        /// The same, and then a place has to be made.
        case full
        case refused(Reason)
    }
    /// What a place is held by.
    enum Holder { case waiting, loggingIn }
    enum Room: Equatable {
        case made
        /// By the end of this SA.
        case ending(IKESPI)
        case none
    }
    enum Reason { case all, address, network, agreements }

    private(set) var count = 0
    /// Those whose key agreement is being computed.
    private(set) var agreeing = 0
    /// Those of them that take long.
    private(set) var agreeingSlowly = 0
    private var addresses: [IPAddress: Int] = [:]
    private var networks: [IPAddress: Int] = [:]
    private var sites: [IPAddress: Int] = [:]
    /// Addresses whose SA came to nothing though it had cost a calculation: each counts on for as long as one that is still waited for.
    private var fading = Arrivals<IPAddress>()
    /// By our SPI, with some that are half-open no more; those in the middle of EAP come from the first into the second when it is their turn.
    private var waiting = Arrivals<IKESPI>(), loggingIn = Arrivals<IKESPI>()
    private let limits: Limits

    init(_ limits: Limits) { self.limits = limits }

    /// An IPv4 /24 or an IPv6 /56: what one subscriber or one small network usually has, and what costs an attacker one address.
    static func network(_ address: IPAddress) -> IPAddress { prefix(address, without: address.family == .v4 ? 8 : 72) }

    /// An IPv4 /16 or an IPv6 /48, which anybody gets for nothing (RFC 6177): half of all at most, so that others come in whatever one site does.
    private static func site(_ address: IPAddress) -> IPAddress { prefix(address, without: address.family == .v4 ? 16 : 80) }

    private static func prefix(_ address: IPAddress, without bits: UInt128) -> IPAddress { IPAddress(family: address.family, value: (address.value >> bits) << bits) }

    mutating func verdict(_ address: IPAddress, now: Instant) -> Verdict {
        fade(now)
        let count = count + fading.count, most = limits.share(of: limits.halfOpen)
        let here = addresses[address, default: 0], around = networks[Self.network(address), default: 0]
        let perAddress = limits.share(of: limits.halfOpenPerAddress), perNetwork = limits.share(of: limits.halfOpenPerPrefix)
        if agreeing >= limits.agreementsAtOnce { return .refused(.agreements) }
        if here / Limits.halfOpenExcess >= perAddress { return .refused(.address) }
        if around / Limits.halfOpenExcess >= perNetwork || sites[Self.site(address), default: 0] >= max(most / 2, 1) { return .refused(.network) }
        if count >= most { return .full }
        //= RFC 7296 §2.6: a responder with many half-open IKE SAs asks for a cookie.
        return count >= limits.share(of: limits.cookieThreshold) || here >= perAddress || around >= perNetwork ? .cookieFirst : .open
    }

    /// `holder`: nil for an SA that is half-open no more.
    mutating func add(_ address: IPAddress, _ spi: IKESPI, now: Instant, holder: (IKESPI) -> Holder?) {
        while let first = waiting.first, holder(first.element) == nil { waiting.removeFirst() }
        while let first = loggingIn.first, holder(first.element) == nil { loggingIn.removeFirst() }
        waiting.append(spi, since: now)
        count += 1
        addresses[address, default: 0] += 1
        networks[Self.network(address), default: 0] += 1
        sites[Self.site(address), default: 0] += 1
    }

    mutating func remove(_ address: IPAddress) {
        count -= 1
        lower(address)
    }

    /// As `remove`, but the address goes on counting.
    mutating func remove(_ address: IPAddress, countingFrom now: Instant) {
        count -= 1
        fading.append(address, since: now)
    }

    private mutating func fade(_ now: Instant) {
        while let first = fading.first, first.since + limits.halfOpenTime <= now {
            lower(first.element)
            fading.removeFirst()
        }
    }

    /// With all places taken, a peer that has shown that it answers gets the place of who has had one longest, if that is some round trips: whoever only takes
    /// places has to go on doing so much faster than they would come to their end, to keep others out.
    mutating func makeRoom(now: Instant, holder: (IKESPI) -> Holder?) -> Room {
        if let first = fading.first, first.since + Limits.leastHalfOpenTime <= now {
            lower(first.element)
            fading.removeFirst()
            return .made
        }
        search: while let first = waiting.first {
            switch holder(first.element) {
            case .waiting?:
                guard first.since + Limits.leastHalfOpenTime <= now else { break search }
                waiting.removeFirst()
                return .ending(first.element)
            case .loggingIn?: loggingIn.append(first.element, since: first.since)
            case nil: break
            }
            waiting.removeFirst()
        }
        while let first = loggingIn.first {
            let isThere = holder(first.element) != nil
            if isThere, first.since + Limits.leastLogInTime > now { return .none }
            loggingIn.removeFirst()
            if isThere { return .ending(first.element) }
        }
        return .none
    }

    private mutating func lower(_ address: IPAddress) {
        Self.lower(&addresses, address)
        Self.lower(&networks, Self.network(address))
        Self.lower(&sites, Self.site(address))
    }

    mutating func agreementBegun(isQuick: Bool) {
        agreeing += 1
        if !isQuick { agreeingSlowly += 1 }
    }
    mutating func agreementEnded(isQuick: Bool) {
        agreeing -= 1
        if !isQuick { agreeingSlowly -= 1 }
    }

    private static func lower(_ counts: inout [IPAddress: Int], _ key: IPAddress) {
        let left = counts[key, default: 1] - 1
        counts[key] = left > 0 ? left : nil
    }

    /// Addresses and networks that are counted: for tests that look for growth.
    var held: Int { addresses.count + networks.count + sites.count }
}

/// An address that the peer has used beside its own. RFC 7296 section 2.11.
struct OtherAddress {
    let address: IPAddress
    var proof: AddressProof
}

/// Bytes that came from an address and went to it, until something came from there that needed our answer.
struct AddressProof {
    private(set) var isProven: Bool
    private var received = 0
    private var sent = 0
    private let factor: Int

    /// `factor`: the most that goes out for each byte that came in: nobody gains by lending us somebody else's address.
    init(isProven: Bool, factor: Int) {
        self.isProven = isProven
        self.factor = factor
    }

    mutating func prove() { isProven = true }
    mutating func receive(_ count: Int) { if !isProven { received += count } }

    func allows(_ count: Int) -> Bool { isProven || sent + count <= factor * received }

    /// Counts what is about to be sent; false where it is too much, and nothing may be.
    mutating func spend(_ count: Int) -> Bool {
        guard allows(count) else { return false }
        if !isProven { sent += count }
        return true
    }
}
