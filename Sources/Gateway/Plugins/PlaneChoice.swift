// Which of the loaded planes carries the packets. `gateway { plane }` names one; else the first that this machine is one for.

import IKECrypto
import IKEWire
import PluginABI

package struct PlaneChoice: Sendable {
    /// Nil where there is none.
    package private(set) var name: String?
    /// Nil for a plane that this machine is one for.
    package private(set) var reasons: [String: String] = [:]
    /// Why the one that the configuration names cannot be it.
    package private(set) var refusal: String?
    private nonisolated(unsafe) var table: UnsafePointer<martlet_plane>?

    package static let automatic = GatewaySettings.automaticPlane

    /// Asks the planes; on the main thread, before any socket is opened. Those that need no packets in user space come first, then those with
    /// the lowest `priority` in their plugin's section.
    package init(_ plugins: PluginSet, wanted: String = PlaneChoice.automatic, priorities: [String: Int] = [:]) {
        let planes = plugins.planeNames.compactMap { name in plugins.plane(named: name).map { (name: name, table: $0) } }
        let ranked = planes.sorted { a, b in
            let inUserSpace = (a.table.pointee.isInUserSpace, b.table.pointee.isInUserSpace)
            if inUserSpace.0 != inUserSpace.1 { return inUserSpace.1 }
            return (priorities[a.name] ?? .max, a.name) < (priorities[b.name] ?? .max, b.name)
        }
        for (name, table) in ranked {
            reasons[name] = table.pointee.whyNot
            guard self.name == nil, wanted == name || wanted == Self.automatic && reasons[name] == nil else { continue }
            (self.name, self.table) = (name, table)
        }
        if wanted != Self.automatic {
            if name == nil {
                let loaded = planes.isEmpty ? "none is loaded" : "loaded are " + planes.map { quoted($0.name) }.joined(separator: ", ")
                refusal = "there is no data plane \(quoted(wanted)): \(loaded)"
            } else if let reason = reasons[wanted] {
                refusal = "the data plane \(wanted) cannot carry packets here: \(reason)"
            }
        }
    }

    /// Whether the plane gets its packets from the kernel off the host's sockets.
    var takesKernelUDP: Bool { table.map { $0.pointee.flags & UInt32(MARTLET_PLANE_KERNEL_UDP.rawValue) != 0 } ?? false }
    var needsSockets: Bool { table?.pointee.isInUserSpace ?? false }

    /// Whether it carries transport mode.
    package var carriesTransport: Bool { table.map { $0.pointee.flags & UInt32(MARTLET_PLANE_TRANSPORT.rawValue) != 0 } ?? false }

    /// Whether it does so with an algorithm of its own. Key exchanges and the like are IKE's.
    package func carriesAlone(_ transform: Transform) -> Bool {
        guard let supports = table?.pointee.supports, refusal == nil else { return false }
        switch transform.type {
        case .encryption: return ESPKeyLengths.encryption(transform) != nil && supports(transform.id, transform.keyLength ?? 0, 0) == MARTLET_OK
        case .integrity: return ESPKeyLengths.integrity(transform) != nil && supports(0, 0, transform.id) == MARTLET_OK
        default: return false
        }
    }

    /// What it can do with packets beside ESP. Of one that cannot be it here nobody knows what it could do elsewhere.
    package var features: PlaneFeatures { refusal != nil && table != nil ? .all : table?.pointee.features.map { PlaneFeatures(rawValue: $0()) } ?? [] }

    /// Whether the plane does ESP with a transform.
    package func carries(_ transform: Transform) -> Bool {
        guard let supports = table?.pointee.supports, refusal == nil else { return true }
        switch transform.type {
        case .encryption: return supports(transform.id, transform.keyLength ?? 0, 0) == MARTLET_OK
        case .integrity: return transform.id == 0 || supports(0, 0, transform.id) == MARTLET_OK
        default: return true
        }
    }
}

extension martlet_plane {
    fileprivate var isInUserSpace: Bool { flags & UInt32(MARTLET_PLANE_USERSPACE.rawValue) != 0 }

    /// Why this machine is none for the plane, in the plane's words.
    fileprivate var whyNot: String? {
        guard let probe else { return nil }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 512) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            buffer.initialize(repeating: 0)
            guard probe(base, buffer.count) != MARTLET_OK else { return nil }
            let text = String(decoding: buffer.prefix(511).prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return text.isEmpty ? "it does not say why" : text
        }
    }
}
