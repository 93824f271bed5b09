// What all shards and the plane say of themselves, for requests that need a look at all of them.

import IKECore

/// All shards and the plane at about one moment.
struct GatewayView: Sendable {
    var shards: [ShardStatus] = []
    var drops: [(reason: String, packets: UInt64)] = []
    /// How many shards there are, whether they have answered or not.
    var shardCount = 0
    var isPlaneMissing = false
}

extension RunningGateway {
    /// Asks every shard and the plane, stops none, and waits for none longer than a second. With the SAs that are selected.
    func collect(_ selection: SASelection? = nil, _ completion: @escaping (GatewayView) -> Void) {
        let collection = Collection(GatewayView(shardCount: shards.count, isPlaneMissing: plane != nil), completion)
        for shard in shards {
            shard.status(of: selection) { [weak self] status in
                self?.loop.post { collection.add { $0.shards.append(status) } }
            }
        }
        plane?.drops { [weak self] drops in
            self?.loop.post {
                collection.add {
                    $0.drops = drops
                    $0.isPlaneMissing = false
                }
            }
        }
        collection.timer = loop.arm(after: .seconds(1)) { collection.end() }
        collection.cancel = { [weak self] in self?.loop.cancel($0) }
    }

    /// On the control loop alone.
    private final class Collection: @unchecked Sendable {
        private var view: GatewayView
        private var open: Int
        private var completion: ((GatewayView) -> Void)?
        var timer: EventLoop.TimerID = 0
        var cancel: ((EventLoop.TimerID) -> Void)?

        /// `view`: without anything in it, as it is where nobody answers.
        init(_ view: GatewayView, _ completion: @escaping (GatewayView) -> Void) {
            self.view = view
            open = view.shardCount + (view.isPlaneMissing ? 1 : 0)
            self.completion = completion
        }

        func add(_ change: (inout GatewayView) -> Void) {
            change(&view)
            open -= 1
            if open == 0 { end() }
        }

        func end() {
            guard let completion else { return }
            self.completion = nil
            cancel?(timer)
            view.shards.sort { $0.shard < $1.shard }
            completion(view)
        }
    }
}
