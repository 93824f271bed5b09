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

/// What blocks keeps its own thread.
@Suite struct BlockedJobTests {
    /// A plugin that hangs has every call that it may have; what others ask for is done meanwhile.
    @Test func jobsThatHangDelayNoOther() throws {
        let stuck = Recorder<String>()
        let pool = try JobPool(threads: 2, spares: 8) { lane, count in stuck.add("\(lane?.name ?? "-") \(count)") }
        let lane = JobPool.Lane(name: "hangs", limit: 4)
        let release = Gate(), finished = Gate()
        let ends = Recorder<JobPoolTests.End>(), others = Recorder<Int>(), hanging = Recorder<Int>()
        for number in 0..<20 {
            pool.submit(deadline: Instant.now() + .seconds(1), lane: lane) {
                hanging.add(number)
                release.wait(.seconds(120))
                return number
            } _: {
                ends.add(JobPoolTests.end($0))
            }
        }
        for number in 0..<100 {
            pool.submit(deadline: Instant.now() + JobPoolTests.never) {
                number
            } _: { _ in
                others.add(number)
                if others.all.count == 100 { finished.open() }
            }
        }
        // Before anything that hangs has been let go.
        #expect(finished.wait(.seconds(60)))
        while ends.all.count < 20 || stuck.all.count < hanging.all.count { usleep(1000) }
        #expect(ends.all.allSatisfy { $0 == .late })
        #expect((1...4).contains(hanging.all.count) && pool.load.stuck == hanging.all.count)
        #expect(stuck.all.allSatisfy { $0.hasPrefix("hangs ") })
        release.open()
        while pool.load.running > 0 { usleep(1000) }
        #expect(pool.load.stuck == 0)
        pool.stop()
    }

    /// Without spare threads the same hang stops everything: what the test above shows is their doing.
    @Test func withoutSparesTheyWait() throws {
        let pool = try JobPool(threads: 2)
        let release = Gate(), done = Gate(), started = Gate()
        let running = Mutex(0)
        for _ in 0..<2 {
            pool.submit(deadline: Instant.now() + JobPoolTests.never) {
                if running.withLock({
                    $0 += 1
                    return $0
                }) == 2 {
                    started.open()
                }
                return release.wait(.seconds(120)) ? 1 : 0
            } _: { _ in
            }
        }
        #expect(started.wait(.seconds(60)))
        pool.submit(deadline: Instant.now() + JobPoolTests.never) {
            2
        } _: { _ in
            done.open()
        }
        #expect(!done.wait(.milliseconds(400)))
        release.open()
        #expect(done.wait(.seconds(60)))
        pool.stop()
    }
}
