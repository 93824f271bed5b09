// Marks and offload of a child as the contract with the data plane has them.
// The contract is martlet/plane.h.

import IKECore
import PluginABI

extension martlet_mark {
    init(_ mark: Carriage.Mark?, of instance: UInt32, isInbound: Bool) {
        self.init(value: mark.map { $0.number.value(of: instance, isInbound: isInbound) & $0.mask } ?? 0, mask: mark?.mask ?? 0)
    }
}

extension Carriage.Offload {
    var contract: martlet_offload {
        switch self {
        case .no: MARTLET_OFFLOAD_NO
        case .auto: MARTLET_OFFLOAD_AUTO
        case .crypto: MARTLET_OFFLOAD_CRYPTO
        case .packet: MARTLET_OFFLOAD_PACKET
        }
    }
}
