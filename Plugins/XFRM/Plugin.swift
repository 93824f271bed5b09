// The plugin's face: the exported symbol, the descriptor, and the table of the contract over `Plane`.

import Glibc
import PlaneKit
import PluginABI
import PluginKit

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "xfrm", version: "0.1", provides: [.plane("xfrm")],
    initialize: { table in
        let host = Host(table)
        Current.host = host
        // A wrong setting is told at once, not when the plane starts.
        do throws(Settings.Defect) { _ = try Settings(host.setting) } catch {
            host.log(.error, error.description)
            return MARTLET_E_INVALID
        }
        return host.provide(.plane("xfrm"), planeTable)
    })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

/// What the plugin knows between calls. `host` is set once, in `init`; `plane` belongs to the host's plane thread, `capabilities` to the main one.
private enum Current {
    nonisolated(unsafe) static var host: Host?
    nonisolated(unsafe) static var plane: Plane?
    nonisolated(unsafe) static var capabilities: KernelCapabilities?
}

/// Runs `body` on the plane and turns what it throws into a status and a log line.
private func withPlane(_ body: (Plane) throws(PlaneError) -> Void) -> martlet_status {
    guard let plane = Current.plane else { return MARTLET_E_NOT_FOUND }
    do throws(PlaneError) {
        try body(plane)
        return MARTLET_OK
    } catch {
        if let message = error.message { Current.host?.log(.error, message) }
        return error.status
    }
}

/// Why this kernel is none for the plane, or nil.
private func whyNot() -> String? {
    do throws(PlaneError) {
        if let capabilities = Current.capabilities { return capabilities.missing(.v4) }
        let capabilities = try KernelCapabilities()
        Current.capabilities = capabilities
        return capabilities.missing(.v4)
    } catch { return error.message ?? "it fails" }
}

// Immortal and never written after it was made.
nonisolated(unsafe) private let planeTable: UnsafePointer<martlet_plane> = {
    let table = martlet_plane(
        struct_size: UInt32(MemoryLayout<martlet_plane>.size), flags: UInt32(MARTLET_PLANE_KERNEL_UDP.rawValue | MARTLET_PLANE_TRANSPORT.rawValue), name: Immortal.string("xfrm"),
        start: { events, sockets, count, workers, mark in
            guard Current.plane == nil, let host = Current.host else { return MARTLET_E_INVALID }
            do throws(PlaneError) {
                Current.plane = try Plane(host: host, events: events, mark: mark)
                return MARTLET_OK
            } catch {
                if let message = error.message { host.log(.error, message) }
                return error.status
            }
        },
        stop: {
            Current.plane?.stop()
            Current.plane = nil
        },
        add_sa: { sa in withPlane { plane throws(PlaneError) in try plane.add(sa) } },
        activate: { child in withPlane { plane throws(PlaneError) in try plane.activate(child) } },
        remove_sa: { spi, direction, child in withPlane { plane throws(PlaneError) in try plane.remove(spi: spi, direction: direction, child: child) } },
        update: { child, local, remote, encapsulation in
            withPlane { plane throws(PlaneError) in try plane.update(child, local: local.pointee, remote: remote.pointee, encapsulation: encapsulation) }
        },
        counters: { spi, direction, child, counters in
            withPlane { plane throws(PlaneError) in
                guard counters.pointee.struct_size >= UInt32(MemoryLayout<martlet_sa_counters>.size) else { throw .invalid("counters of \(counters.pointee.struct_size) bytes") }
                counters.pointee = try plane.counters(spi: spi, direction: direction, child: child)
            }
        },
        drops: { counters, capacity in
            if let counters {
                (Current.plane?.drops ?? Drops()).each { place, reason, packets in
                    if place < capacity { counters[place] = martlet_drop_counter(reason: reason, packets: packets) }
                }
            }
            return Drops.count
        },
        set_policy: { policy in withPlane { plane throws(PlaneError) in try plane.set(policy) } },
        remove_policy: { number in withPlane { plane throws(PlaneError) in try plane.removePolicy(number) } },
        add_address: { address in withPlane { plane throws(PlaneError) in try plane.addAddress(address.pointee) } },
        remove_address: { address in withPlane { plane throws(PlaneError) in try plane.removeAddress(address.pointee) } },
        probe: { reason, size in
            guard let missing = whyNot() else { return MARTLET_OK }
            let text = Array(missing.utf8.prefix(max(size, 1) - 1)) + [0]
            for (place, byte) in text.enumerated() where place < size { reason[place] = CChar(bitPattern: byte) }
            return MARTLET_E_UNSUPPORTED
        },
        supports: { encryption, bits, integrity in
            guard let capabilities = Current.capabilities else { return MARTLET_E_INVALID }
            return capabilities.has(encryption: encryption, bits: bits, integrity: integrity) ? MARTLET_OK : MARTLET_E_UNSUPPORTED
        },
        features: { Current.capabilities?.features ?? 0 })
    return Immortal.table(table)
}()
