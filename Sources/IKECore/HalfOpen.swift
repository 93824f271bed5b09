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
        case refused(Reason)
    }
    enum Reason { case all, address, network, agreements }

    private(set) var count = 0
    /// Those whose key agreement is being computed.
    private(set) var agreeing = 0
    private var addresses: [IPAddress: Int] = [:]
    private var networks: [IPAddress: Int] = [:]
    /// Addresses whose SA came to nothing though it had cost a calculation: each counts on until its time.
    private var fading: [(until: Instant, address: IPAddress)] = []
    private var faded = 0
    private let limits: Limits

    init(_ limits: Limits) { self.limits = limits }

    /// An IPv4 /24 or an IPv6 /56: what one subscriber or one small network usually has, and what costs an attacker one address.
    static func network(_ address: IPAddress) -> IPAddress {
        let bits: UInt128 = address.family == .v4 ? 8 : 72
        return IPAddress(family: address.family, value: (address.value >> bits) << bits)
    }

    mutating func verdict(_ address: IPAddress, now: Instant) -> Verdict {
        fade(now)
        let count = count + fading.count - faded
        let here = addresses[address, default: 0], around = networks[Self.network(address), default: 0]
        let perAddress = limits.share(of: limits.halfOpenPerAddress), perNetwork = limits.share(of: limits.halfOpenPerPrefix)
        if count >= limits.share(of: limits.halfOpen) { return .refused(.all) }
        if agreeing >= limits.agreementsAtOnce { return .refused(.agreements) }
        if here / Limits.halfOpenExcess >= perAddress { return .refused(.address) }
        if around / Limits.halfOpenExcess >= perNetwork { return .refused(.network) }
        //= RFC 7296 §2.6: a responder with many half-open IKE SAs asks for a cookie.
        return count >= limits.share(of: limits.cookieThreshold) || here >= perAddress || around >= perNetwork ? .cookieFirst : .open
    }

    mutating func add(_ address: IPAddress) {
        count += 1
        addresses[address, default: 0] += 1
        networks[Self.network(address), default: 0] += 1
    }

    mutating func remove(_ address: IPAddress) {
        count -= 1
        lower(address)
    }

    /// As `remove`, but the address goes on counting.
    mutating func remove(_ address: IPAddress, countingUntil until: Instant) {
        count -= 1
        fading.append((until, address))
    }

    private mutating func fade(_ now: Instant) {
        while faded < fading.count, fading[faded].until <= now {
            lower(fading[faded].address)
            faded += 1
        }
        if faded > 64, faded * 2 > fading.count {
            fading.removeFirst(faded)
            faded = 0
        }
    }

    private mutating func lower(_ address: IPAddress) {
        Self.lower(&addresses, address)
        Self.lower(&networks, Self.network(address))
    }

    mutating func agreementBegun() { agreeing += 1 }
    mutating func agreementEnded() { agreeing -= 1 }

    private static func lower(_ counts: inout [IPAddress: Int], _ key: IPAddress) {
        let left = counts[key, default: 1] - 1
        counts[key] = left > 0 ? left : nil
    }

    /// Addresses and networks that are counted: for tests that look for growth.
    var held: Int { addresses.count + networks.count }
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
