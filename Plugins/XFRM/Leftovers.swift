// What a daemon that was killed has left in the kernel. Its policies have indexes of ours, its SAs reqids of ours; everything else is somebody else's.

import IKEWire
import PluginKit
import XFRMMessages

enum Leftovers {
    /// Removes them; how many policies and SAs there were.
    static func remove(_ socket: NetlinkSocket) -> (policies: Int, sas: Int) {
        var policies: [PolicyReport] = [], sas: [SAReport] = []
        _ = socket.exchange(PolicyMessages.dump(), .dump) { if let report = PolicyReport($0), PolicyTable.isOurs(index: report.index) { policies.append(report) } }
        _ = socket.exchange(SAMessages.dump(), .dump) { if let report = SAReport($0), Reqids.isOurs(report.reqid), report.id.spi != 0 { sas.append(report) } }
        let removedPolicies = policies.filter { policy in
            PolicyDirection(rawValue: policy.direction).map { socket.request(PolicyMessages.delete(index: policy.index, direction: $0, scope: policy.scope)) == 0 } ?? false
        }
        let removedSAs = sas.filter { socket.request(SAMessages.delete(spi: $0.id.spi, destination: $0.id.destination, mark: $0.mark)) == 0 }
        return (removedPolicies.count, removedSAs.count)
    }
}
