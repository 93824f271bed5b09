// How a data plane carries a child's packets beside what is negotiated: marks, interfaces, headers, hardware. The keys of swanctl.conf's children.
// RFC 4301 sections 5.1.2 and 8.1; RFC 6040 for the congestion marks.

/// Of one child. The peer hears nothing of it.
package struct Carriage: Hashable, Sendable {
    /// A mark or an interface's number.
    package enum Number: Hashable, Sendable {
        case fixed(UInt32)
        /// `%unique`: one of its own for each policy instance, which rekeys do not change.
        case unique
        /// `%unique-dir`: one of its own for each direction.
        case uniqueInEachDirection
        /// The two of a connection: one for all children of an IKE SA, which its rekeys do not change either. It is written out with the child.
        case uniqueOfIKESA
        case uniqueOfIKESAInEachDirection

        /// Those of the two kinds never meet.
        package func value(of instance: UInt32, isInbound: Bool) -> UInt32 {
            switch self {
            case .fixed(let value): value
            case .unique, .uniqueOfIKESA: instance & 0x7fff_ffff
            case .uniqueInEachDirection, .uniqueOfIKESAInEachDirection: 0x8000_0000 | instance << 1 & 0x7fff_fffe | (isInbound ? 0 : 1)
            }
        }

        package var isFixed: Bool { if case .fixed = self { true } else { false } }
        var isOfIKESA: Bool { self == .uniqueOfIKESA || self == .uniqueOfIKESAInEachDirection }
    }

    package struct Mark: Hashable, Sendable {
        package var number: Number
        package var mask: UInt32
        package init(number: Number, mask: UInt32) {
            self.number = number
            self.mask = mask
        }
    }

    /// Of what comes in, or of what goes out.
    package struct Direction: Hashable, Sendable {
        /// Packets with this mark alone meet the policies.
        package var mark: Mark?
        /// What packets are marked with that leave the SA.
        package var setMark: Mark?
        /// `if_id`: packets of this XFRM interface alone meet policies and SA.
        package var interfaceID: Number?
        /// The number was chosen here, and is written out.
        private var isWritten = false

        package init() {}

        /// Whether the interface's number is nobody's choice, and so nobody else's.
        package var ownsInterface: Bool { isWritten || interfaceID.map { !$0.isFixed } ?? false }

        /// With the number that an IKE SA has for all its children.
        func written(_ number: UInt32, isInbound: Bool) -> Direction {
            var direction = self
            if let id = interfaceID, id.isOfIKESA { (direction.interfaceID, direction.isWritten) = (.fixed(id.value(of: number, isInbound: isInbound)), true) }
            return direction
        }

        package var isUnique: Bool { [mark?.number, interfaceID].contains { $0.map { !$0.isFixed } ?? false } }
    }

    package enum DSCP: String, Hashable, Sendable, CaseIterable { case out, `in`, yes, no }
    package enum Offload: String, Hashable, Sendable, CaseIterable { case no, auto, crypto, packet }

    package var inbound = Direction()
    package var outbound = Direction()
    /// `mark_in_sa`: the inbound SA has its mark, too. It is found by its SPI without.
    package var marksInboundSA = false
    package var copiesDF = true
    package var copiesECN = true
    package var copiesDSCP = DSCP.out
    package var offload = Offload.no

    package init() {}

    /// Whether two tunnels with the same selectors are told apart by it.
    package var isUnique: Bool { inbound.isUnique || outbound.isUnique }
    var needsNumberOfIKESA: Bool { [inbound, outbound].contains { $0.interfaceID?.isOfIKESA == true } }

    func written(_ number: UInt32) -> Carriage {
        var carriage = self
        carriage.inbound = inbound.written(number, isInbound: true)
        carriage.outbound = outbound.written(number, isInbound: false)
        return carriage
    }

    package func direction(isInbound: Bool) -> Direction { isInbound ? inbound : outbound }
    /// Whether the SA of this direction has the DSCP of one header written to the other.
    package func copiesDSCP(isInbound: Bool) -> Bool { copiesDSCP == .yes || copiesDSCP == (isInbound ? .in : .out) }
}
