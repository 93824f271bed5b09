// Asks the directory of users who are connected, as `gateway { directory_check }` says, and ends their tunnels where it says no. On the control loop.

import IKECore
import IKEWire

extension RunningGateway {
    /// A user of the directory has come in.
    func watchAccount(of sa: IKESAStatus, shard: Int) {
        let interval = sources.files.gateway.directoryCheck
        guard !sa.isInitiator, interval > .zero, plugins.directory(named: nil) != nil, let remote = sources.connection(named: sa.connection)?.remote,
            remote.isEAP || remote.method.hasPrefix("pubkey") && sa.account != nil,
            let user = sa.remoteEAPIdentity?.eapIdentity ?? sa.remoteIdentity?.accountName, !remote.isEAP || sa.account != nil || !runner.knows(user)
        else { return }
        liveCheck.interval = interval
        liveCheck.established(user, LiveCheck.Member(sa: sa.id, shard: shard, connection: sa.connection), now: Instant.now())
        armLiveCheck()
    }

    private func armLiveCheck() {
        guard !isLiveCheckArmed, !liveCheck.isEmpty, !isEnding else { return }
        isLiveCheckArmed = true
        // Often enough that nobody is asked much later than the interval says.
        loop.arm(after: max(.milliseconds(200), min(liveCheck.interval / 10, .seconds(5)))) { [unowned self] in
            isLiveCheckArmed = false
            askOfAccounts()
            armLiveCheck()
        }
    }

    private func askOfAccounts() {
        let interval = sources.files.gateway.directoryCheck
        guard interval > .zero, let directory = plugins.directory(named: nil) else { return }
        liveCheck.interval = interval
        for user in liveCheck.due(now: Instant.now()) {
            let asked = directory.ask(.account, user: user, deadline: (Instant.now() + .seconds(15)).nanoseconds) { [weak self] answer, _ in
                self?.loop.post { [weak self] in self?.accountAnswered(user, answer) }
            }
            if asked == nil { accountAnswered(user, .unavailable) }
        }
    }

    private func accountAnswered(_ user: [UInt8], _ answer: DirectoryAnswer) {
        if answer.isOfDirectory { log.write(.debug, "IKE", "the account \(Identification(eap: user)) could not be checked: \(answer.reason)") }
        let endings = liveCheck.answered(user, answer, now: Instant.now()) { sources.connection(named: $0)?.remote.groups }
        for ending in endings {
            let sa = ending.member.sa
            log.write(.info, "IKE", "IKE SA #\(sa.rawValue) of \(Identification(eap: user)) ends: \(ending.reason)", connection: ending.member.connection, ikeSA: sa.rawValue)
            willEnd(sa, .account, ending.reason)
            event(.terminate(.ikeSA(sa), request: nil), to: ending.member.shard)
        }
    }
}
