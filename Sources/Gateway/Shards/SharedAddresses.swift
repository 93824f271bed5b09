// Peers in transport mode whose address is that of a NAT. What goes to one of them has the same addresses as what goes to another: where protocols
// and ports do not tell the two apart, nothing does, and the packets of one would go to the other.
// RFC 3948 section 5.2.

import IKECore
import IKEWire

struct SharedAddresses {
    private struct Pair {
        let peer: Identification
        let sharesKey: Bool
        /// What the NAT has made of the peer's own.
        var port: UInt16
        let localTS: [TrafficSelector]
        let remoteTS: [TrafficSelector]
        /// What packets to the peer need beside those.
        let mark: Carriage.Mark?
        let interfaceID: Carriage.Number?

        func carriesSome(of other: Pair) -> Bool {
            mark == other.mark && interfaceID == other.interfaceID && !TrafficSelectors.narrow(configured: localTS, offered: other.localTS).isEmpty
                && !TrafficSelectors.narrow(configured: remoteTS, offered: other.remoteTS).isEmpty
        }

        /// A name that a shared key has proven is one that others may have as well: then it is the port that the NAT has given the peer.
        func isSamePeer(as other: Pair) -> Bool { peer == other.peer && (!(sharesKey || other.sharesKey) || port == other.port) }
    }
    /// By the NAT's address.
    private var pairs: [IPAddress: [ChildSAID: Pair]] = [:]
    private var places: [ChildSAID: IPAddress] = [:]

    /// Another peer whose pair takes some of the packets that this one asks for. The same peer may come again: its newest pair carries the traffic. New keys
    /// for a pair that was allowed are the same peer's wherever its packets come from.
    //= RFC 3948 §5.2: of two connections that conflict the second is not allowed.
    func rival(of parameters: ChildSAParameters) -> Identification? {
        guard let pair = Self.pair(parameters) else { return nil }
        return pairs[parameters.remote.address]?.values.first { other in
            !(other.isSamePeer(as: pair) || (!parameters.activates && other.peer == pair.peer)) && other.carriesSome(of: pair)
        }?.peer
    }

    mutating func add(_ parameters: ChildSAParameters) {
        guard let pair = Self.pair(parameters) else { return }
        pairs[parameters.remote.address, default: [:]][parameters.id] = pair
        places[parameters.id] = parameters.remote.address
    }

    /// The NAT has given the peer another port, or another address.
    mutating func move(_ id: ChildSAID, to remote: SocketAddress) {
        guard let place = places[id], var pair = pairs[place]?[id] else { return }
        remove(id)
        pair.port = remote.port
        pairs[remote.address, default: [:]][id] = pair
        places[id] = remote.address
    }

    mutating func remove(_ id: ChildSAID) {
        guard let place = places.removeValue(forKey: id) else { return }
        pairs[place]?[id] = nil
        if pairs[place]?.isEmpty == true { pairs[place] = nil }
    }

    /// Addresses that are kept: for tests that look for growth.
    var count: Int { pairs.count + places.count }

    /// Nil where the pair shares nothing, or is told apart by marks or an interface of its own.
    private static func pair(_ parameters: ChildSAParameters) -> Pair? {
        guard parameters.isTransport, parameters.encapsulated, !parameters.carriage.isUnique, let peer = parameters.peer else { return nil }
        return Pair(
            peer: peer, sharesKey: parameters.sharesKey, port: parameters.remote.port, localTS: parameters.localTS, remoteTS: parameters.remoteTS, mark: parameters.carriage.outbound.mark,
            interfaceID: parameters.carriage.outbound.interfaceID)
    }
}
