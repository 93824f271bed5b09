// Asks the directory of users who are connected, as `gateway { directory_check }` says, and ends their tunnels where it says no. On the control loop.

import IKECore
import IKEWire

extension RunningGateway {
    /// A user of the directory has come in.
    func watchAccount(of sa: IKESAStatus, shard: Int) {
        let interval = sources.files.gateway.directoryCheck
        guard !sa.isInitiator, interval > .zero, let remote = sources.connection(named: sa.connection)?.remote, plugins.directory(named: remote.directory) != nil,
            !remote.looksUpNobody || sa.account != nil, remote.isEAP || remote.method.hasPrefix("pubkey") && sa.account != nil,
            let user = sa.remoteEAPIdentity?.eapIdentity ?? sa.remoteIdentity?.accountName, !remote.isEAP || sa.account != nil || !runner.knows(user)
        else { return }
        liveCheck.interval = interval
        liveCheck.established(LiveCheck.Account(user, directory: remote.directory), LiveCheck.Member(sa: sa.id, shard: shard, connection: sa.connection), now: Instant.now())
        armLiveCheck()
    }

    private func armLiveCheck() {
        guard !isLiveCheckArmed, !liveCheck.isEmpty, !isEnding else { return }
        isLiveCheckArmed = true
        loop.arm(after: liveCheck.tick) { [unowned self] in
            isLiveCheckArmed = false
            askOfAccounts()
            armLiveCheck()
        }
    }

    private func askOfAccounts() {
        let interval = sources.files.gateway.directoryCheck
        guard interval > .zero else { return }
        liveCheck.interval = interval
        for user in liveCheck.due(now: Instant.now()) {
            let asked = plugins.directory(named: user.directory)?.ask(.account, user: user.name, deadline: (Instant.now() + .seconds(15)).nanoseconds) { [weak self] answer, _ in
                self?.loop.post { [weak self] in self?.accountAnswered(user, answer) }
            }
            if asked == nil { loop.post { [weak self] in self?.accountAnswered(user, .unavailable) } }
        }
    }

    private func accountAnswered(_ user: LiveCheck.Account, _ answer: DirectoryAnswer) {
        let name = Identification(eap: user.name)
        if answer.isOfDirectory { log.write(.debug, "IKE", "the account \(name) could not be checked: \(answer.reason)") }
        let endings = liveCheck.answered(user, answer) { sources.connection(named: $0)?.remote.groups }
        for ending in endings {
            let sa = ending.member.sa
            log.write(.info, "IKE", "IKE SA #\(sa.rawValue) of \(name) ends: \(ending.reason)", connection: ending.member.connection, ikeSA: sa.rawValue)
            willEnd(sa, .account, ending.reason)
            event(.end(.ikeSA(sa), because: ClosingReason(.operatorRequest, ending.reason)), to: ending.member.shard)
        }
        // So many are asked at once, and the next as soon as one has been answered.
        askOfAccounts()
    }
}
