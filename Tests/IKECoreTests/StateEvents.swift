// Every state of an IKE SA against every kind of event: what changes and what is done, as a file that was read line by line against
// RFC 7296 (Tests/Vectors/state-events.txt). With MARTLET_WRITE_GOLDEN=1 it is written anew, to be read before it is committed.

import Foundation
import IKEWire
@testable import TestSupport
import Testing

@testable import IKECore

@Suite struct StateEvents {
    @Test func areAsTheyWereReviewed() throws {
        let text = try StateEvents.head + Situation.all.map { try StateEvents.section($0) }.joined()
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors/state-events.txt")
        if ProcessInfo.processInfo.environment["MARTLET_WRITE_GOLDEN"] == "1" { try text.write(to: file, atomically: true, encoding: .utf8) }
        let expected = try String(contentsOf: file, encoding: .utf8)
        let differs = text.split(separator: "\n", omittingEmptySubsequences: false).difference(from: expected.split(separator: "\n", omittingEmptySubsequences: false))
        let isAsReviewed = differs.isEmpty
        #expect(isAsReviewed, "state-events.txt is not what it was:\n\(differs.prefix(20).map(StateEvents.words).joined(separator: "\n"))")
    }

    private static func words(_ change: CollectionDifference<Substring>.Change) -> String {
        switch change {
        case .insert(let line, let text, _): "now, line \(line + 1): \(text)"
        case .remove(let line, let text, _): "was, line \(line + 1): \(text)"
        }
    }

    private static let head = """
        # What each kind of event does in each state of an IKE SA. Written by Tests/IKECoreTests/StateEvents.swift, and read against RFC 7296 and 4555.
        #
        # event; event: what changes of the SA | what is done | and after it
        #     -x +y: the SA has y instead of x now. "gone" and "closed": it is no more, or answers what the peer repeats and nothing else; its
        #     pairs are removed, and what was asked of it has failed, which is not told each time.
        # A state that is "as" another has the events alone that come out otherwise there; "no such event" are those that cannot come.


        """

    /// What came of each event, in the order of `Stimulus.all`.
    private static func outcomes(_ state: Situation) throws -> [(event: String, outcome: String)] {
        try Stimulus.all.compactMap { event in
            let lab = try Lab(east: state.isEast, mobike: state.hasMobike, eap: state.hasEAP)
            try state.reach(lab)
            let before = lab.situation
            guard let done = try lab.outcome(event) else { return nil }
            let parts = [lab.change(since: before)].filter { !$0.isEmpty } + done
            return (event.name, parts.isEmpty ? "nothing" : parts.joined(separator: " | "))
        }
    }

    private static func section(_ state: Situation) throws -> String {
        let lab = try Lab(east: state.isEast, mobike: state.hasMobike, eap: state.hasEAP)
        try state.reach(lab)
        var text = "## \(state.name)\(state.like.map { ", as \"\($0)\"" } ?? "")\n   \(lab.shown)\n"
        let all = try outcomes(state)
        var usual: [String: String] = [:]
        if let like = state.like, let other = Situation.all.first(where: { $0.name == like }) { for (event, outcome) in try outcomes(other) { usual[event] = outcome } }
        var groups: [(outcome: String, events: [String])] = []
        for (event, outcome) in all where usual[event] != outcome {
            if let place = groups.firstIndex(where: { $0.outcome == outcome }) { groups[place].events.append(event) } else { groups.append((outcome, [event])) }
        }
        let printed = Set(groups.flatMap(\.events))
        for group in groups { text += "\(shortened(group.events, of: all.map(\.event), printed)): \(group.outcome)\n" }
        let come = Set(all.map(\.event))
        let missing = Stimulus.all.map(\.name).filter { usual[$0] != nil && !come.contains($0) }
        if !missing.isEmpty { text += "no such event: \(shortened(missing, of: usual.keys.sorted(), printed.union(missing)))\n" }
        return text + "\n"
    }

    /// All requests, or all answers, in a few words; all others, where those have lines of their own.
    private static func shortened(_ events: [String], of all: [String], _ printed: Set<String>) -> String {
        var events = events
        for prefix in ["request ", "response "] {
            let kind = all.filter { $0.hasPrefix(prefix) }, here = events.filter { $0.hasPrefix(prefix) }
            guard here.count > 8, kind.allSatisfy({ printed.contains($0) }), let place = events.firstIndex(where: { $0.hasPrefix(prefix) }) else { continue }
            events[place] = (here.count == kind.count ? "every " : "every other ") + prefix.dropLast()
            events.removeAll { $0.hasPrefix(prefix) }
        }
        return events.joined(separator: "; ")
    }
}

/// How an SA gets into a state.
struct Situation {
    let name: String
    /// Whether the endpoint is the original initiator.
    let isEast: Bool
    /// Both ends speak MOBIKE.
    var hasMobike = false
    /// The initiator proves itself by EAP.
    var hasEAP = false
    /// The state whose outcomes are left out where this one's are the same.
    var like: String?
    let reach: (Lab) throws -> Void

    static var all: [Situation] { plain + eap }

    private static var plain: [Situation] {
        [
            Situation(name: "generatingKey", isEast: true) { lab in lab.start() },
            Situation(name: "initSent", isEast: true, like: "generatingKey") { lab in
                lab.start()
                lab.work()
            },
            Situation(name: "agreeing", isEast: true, like: "generatingKey") { lab in try lab.answerInit() },
            Situation(name: "signing", isEast: true, like: "agreeing") { lab in
                try lab.answerInit()
                lab.work()
            },
            Situation(name: "authSent", isEast: true, like: "agreeing") { lab in
                try lab.answerInit()
                lab.work(2)
            },
            Situation(name: "verifyingResponder", isEast: true, like: "agreeing") { lab in try lab.answerAuth() },
            Situation(name: "established, installing the first child as the initiator", isEast: true, like: "established") { lab in
                try lab.answerAuth()
                lab.work()
            },
            Situation(name: "closed, the responder was refused", isEast: true, like: "closed by the peer") { lab in
                lab.node.secret = Array("another".utf8)
                try lab.answerAuth()
                lab.work()
            },
            Situation(name: "answering", isEast: false) { lab in lab.receive(lab.peer.initRequest()) },
            Situation(name: "awaitingAuth", isEast: false, like: "answering") { lab in try lab.begin() },
            Situation(name: "verifyingInitiator", isEast: false, like: "awaitingAuth") { lab in try lab.authenticate() },
            Situation(name: "signingAnswer", isEast: false, like: "awaitingAuth") { lab in
                try lab.authenticate()
                lab.work()
            },
            Situation(name: "closed, the initiator was refused", isEast: false, like: "closed by the peer") { lab in
                lab.node.secret = Array("another".utf8)
                try lab.authenticate()
                lab.work()
            },
            Situation(name: "established, installing the first child as the responder", isEast: false, like: "established") { lab in
                try lab.authenticate()
                lab.work(2)
            },
            Situation(name: "established", isEast: false) { lab in try lab.connect() },
            Situation(name: "established as the initiator", isEast: true, like: "established") { lab in try lab.connectAsInitiator() },
            Situation(name: "established, making a key for a child", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.initiate("pfs")
            },
            Situation(name: "established, a child is asked for", isEast: false, like: "established") { lab in
                try lab.connect()
                lab.initiate("second")
            },
            Situation(name: "established, agreeing on a child's key", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.initiate("pfs")
                lab.work()
                try lab.respond(.createChildSA, lab.childAnswer(pfs: true))
            },
            Situation(name: "established, installing a child of ours", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.initiate("second")
                try lab.respond(.createChildSA, lab.childAnswer())
            },
            Situation(name: "established, a child is being rekeyed", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.rekey(.child("net", connection: nil), request: lab.request))
            },
            Situation(name: "established, installing what our rekey made", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.rekey(.child("net", connection: nil), request: lab.request))
                try lab.respond(.createChildSA, lab.childAnswer())
            },
            Situation(name: "established, a child is being rekeyed, and the peer rekeys it", isEast: false, like: "established, a child is being rekeyed") { lab in
                try lab.connect()
                lab.handle(.rekey(.child("net", connection: nil), request: lab.request))
                try lab.ask(.createChildSA, lab.rekeyChild())
            },
            Situation(name: "established, both have rekeyed a child", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.rekey(.child("net", connection: nil), request: lab.request))
                try lab.ask(.createChildSA, lab.rekeyChild())
                lab.install()
                try lab.respond(.createChildSA, lab.childAnswer())
            },
            Situation(name: "established, the peer has rekeyed a child", isEast: false, like: "established") { lab in
                try lab.connect()
                try lab.ask(.createChildSA, lab.rekeyChild())
                lab.install()
            },
            Situation(name: "established, making a key for a rekey of the IKE SA", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.rekey(.connection("site"), request: lab.request))
            },
            Situation(name: "established, the IKE SA is being rekeyed", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.rekey(.connection("site"), request: lab.request))
                lab.work()
            },
            Situation(name: "established, agreeing on the new IKE SA's key", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.rekey(.connection("site"), request: lab.request))
                lab.work()
                try lab.respond(.createChildSA, lab.ikeAnswer())
            },
            Situation(name: "established, both rekey the IKE SA", isEast: false, like: "established, the IKE SA is being rekeyed") { lab in
                try lab.connect()
                lab.handle(.rekey(.connection("site"), request: lab.request))
                lab.work()
                try lab.ask(.createChildSA, lab.rekeyIKE())
                lab.work()
            },
            Situation(name: "established, rekeyed by us", isEast: false, like: "established") { lab in
                try lab.connect()
                lab.handle(.rekey(.connection("site"), request: lab.request))
                lab.work()
                try lab.respond(.createChildSA, lab.ikeAnswer())
                lab.work()
            },
            Situation(name: "established, answering a rekey of the IKE SA", isEast: false, like: "established") { lab in
                try lab.connect()
                try lab.ask(.createChildSA, lab.rekeyIKE())
            },
            Situation(name: "established, rekeyed by the peer", isEast: false, like: "established") { lab in
                try lab.connect()
                try lab.ask(.createChildSA, lab.rekeyIKE())
                lab.work()
            },
            Situation(name: "established, answering a child with a key exchange", isEast: false, like: "established") { lab in
                try lab.connect()
                try lab.ask(.createChildSA, lab.newChild(pfs: true))
            },
            Situation(name: "established, installing a child of the peer's", isEast: false, like: "established, answering a child with a key exchange") { lab in
                try lab.connect()
                try lab.ask(.createChildSA, lab.newChild())
            },
            Situation(name: "established, a child is being deleted", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.terminate(.child("net", connection: nil), request: lab.request))
            },
            Situation(name: "established, the peer has deleted a child", isEast: false, like: "established") { lab in
                try lab.connect()
                try lab.ask(.informational, [.delete(Delete(protocolID: .esp, spis: [0x0102_0304]))])
            },
            Situation(name: "established, liveness is asked after", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                for _ in 0..<2 { lab.deadline() }
            },
            Situation(name: "established, the IKE SA is being deleted", isEast: false, like: "established, a child is asked for") { lab in
                try lab.connect()
                lab.handle(.terminate(.connection("site"), request: lab.request))
            },
            Situation(name: "established, being authenticated anew", isEast: true, like: "established as the initiator") { lab in
                try lab.connectAsInitiator()
                lab.handle(.reauthenticate(.connection("site"), request: lab.request))
            },
            Situation(name: "established with MOBIKE, the peer decides", isEast: false, hasMobike: true, like: "established") { lab in try lab.connect() },
            Situation(name: "established with MOBIKE, the peer's new address is checked", isEast: false, hasMobike: true, like: "established with MOBIKE, the peer decides") { lab in
                try lab.connect()
                try lab.ask(.informational, [.notify(Notify(.updateSAAddresses))], from: Lab.elsewhere)
            },
            Situation(name: "established with MOBIKE, we decide", isEast: true, hasMobike: true, like: "established as the initiator") { lab in try lab.connectAsInitiator() },
            Situation(name: "established with MOBIKE, we look for a way", isEast: true, hasMobike: true, like: "established with MOBIKE, we decide") { lab in
                try lab.connectAsInitiator()
                lab.moveHere()
            },
            Situation(name: "established with MOBIKE, we tell our new address", isEast: true, hasMobike: true, like: "established with MOBIKE, we decide") { lab in
                try lab.connectAsInitiator()
                lab.moveHere()
                lab.work()
            },
            Situation(name: "closed by the peer", isEast: false) { lab in
                try lab.connect()
                try lab.ask(.informational, [.delete(Delete(protocolID: .ike))])
            },
        ]
    }
}

/// Something that happens. Nil where the state has no such thing: a job's result where there is no job, a sealed message where there are no keys.
struct Stimulus {
    let name: String
    let event: (Lab) throws -> Event?

    private static func datagram(_ name: String, _ bytes: @escaping (Lab) throws -> [UInt8]?) -> Stimulus { Stimulus(name: name) { lab in try bytes(lab).map { lab.datagram($0) } } }
    private static func request(_ name: String, _ exchange: ExchangeType, _ payloads: @escaping (Lab) -> [Payload]) -> Stimulus {
        datagram("request " + name) { lab in lab.hasKeys ? try lab.peer.seal(exchange, payloads(lab)) : nil }
    }
    private static func response(_ name: String, _ payloads: @escaping (Lab) -> [Payload]) -> Stimulus {
        datagram("response " + name) { lab in
            guard lab.hasKeys, let asked = lab.lastRequest else { return nil }
            return try lab.peer.seal(asked.exchangeType, payloads(lab), id: asked.messageID, response: true)
        }
    }

    static var all: [Stimulus] { plain + eap }

    private static var plain: [Stimulus] {
        [
            // The peer, or somebody in its name.
            datagram("IKE_SA_INIT request, the same again") { lab in lab.peer.isInitiator && !lab.peer.request.isEmpty ? lab.peer.request : nil },
            datagram("IKE_SA_INIT request to this SA, another") { lab in lab.clear(.ikeSAInit, id: 0, response: false, [.nonce([UInt8](repeating: 9, count: 32))]) },
            datagram("IKE_SA_INIT response") { lab in
                lab.situation.first == ["initSent"] ? try lab.peer.initResponse(to: lab.lastSent) : lab.peer.response.isEmpty || lab.peer.isInitiator ? nil : lab.peer.response
            },
            datagram("IKE_SA_INIT response COOKIE") { lab in lab.clear(.ikeSAInit, id: 0, response: true, [.notify(Notify(.cookie, data: [1, 2, 3]))]) },
            datagram("IKE_SA_INIT response INVALID_KE_PAYLOAD") { lab in lab.clear(.ikeSAInit, id: 0, response: true, [.notify(Notify(.invalidKEPayload, data: [0, 19]))]) },
            datagram("IKE_SA_INIT response NO_PROPOSAL_CHOSEN") { lab in lab.clear(.ikeSAInit, id: 0, response: true, [.notify(Notify(.noProposalChosen))]) },
            datagram("unprotected INFORMATIONAL request INVALID_SPI") { lab in lab.clear(.informational, id: 0, response: false, [.notify(Notify(.invalidIKESPI))]) },
            datagram("unprotected response AUTHENTICATION_FAILED") { lab in
                lab.lastRequest.map { lab.clear($0.exchangeType, id: $0.messageID, response: true, [.notify(Notify(.authenticationFailed))]) }
            },
            datagram("forged request") { lab in lab.hasKeys ? lab.forged(try lab.peer.seal(.informational, [.delete(Delete(protocolID: .ike))])) : nil },
            datagram("forged response") { lab in
                guard lab.hasKeys, let asked = lab.lastRequest else { return nil }
                return lab.forged(try lab.peer.seal(asked.exchangeType, [], id: asked.messageID, response: true))
            },
            datagram("malformed request") { lab in lab.hasKeys ? try lab.peer.seal(.informational, [.unknown(.delete, critical: false, body: [1])]) : nil },
            response("malformed") { _ in [.unknown(.notify, critical: false, body: [1])] },
            datagram("the last request again") { lab in lab.lastAsked },
            datagram("request of a later message ID") { lab in lab.hasKeys ? try lab.peer.seal(.informational, [], id: lab.peer.nextID + 1) : nil },
            datagram("response of another message ID") { lab in lab.hasKeys ? try lab.peer.seal(.informational, [], id: (lab.lastRequest?.messageID ?? 0) + 7, response: true) : nil },
            datagram("IKE_AUTH request") { lab in lab.hasKeys && lab.peer.isInitiator ? try lab.peer.seal(.ikeAuth, try lab.peer.authPayloads()) : nil },
            datagram("IKE_AUTH request of a stranger") { lab in
                guard lab.hasKeys, lab.peer.isInitiator else { return nil }
                return try lab.peer.seal(.ikeAuth, [.identificationInitiator(Fixtures.identity("nobody.example")), try lab.peer.authentication()] + lab.peer.child())
            },
            request("INFORMATIONAL, empty", .informational) { _ in [] },
            request("Delete of the child", .informational) { _ in [.delete(Delete(protocolID: .esp, spis: [0x0102_0304]))] },
            request("Delete of a child that is not there", .informational) { _ in [.delete(Delete(protocolID: .esp, spis: [0x0777_0001]))] },
            request("Delete of the IKE SA", .informational) { _ in [.delete(Delete(protocolID: .ike))] },
            request("AUTHENTICATION_FAILED", .informational) { _ in [.notify(Notify(.authenticationFailed))] },
            request("INVALID_SPI of a pair", .informational) { _ in [.notify(Notify(.invalidSPI, data: (0x0102_0304 as UInt32).bytes))] },
            request("AUTH_LIFETIME", .informational) { _ in [.notify(Notify(.authLifetime, data: (60 as UInt32).bytes))] },
            Stimulus(name: "request UPDATE_SA_ADDRESSES from elsewhere") { lab in
                lab.hasKeys ? lab.datagram(try lab.peer.seal(.informational, [.notify(Notify(.updateSAAddresses))]), from: Lab.elsewhere) : nil
            },
            Stimulus(name: "request INFORMATIONAL, empty, from elsewhere") { lab in lab.hasKeys ? lab.datagram(try lab.peer.seal(.informational, []), from: Lab.elsewhere) : nil },
            request("ADDITIONAL_IP4_ADDRESS", .informational) { _ in [.notify(Notify(.additionalIP4Address, data: Lab.elsewhere.address.bytes))] },
            request("with an unknown critical payload", .informational) { _ in [.unknown(PayloadType(rawValue: 200), critical: true, body: [])] },
            request("new child", .createChildSA) { $0.newChild() },
            request("new child with a key exchange", .createChildSA) { $0.newChild(pfs: true) },
            request("rekey of the child", .createChildSA) { $0.rekeyChild() },
            request("rekey of a child that is not there", .createChildSA) { $0.rekeyChild(spi: 0x0777_0001) },
            request("rekey of the IKE SA", .createChildSA) { $0.rekeyIKE() },
            request("CREATE_CHILD_SA without a nonce", .createChildSA) { Array($0.newChild().dropLast()) },
            request("of an unknown exchange", ExchangeType(rawValue: 77)) { _ in [] },
            Stimulus(name: "response as asked for") { lab in
                guard lab.hasKeys, let asked = lab.lastRequest else { return nil }
                guard asked.exchangeType != .ikeAuth else {
                    return lab.datagram(try lab.peer.seal(.ikeAuth, [lab.peer.identity, try lab.peer.authentication()] + lab.peer.child(), id: asked.messageID, response: true))
                }
                return lab.datagram(try lab.peer.seal(asked.exchangeType, try lab.answer(), id: asked.messageID, response: true))
            },
            response("TEMPORARY_FAILURE") { _ in [.notify(Notify(.temporaryFailure))] },
            response("NO_ADDITIONAL_SAS") { _ in [.notify(Notify(.noAdditionalSAs))] },
            response("INVALID_KE_PAYLOAD") { _ in [.notify(Notify(.invalidKEPayload, data: [0, 19]))] },
            response("SINGLE_PAIR_REQUIRED") { _ in [.notify(Notify(.singlePairRequired))] },
            response("UNACCEPTABLE_ADDRESSES") { lab in lab.cookie + [.notify(Notify(.unacceptableAddresses))] },
            response("with another COOKIE2") { _ in [.notify(Notify(.cookie2, data: [UInt8](repeating: 7, count: 16)))] },
            response("NO_PROPOSAL_CHOSEN") { _ in [.notify(Notify(.noProposalChosen))] },
            response("CHILD_SA_NOT_FOUND") { _ in [.notify(Notify(.childSANotFound))] },
            response("INVALID_SYNTAX") { _ in [.notify(Notify(.invalidSyntax))] },
            response("with an unknown critical payload") { _ in [.unknown(PayloadType(rawValue: 200), critical: true, body: [])] },
            // This host.
            Stimulus(name: "job done") { lab in lab.jobs.first.map { .jobFinished($0.0, lab.node.run($0.1)) } },
            Stimulus(name: "job failed") { lab in lab.jobs.first.map { .jobFinished($0.0, .failed(.crypto(.failed))) } },
            Stimulus(name: "job of nobody") { _ in .jobFinished(JobID(rawValue: 9999), .verified) },
            Stimulus(name: "data plane: installed") { lab in lab.installs.first.map { .childSAInstalled($0, failure: nil) } },
            Stimulus(name: "data plane: refused") { lab in lab.installs.first.map { .childSAInstalled($0, failure: "no memory") } },
            Stimulus(name: "data plane: soft limit") { lab in lab.child.map { .childSAExpired($0, hard: false) } },
            Stimulus(name: "data plane: hard limit") { lab in lab.child.map { .childSAExpired($0, hard: true) } },
            Stimulus(name: "data plane: a packet from elsewhere") { lab in lab.child.map { .peerMoved($0, remote: SocketAddress(address: Fixtures.natAddress, port: 4500)) } },
            Stimulus(name: "data plane: the child is in use") { lab in lab.child.map { .useReported($0, lastInbound: lab.now) } },
            Stimulus(name: "deadline") { lab in lab.endpoint.nextDeadline == nil ? nil : .deadlineReached },
            Stimulus(name: "operator: initiate the child") { lab in lab.initiation("net") },
            Stimulus(name: "operator: initiate another child") { lab in lab.initiation("second") },
            Stimulus(name: "operator: terminate the connection") { _ in .terminate(.connection("site"), request: RequestID(rawValue: 99)) },
            Stimulus(name: "operator: terminate the child") { _ in .terminate(.child("net", connection: nil), request: RequestID(rawValue: 99)) },
            Stimulus(name: "operator: rekey the connection") { _ in .rekey(.connection("site"), request: RequestID(rawValue: 99)) },
            Stimulus(name: "operator: rekey the child") { _ in .rekey(.child("net", connection: nil), request: RequestID(rawValue: 99)) },
            Stimulus(name: "operator: authenticate the connection anew") { _ in .reauthenticate(.connection("site"), request: RequestID(rawValue: 99)) },
            Stimulus(name: "addresses: another one") { _ in .localAddressesChanged([Fixtures.natAddress]) },
            Stimulus(name: "addresses: none") { _ in .localAddressesChanged([]) },
            Stimulus(name: "ICMP: unreachable") { _ in .unreachable(remote: HostilePeer.address, UnreachableReport(reason: .host, reporter: nil)) },
            Stimulus(name: "configuration: gone") { _ in .configurationReplaced([]) },
            Stimulus(name: "configuration: another peer identity") { lab in
                var connection = lab.node.connections[0]
                connection.remote.identity = .exactly(Fixtures.identity("other.example"))
                return .connectionChanged(name: "site", connection)
            },
            Stimulus(name: "configuration: without the child") { lab in
                var connection = lab.node.connections[0]
                connection.children.removeAll { $0.name == "net" }
                return .connectionChanged(name: "site", connection)
            },
            Stimulus(name: "the peer has begun anew") { lab in lab.endpoint.status().first.map { .forget($0.id) } },
            Stimulus(name: "another IKE SA takes its place") { lab in lab.endpoint.status().first.map { .replaced($0.id) } },
            Stimulus(name: "the daemon ends") { _ in .shutDown },
        ]
    }
}
