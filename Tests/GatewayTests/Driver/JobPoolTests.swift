// Jobs end once: with their result, at their deadline, or at the door.

import Glibc
import IKECore
import Synchronization
import Testing

@testable import Gateway

@Suite struct JobPoolTests {
    enum End: Hashable, Sendable { case done(Int), late, refused }

    static func end(_ outcome: JobPool.Outcome<Int>) -> End {
        switch outcome {
        case .done(let value): .done(value)
        case .late: .late
        case .refused: .refused
        }
    }

    static let soon = Duration.milliseconds(50)
    static let never = Duration.seconds(600)

    @Test func everyJobEndsOnce() throws {
        let pool = try JobPool(threads: 3)
        let ends = Recorder<End>()
        let gate = Gate()
        for number in 0..<200 {
            pool.submit(deadline: Instant.now() + Self.never) {
                number
            } _: { outcome in
                ends.add(Self.end(outcome))
                if ends.all.count == 200 { gate.open() }
            }
        }
        #expect(gate.wait(.seconds(30)))
        #expect(Set(ends.all) == Set((0..<200).map(End.done)))
        #expect(ends.all.count == 200)
        pool.stop()
    }

    @Test func aJobThatHangsIsGivenUpAndItsLateResultDropped() throws {
        let pool = try JobPool(threads: 1)
        let ends = Recorder<End>()
        let release = Gate(), ended = Gate(), finished = Gate()
        pool.submit(deadline: Instant.now() + Self.soon) {
            release.wait(.seconds(30))
            return 1
        } _: { outcome in
            ends.add(Self.end(outcome))
            ended.open()
        }
        #expect(ended.wait(.seconds(30)))
        #expect(ends.all == [.late])
        // The thread comes back, its result is nobody's, and the next job runs.
        release.open()
        pool.submit(deadline: Instant.now() + Self.never) {
            2
        } _: { outcome in
            ends.add(Self.end(outcome))
            finished.open()
        }
        #expect(finished.wait(.seconds(30)))
        #expect(ends.all == [.late, .done(2)])
        #expect(pool.load.late == 1)
        pool.stop()
    }

    @Test func aJobThatWaitsTooLongNeverRuns() throws {
        let pool = try JobPool(threads: 1)
        let ran = Recorder<Int>()
        let release = Gate(), ended = Gate(), started = Gate(), done = Gate()
        pool.submit(deadline: Instant.now() + Self.never) {
            started.open()
            release.wait(.seconds(30))
            return 0
        } _: { _ in
        }
        #expect(started.wait(.seconds(30)))
        pool.submit(deadline: Instant.now() + Self.soon) {
            ran.add(1)
            return 1
        } _: { outcome in
            #expect(Self.end(outcome) == .late)
            ended.open()
        }
        #expect(ended.wait(.seconds(30)))
        release.open()
        pool.submit(deadline: Instant.now() + Self.never) {
            2
        } _: { _ in
            done.open()
        }
        #expect(done.wait(.seconds(30)))
        #expect(ran.all.isEmpty)
        pool.stop()
    }

    @Test func aFullQueueRefuses() throws {
        let pool = try JobPool(threads: 1, queueLimit: 2)
        let release = Gate(), started = Gate()
        let ends = Recorder<End>()
        pool.submit(deadline: Instant.now() + Self.never) {
            started.open()
            release.wait(.seconds(30))
            return 0
        } _: {
            ends.add(Self.end($0))
        }
        #expect(started.wait(.seconds(30)))
        for number in 1...4 {
            pool.submit(deadline: Instant.now() + Self.never) {
                number
            } _: {
                ends.add(Self.end($0))
            }
        }
        #expect(ends.all == [.refused, .refused])
        #expect(pool.load.refused == 2)
        release.open()
        while ends.all.count < 5 { usleep(1000) }
        #expect(Set(ends.all) == [.refused, .done(0), .done(1), .done(2)])
        pool.stop()
    }

    @Test func aLaneRunsSoManyAtOnce() throws {
        let pool = try JobPool(threads: 4)
        let lane = JobPool.Lane(name: "slow", limit: 1)
        let running = Mutex((now: 0, most: 0))
        let ends = Recorder<Int>()
        for number in 0..<20 {
            pool.submit(deadline: Instant.now() + Self.never, lane: lane) {
                running.withLock {
                    $0.now += 1
                    $0.most = max($0.most, $0.now)
                }
                usleep(1000)
                running.withLock { $0.now -= 1 }
                return number
            } _: { _ in
                ends.add(number)
            }
        }
        while ends.all.count < 20 { usleep(1000) }
        #expect(running.withLock { $0.most } == 1)
        pool.stop()
    }
}
