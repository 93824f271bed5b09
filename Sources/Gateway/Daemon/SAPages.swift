// All IKE SAs for somebody who lists them: their numbers first, then some of them at a time, as fast as they are read. No shard and no plane
// works on more than a page at once, and nothing but a page and the numbers is in memory.

import IKECore
import Synchronization

/// On the control loop alone.
final class SAPages: @unchecked Sendable {
    private let gateway: RunningGateway
    private let connection: String?
    /// What is left, by shard; sorted.
    private var rest: [(shard: Int, numbers: ArraySlice<IKESAID>)] = []
    /// SAs of a page: few enough that a datagram behind the question does not wait for long.
    private static let size = 64
    private static let patience = Duration.seconds(1)

    private init(_ gateway: RunningGateway, _ filter: SAFilter) {
        self.gateway = gateway
        connection = filter.ike
    }

    /// Asks each shard which SAs it has. One number that the filter names needs no asking.
    static func begin(_ gateway: RunningGateway, _ filter: SAFilter, _ completion: @escaping @Sendable (Result<Listing<IKESASnapshot>, FailureSnapshot>) -> Void) {
        let pages = SAPages(gateway, filter)
        let listing = Listing { page in pages.next(page) }
        if let number = filter.ikeID {
            pages.rest = gateway.shards.indices.map { ($0, [IKESAID(rawValue: number)]) }
            return completion(.success(listing))
        }
        let answers = Answers<(Int, [IKESAID])>(gateway, gateway.shards.count) { answers in
            guard answers.count == gateway.shards.count else {
                return completion(.failure(FailureSnapshot(GatewayView.late("\(gateway.shards.count - answers.count) of \(gateway.shards.count) shards have not answered within a second"))))
            }
            pages.rest = answers.sorted { $0.0 < $1.0 }.map { ($0.0, $0.1.sorted { $0.rawValue < $1.rawValue }[...]) }
            completion(.success(listing))
        }
        for shard in gateway.shards { shard.numbers { numbers in answers.add((shard.number, numbers ?? [])) } }
    }

    /// The next page; nil after the last.
    private func next(_ completion: @escaping @Sendable (Result<[IKESASnapshot], FailureSnapshot>?) -> Void) {
        guard let (shard, numbers) = rest.first else { return completion(nil) }
        let part = Array(numbers.prefix(Self.size))
        if numbers.count > Self.size { rest[0].numbers = numbers.dropFirst(Self.size) } else { rest.removeFirst() }
        let answers = Answers<[IKESAStatus]>(gateway, 1) { [self] answers in
            guard let statuses = answers.first else { return completion(.failure(FailureSnapshot(GatewayView.late("shard \(shard) has not answered within a second")))) }
            counted(statuses, shard, completion)
        }
        gateway.shards[shard].status(of: part, connection: connection) { answers.add($0 ?? []) }
    }

    /// With what the plane counts of them.
    private func counted(_ statuses: [IKESAStatus], _ shard: Int, _ completion: @escaping @Sendable (Result<[IKESASnapshot], FailureSnapshot>?) -> Void) {
        let now = Instant.now()
        func snapshots(_ traffic: [ChildSAID: ChildTraffic]) -> [IKESASnapshot] {
            statuses.map { status in
                var snapshot = IKESASnapshot(status, now: now, shard: shard)
                for index in snapshot.children.indices {
                    if let traffic = traffic[ChildSAID(rawValue: snapshot.children[index].uniqueID)] { snapshot.children[index].add(traffic, now: now) }
                }
                return snapshot
            }
        }
        let children = statuses.flatMap(\.children).map(\.id)
        guard let plane = gateway.plane, !children.isEmpty else { return completion(.success(snapshots([:]))) }
        let answers = Answers<[ChildSAID: ChildTraffic]>(gateway, 1) { answers in
            guard let traffic = answers.first else { return completion(.failure(FailureSnapshot(GatewayView.late("the data plane has not answered within a second")))) }
            completion(.success(snapshots(traffic)))
        }
        plane.traffic(of: children) { answers.add($0) }
    }

    /// Waits on the control loop for answers that come from other threads, and for none longer than a second.
    private final class Answers<Answer: Sendable>: @unchecked Sendable {
        private let gateway: RunningGateway
        private let expected: Int
        private var answers: [Answer] = []
        private var completion: (([Answer]) -> Void)?
        private var timer: EventLoop.TimerID = 0

        init(_ gateway: RunningGateway, _ expected: Int, _ completion: @escaping ([Answer]) -> Void) {
            self.gateway = gateway
            self.expected = expected
            self.completion = completion
            timer = gateway.loop.arm(after: SAPages.patience) { self.end() }
        }

        /// From any thread.
        func add(_ answer: Answer) {
            gateway.loop.post { [self] in
                answers.append(answer)
                if answers.count == expected { end() }
            }
        }

        private func end() {
            guard let completion else { return }
            self.completion = nil
            gateway.loop.cancel(timer)
            completion(answers)
        }
    }
}
