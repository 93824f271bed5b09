// The Security Association payload: proposals of transforms.
// RFC 7296 section 3.3.

package struct SecurityAssociation: Hashable, Sendable {
    package var proposals: [Proposal]
    package init(proposals: [Proposal]) { self.proposals = proposals }
}

/// One proposal. `number` counts from 1; `spi` is empty, 4 (AH, ESP) or 8 bytes (IKE).
package struct Proposal: Hashable, Sendable {
    package var number: UInt8
    package var protocolID: ProtocolID
    package var spi: [UInt8]
    package var transforms: [Transform]
    package init(number: UInt8, protocolID: ProtocolID, spi: [UInt8] = [], transforms: [Transform]) {
        self.number = number
        self.protocolID = protocolID
        self.spi = spi
        self.transforms = transforms
    }
}
