// What others take away of what leads packets to the interface: its routes, its rules, its addresses, itself. A network manager does so when it starts anew,
// and whoever tidies up by hand. Without them the packets of a tunnel would leave in clear, so they are put back at once.

import CLinux
import ESPCore
import Glibc
import PlaneKit
import PluginABI
import PluginKit

/// Hears of it on the host's service thread.
final class RouteWatch: @unchecked Sendable {
    private let descriptor: Int32
    private let host: Host
    private let heard: @Sendable (Int32) -> Void
    private var watch: martlet_handle = 0

    /// `heard` is given the socket to read from. Nil where the kernel does not tell.
    init?(host: Host, _ heard: @escaping @Sendable (Int32) -> Void) {
        descriptor = martlet_route_events_open()
        self.host = host
        self.heard = heard
        guard descriptor >= 0 else { return nil }
        // Never released: a call may be under way when the watch ends.
        watch = host.watch(descriptor, events: 1 /* EPOLLIN */, context: Unmanaged.passRetained(self).toOpaque()) { context, _ in
            guard let context else { return }
            let watch = Unmanaged<RouteWatch>.fromOpaque(context).takeUnretainedValue()
            watch.heard(watch.descriptor)
        }
        guard watch != 0 else {
            Glibc.close(descriptor)
            return nil
        }
    }

    /// The socket stays open: a call may be under way.
    func close() { host.cancel(watch) }
}

extension Plane {
    /// With the plane's lock.
    func restore(_ descriptor: Int32) {
        let lost = martlet_route_events_read(descriptor, netlink, routing.table, link)
        guard lost != 0 else { return }
        var hasGone = lost & MARTLET_LINK_HAS_GONE.rawValue != 0
        if !hasGone, lost & (MARTLET_LINK_IS_DOWN.rawValue | MARTLET_EVENTS_LOST.rawValue) != 0 {
            let result = martlet_link_up(netlink, link, UInt32(interfaceMTU), 1000)
            hasGone = result == -ENODEV
            if !hasGone, lost & MARTLET_LINK_IS_DOWN.rawValue != 0 || result != 0 {
                host.log(.warning, "somebody has taken the interface \(settings.interface) down: " + (result == 0 ? "it is up again" : "it cannot be brought up (error \(-result))"))
            }
        }
        if hasGone, routing.interfaceHasGone() {
            host.log(.error, "somebody has removed the interface \(settings.interface): what its tunnels carried is dropped until the daemon starts anew")
        }
        for address in addresses where !hasGone {
            var prefix = Prefix(family: address.family, value: address.value, length: address.bitCount).contract
            if martlet_address_add(netlink, link, &prefix) == 0 { host.log(.warning, "somebody has taken the address \(address) from \(settings.interface): it is there again") }
        }
        routing.restore()
    }
}
