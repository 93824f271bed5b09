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
    let alice = Array("alice".utf8), bob = Array("bob".utf8)

    @Test func eachUserIsAskedOnceAnInterval() {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1), now: at(0))
        check.established(alice, member(2), now: at(30))
        check.established(bob, member(3), now: at(30))
        #expect(check.due(now: at(59)) == [])
        #expect(check.due(now: at(60)) == [alice])
        // Not twice while the answer is out.
        #expect(check.due(now: at(89)) == [])
        #expect(check.due(now: at(90)) == [bob])
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_OK), now: at(95), groups: { _ in [] }) == [])
        #expect(check.due(now: at(154)) == [])
        #expect(check.due(now: at(155)) == [alice])
    }

    @Test(arguments: [
        MARTLET_DIRECTORY_DISABLED, MARTLET_DIRECTORY_LOCKED, MARTLET_DIRECTORY_EXPIRED, MARTLET_DIRECTORY_PASSWORD_EXPIRED, MARTLET_DIRECTORY_NO_SUCH_USER, MARTLET_DIRECTORY_AMBIGUOUS,
    ]) func anAccountThatIsNoLongerGoodLosesEveryTunnel(outcome: martlet_directory_outcome) {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1), now: at(0))
        check.established(alice, member(2, "other"), now: at(0))
        #expect(check.due(now: at(60)) == [alice])
        let ends = check.answered(alice, answer(outcome, reason: "it is disabled"), now: at(60), groups: { _ in nil })
        #expect(ends == [.init(member: member(1), reason: "it is disabled"), .init(member: member(2, "other"), reason: "it is disabled")])
    }

    @Test(arguments: [MARTLET_DIRECTORY_DOWN, MARTLET_DIRECTORY_SLOW, MARTLET_DIRECTORY_LYING, MARTLET_DIRECTORY_BUSY, MARTLET_DIRECTORY_CANCELLED])
    func aDirectoryInTroubleEndsNobody(outcome: martlet_directory_outcome) {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1), now: at(0))
        #expect(check.due(now: at(60)) == [alice])
        #expect(check.answered(alice, answer(outcome, reason: "down"), now: at(61), groups: { _ in ["vpn"] }) == [])
        #expect(check.due(now: at(121)) == [alice])
    }

    @Test func whoLeavesTheGroupLosesTheTunnelThatItGave() {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1, "admins"), now: at(0))
        check.established(alice, member(2, "everybody"), now: at(0))
        _ = check.due(now: at(60))
        let ends = check.answered(alice, answer(MARTLET_DIRECTORY_OK, groups: ["vpn"]), now: at(60)) { $0 == "admins" ? ["admins", "operators"] : [] }
        #expect(ends == [.init(member: member(1, "admins"), reason: "the account alice is in none of the groups admins, operators")])
        _ = check.due(now: at(120))
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_OK, groups: ["Operators"]), now: at(120)) { _ in ["operators"] } == [])
    }

    @Test func whoIsGoneIsNotAskedAndNothingStays() {
        var check = LiveCheck(interval: .seconds(60))
        check.established(alice, member(1), now: at(0))
        check.rekeyed(IKESAID(rawValue: 1), member(2))
        check.closed(IKESAID(rawValue: 1))
        #expect(!check.isEmpty)
        #expect(check.due(now: at(70)) == [alice])
        check.closed(IKESAID(rawValue: 2))
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_DISABLED), now: at(70), groups: { _ in nil }) == [])
        #expect(check.isEmpty && check.due(now: at(1000)) == [])
        // Late and second answers do nothing.
        #expect(check.answered(alice, answer(MARTLET_DIRECTORY_DISABLED), now: at(70), groups: { _ in nil }) == [])
    }

    @Test func onlySoManyAreAskedAtOnce() {
        var check = LiveCheck(interval: .seconds(60))
        for number in 0..<50 { check.established([UInt8(number)], member(UInt64(number)), now: at(Int64(number % 3))) }
        let first = check.due(now: at(100))
        #expect(first.count == LiveCheck.limit && check.due(now: at(100)) == [])
        for user in first { _ = check.answered(user, answer(MARTLET_DIRECTORY_OK), now: at(101), groups: { _ in nil }) }
        let second = check.due(now: at(101))
        #expect(second.count == LiveCheck.limit && Set(first).isDisjoint(with: second))
    }
}
