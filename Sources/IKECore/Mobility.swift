// What an IKE SA knows where both ends speak MOBIKE, and the notifications that carry addresses.
// RFC 4555 sections 2, 3.2, 3.4, 3.9 and 4.2.

import IKECrypto
import IKEWire

/// The two ends of a path, as this host sees them.
package struct AddressPair: Hashable, Sendable {
    package var local: SocketAddress
    package var remote: SocketAddress
    package init(local: SocketAddress, remote: SocketAddress) {
        self.local = local
        self.remote = remote
    }
}

/// The way that ESP takes.
struct OuterPath: Hashable {
    var ends: AddressPair
    var encapsulated: Bool
}

/// A value that few SAs have at a time: the others pay for a pointer.
@propertyWrapper struct Rarely<Value> {
    private indirect enum Place {
        case empty
        case full(Value)
    }
    private var place = Place.empty
    init(wrappedValue: Value?) { self.wrappedValue = wrappedValue }
    var wrappedValue: Value? {
        get { if case .full(let value) = place { value } else { nil } }
        set { place = newValue.map(Place.full) ?? .empty }
    }
}

/// When the peer's new address is checked, before ESP follows it, after, or never. RFC 4555 section 3.7.
package enum ReturnRoutability: String, Hashable, Sendable { case before, after, no }

struct Mobility {
    /// Whether we began the first of the IKE SAs that have replaced one another: that end alone changes addresses. RFC 4555 section 2.
    let decides: Bool
    /// What the peer said that it has beside the address in use. RFC 4555 section 3.4.
    var peerAddresses: [IPAddress] = []
    /// What we told the peer last; nil where it has to be told again.
    var announced: [IPAddress]?
    /// Grows with every change of addresses: an answer to what was asked before says nothing of the new ones.
    var generation = 0
    /// NAT_DETECTION_DESTINATION_IP of the peer's last answer: how it sees us. RFC 4555 section 3.8.
    var seenAs: [UInt8]?
    /// How often in a row the peer has found a NAT that must not be there. RFC 4555 section 3.9.
    var natRefusals = 0
    /// Pairs that the peer does not accept.
    var refused: Set<AddressPair> = []
    /// The look-up of paths that is under way, and what for.
    var search: (job: JobID, purpose: PathSearch, until: Instant)?
    /// Pairs that the request under way is sent over as well. RFC 4555 section 3.10.
    var probing: [AddressPair] = []
    /// No address of ours reaches the peer.
    var isStranded = false
    /// When a hint last led to a check of the path.
    var hintedAt: Instant?

    /// Addresses of a peer that are held, and of ours that are told: nobody needs more, and a peer could name thousands.
    static let addressLimit = 16
    /// Pairs that a request is sent over at once.
    static let probeLimit = 8
    /// Tries in the face of UNEXPECTED_NAT_DETECTED.
    static let natTries = 3

    init(decides: Bool) { self.decides = decides }
}

/// What paths are looked for.
enum PathSearch { case reconsider, probe }

extension IKESA {
    // MARK: Addresses

    /// Whether `local_addrs` lets us use the address. A host name there was looked up when the SA began, and does not restrict.
    func mayUse(_ address: IPAddress) -> Bool {
        connection.localAddresses.contains { pattern in if case .name = pattern { true } else { pattern.matches(address) } }
    }

    /// Our addresses that the peer may be told of, the one in use left out. Those that it reaches through the tunnel are no way to the tunnel's end.
    var furtherAddresses: [IPAddress] {
        let inside = (established?.children.flatMap(\.localTS) ?? []) + connection.children.flatMap { $0.localTS.flatMap { $0.resolved(localEnds) } }
        let hidden = inside.filter { !$0.covers(local.address) }
        return Array(context.localAddresses.filter { address in address != local.address && mayUse(address) && !hidden.contains { $0.covers(address) } }.prefix(Mobility.addressLimit))
    }

    /// The notifications that name `addresses`. RFC 4555 section 3.6: the whole list each time.
    static func addressNotifications(_ addresses: [IPAddress], orNone: Bool) -> [Payload] {
        guard !addresses.isEmpty else { return orNone ? [.notify(Notify(.noAdditionalAddresses))] : [] }
        return addresses.map { .notify(Notify($0.family == .v4 ? .additionalIP4Address : .additionalIP6Address, data: $0.bytes)) }
    }

    /// NO_NATS_ALLOWED, where there is no NAT traversal: source, destination, and their ports. RFC 4555 section 4.2.6.
    static func noNATsAllowed(from source: SocketAddress, to destination: SocketAddress) -> Notify {
        let ports = [source.port, destination.port].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }
        return Notify(.noNATsAllowed, data: source.address.bytes + destination.address.bytes + ports)
    }

    /// What tells the peer whether a NAT changes our addresses: NAT_DETECTION notifications, or, where it knows no NAT traversal, NO_NATS_ALLOWED.
    //= RFC 4555 §3.9: without NAT traversal, every message that may update addresses has NO_NATS_ALLOWED.
    func natNotifications(_ ends: AddressPair) -> [Payload] {
        guard peerDetectsNAT else { return [.notify(IKESA.noNATsAllowed(from: ends.local, to: ends.remote))] }
        return NATDetection.notifications(initiatorSPI: initiatorSPI, responderSPI: responderSPI, local: ends.local, remote: ends.remote, hidden: connection.encap)
    }

    // MARK: IKE_AUTH, RFC 4555 section 3.2

    /// In our IKE_AUTH request, or in our answer to one that had it.
    var mobilityNotifications: [Payload] {
        guard connection.mobike else { return [] }
        //= RFC 4555 §4.2.1: MOBIKE_SUPPORTED has no data.
        return [.notify(Notify(.mobikeSupported))] + IKESA.addressNotifications(furtherAddresses, orNone: false)
    }

    /// Both ends have said that they speak MOBIKE, and have shown who they are. `payloads`: the peer's IKE_AUTH message.
    func beginMobility(_ payloads: [Payload], decides: Bool) {
        guard connection.mobike, payloads.hasNotify(.mobikeSupported) else { return }
        var mobility = Mobility(decides: decides)
        mobility.peerAddresses = payloads.additionalAddresses ?? []
        mobility.announced = furtherAddresses
        self.mobility = mobility
    }

    // MARK: The way of ESP

    /// Where ESP goes: with IKE, unless the peer's new address is still being checked.
    var espPath: OuterPath { heldPath ?? OuterPath(ends: AddressPair(local: local, remote: remote), encapsulated: encapsulated) }

    /// Gives a successor what belongs to the path and to MOBIKE.
    func handPath(to successor: IKESA) {
        successor.local = local
        successor.remote = remote
        successor.marked = marked
        successor.nat = nat
        successor.peerDetectsNAT = peerDetectsNAT
        successor.heldPath = heldPath
        successor.movedFrom = movedFrom
        successor.proof = proof
        successor.otherAddress = otherAddress
        guard var mobility else { return }
        // The hash in it has the SPIs of the old SA, and its look-ups belong to that as well.
        mobility.seenAs = nil
        mobility.search = nil
        mobility.probing = []
        successor.mobility = mobility
    }
}

extension Payload {
    /// A notification that IKE_AUTH has for MOBIKE.
    var isAboutMobility: Bool {
        guard case .notify(let notify) = self else { return false }
        return [.mobikeSupported, .additionalIP4Address, .additionalIP6Address].contains(notify.type)
    }
}

extension [Payload] {
    func hasNotify(_ type: NotifyType) -> Bool { contains { if case .notify(let notify) = $0 { notify.type == type } else { false } } }
    func firstNotify(_ type: NotifyType) -> Notify? {
        for case .notify(let notify) in self where notify.type == type { return notify }
        return nil
    }

    /// The addresses that a peer names beside the one that it sends from; nil where the message does not speak of them. What cannot be an address of a host is left out.
    var additionalAddresses: [IPAddress]? {
        var addresses: [IPAddress] = [], isTold = false
        for case .notify(let notify) in self {
            switch notify.type {
            case .noAdditionalAddresses: isTold = true
            case .additionalIP4Address, .additionalIP6Address:
                isTold = true
                guard notify.data.count == (notify.type == .additionalIP4Address ? 4 : 16), let address = IPAddress(bytes: notify.data), address.isHost else { continue }
                if addresses.count < Mobility.addressLimit, !addresses.contains(address) { addresses.append(address) }
            default: break
            }
        }
        return isTold ? addresses : nil
    }

    /// Whether the message carries NAT_DETECTION notifications.
    var detectsNAT: Bool { hasNotify(.natDetectionSourceIP) || hasNotify(.natDetectionDestinationIP) }
}

extension TrafficSelector {
    /// Whether the address is among those of the selector.
    fileprivate func covers(_ address: IPAddress) -> Bool { address.family == start.family && address.value >= start.value && address.value <= end.value }
}

extension IPAddress {
    /// An address that a host far away may have: no network's, group's or loopback's, none of a single link.
    var isHost: Bool {
        switch family {
        case .v4:
            let first = UInt8(truncatingIfNeeded: value >> 24)
            return first != 0 && first != 127 && first < 224 && value >> 16 != 0xa9fe
        case .v6:
            let first = UInt8(truncatingIfNeeded: value >> 120)
            return value > 1 && first != 0xff && value >> 118 != 0x3fa
        }
    }
}
