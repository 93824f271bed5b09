// One endpoint of the core with the loop that drives it: the only thread that touches its IKE SAs.

import CLinux
import IKECore
import IKEWire
import Synchronization

package final class Shard: @unchecked Sendable {
    package let number: Int
    let loop: EventLoop
    private let endpoint: Endpoint
    private let transport: Transport
    /// Performs what the endpoint asks for, but for datagrams. Set before the loop starts.
    private var driver: Driver?

    /// Datagrams that wait: at most `queueLimit`, and `queueBytes` of them.
    private let queue = Mutex(Queue())
    private struct Queue {
        var datagrams: [Datagram] = []
        var bytes = 0
    }
    private let queueLimit: Int
    private let queueBytes: Int

    // The loop's thread alone.
    private var outgoing: [OutgoingDatagram] = []
    /// What the event being handled has led to, on this thread.
    private var following: [Event] = []
    private var timer: (id: EventLoop.TimerID, at: Instant)?

    init(
        number: Int, crypto: Crypto, connections: [Connection], limits: Limits, pools: any AddressPools = NoPools(), users: SharedUserBook? = nil, transport: Transport, queueLimit: Int = 4096,
        queueBytes: Int = 8 << 20
    ) throws(SystemError) {
        self.number = number
        self.transport = transport
        self.queueLimit = queueLimit
        self.queueBytes = queueBytes
        loop = try EventLoop("shard \(number)")
        endpoint = Endpoint(shard: UInt8(truncatingIfNeeded: number), crypto: crypto, connections: connections, limits: limits, pools: pools, users: users)
    }

    func start(driver: Driver) throws(SystemError) {
        self.driver = driver
        loop.afterBatch = { [unowned self] in settle() }
        try loop.start()
    }

    func stop() {
        loop.end()
        loop.join()
        driver = nil
    }

    // MARK: From any thread

    /// Queues datagrams; returns how many there was no room for.
    func deliver(_ datagrams: [Datagram]) -> Int {
        let (taken, wasEmpty) = queue.withLock { queue in
            let wasEmpty = queue.datagrams.isEmpty
            var taken = 0
            for datagram in datagrams where queue.datagrams.count < queueLimit && queue.bytes + datagram.bytes.count <= queueBytes {
                queue.datagrams.append(datagram)
                queue.bytes += datagram.bytes.count
                taken += 1
            }
            return (taken, wasEmpty)
        }
        if wasEmpty, taken > 0 { loop.post { [unowned self] in takeDatagrams() } }
        return datagrams.count - taken
    }

    func post(_ event: Event) { loop.post { [unowned self] in handle(event) } }

    /// What the shard counts and, where asked for, its SAs of a connection or of a number.
    func status(of selection: SASelection? = nil, _ completion: @escaping @Sendable (ShardStatus) -> Void) {
        let posted = loop.post { [unowned self] in
            let selected: [IKESAStatus] =
                switch selection {
                case .connection(let name): endpoint.status(connection: name)
                case .ikeSA(let id): endpoint.status(of: [id])
                case .child, .childSA: endpoint.status()
                case nil: []
                }
            completion(
                ShardStatus(
                    shard: number, ikeSACount: endpoint.shownCount, selected: selected, halfOpen: endpoint.halfOpenCount, counters: endpoint.counters, messages: endpoint.messages))
        }
        if !posted { completion(ShardStatus(shard: number, ikeSACount: 0, selected: [], halfOpen: 0, counters: nil)) }
    }

    /// The numbers of its IKE SAs, in no order. Nil where the shard has ended.
    func numbers(_ completion: @escaping @Sendable ([IKESAID]?) -> Void) {
        if !loop.post({ [unowned self] in completion(endpoint.numbers) }) { completion(nil) }
    }

    /// Some of its SAs: few enough that a datagram behind the question does not wait for long.
    func status(of numbers: [IKESAID], connection: String?, _ completion: @escaping @Sendable ([IKESAStatus]?) -> Void) {
        if !loop.post({ [unowned self] in completion(endpoint.status(of: numbers, connection: connection)) }) { completion(nil) }
    }

    // MARK: On the loop

    func transmit(_ datagram: OutgoingDatagram) { outgoing.append(datagram) }

    private func takeDatagrams() {
        let datagrams = queue.withLock { queue in
            let taken = queue.datagrams
            queue = Queue()
            return taken
        }
        for datagram in datagrams { handle(.datagramReceived(datagram)) }
    }

    /// Handled after the event that the driver is performing for now.
    func follow(_ event: Event) { following.append(event) }

    private func handle(_ event: Event) {
        for action in endpoint.handle(event, now: Instant.now()) { driver?.perform(action, for: self) }
        // Whatever follows of these comes behind them.
        var next = 0
        while next < following.count {
            for action in endpoint.handle(following[next], now: Instant.now()) { driver?.perform(action, for: self) }
            next += 1
        }
        if next > 0 { following.removeAll(keepingCapacity: true) }
    }

    /// Sends what came together, and sets the timer to the endpoint's deadline.
    private func settle() {
        if !outgoing.isEmpty {
            transport.send(outgoing)
            outgoing = []
        }
        let deadline = endpoint.nextDeadline
        guard deadline != timer?.at else { return }
        if let timer { loop.cancel(timer.id) }
        timer = deadline.map { at in
            (
                loop.arm(at: at) { [unowned self] in
                    timer = nil
                    handle(.deadlineReached)
                }, at
            )
        }
    }
}

/// What a shard says of itself at one moment.
package struct ShardStatus: Sendable {
    package var shard: Int
    package var ikeSACount: Int
    /// Those that were asked for.
    package var selected: [IKESAStatus]
    package var halfOpen: Int
    package var counters: EndpointCounters?
    package var messages = ConnectionCounters()
}
