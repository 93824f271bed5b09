// The loop's promises: order, bounds, timers, descriptors, an end that lets go of what waits.

import CLinux
import Glibc
import IKECore
import Synchronization
import Testing

@testable import Gateway

/// Values in the order in which they came, from any thread.
final class Recorder<Value: Sendable>: Sendable {
    private let values = Mutex<[Value]>([])
    func add(_ value: Value) { values.withLock { $0.append(value) } }
    var all: [Value] { values.withLock { $0 } }
}

@Suite struct EventLoopTests {
    @Test func messagesRunInTheirOrder() throws {
        let loop = try EventLoop("test")
        try loop.start()
        let seen = Recorder<Int>()
        for number in 0..<1000 { loop.post { seen.add(number) } }
        loop.end()
        loop.join()
        #expect(seen.all == Array(0..<1000))
    }

    @Test func aFullMailboxDropsAndCounts() throws {
        let loop = try EventLoop("test", capacity: 10)
        let seen = Recorder<Int>()
        // The loop does not run yet, so all of it waits.
        let taken = (0..<25).map { number in loop.offer { seen.add(number) } }
        #expect(taken == [Bool](repeating: true, count: 10) + [Bool](repeating: false, count: 15))
        #expect(loop.dropped == 15)
        // What the loop itself has asked for is taken all the same.
        #expect(loop.post { seen.add(-1) })
        loop.end()
        loop.run()
        #expect(seen.all == Array(0..<10) + [-1])
    }

    @Test func anEndedLoopTakesNothingAndLetsGo() throws {
        final class Token: Sendable {}
        let loop = try EventLoop("test")
        loop.end()
        loop.run()
        weak let gone: Token? = {
            let token = Token()
            let taken = loop.post { [token] in _ = token }
            #expect(!taken)
            return token
        }()
        #expect(gone == nil)
        #expect(loop.sync { 1 } == nil)
    }

    @Test func timersFireInTheirOrderAndNotAfterTheyWereCancelled() throws {
        let loop = try EventLoop("test")
        let seen = Recorder<String>()
        let now = Instant.now()
        loop.arm(at: now + .milliseconds(20)) { seen.add("second") }
        loop.arm(at: now + .milliseconds(10)) { seen.add("first") }
        let cancelled = loop.arm(at: now + .milliseconds(15)) { seen.add("cancelled") }
        loop.cancel(cancelled)
        loop.arm(at: now + .milliseconds(30)) { [unowned loop] in loop.end() }
        loop.run()
        #expect(seen.all == ["first", "second"])
        #expect(Instant.now() >= now + .milliseconds(30))
    }

    @Test func aTimerInThePastFiresAtOnce() throws {
        let loop = try EventLoop("test")
        loop.arm(at: Instant(nanoseconds: 0)) { [unowned loop] in loop.end() }
        loop.run()
    }

    @Test func aTimerThatAnotherCancelsInTheSameRoundDoesNotFire() throws {
        let loop = try EventLoop("test")
        let seen = Recorder<String>()
        let at = Instant.now() + .milliseconds(5)
        var second: EventLoop.TimerID = 0
        loop.arm(at: at) { [unowned loop] in
            seen.add("first")
            loop.cancel(second)
        }
        second = loop.arm(at: at + .nanoseconds(1)) { seen.add("second") }
        loop.arm(at: at + .milliseconds(10)) { [unowned loop] in loop.end() }
        loop.run()
        #expect(seen.all == ["first"])
    }

    @Test func aDescriptorIsWatchedUntilItIsNot() throws {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        let loop = try EventLoop("test")
        let seen = Recorder<UInt8>()
        let (readable, writable) = (ends[0], ends[1])
        try loop.watch(readable, MARTLET_READABLE) { [unowned loop] _ in
            var byte: UInt8 = 0
            guard read(readable, &byte, 1) == 1 else { return }
            seen.add(byte)
            if byte == 3 { loop.unwatch(readable) }
        }
        try loop.start()
        var bytes: [UInt8] = [1, 2, 3, 4]
        #expect(write(writable, &bytes, 4) == 4)
        while seen.all.count < 3 { usleep(1000) }
        // A round trip: what was ready has been looked at again.
        _ = loop.sync { true }
        loop.end()
        loop.join()
        #expect(seen.all == [1, 2, 3])
    }
}
