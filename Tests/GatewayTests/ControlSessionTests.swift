// The control session without a socket: order, registrations, streams and slow readers.
import Testing
import ViciWire

@testable import Gateway

@Suite struct ControlSessionTests {
    /// Takes all output and decodes it.
    private func drain(_ session: inout ControlSession) throws -> [ViciPacket] {
        var framer = ViciFramer()
        var packets: [ViciPacket] = []
        while session.hasOutput {
            let front = session.front
            framer.append(front)
            session.wrote(front.count)
            while let frame = try framer.next() { packets.append(try ViciPacket(decoding: frame)) }
        }
        return packets
    }

    private func expectNothing(_ session: inout ControlSession) throws {
        let next = try session.next()
        #expect(next == nil)
    }

    private func taken(_ session: inout ControlSession) throws -> (id: ControlSession.CommandID, request: ControlRequest) {
        let next = try session.next()
        return try #require(next)
    }

    private func session(_ change: (inout ControlLimits) -> Void = { _ in }) -> ControlSession {
        var limits = ControlLimits()
        change(&limits)
        return ControlSession(limits: limits)
    }

    private func request(_ name: String, _ arguments: [(String, String)] = []) throws -> [UInt8] {
        var message = ViciMessage()
        for (key, value) in arguments { message.add(key, value) }
        return try ViciPacket.commandRequest(name: name, message).framed()
    }

    @Test func answersRegistrations() throws {
        var session = session()
        for name in ["log", "nothing"] { session.receive(try ViciPacket.eventRegister(name: name).framed()[...]) }
        for name in ["log", "log"] { session.receive(try ViciPacket.eventUnregister(name: name).framed()[...]) }
        try expectNothing(&session)
        let drained = try drain(&session)
        #expect(drained == [.eventConfirm, .eventUnknown, .eventConfirm, .eventUnknown])
    }

    @Test func holdsTheNextCommandUntilTheOpenOneIsAnswered() throws {
        var session = session()
        session.receive(try (request("version") + request("stats") + request("rekey"))[...])
        let first = try taken(&session)
        #expect(first.request == .version)
        try expectNothing(&session)
        #expect(!session.wantsInput)
        session.respond(first.id, ViciMessage())
        let second = try taken(&session)
        #expect(second.request == .stats)
        // A late answer to the first is not taken for one to the second.
        let late = session.respond(first.id, ViciMessage())
        let answered = session.respond(second.id, ViciMessage())
        let twice = session.respond(second.id, ViciMessage())
        #expect([late, answered, twice] == [false, true, false])
        let third = try taken(&session)
        guard case .invalid = third.request else {
            Issue.record("a rekey of nothing was taken: \(third.request)")
            return
        }
    }

    @Test func readsCommandsAndArguments() throws {
        func parse(_ name: String, _ arguments: [(String, String)] = []) -> ControlRequest {
            var message = ViciMessage()
            for (key, value) in arguments { message.add(key, value) }
            return ControlRequest(name: name, message)
        }
        #expect(parse("list-sas", [("ike", "gw"), ("child-id", "7")]) == .listSAs(SAFilter(ike: "gw", childID: 7)))
        #expect(parse("list-sas", [("noblock", "yes"), ("ike", ""), ("ike-id", "0")]) == .listSAs(SAFilter()))
        #expect(
            parse("initiate", [("child", "net"), ("timeout", "2000"), ("loglevel", "2")])
                == .initiate(
                    InitiateRequest(child: "net", ike: nil, timeout: .seconds(2)),
                    ControlWait(limit: .limited(.seconds(2)), logLevel: 2)))
        #expect(
            parse("initiate", [("ike", "gw"), ("timeout", "-1")])
                == .initiate(InitiateRequest(child: nil, ike: "gw"), ControlWait(limit: .none, logLevel: 1)))
        #expect(
            parse("terminate", [("ike-id", "3"), ("force", "yes")])
                == .terminate(TerminateRequest(filter: SAFilter(ikeID: 3), force: true), ControlWait(limit: .forever, logLevel: 1)))
        for (name, arguments) in [
            ("initiate", []), ("terminate", []), ("rekey", [("child-id", "x")]), ("terminate", [("ike-id", "-1")]),
            ("initiate", [("child", "net"), ("timeout", "99999999999")]),
        ] as [(String, [(String, String)])] {
            guard case .invalid = parse(name, arguments) else {
                Issue.record("\(name) \(arguments) was taken")
                continue
            }
        }
        #expect(parse("rekey", [("ike", "gw"), ("reauth", "yes")]) == .rekey(RekeyRequest(filter: SAFilter(ike: "gw"), reauthenticates: true)))
        #expect(parse("load-token") == .unsupported("load-token: tokens are not there yet"))
        #expect(parse("load-key") == .invalid("load-key needs data, once"))
        #expect(parse("list-policies", [("trap", "yes"), ("drop", "no")]) == .listPolicies(PolicyFilter(kinds: [.trap, .drop])))
        #expect(parse("make-coffee") == .unknown("make-coffee"))
    }

    @Test func streamsAtTheReadersPaceAndLosesNothingOfIt() throws {
        var session = session { $0.streamLowWater = 2_000 }
        session.receive(try ViciPacket.eventRegister(name: "list-sa").framed()[...])
        session.receive(try request("list-sas")[...])
        let (id, _) = try taken(&session)
        let events = (0..<500).map { SAMessages.list(sampleSA(id: UInt64($0)), children: sampleSA().children)[0] }
        session.respond(id, streaming: events, as: .listSA)
        #expect(session.queuedBytes < 5_000)
        let packets = try drain(&session)
        #expect(packets == [.eventConfirm] + events.map { .event(name: "list-sa", $0) } + [.commandResponse(ViciMessage())])
        #expect(session.openCommand == nil)
    }

    @Test func streamsNothingToWhoHasNotRegistered() throws {
        var session = session()
        session.receive(try request("list-sas")[...])
        let (id, _) = try taken(&session)
        session.respond(id, streaming: [ViciMessage()], as: .listSA)
        let drained = try drain(&session)
        #expect(drained == [.commandResponse(ViciMessage())])
    }

    @Test func aSlowReaderLosesEventsWithANotice() throws {
        var session = session { $0.queuedEvents = 3 }
        session.receive(try ViciPacket.eventRegister(name: "log").framed()[...])
        try expectNothing(&session)
        var first = 0
        for number in 0..<10 {
            var message = ViciMessage()
            message.add("msg", number)
            if !session.offer(.log, message) { first += 1 }
        }
        #expect(first == 1, "one report for an episode")
        #expect(session.lostEvents == 8)  // the confirmation and two events wait
        let packets = try drain(&session)
        let texts = packets.compactMap { packet -> String? in
            if case .event(name: "log", let message) = packet { message["msg"] } else { nil }
        }
        #expect(texts.count == 3)
        #expect(texts.first == "0")
        #expect(texts.last == "8 events lost: this client reads too slowly")
        #expect(session.lostEvents == 0)
        // It goes on afterwards.
        session.offer(.log, ViciMessage())
        let more = try drain(&session)
        #expect(more.count == 1)
    }

    @Test func aSlowReaderOfOtherEventsIsToldWithTheNext() throws {
        var session = session { $0.queuedEvents = 2 }
        session.receive(try ViciPacket.eventRegister(name: "ike-updown").framed()[...])
        try expectNothing(&session)
        for _ in 0..<4 { session.offer(.ikeUpDown, SAMessages.ikeUpDown(isUp: true, sampleSA())) }
        _ = try drain(&session)
        session.offer(.ikeUpDown, SAMessages.ikeUpDown(isUp: false, sampleSA()))
        let packets = try drain(&session)
        guard case .event(name: "ike-updown", let message) = try #require(packets.first) else {
            Issue.record("no event")
            return
        }
        #expect(message["martlet-lost-events"] == "3")
    }

    @Test func eventsAreNotQueuedForWhoDidNotRegister() {
        var session = session()
        session.offer(.log, ViciMessage())
        #expect(!session.hasOutput)
        #expect(session.lostEvents == 0)
    }

    @Test func refusesWhatBreaksTheProtocol() throws {
        for bytes in [
            [0, 8, 0, 1],  // a packet above 512 KiB
            [0, 0, 0, 0],  // an empty one
            [0, 0, 0, 1, 9],  // of an unknown type
            [0, 0, 0, 1, 5],  // what only a server says
            [0, 0, 0, 3, 0, 0, 2],  // a message that ends a section it did not begin
        ] as [[UInt8]] {
            var session = self.session()
            session.receive(bytes[...])
            do {
                _ = try session.next()
                Issue.record("\(bytes) was taken")
            } catch {
                // As it should be.
            }
        }
    }

    @Test func aRegistrationFloodIsHeldBack() throws {
        var session = session { $0.queuedBytes = 1_000 }
        let flood = try (0..<10_000).flatMap { _ in try ViciPacket.eventRegister(name: "log").framed() }
        session.receive(flood[...])
        try expectNothing(&session)
        #expect(session.queuedBytes <= 1_005)
        #expect(!session.wantsInput)
        var confirmations = 0
        for _ in 0..<10_000 {
            confirmations += try drain(&session).count
            try expectNothing(&session)
            if !session.hasOutput { break }
        }
        #expect(confirmations == 10_000)
    }

    @Test func anAnswerThatFitsNoPacketBecomesARefusal() throws {
        var session = session()
        session.receive(try request("stats")[...])
        let (id, _) = try taken(&session)
        session.respond(id, ViciMessage([.value("k", [UInt8](repeating: 0, count: 70_000))]))
        let answers = try drain(&session)
        guard case .commandResponse(let message) = try #require(answers.first) else {
            Issue.record("no response")
            return
        }
        #expect(message["success"] == "no")
    }
}
