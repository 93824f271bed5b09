// Who is asked of the directory when, and what its answers end.

import IKECore
import PluginABI
import Testing
@testable import Gateway

@Suite struct LiveCheckTests {
    let start = Instant.now()
    func at(_ seconds: Int64) -> Instant { start + .seconds(seconds) }
    func member(_ number: UInt64, _ connection: String = "rw") -> LiveCheck.Member { LiveCheck.Member(sa: IKESAID(rawValue: number), shard: 0, connection: connection) }
    func answer(_ outcome: martlet_directory_outcome, groups: [String] = [], reason: String = "") -> DirectoryAnswer {
        var answer = DirectoryAnswer(outcome)
        answer.reason = reason
        answer.user = "alice"
        answer.groups = groups.map { DirectoryAnswer.Group(name: $0) }
        return answer
    }
    let alice = LiveCheck.Account(Array("alice".utf8)), bob = LiveCheck.Account(Array("bob".utf8))

    @Test func eachUserIsAskedWithinEachInterval() {
        var check = LiveCheck(interval: .seconds(60))
        #expect(check.tick == .seconds(5))
        check.established(alice, member(1), now: at(0))
        check.established(alice, member(2), now: at(30))
        check.established(bob, member(3), now: at(30))
        // A tick before it is asked and one for the answer.
        #expect(check.due(now: at(49)) == [])
        #expect(check.due(now: at(50)) == [alice])
        // Not twice while the answer is out.
        #expect(check.due(now: at(79)) == [])
        #expect(check.due(now: at(80)) == [bob])
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_OK), groups: { _ in [] }) == [])
        // From the question on, not from the answer.
        #expect(check.due(now: at(99)) == [])
        #expect(check.due(now: at(100)) == [alice])
    }

    /// Whenever an account is disabled, whoever looks every tick has asked of it, and has a tick left for the answer, before the interval is over.
    @Test(arguments: [1, 2, 10, 60, 3600]) func nobodyStaysLongerThanTheInterval(seconds: Int64) {
        var check = LiveCheck(interval: .seconds(seconds))
        check.established(alice, member(1), now: start)
        var now = start + .milliseconds(37), last = start
        for _ in 0..<2000 {
            now = now + check.tick
            guard !check.due(now: now).isEmpty else { continue }
            #expect(now.since(last) <= .seconds(seconds) - check.tick)
            last = now
            _ = check.answered(alice, answer(MARTLET_DIRECTORY_OK), groups: { _ in nil })
        }
        #expect(last > start + .seconds(seconds))
    }

    @Test func usersOfTwoDirectoriesAreTwo() {
        var check = LiveCheck(interval: .seconds(60))
        let partner = LiveCheck.Account(alice.name, directory: "partner")
        check.established(alice, member(1), now: at(0))
        check.established(partner, member(2), now: at(1))
        #expect(check.due(now: at(60)) == [alice, partner])
        #expect(check.answered(partner, answer(MARTLET_DIRECTORY_DISABLED, reason: "it is disabled"), groups: { _ in nil }) == [.init(member: member(2), reason: "it is disabled")])
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_OK), groups: { _ in nil }) == [])
    }

    @Test(arguments: [
        MARTLET_DIRECTORY_DISABLED, MARTLET_DIRECTORY_LOCKED, MARTLET_DIRECTORY_EXPIRED, MARTLET_DIRECTORY_PASSWORD_EXPIRED, MARTLET_DIRECTORY_NO_SUCH_USER, MARTLET_DIRECTORY_AMBIGUOUS,
    ]) func anAccountThatIsNoLongerGoodLosesEveryTunnel(outcome: martlet_directory_outcome) {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1), now: at(0))
        check.established(alice, member(2, "other"), now: at(0))
        #expect(check.due(now: at(60)) == [alice])
        let ends = check.answered(alice, answer(outcome, reason: "it is disabled"), groups: { _ in nil })
        #expect(ends == [.init(member: member(1), reason: "it is disabled"), .init(member: member(2, "other"), reason: "it is disabled")])
    }

    @Test(arguments: [MARTLET_DIRECTORY_DOWN, MARTLET_DIRECTORY_SLOW, MARTLET_DIRECTORY_LYING, MARTLET_DIRECTORY_BUSY, MARTLET_DIRECTORY_CANCELLED])
    func aDirectoryInTroubleEndsNobody(outcome: martlet_directory_outcome) {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1), now: at(0))
        #expect(check.due(now: at(60)) == [alice])
        #expect(check.answered(alice, answer(outcome, reason: "down"), groups: { _ in ["vpn"] }) == [])
        #expect(check.due(now: at(121)) == [alice])
    }

    @Test func whoLeavesTheGroupLosesTheTunnelThatItGave() {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1, "admins"), now: at(0))
        check.established(alice, member(2, "everybody"), now: at(0))
        _ = check.due(now: at(60))
        let ends = check.answered(alice, answer(MARTLET_DIRECTORY_OK, groups: ["vpn"])) { $0 == "admins" ? ["admins", "operators"] : [] }
        #expect(ends == [.init(member: member(1, "admins"), reason: "the account alice is in none of the groups admins, operators")])
        _ = check.due(now: at(120))
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_OK, groups: ["Operators"])) { _ in ["operators"] } == [])
    }

    @Test func whoIsGoneIsNotAskedAndNothingStays() {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1), now: at(0))
        check.rekeyed(IKESAID(rawValue: 1), member(2))
        check.closed(IKESAID(rawValue: 1))
        #expect(!check.isEmpty)
        #expect(check.due(now: at(70)) == [alice])
        check.closed(IKESAID(rawValue: 2))
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_DISABLED), groups: { _ in nil }) == [])
        #expect(check.isEmpty && check.due(now: at(1000)) == [])
        // Late and second answers do nothing.
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_DISABLED), groups: { _ in nil }) == [])
    }

    @Test func onlySoManyAreAskedAtOnce() {
        var check = LiveCheck(interval: .seconds(60))
        for number in 0..<50 { check.established(LiveCheck.Account([UInt8(number)]), member(UInt64(number)), now: at(Int64(number % 3))) }
        let first = check.due(now: at(100))
        #expect(first.count == LiveCheck.limit && check.due(now: at(100)) == [])
        for user in first { _ = check.answered(user, answer(MARTLET_DIRECTORY_OK), groups: { _ in nil }) }
        let second = check.due(now: at(101))
        #expect(second.count == LiveCheck.limit && Set(first).isDisjoint(with: second))
    }
}
