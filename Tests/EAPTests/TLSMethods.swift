// EAP-TLS, TTLS and PEAP: both ends against each other with certificates made for the test; what must not be believed, lengths that lie, and messages that are none.

@testable import EAPMethods
import PluginABI
import PluginKit
import Testing

/// Versions of TLS are a setting of the plugin, which all of these share.
@Suite(.serialized) struct TLSMethods {
    private struct Parties {
        let server: Conversation
        let client: Conversation
        let certificates: (server: [UInt8], client: [UInt8])
    }

    static nonisolated(unsafe) let methods: [UnsafePointer<martlet_eap_method>] = [EAPTLS.method, TTLS.method, PEAP.method]

    private func use(_ change: (inout Settings) -> Void) {
        var settings = Settings()
        change(&settings)
        Settings.use(settings)
    }

    private func parties(_ index: Int, padding: Int = 0, hasKey: Bool = true, password: String = "right", server hash: Bool = false, name: String = "carol@example.org") throws -> Parties {
        let root = try #require(TestPKI())
        let server = try #require(root.issue("gateway", san: "DNS:vpn.example", usage: "serverAuth", padding: padding))
        let client = try #require(root.issue("user", san: "email:carol@example.org", usage: "clientAuth", padding: padding))
        let a = try #require(
            Conversation(
                Self.methods[index], server: true, identity: "carol@example.org", name: "vpn.example",
                items: [(1, 0, server.certificate), (3, 0, hasKey ? server.key : client.key), (1, 1, root.root)],
                certificates: [server.certificate]))
        let b = try #require(
            Conversation(
                Self.methods[index], server: false, identity: name, name: "vpn.example", items: [(1, 0, client.certificate), (3, 0, client.key), (1, 1, root.root)],
                certificates: [client.certificate]))
        if hash {
            let secret = SecretMemory(count: 5)
            for (index, byte) in "right".utf8.enumerated() { secret.pointer[index] = byte }
            a.hashes["carol@example.org"] = NTHash.of(secret).octets
        } else {
            a.passwords["carol@example.org"] = Array("right".utf8)
        }
        b.passwords[name] = Array(password.utf8)
        return Parties(server: a, client: b, certificates: (server.certificate, client.certificate))
    }

    @Test(arguments: [0, 6000], [true, false]) func bothEndsAreContent(_ padding: Int, _ tls13: Bool) throws {
        use { $0.allowsTLS13 = tls13 }
        defer { use { _ in } }
        for index in Self.methods.indices {
            let parties = try parties(index, padding: padding)
            let end = talk(parties.server, parties.client)
            #expect(end.server?.outcome == MARTLET_EAP_SUCCESS.rawValue, "\(String(describing: end.server?.reason))")
            #expect(end.client?.outcome == MARTLET_EAP_SUCCESS.rawValue, "\(String(describing: end.client?.reason))")
            #expect(end.server?.key == end.client?.key)
            #expect(end.server?.key.count == 64 && end.server?.key != [UInt8](repeating: 0, count: 64))
            // Each was asked about the other's, once, before it was content.
            #expect(parties.client.shown.map(\.first) == [parties.certificates.server])
            #expect(parties.server.shown.map(\.first) == (index == 0 ? [parties.certificates.client] : []))
        }
    }

    /// Until the client has signed with the key of its certificate nobody is asked about that: it may be anybody's.
    @Test func aCertificateIsJudgedWithItsProof() throws {
        use { $0.allowsTLS13 = false }
        defer { use { _ in } }
        let parties = try parties(0)
        var kept: [UInt8] = []
        let end = talk(parties.server, parties.client) { number, message in
            // The flight with the certificate (11), cut before CertificateVerify (15): records of the handshake are type, version, length.
            var at = 1, kinds: [UInt8] = []
            while number % 2 == 1, kept.isEmpty, at + 6 <= message.count {
                if message[at] == 22, message[at + 5] == 15, kinds.contains(11) {
                    kept = Array(message[at...])
                    return Array(message[..<at])
                }
                if message[at] == 22 { kinds.append(message[at + 5]) }
                at += 5 + (Int(message[at + 3]) << 8 | Int(message[at + 4]))
            }
            return message
        }
        #expect(!kept.isEmpty && end.server?.outcome == MARTLET_EAP_CONTINUE.rawValue && parties.server.shown.isEmpty, "\(String(describing: end.server))")
        // With the rest it is.
        _ = parties.server.step([0] + kept)
        #expect(parties.server.shown.map(\.first) == [parties.certificates.client])
    }

    /// OpenSSL's context, with our key in it, is made once for all conversations of one generation, and goes with the last of them: there is no host here that would keep it for longer.
    @Test func aContextIsSharedAndGoesWithItsConversations() throws {
        let root = try #require(TestPKI()), server = try #require(root.issue("gateway", san: "DNS:vpn.example", usage: "serverAuth"))
        func conversation(like other: Conversation? = nil) throws -> Conversation {
            try #require(
                Conversation(
                    EAPTLS.method, server: true, name: "vpn.example", items: [(1, 0, server.certificate), (3, 0, server.key), (1, 1, root.root)], certificates: [server.certificate], like: other))
        }
        func context(_ conversation: Conversation) throws -> TLSContext {
            _ = conversation.step(nil)
            _ = conversation.step([0, 0x16])
            return try #require((conversation.inner as? TLSConversation)?.session?.context)
        }
        weak var kept: TLSContext?
        do {
            let a = try conversation(), b = try conversation(like: a), other = try conversation()
            let first = try context(a)
            #expect(try context(b) === first)
            // Certificates that were loaded since are of another generation.
            #expect(try context(other) !== first)
            kept = first
        }
        #expect(kept == nil)
    }

    /// Peers that have proven nothing hold so much between them, and each a little that nobody takes away.
    @Test func whatStrangersHoldIsBounded() throws {
        let root = try #require(TestPKI()), server = try #require(root.issue("gateway", san: "DNS:vpn.example", usage: "serverAuth"))
        func conversation() throws -> Conversation {
            let made = try #require(
                Conversation(EAPTLS.method, server: true, name: "vpn.example", items: [(1, 0, server.certificate), (3, 0, server.key), (1, 1, root.root)], certificates: [server.certificate]))
            _ = made.step(nil)
            return made
        }
        let piece = [0x40] + [UInt8](repeating: 0x16, count: 4_000)
        func fill(_ conversation: Conversation, pieces: Int) -> Result? {
            var last: Result?
            for _ in 0..<pieces where last == nil || last?.outcome == MARTLET_EAP_CONTINUE.rawValue { last = conversation.step(piece) }
            return last
        }
        var all: [Conversation] = [], refusal: Result?
        while refusal == nil, all.count < 1_000 {
            let next = try conversation()
            let last = fill(next, pieces: 15)
            if last?.outcome != MARTLET_EAP_CONTINUE.rawValue { refusal = last } else { all.append(next) }
        }
        // 60,000 octets each, of which 8,192 are sure.
        #expect((310...324).contains(all.count) && refusal?.status == MARTLET_E_MEMORY, "\(all.count): \(String(describing: refusal))")
        let small = try conversation()
        #expect(fill(small, pieces: 2)?.outcome == MARTLET_EAP_CONTINUE.rawValue)
        // What goes gives it back.
        all.removeLast(2)
        #expect(fill(small, pieces: 10)?.outcome == MARTLET_EAP_CONTINUE.rawValue)
    }

    @Test(arguments: [true, false]) func keysAreNewEachTime(_ tls13: Bool) throws {
        use { $0.allowsTLS13 = tls13 }
        defer { use { _ in } }
        let first = try parties(0), second = try parties(0)
        #expect(talk(first.server, first.client).server?.key != talk(second.server, second.client).server?.key)
    }

    @Test(arguments: [true, false]) func aServerThatIsNotBelievedLearnsNothing(_ tls13: Bool) throws {
        use { $0.allowsTLS13 = tls13 }
        defer { use { _ in } }
        for index in Self.methods.indices {
            let parties = try parties(index)
            parties.client.judge = { _ in MARTLET_E_REJECTED }
            let end = talk(parties.server, parties.client)
            #expect(end.client?.outcome == MARTLET_EAP_FAILURE.rawValue && end.client?.status == MARTLET_E_REJECTED)
            #expect(end.client?.reason == "is not believed: as the test wants it")
            #expect(end.client?.message == [] && end.client?.key == [])
            // Nothing of the client's came after its hello: no certificate, no name.
            #expect(parties.server.shown.isEmpty)
            #expect(end.server?.outcome != MARTLET_EAP_SUCCESS.rawValue)
        }
    }

    @Test(arguments: [true, false]) func aClientThatIsNotBelievedIsRefused(_ tls13: Bool) throws {
        use { $0.allowsTLS13 = tls13 }
        defer { use { _ in } }
        let parties = try parties(0)
        parties.server.judge = { _ in MARTLET_E_REJECTED }
        let end = talk(parties.server, parties.client)
        #expect(end.server?.outcome == MARTLET_EAP_FAILURE.rawValue && end.server?.status == MARTLET_E_REJECTED)
        #expect(end.server?.reason == "is not believed: as the test wants it")
        // No alert of TLS tells the reason.
        #expect(end.server?.message == [] && end.server?.key == [])
        #expect(end.client?.outcome != MARTLET_EAP_SUCCESS.rawValue)
    }

    @Test func whoMayNotLogInIsRefusedInSpiteOfTheCertificate() throws {
        let parties = try parties(0)
        parties.server.mayLogIn = MARTLET_E_REJECTED
        let end = talk(parties.server, parties.client)
        #expect(end.server?.outcome == MARTLET_EAP_FAILURE.rawValue && end.server?.reason == "is disabled, as the test wants it")
    }

    @Test func aCertificateWithoutItsKeyIsOfNoUse() throws {
        for index in Self.methods.indices {
            let parties = try parties(index, hasKey: false)
            let end = talk(parties.server, parties.client)
            #expect(end.server?.reason.contains("has no private key here") == true, "\(String(describing: end.server))")
        }
    }

    static let inside: [(Int, Settings.Inside, [UInt8])] = [(1, .pap, [26]), (1, .mschapv2, [26]), (1, .eap, [26]), (1, .eap, [6]), (1, .eap, [4]), (2, .eap, [26])]

    /// What goes inside the tunnels: PAP, MSCHAPv2, methods of EAP; with a password and with a hash, as far as that goes; a wrong password; answers that come later.
    @Test(arguments: 0..<6) func whatGoesInside(_ number: Int) throws {
        let (index, inside, types) = Self.inside[number]
        use { ($0.ttls, $0.innerTypes) = (inside, types) }
        defer { use { _ in } }
        for (password, hash, isRight) in [("right", false, true), ("right", true, types != [4]), ("wrong", false, false), ("wrong", true, false)] {
            let parties = try parties(index, password: password, server: hash)
            let end = talk(parties.server, parties.client)
            #expect(
                (end.server?.outcome == MARTLET_EAP_SUCCESS.rawValue) == (isRight || types == [4, 26] && password == "right" && !hash),
                "\(inside) \(types) \(password) \(hash): \(String(describing: end))")
            if isRight, types != [4, 26] {
                #expect(end.client?.outcome == MARTLET_EAP_SUCCESS.rawValue && end.server?.key == end.client?.key && end.server?.key.count == 64, "\(String(describing: end.client))")
            } else if password == "wrong", !hash || types.last != 4 {
                #expect(end.server?.status == MARTLET_E_REJECTED, "\(inside) \(types): \(String(describing: end.server))")
            }
        }
    }

    /// Of the methods inside those are offered that somebody can check for that user; where none is, whoever knows the user says why not.
    @Test func whatNobodyCanCheckIsNotOfferedInside() throws {
        defer { use { _ in } }
        for (types, means, finds) in [([26, 6, 4], MARTLET_EAP_BY_CHECK, 0), ([4, 26], MARTLET_EAP_BY_NT_HASH, 1), ([4, 6, 26], MARTLET_EAP_BY_NT_HASH, 1), ([4, 6], MARTLET_EAP_BY_NT_HASH, 1)]
            as [([UInt8], martlet_eap_means, Int)]
        {
            use { ($0.ttls, $0.innerTypes) = (.eap, types) }
            let parties = try parties(1, server: means == MARTLET_EAP_BY_NT_HASH)
            parties.server.means = means.rawValue
            let end = talk(parties.server, parties.client)
            #expect(
                end.server?.outcome == MARTLET_EAP_SUCCESS.rawValue && parties.server.finds == finds && parties.server.lookUps == (types.first { $0 == 6 || $0 == 26 } == 6 ? 1 + finds : 1),
                "\(types): \(String(describing: end.server))")
        }
        use { ($0.ttls, $0.innerTypes) = (.eap, [4]) }
        let parties = try parties(1, server: true)
        parties.server.means = MARTLET_EAP_BY_NT_HASH.rawValue
        #expect(talk(parties.server, parties.client).server?.reason.contains("is as the test wants it") == true)
    }

    /// The name inside is the one outside: connection, address and limits go by that.
    @Test(arguments: 1..<3) func anotherNameInsideIsRefused(_ index: Int) throws {
        let server = try parties(index).server, other = try parties(index, name: "dave@example.org").client
        let end = talk(server, other)
        #expect(end.server?.outcome == MARTLET_EAP_FAILURE.rawValue && end.server?.reason.contains("otherwise inside") == true, "\(String(describing: end.server))")
    }

    /// RFC 9190 section 2.5: with TLS 1.3 the client is content with one octet of zero, and nothing else.
    @Test func theEndOfTLS13CannotBeLeftOut() throws {
        let parties = try parties(0)
        var messages: [[UInt8]] = []
        let end = talk(parties.server, parties.client) { number, message in
            messages.append(message)
            // The record of the end, emptied.
            return number == 4 ? [0] : message
        }
        #expect(messages.count > 4)
        #expect(end.client?.outcome != MARTLET_EAP_SUCCESS.rawValue, "\(String(describing: end.client))")
    }

    /// What is announced and what comes have to be the same, in the first piece and in every other.
    @Test func lengthsThatLieAreRefused() throws {
        func answer(_ pieces: [[UInt8]]) throws -> Result? {
            let server = try parties(0).server
            _ = server.step(nil)
            var last: Result?
            for piece in pieces {
                last = server.step(piece)
                guard last?.outcome == MARTLET_EAP_CONTINUE.rawValue else { break }
            }
            return last
        }
        let some = [UInt8](repeating: 0x16, count: 10)
        for (pieces, words) in [
            ([[0x80, 0, 0, 0, 11] + some], "has announced 11"), ([[0x80, 0, 0, 0, 9] + some], "than the 9 that it has announced"), ([[0xc0, 0, 1, 0, 1] + some], "at once"),
            ([[0xc0, 0xff, 0xff, 0xff, 0xff] + some], "at once"), ([[0xc0, 0, 0, 0, 30] + some, [0xc0, 0, 0, 0, 40] + some], "another length"),
            ([[0x40] + some, [0x80, 0, 0, 0, 20] + some], "another length"), ([[0xc0, 0, 0, 0, 30] + some, [0] + some], "has announced 30"), ([[0x40]], "empty piece"), ([[0x80, 0, 0]], "cut short"),
            ([[]], "without flags"), ([[0x20]], "anew"), ([[UInt8](repeating: 0x40, count: 2)] + Array(repeating: [0x40, 1], count: 200), "more than 128 pieces"),
        ] as [([[UInt8]], String)] {
            let end = try #require(try answer(pieces))
            #expect(end.outcome == MARTLET_EAP_FAILURE.rawValue && end.status == MARTLET_E_INVALID && end.reason.contains(words), "\(words): \(end)")
        }
        // As the client: what does not begin with Start.
        let client = try parties(0).client
        #expect(client.step([0])?.reason.contains("without a Start") == true)
    }

    /// The messages cut short, turned and made longer: refused, and nothing is read that is not there.
    @Test(arguments: [true, false]) func whatIsNoMessageIsRefused(_ tls13: Bool) throws {
        use { $0.allowsTLS13 = tls13 }
        defer { use { _ in } }
        var generator = SystemRandomNumberGenerator()
        for index in Self.methods.indices {
            for round in 0..<10 {
                for _ in 0..<4 {
                    let seed = generator.next()
                    let parties = try parties(index)
                    let end = talk(parties.server, parties.client) { number, message in
                        guard number == round else { return message }
                        var message = message
                        switch seed % 4 {
                        case 0: message = Array(message.prefix(Int(seed >> 8) % max(message.count, 1)))
                        case 1: if !message.isEmpty { message[Int(seed >> 8) % message.count] ^= UInt8(truncatingIfNeeded: seed >> 40) | 1 }
                        case 2: message += [UInt8](repeating: UInt8(truncatingIfNeeded: seed >> 8), count: 64)
                        default: if !message.isEmpty { message[0] = UInt8(truncatingIfNeeded: seed >> 16) }
                        }
                        return message
                    }
                    // Both content with different keys would be two ends that were told different things.
                    if end.server?.outcome == MARTLET_EAP_SUCCESS.rawValue, end.client?.outcome == MARTLET_EAP_SUCCESS.rawValue {
                        #expect(end.server?.key == end.client?.key, "seed \(seed), round \(round)")
                    }
                }
            }
        }
    }
}
