// Peers in transport mode whose address is that of a NAT. What goes to one of them has the same addresses as what goes to another: where protocols
// and ports do not tell the two apart, nothing does, and the packets of one would go to the other.
// RFC 3948 section 5.2.

import IKECore
import IKEWire

struct SharedAddresses {
    private struct Pair {
        let peer: Identification
        let localTS: [TrafficSelector]
        let remoteTS: [TrafficSelector]
        /// What packets to the peer need beside those.
        let mark: Carriage.Mark?
        let interfaceID: Carriage.Number?
    }
    /// By the NAT's address.
    private var pairs: [IPAddress: [ChildSAID: Pair]] = [:]

    /// Another peer whose pair takes some of the packets that this one asks for. The same peer may come again: its newest pair carries the traffic.
    //= RFC 3948 §5.2: of two connections that conflict the second is not allowed.
    func rival(of parameters: ChildSAParameters) -> Identification? {
        guard let pair = Self.pair(parameters) else { return nil }
        return pairs[parameters.remote.address]?.values.first { other in
            other.peer != pair.peer && other.mark == pair.mark && other.interfaceID == pair.interfaceID
                && !TrafficSelectors.narrow(configured: other.localTS, offered: pair.localTS).isEmpty
                && !TrafficSelectors.narrow(configured: other.remoteTS, offered: pair.remoteTS).isEmpty
        }?.peer
    }

    mutating func add(_ parameters: ChildSAParameters) {
        guard let pair = Self.pair(parameters) else { return }
        pairs[parameters.remote.address, default: [:]][parameters.id] = pair
    }

    mutating func remove(_ id: ChildSAID, at address: IPAddress) {
        pairs[address]?[id] = nil
        if pairs[address]?.isEmpty == true { pairs[address] = nil }
    }

    /// Addresses that are kept: for tests that look for growth.
    var count: Int { pairs.count }

    /// Nil where the pair shares nothing, or is told apart by marks or an interface of its own.
    private static func pair(_ parameters: ChildSAParameters) -> Pair? {
        guard parameters.isTransport, parameters.encapsulated, !parameters.carriage.isUnique, let peer = parameters.peer else { return nil }
        return Pair(peer: peer, localTS: parameters.localTS, remoteTS: parameters.remoteTS, mark: parameters.carriage.outbound.mark, interfaceID: parameters.carriage.outbound.interfaceID)
    }
}
