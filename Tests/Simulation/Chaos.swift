// Two and three endpoints, everything that can go wrong with networks and hosts, and operators who do what they like: after every event each
// endpoint's books are in order, and when it is quiet again both ends agree and what the configuration wants up is up.
// RFC 7296 sections 2.1 to 2.4, 2.8, 2.23 and 2.25.

import IKEWire
import Synchronization
import TestSupport
import Testing

@testable import IKECore

@Suite struct Chaos {
    @Test func theBooksAreInOrderAndBothEndsAgreeInTheEnd() async {
        await Seeds.run("Chaos", share: 70, known: [3592, 11_972, 14_585, 21_161]) { Chaos.run($0) }
        // A quarter or so of all runs.
        if Seeds.of(share: 70).count >= 50 { #expect(Chaos.withEAP.withLock { $0 } > 0) }
    }

    /// A run leaves nothing behind in memory: 50,000 of them fit a small machine.
    @Test func aRunIsForgotten() {
        struct Remnant {
            weak var node: Node?
            weak var sa: IKESA?
        }
        for seed in 1...12 as ClosedRange<UInt64> {
            func remnants() -> [Remnant] {
                let run = ChaosRun(seed)
                _ = run.execute()
                let sas = run.world.nodes.flatMap { $0.endpoint.all }
                #expect(!sas.isEmpty)
                return run.world.nodes.map { Remnant(node: $0) } + sas.map { Remnant(sa: $0) }
            }
            let left = remnants()
            #expect(left.allSatisfy { $0.node == nil && $0.sa == nil }, "seed \(seed)")
        }
    }

    /// How many runs had somebody in the middle of EAP.
    private static let withEAP = Mutex(0)

    /// After this much quiet both sides agree, and what should be up is: a peer that is silent is noticed (10 s and 65 s of retransmissions), an
    /// exchange that waits for it as well, what is replaced waits a minute for its Delete, and then an initiation begins, which may have to
    /// be tried again.
    static let settling = 400

    static func run(_ seed: UInt64) -> [String] {
        let run = ChaosRun(seed)
        defer { if run.watcher.meetsEAP { withEAP.withLock { $0 += 1 } } }
        return run.execute()
    }

    /// What the run of a seed has sent, as a number.
    static func trace(_ seed: UInt64) -> UInt64 {
        let run = ChaosRun(seed)
        run.world.keepsTrace = true
        _ = run.execute()
        return run.world.trace
    }
}

private final class ChaosRun {
    let scenario: Scenario
    let world: World
    let watcher: Watcher
    let shell: Shell
    let seed: UInt64
    var request: UInt64 = 0
    var roamed: UInt32 = 0
    /// Connections of which an operator has ended something, so that nothing has to be up.
    var ended: Set<String> = []

    init(_ seed: UInt64) {
        self.seed = seed
        scenario = Scenario(seed: seed)
        world = scenario.world
        watcher = Watcher(world)
        shell = Shell(world)
    }

    func execute() -> [String] {
        let hazards = scenario.hazards
        if hazards.contains(.network) {
            world.faults = Faults(
                loss: Double(world.number(0...25)) / 100, duplication: 0.1, corruption: 0.03, delay: 1...world.number(2...80), stragglers: world.chance(0.3) ? 0.05 : 0)
        }
        var mishaps = Mishaps.none
        if hazards.contains(.jobs) { (mishaps.lateJobs, mishaps.lostJobs, mishaps.failedJobs) = (0.05, 0.02, 0.03) }
        if hazards.contains(.plane) { (mishaps.lateInstalls, mishaps.lostInstalls, mishaps.failedInstalls) = (0.1, 0.05, 0.05) }
        for node in world.nodes { node.mishaps = mishaps }
        for node in world.nodes { shell.boot(node) }
        advance(.milliseconds(world.number(10...3000)))
        for _ in 0..<world.number(3...8) where !watcher.isBroken {
            for node in world.nodes {
                guard !watcher.isBroken else { break }
                act(node)
            }
            advance(world.chance(0.3) ? .seconds(world.number(1...40)) : .milliseconds(world.number(5...400)))
        }
        quiet()
        return judge()
    }

    private func advance(_ duration: Duration) { world.run(duration) { watcher.isBroken } }

    // MARK: What happens

    private func ask() -> RequestID {
        request += 1
        return RequestID(rawValue: request)
    }

    private func act(_ node: Node) {
        let links = scenario.links.filter { $0.initiator === node || $0.responder === node }
        let link = links[Int(world.number(0...Int64(links.count - 1)))]
        let peer = link.initiator === node ? link.responder : link.initiator
        let hazards = scenario.hazards
        if hazards.contains(.operators) { for _ in 0..<world.number(0...2) { operate(node, link) } }
        if hazards.contains(.acquires), world.chance(0.3), link.initiator === node {
            let number: UInt32 = world.chance(0.5) ? 0 : 20
            let local = Fixtures.network(number + 1), remote = Fixtures.network(number + 2)
            let packet = TriggeringPacket(source: TrafficSelector(host: local.start), destination: TrafficSelector(host: remote.start))
            shell.initiate(node, link.name, number == 0 ? "net" : "second", world.chance(0.5) ? ask() : nil, packet: packet)
        }
        if hazards.contains(.expiry), world.chance(0.3), let child = node.children.first { world.schedule(.childSAExpired(child.id, hard: world.chance(0.5)), for: node, after: world.number(0...50)) }
        if hazards.contains(.reloads), world.chance(0.2) { reload(node, link) }
        if hazards.contains(.restarts), world.chance(0.15) { restart(node) }
        if hazards.contains(.sleep), world.chance(0.15) { sleep(node) }
        if hazards.contains(.leaps), world.chance(0.15) {
            node.leap(world.chance(0.7) ? .seconds(world.number(1...120)) : .seconds(world.number(3600...200_000)))
            world.note(node, "clock leaps")
        }
        if hazards.contains(.partitions), world.chance(0.2) {
            world.cut(node, peer)
            world.note(node, "cut from \(peer.name)")
            world.schedule(after: world.number(100...90_000)) { [unowned self] in world.mend(node, peer) }
        }
        if hazards.contains(.rebinding), world.chance(0.2), node.isBehindNAT {
            node.rebind()
            world.note(node, "NAT forgets")
        }
        if hazards.contains(.roaming), world.chance(0.2), link.initiator === node { roam(node) }
        if world.chance(0.3) { world.streamTraffic(node) }
    }

    private func operate(_ node: Node, _ link: Link) {
        let mayBegin = link.isSymmetric || link.initiator === node
        let after = world.number(0...30)
        switch world.number(0...14) {
        case 0, 1, 2: world.schedule(.rekey(.child("net", connection: link.name), request: ask()), for: node, after: after)
        case 3: world.schedule(.rekey(.child("second", connection: nil), request: ask()), for: node, after: after)
        case 4, 5, 6: world.schedule(.rekey(.connection(link.name), request: ask()), for: node, after: after)
        case 7: world.schedule(.terminate(.child("second", connection: link.name), request: ask()), for: node, after: after)
        case 8 where world.chance(0.4):
            ended.insert(link.name)
            world.schedule(.terminate(world.chance(0.5) ? .connection(link.name) : .child("net", connection: link.name), request: ask()), for: node, after: after)
        case 9: world.schedule(.reauthenticate(.connection(link.name), request: ask()), for: node, after: after)
        // Which is no tunnel, and says so.
        case 10: shell.initiate(node, link.name, world.chance(0.5) ? "bypass" : "block", ask())
        default: if mayBegin { shell.initiate(node, link.name, world.chance(0.7) ? "second" : "net", ask()) }
        }
    }

    private func reload(_ node: Node, _ link: Link) {
        let original = scenario.configurations[node.index]
        var new = original
        guard let place = new.firstIndex(where: { $0.name == link.name }) else { return }
        switch world.number(0...4) {
        case 0: new.remove(at: place)
        case 1: new[place].children.removeAll { $0.name == "second" }
        case 2: for index in new[place].children.indices where new[place].children[index].name == "second" { new[place].children[index].localTS = [.fixed(Fixtures.network(40))] }
        case 3: new[place].local.identity = .exactly(Fixtures.identity("nobody.example"))
        default: new[place].dpdDelay = .seconds(world.number(5...20))
        }
        world.note(node, "reads its configuration")
        shell.reload(node, new)
        world.schedule(after: world.number(10...20_000)) { [unowned self] in
            world.note(node, "reads its old configuration")
            shell.reload(node, original)
        }
    }

    private func restart(_ node: Node) {
        guard !node.isDown else { return }
        node.isDown = true
        world.note(node, "crashes")
        world.schedule(after: world.number(50...60_000)) { [unowned self] in
            node.restart()
            watcher.restarted(node)
            world.note(node, "starts")
            shell.boot(node)
        }
    }

    private func sleep(_ node: Node) {
        guard !node.isDown else { return }
        world.sleep(node)
        let time = world.chance(0.7) ? world.number(100...30_000) : world.number(30_000...200_000)
        let still = world.chance(0.5)
        world.schedule(after: time) { [unowned self] in if node.isAsleep { world.wake(node, clockStoodStill: still ? .milliseconds(time) : .zero) } }
    }

    private func roam(_ node: Node) {
        roamed += 1
        world.note(node, "roams")
        let address = IPAddress(v4: 0xc633_6400 + roamed)
        node.roam(to: address, behind: world.chance(0.5) ? nil : NAT(IPAddress(v4: 0xcb00_7200 + roamed)))
        // A host that is down sees when it starts where it is.
        if !node.isDown || node.isAsleep { world.schedule(.localAddressesChanged([address]), for: node, after: 0) }
    }

    // MARK: The end

    private func quiet() {
        world.faults = .none
        for node in world.nodes { node.mishaps = .none }
        // What is cut, asleep or down comes back by itself.
        advance(.seconds(210))
        world.mendAll()
        // What an operator ended he now begins.
        for link in scenario.links where ended.contains(link.name) { shell.initiate(link.initiator, link.name, "net", ask()) }
        for _ in 0..<Chaos.settling where !watcher.isBroken {
            advance(.seconds(1))
            if verdict(quick: true).isEmpty { return }
        }
    }

    /// What is not as it should be when all is quiet.
    private func verdict(quick: Bool) -> [String] {
        var wrong = Agreement.differences(world.nodes)
        if quick, !wrong.isEmpty { return wrong }
        for node in world.nodes {
            let unanswered = watcher.unanswered(node)
            if !unanswered.isEmpty { wrong.append("\(node.name) has not answered the requests \(unanswered)") }
            wrong += Audit.unserved(node)
            let held = node.endpoint.context.holdings.jobs.count
            // One that was overtaken by the peer's exchange is waited for no more, and still has an owner until it is done.
            if held > 0, !scenario.hazards.contains(.jobs) { wrong.append("\(node.name) has \(held) jobs that nobody does") }
        }
        for link in scenario.links {
            for node in [link.initiator, link.responder]
            where !node.established.contains(where: { sa in sa.connection == link.name && sa.children.contains { $0.name == "net" && $0.state == .installed } }) {
                wrong.append("\(link.name) is not up at \(node.name)")
            }
        }
        return wrong
    }

    private func judge() -> [String] {
        var wrong = watcher.findings
        if wrong.isEmpty { wrong = verdict(quick: false) }
        if wrong.isEmpty {
            for node in world.nodes {
                let sent = node.plane.outbound().count
                let before = world.packets.refused.count
                let arrived = world.sendTraffic(node)
                if arrived != sent { wrong.append("of \(sent) packets of \(node.name)'s \(arrived) arrived; \(world.packets.refused.dropFirst(before))") }
            }
        }
        guard !wrong.isEmpty else { return [] }
        return wrong + ["\(scenario.topology), hazards: \(scenario.hazards.text), \(world.steps) steps"] + world.nodes.map(Agreement.describe)
            + world.log.suffix(Seeds.only == nil ? 14 : 600).map { "    " + $0 }
    }
}
