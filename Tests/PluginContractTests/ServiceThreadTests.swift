// Timers and descriptors of plugins: each fires as armed, none after it was cancelled on the service thread.

import Foundation
import Gateway
import Synchronization
import Testing

@Suite struct ServiceThreadTests {
    final class Gate: Sendable {
        private let semaphore = DispatchSemaphore(value: 0)
        private let values = Mutex<[Int]>([])
        var all: [Int] { values.withLock { $0 } }
        func pass(_ value: Int) {
            values.withLock { $0.append(value) }
            semaphore.signal()
        }
        /// False where `count` passes did not come; generous, because it only bounds a failing test.
        func wait(for count: Int) -> Bool { (0..<count).allSatisfy { _ in semaphore.wait(timeout: .now() + 30) == .success } }
    }

    @Test func timersFireOnceInTheOrderOfTheirDeadlines() throws {
        let thread = try #require(ServiceThread())
        defer { thread.end() }
        let gate = Gate()
        #expect(thread.armTimer(after: 60_000_000) { gate.pass(3) } != 0)
        #expect(thread.armTimer(after: 20_000_000) { gate.pass(2) } != 0)
        #expect(thread.armTimer(after: 0) { gate.pass(1) } != 0)
        let never = thread.armTimer(after: 40_000_000) { gate.pass(9) }
        thread.cancel(never)
        #expect(gate.wait(for: 3))
        #expect(gate.all == [1, 2, 3])
    }

    @Test func aWatchReportsAReadyDescriptorUntilItIsCancelled() throws {
        let thread = try #require(ServiceThread())
        defer { thread.end() }
        var pipes: [Int32] = [0, 0]
        #expect(pipe(&pipes) == 0)
        let (reading, writing) = (pipes[0], pipes[1])
        defer {
            close(reading)
            close(writing)
        }
        let gate = Gate()
        let handle = thread.watch(reading, events: 1) { events in
            var byte: UInt8 = 0
            _ = read(reading, &byte, 1)
            gate.pass(Int(byte) + (events & 1 == 1 ? 0 : 100))
        }
        #expect(handle != 0)
        var bytes: [UInt8] = [7, 8]
        #expect(write(writing, &bytes, 2) == 2)
        #expect(gate.wait(for: 2))
        thread.cancel(handle)
        #expect(write(writing, &bytes, 2) == 2)
        // The thread has been round once more when this fires.
        _ = thread.armTimer(after: 0) { gate.pass(0) }
        #expect(gate.wait(for: 1))
        #expect(gate.all == [7, 8, 0])
    }

    @Test func whatCannotBeWatchedIsRefused() throws {
        let thread = try #require(ServiceThread())
        defer { thread.end() }
        #expect(thread.watch(-1, events: 1) { _ in } == 0)
    }

    @Test func thereIsALimit() throws {
        let thread = try #require(ServiceThread())
        defer { thread.end() }
        let handles = (0..<5000).map { _ in thread.armTimer(after: 3_600_000_000_000) {} }
        #expect(handles.filter { $0 != 0 }.count == 4096)
        thread.cancel(handles[0])
        #expect(thread.armTimer(after: 3_600_000_000_000) {} != 0)
    }
}
