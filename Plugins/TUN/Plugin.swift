// The plugin's face: the exported symbol, the descriptor, and the table of the contract over `Plane`.

import CLinux
import PlaneKit
import PluginABI
import PluginKit
import Synchronization

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "tun", version: "0.1", provides: [.plane("tun")],
    initialize: { table in
        let host = Host(table)
        Current.host = host
        // A wrong setting is told at once, not when the plane starts.
        do throws(Settings.Defect) { _ = try Settings(host.setting) } catch {
            host.log(.error, error.description)
            return MARTLET_E_INVALID
        }
        return host.provide(.plane("tun"), planeTable)
    })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

/// What the plugin knows between calls. `host` is set once, in `init`; `plane` belongs to whoever has the lock: the host's plane thread, and for a moment its
/// service thread, where somebody has taken routes away or many policies are published together. No packet waits for it.
private enum Current {
    nonisolated(unsafe) static var host: Host?
    nonisolated(unsafe) static var plane: Plane?
    nonisolated(unsafe) static var watch: RouteWatch?
    static let lock = Mutex<Void>(())
}

/// Runs `body` on the plane and turns what it throws into a status and a log line.
private func withPlane(_ body: (Plane) throws(PlaneError) -> Void) -> martlet_status {
    Current.lock.withLock { _ in
        guard let plane = Current.plane else { return MARTLET_E_NOT_FOUND }
        do throws(PlaneError) {
            try body(plane)
            return MARTLET_OK
        } catch {
            if let message = error.message { Current.host?.log(.error, message) }
            return error.status
        }
    }
}

/// On the service thread: changes that waited for more of their kind.
func refreshPlane() { Current.lock.withLock { _ in Current.plane?.refreshIfStale() } }

private func begin(_ host: Host, _ events: UnsafePointer<martlet_plane_events>, _ sockets: [martlet_socket], _ workers: UInt32, _ mark: UInt32) -> martlet_status {
    do throws(PlaneError) {
        let plane = try Plane(host: host, events: events, sockets: sockets, workers: workers, mark: mark)
        Current.lock.withLock { _ in Current.plane = plane }
    } catch {
        if let message = error.message { host.log(.error, message) }
        return error.status
    }
    Current.watch = RouteWatch(host: host) { descriptor in Current.lock.withLock { _ in Current.plane?.restore(descriptor) } }
    if Current.watch == nil { host.log(.warning, "the kernel does not tell what others take away of routes: nobody puts them back") }
    return MARTLET_OK
}

// Immortal and never written after it was made.
nonisolated(unsafe) private let planeTable: UnsafePointer<martlet_plane> = {
    let table = martlet_plane(
        struct_size: UInt32(MemoryLayout<martlet_plane>.size), flags: UInt32(MARTLET_PLANE_USERSPACE.rawValue | MARTLET_PLANE_HEARS_ALL.rawValue), name: Immortal.string("tun"),
        start: { events, sockets, count, workers, mark in
            guard Current.plane == nil, let host = Current.host else { return MARTLET_E_INVALID }
            return begin(host, events, (0..<count).map { sockets[$0] }, workers, mark)
        },
        stop: {
            Current.watch?.close()
            Current.watch = nil
            Current.lock.withLock { _ in
                Current.plane?.stop()
                Current.plane = nil
            }
        },
        add_sa: { sa in withPlane { plane throws(PlaneError) in try plane.add(sa) } },
        activate: { child in withPlane { plane throws(PlaneError) in try plane.activate(child) } },
        remove_sa: { spi, direction, child in
            withPlane { plane throws(PlaneError) in try plane.remove(spi: spi, direction: direction, child: child) }
        },
        update: { child, local, remote, encapsulation in
            withPlane { plane throws(PlaneError) in
                try plane.update(child, local: local.pointee, remote: remote.pointee, encapsulation: encapsulation)
            }
        },
        counters: { spi, direction, child, counters in
            withPlane { plane throws(PlaneError) in
                guard counters.pointee.struct_size >= UInt32(MemoryLayout<martlet_sa_counters>.size) else {
                    throw .invalid("counters of \(counters.pointee.struct_size) bytes")
                }
                counters.pointee = try plane.counters(spi: spi, direction: direction, child: child)
            }
        },
        drops: { counters, capacity in
            if let counters {
                Current.lock.withLock { _ in
                    for (place, reason) in DropReason.allCases.enumerated() where place < capacity {
                        counters[place] = martlet_drop_counter(reason: reason.text, packets: Current.plane?.drops(reason) ?? 0)
                    }
                }
            }
            return DropReason.allCases.count
        },
        set_policy: { policy in withPlane { plane throws(PlaneError) in try plane.set(policy) } },
        remove_policy: { number in withPlane { plane throws(PlaneError) in try plane.removePolicy(number) } },
        add_address: { address in withPlane { plane throws(PlaneError) in try plane.addAddress(address.pointee) } },
        remove_address: { address in withPlane { plane throws(PlaneError) in try plane.removeAddress(address.pointee) } },
        probe: nil, supports: nil, features: { MARTLET_PLANE_SEGMENTS.rawValue })
    return Immortal.table(table)
}()
