// One end of a packet as a selector of the contract.

import ESPCore
import IKEWire
import PlaneKit
import PluginABI

extension martlet_selector {
    /// One end of a packet. ICMP's type and code are no ports here: an answer has others than what it answers.
    init(_ packet: InnerPacket, _ address: UInt128, _ port: UInt16?) {
        self.init()
        let ip = IPAddress(family: packet.isIPv6 ? .v6 : .v4, value: address)
        family = ip.family.rawValue
        `protocol` = packet.ipProtocol ?? 0
        let isICMP = packet.ipProtocol == 1 || packet.ipProtocol == 58
        start_port = isICMP ? 0 : port ?? 0
        end_port = isICMP ? 65535 : port ?? 65535
        start = ip.addressBytes
        end = ip.addressBytes
    }
}
