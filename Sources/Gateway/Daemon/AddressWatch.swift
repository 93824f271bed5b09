// This host's addresses and routes, on the control loop: tells every shard when they change.
// RFC 4555 section 3.5.

import CLinux
import Glibc
import IKECore
import IKEWire

/// Watches routing netlink. Belongs to the control loop.
final class AddressWatch {
    private let descriptor: Int32
    private let loop: EventLoop
    /// Addresses that the gateway answers on; empty for all.
    private let listen: [IPAddress]
    private let changed: ([IPAddress]) -> Void
    private let isInner: (IPAddress) -> Bool
    private var timer: EventLoop.TimerID?
    private var current: [IPAddress]?
    private var routesChanged = false
    /// One change brings several notifications: they are waited for so long. A change that goes on is told of as often.
    private static let settling = Duration.milliseconds(100)

    /// `isInner`: whether an address is one that a gateway has lent this host. `changed` is called at once with what there is, and again
    /// when addresses or routes have changed.
    init(_ loop: EventLoop, listen: [IPAddress], isInner: @escaping (IPAddress) -> Bool, changed: @escaping ([IPAddress]) -> Void) throws(SystemError) {
        self.loop = loop
        self.listen = listen
        self.isInner = isInner
        self.changed = changed
        descriptor = try check("watch this host's addresses", martlet_address_watch())
        try loop.watch(descriptor, MARTLET_READABLE) { [unowned self] _ in read() }
        look()
    }

    deinit { close(descriptor) }

    private func read() {
        let news = martlet_address_news(descriptor)
        guard news != 0 else { return }
        if news & MARTLET_NEWS_ROUTES.rawValue != 0 { routesChanged = true }
        guard timer == nil else { return }
        timer = loop.arm(after: Self.settling) { [unowned self] in
            timer = nil
            look()
        }
    }

    /// Other routes may choose another address although all are the same. What tunnels do to their own interface changes neither.
    private func look() {
        guard let found = Self.addresses() else {
            // Nothing was heard, which is not to have none.
            timer = loop.arm(after: .seconds(1)) { [unowned self] in
                timer = nil
                look()
            }
            return
        }
        let all = found.filter { (listen.isEmpty || listen.contains($0)) && !isInner($0) }
        let isNews = routesChanged || all != current
        routesChanged = false
        current = all
        if isNews { changed(all) }
    }

    /// Every address that this host may use outside, in the kernel's order; nil where the kernel did not say.
    static func addresses() -> [IPAddress]? {
        final class Found { var addresses: [IPAddress] = [] }
        let found = Found()
        // `found` outlives the call.
        let result = martlet_outer_addresses(
            { context, address in
                guard let context, let socket = address?.pointee.socketAddress else { return }
                Unmanaged<Found>.fromOpaque(context).takeUnretainedValue().addresses.append(socket.address)
            }, Unmanaged.passUnretained(found).toOpaque())
        return result < 0 ? nil : found.addresses
    }
}
