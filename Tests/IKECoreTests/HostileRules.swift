// What a wrong message leads to, as the RFCs have it: a fault's kind and the message that has it give the outcomes that are allowed.
// Written from the text of the sections named, not from what the code does.

@testable import IKECore
import IKEWire

/// A kind of fault. Each kind has a table of what may follow, by the message that has it.
enum Fault {
    /// None: what the RFC tells the recipient to ignore or to take.
    case harmless(String)
    /// A type, length or value is out of range, or what has to be there is not: INVALID_SYNTAX. Before there are keys nothing is believed.
    case malformed(String)
    /// A payload of an unknown type with the critical bit.
    case critical
    /// Not from the peer, as far as its octets show.
    case forged(String)
    /// Every proposal is one that cannot be taken.
    case proposals(String)
    /// The selectors have nothing in common.
    case selectors(String)
    /// The proof of identity does not hold, or is not there, or is for somebody that nobody knows.
    case authentication(String)
    /// A public value that its group does not have.
    case publicValue
    case only([Outcome], String)

    func allowed(_ scene: Scene) -> (outcomes: Set<Outcome>, section: String) {
        switch self {
        case .harmless(let section): return ([.accepted], section)
        case .forged(let section): return ([.silence], section)
        case .malformed(let section):
            switch scene {
            case .initRequest, .initResponse: return ([.silence], "\(section); 2.21.1, 3.10.1: INVALID_SYNTAX is said under protection alone")
            case .authRequest: return ([.fatal(.invalidSyntax)], "\(section); 2.21.2")
            case .authResponse: return ([.closes], "\(section); 2.21.2")
            // Its SA ends whatever the answer is.
            case .deleteIKEResponse: return ([.accepted], "\(section); 1.4.1")
            default: return ([scene.isRequest ? .fatal(.invalidSyntax) : .closes], "\(section); 2.21.3")
            }
        case .critical:
            switch scene {
            case .initRequest: return ([.refused(.unsupportedCriticalPayload)], "2.5")
            case .initResponse: return ([.silence], "2.5; 2.21.1")
            case .authRequest: return ([.fatal(.unsupportedCriticalPayload)], "2.5; 2.21.2")
            case .authResponse: return ([.closes], "2.5; 2.21.2")
            case .deleteIKEResponse: return ([.accepted], "1.4.1")
            default: return ([scene.isRequest ? .refused(.unsupportedCriticalPayload) : .closes], "2.5: nothing of the message is taken, and the two ends have different SAs")
            }
        case .proposals(let section):
            switch scene {
            case .initResponse: return ([.silence], "\(section); 2.21.1")
            case .authRequest: return ([.refused(.noProposalChosen)], "\(section); 2.21.2: the IKE SA stands")
            default: return ([scene.isRequest ? .refused(.noProposalChosen) : .failed], "\(section); 2.7")
            }
        case .selectors(let section): return ([scene.isRequest ? .refused(.tsUnacceptable) : .failed], "\(section); 2.9")
        case .authentication(let section): return (scene.isRequest ? [.fatal(.authenticationFailed)] : [.closes], "\(section); 2.21.2")
        case .publicValue:
            switch scene {
            case .initRequest: return ([.refused(.invalidSyntax)], "RFC 6989 2.5: dropped; the word may be said")
            case .initResponse: return ([.silence], "RFC 6989 2.5: the message is dropped")
            default: return (scene.isRequest ? [.fatal(.invalidSyntax)] : [.closes], "RFC 6989 2.5")
            }
        case .only(let outcomes, let section): return (Set(outcomes), section)
        }
    }

    /// A payload that is not there.
    static func missing(_ payload: Raw, _ scene: Scene) -> Fault {
        switch (payload.type, scene) {
        case (41, .initRequest) where payload.isCookie: return .only([.answered], "2.6: it is asked for again")
        case (47, .authRequest): return .only([.refused(.failedCPRequired)], "2.19: an address is needed, and none was asked for")
        case (47, _), (37, _), (38, _), (43, _): return .harmless("1.2, 3.15: optional")
        case (41, .rekeyChildRequest): return .harmless("1.3.3: without REKEY_SA it asks for one more child")
        case (41, _): return .harmless("nothing depends on the notification")
        case (36, .authRequest): return .harmless("1.2: IDr is optional")
        case (35, .authRequest): return .malformed("1.2")
        case (39, .authRequest): return .authentication("2.16: without AUTH it asks for EAP")
        case (33, .authResponse), (44, .authResponse), (45, .authResponse): return .only([.failed], "2.21.2: the IKE SA is made all the same")
        case (34, .newChildRequest), (34, .rekeyChildRequest): return .only([.refused(.invalidKEPayload)], "1.3.1, 1.3.2: the group that every proposal has")
        case (42, .deleteChildRequest), (42, .deleteIKERequest): return .only([.answered], "1.4: a request without payloads is a liveness check")
        case (42, .deleteChildResponse): return .harmless("1.4.1: the response is empty where both delete at once")
        default: return scene.isEstablished && !scene.isRequest ? .only([.failed], "1.3; 2.21: an answer can be read that lacks something") : .malformed("1.2, 1.3: what an exchange consists of")
        }
    }

    /// A payload that is there twice. No exchange has two of these.
    static func repeated(_ type: UInt8, _ scene: Scene) -> Fault {
        switch type {
        case 37, 38, 43: .harmless("1.2: there may be several")
        case 47: .harmless("3.15: each asks for what it asks for")
        case 41: scene == .rekeyChildRequest ? .malformed("1.3.3: a rekey is of one SA") : .harmless("1.5: a message may have several")
        case 42: .harmless("3.11: several Delete payloads are permitted")
        default: .malformed("1.2, 1.3: what an exchange consists of")
        }
    }

    /// A payload of which only so many octets are left, its lengths right.
    static func cut(_ payload: Raw, to count: Int, _ scene: Scene) -> Fault {
        switch payload.type {
        case 41 where payload.isCookie && count >= 4: .only([.answered], "2.6: another one is none")
        case 37 where count >= 1, 38 where count >= 1: .harmless("3.6, 3.7: of no use here")
        case 43: .harmless("3.12: any octets")
        case 47 where count == 4: scene == .authRequest ? .only([.refused(.failedCPRequired)], "2.19: no address was asked for") : .harmless("3.15: no attributes")
        case 34 where count >= 4: .publicValue
        case 35 where count >= 4, 36 where count >= 4: .authentication("3.5: another identity")
        case 39 where count >= 4: .authentication("2.15")
        case 41 where count >= 4 + Int(payload.body[1]): .harmless("2.23, 3.10.1: data that mean nothing are the sender's loss")
        default: .malformed("3.3 to 3.13: a field is cut off")
        }
    }

    /// A payload with one octet more, its lengths right.
    static func lengthened(_ payload: Raw, _ scene: Scene, beside others: [Raw]) -> Fault {
        switch payload.type {
        case 41 where payload.isCookie: .only([.answered], "2.6: another one is none")
        case 40 where others.contains(where: \.isCookie): .only([.answered], "2.6: the cookie is for another nonce")
        case 37, 38, 43: .harmless("3.6, 3.7, 3.12: of no use here")
        case 34: .publicValue
        case 35, 36: .authentication("3.5: another identity")
        case 39: .authentication("2.15")
        case 40: .harmless("3.9: 16 to 256 octets")
        case 41: .harmless("3.10: data of any length")
        default: .malformed("3: an octet that belongs to nothing")
        }
    }
}

extension Raw {
    /// N(COOKIE).
    var isCookie: Bool { type == 41 && body.starts(with: [0, 0, 0x40, 0x06]) }
}

/// One wrong message: how it differs from the honest one, and what it may lead to.
struct HostileCase {
    let name: String
    let fault: Fault
    let change: (inout Draft) -> Void
    init(_ name: String, _ fault: Fault, _ change: @escaping (inout Draft) -> Void) {
        self.name = name
        self.fault = fault
        self.change = change
    }
}

enum HostileCases {
    /// Each payload absent, twice, cut, longer, with lengths that lie, with its bits set, of another type; the payloads in another order, and with others among them.
    static func payloads(_ honest: Draft, _ scene: Scene) -> [HostileCase] {
        var cases: [HostileCase] = []
        for (index, payload) in honest.payloads.enumerated() {
            let type = payload.type, size = payload.body.count
            let name = "payload \(index) (\(PayloadType(rawValue: type)))"
            cases.append(HostileCase("\(name) absent", .missing(payload, scene)) { $0.payloads.remove(at: index) })
            cases.append(HostileCase("\(name) twice", .repeated(type, scene)) { $0.payloads.insert(payload, at: index) })
            cases.append(HostileCase("\(name) twice, at both ends", .repeated(type, scene)) { $0.payloads.append(payload) })
            for count in Set([0, 1, 2, 3, 4, 7, size / 2, size - 1]).sorted() where count < size && count >= 0 {
                cases.append(HostileCase("\(name) cut to \(count)", .cut(payload, to: count, scene)) { $0.payloads[index].body = Array(payload.body.prefix(count)) })
            }
            cases.append(HostileCase("\(name) longer by one", .lengthened(payload, scene, beside: honest.payloads)) { $0.payloads[index].body.append(0) })
            for delta in [-1, 1] {
                cases.append(HostileCase("\(name) says it is \(delta) octets longer", .malformed("3.2: Payload Length")) { $0.payloads[index].lengthDelta = delta })
            }
            for length in [0, 1, 3, 0xffff] { cases.append(HostileCase("\(name) says its length is \(length)", .malformed("3.2: Payload Length")) { $0.payloads[index].length = length }) }
            cases.append(HostileCase("\(name) critical", .harmless("3.2: the bit says nothing about a known type")) { $0.payloads[index].flags = 0x80 })
            cases.append(HostileCase("\(name) with its reserved bits", .harmless("2.5, 3.2: reserved bits are ignored")) { $0.payloads[index].flags = 0x7f })
            cases.append(HostileCase("\(name) of an unknown type", .missing(payload, scene)) { $0.payloads[index].type = 200 })
            cases.append(
                HostileCase("\(name) of an unknown type, critical", .critical) {
                    $0.payloads[index].type = 200
                    $0.payloads[index].flags = 0x80
                })
        }
        if honest.payloads.count > 1 {
            let order = "2.5: the order is no reason to refuse"
            cases.append(HostileCase("payloads reversed", .harmless(order)) { $0.payloads.reverse() })
            for shift in 1..<honest.payloads.count {
                cases.append(HostileCase("payloads rotated by \(shift)", .harmless(order)) { $0.payloads = Array($0.payloads[shift...] + $0.payloads[..<shift]) })
            }
            cases.append(HostileCase("no payloads", scene == .deleteIKERequest || scene == .deleteChildRequest ? .only([.answered], "1.4") : nothing(scene)) { $0.payloads = [] })
        }
        for place in Set([0, honest.payloads.count / 2, honest.payloads.count]).sorted() {
            func with(_ name: String, _ fault: Fault, _ payload: Raw) { cases.append(HostileCase("\(name) at \(place)", fault) { $0.payloads.insert(payload, at: place) }) }
            with("unknown", .harmless("2.5: skipped"), Raw(200, [1, 2, 3]))
            with("unknown of nothing", .harmless("2.5: skipped"), Raw(130, []))
            with("critical unknown", .critical, Raw(200, [1, 2, 3], flags: 0x80))
            with("critical unknown of nothing", .critical, Raw(49, [], flags: 0xff))
            with("Vendor ID", .harmless("3.12"), Raw(43, Array("somebody".utf8)))
            with("empty Vendor ID", .harmless("3.12"), Raw(43, []))
            with("unknown status", .harmless("3.10.1: ignored"), .notify(40960, [1]))
            with("unknown status about an SA", .harmless("3.10.1: ignored"), .notify(40961, protocolID: 3, spi: [1, 2, 3, 4]))
            with("unknown error", unknownError(scene), .notify(8191))
            with("IPCOMP_SUPPORTED", compression(scene), .notify(16387, [0x12, 0x34, 3]))
            with("Notify with an SPI beyond its end", .malformed("3.10"), .notify(40960, protocolID: 3, spi: [1, 2], spiSize: 4))
            with("Notify with an SPI of 255 octets", .harmless("3.10, 3.10.1: unknown, ignored"), .notify(40960, protocolID: 3, spi: Array(repeating: 7, count: 255)))
            with("CERT", .harmless("1.2: optional, and of no use"), Raw(37, [4, 0x30, 0]))
            with("empty CERT", .malformed("3.6: no encoding"), Raw(37, []))
            with("CERTREQ", .harmless("3.7: processed only where certificates are"), Raw(38, [4] + Array(repeating: 9, count: 20)))
            with("CERTREQ of half a hash", .harmless("3.7: nothing is looked up"), Raw(38, [4] + Array(repeating: 9, count: 13)))
            with("empty CERTREQ", .malformed("3.7: no encoding"), Raw(38, []))
            with("CP with reserved octets, and of attributes that nobody knows", .harmless("1.7, 3.15, 3.15.1: ignored"), Raw(47, [1, 0xff, 0xff, 0xff, 0, 5, 0, 4, 1, 2, 3, 4, 0x7f, 0xff, 0, 0]))
            with("CP with an attribute beyond its end", .malformed("3.15.1"), Raw(47, [1, 0, 0, 0, 0, 1, 0, 8, 1, 2, 3, 4]))
            with("CP with half an attribute", .malformed("3.15.1"), Raw(47, [1, 0, 0, 0, 0, 1]))
            with("CP without a type", .malformed("3.15"), Raw(47, []))
            if honest.inner != nil {
                with("SK inside", .malformed("3.14: the last, and not in itself"), Raw(46, Array(repeating: 7, count: 60)))
                with("SKF inside", .malformed("RFC 7383 2.5"), Raw(53, [0, 1, 0, 2] + Array(repeating: 7, count: 60)))
            }
        }
        cases.append(
            HostileCase("300 Vendor IDs", .malformed("2.21: a limit of our own")) {
                $0.payloads += Array(repeating: Raw(43, [1]), count: 300)
            })
        return cases
    }

    /// A request may propose it, and the answer does without; an answer may not, where nobody has proposed it.
    private static func compression(_ scene: Scene) -> Fault {
        switch scene {
        case .authResponse, .newChildResponse, .rekeyChildResponse: .only([.failed], "2.22: not proposed, and not taken")
        default: .harmless("2.22: a proposal that is not taken")
        }
    }

    private static func nothing(_ scene: Scene) -> Fault {
        switch scene {
        case .notifyRequest: .harmless("1.4")
        case .authRequest: .malformed("1.2")
        case .deleteChildResponse: .harmless("1.4.1")
        case .authResponse: .only([.closes], "1.2: nobody has proven anything")
        default: scene.isEstablished && !scene.isRequest ? .only([.failed], "1.3; 2.21: an empty answer can be read") : .malformed("1.2, 1.3")
        }
    }

    /// Unknown errors are ignored in a request; in a response they mean that the request has failed. RFC 7296 section 3.10.1.
    private static func unknownError(_ scene: Scene) -> Fault {
        if scene.isRequest { return .harmless("3.10.1: an unknown error in a request is ignored") }
        switch scene {
        case .initResponse: return .only([.silence], "2.21.1")
        case .authResponse: return .only([.closes], "3.10.1: all of IKE_AUTH has failed")
        case .newChildResponse, .rekeyChildResponse, .rekeyIKEResponse: return .only([.failed], "3.10.1: the request has failed entirely")
        // What the request was about ends at this end whatever the other says.
        default: return .harmless("1.4.1: it is gone here in any case")
        }
    }

    /// The header, and what surrounds the payloads.
    static func envelope(_ honest: Draft, _ scene: Scene) -> [HostileCase] {
        var cases: [HostileCase] = []
        func add(_ name: String, _ fault: Fault, _ change: @escaping (inout Draft) -> Void) { cases.append(HostileCase(name, fault, change)) }
        for minor in [1, 15] as [UInt8] { add("minor version \(minor)", .harmless("2.5: ignored")) { $0.version = 0x20 | minor } }
        for major in [0, 1] as [UInt8] { add("major version \(major)", .forged("2.5: not IKEv2")) { $0.version = major << 4 } }
        for major in [3, 15] as [UInt8] {
            add("major version \(major)", scene.isRequest ? .only([.refused(.invalidMajorVersion)], "2.5") : .forged("2.5: a response is not answered")) { $0.version = major << 4 }
        }
        for bit in [0x01, 0x02, 0x04, 0x40, 0x80] as [UInt8] { add("reserved flag \(bit)", .harmless("3.1: ignored")) { $0.flags |= bit } }
        add("version flag", .harmless("3.1: ignored")) { $0.flags |= 0x10 }
        add("response flag turned", .forged("2.2: it matches nothing")) { $0.flags ^= 0x20 }
        add("initiator flag turned", .forged("2.2: another SA's")) { $0.flags ^= 0x08 }
        for (name, delta) in [("less", -1), ("more", 1)] { add("one octet \(name) than there is", .forged("3.1: Length")) { $0.lengthDelta = delta } }
        add("Length 0", .forged("3.1")) { $0.lengthDelta = -100_000_000 }
        add("an octet behind", .forged("3.1: Length")) { $0.trailing = [0] }
        add("initiator's SPI zero", .forged("3.1")) { $0.initiatorSPI = 0 }
        if scene != .initRequest {
            // The recipient knows its own SPI; the other one alone is no word about an SA.
            let isOfInitiator = honest.flags & 0x08 != 0
            add("initiator's SPI of another", scene.isRequest && !isOfInitiator ? unknownSPI : .forged("2.21.4")) { $0.initiatorSPI ^= 1 }
            if scene != .initResponse { add("responder's SPI of another", scene.isRequest && isOfInitiator ? unknownSPI : .forged("2.21.4")) { $0.responderSPI ^= 1 } }
            add("responder's SPI zero", .forged("2.21.4")) { $0.responderSPI = 0 }
        } else {
            add("responder's SPI not zero", .forged("2.21.4")) { $0.responderSPI = 77 }
        }
        for delta in [1, 2, 1000, UInt32.max] { add("message ID \(Int32(bitPattern: delta)) off", .forged("2.2, 2.3: outside the window")) { $0.id &+= delta } }
        for type in [0, 33, 34, 35, 36, 37, 38, 99, 255] as [UInt8] where type != honest.exchange {
            add("exchange type \(type)", exchangeType(type, scene)) { $0.exchange = type }
        }
        guard honest.inner != nil else {
            add("first payload of no type", honest.clear.isEmpty ? .harmless("") : .malformed("3.1: octets that belong to no payload")) { $0.next = 0 }
            add("sealed in no keys", .malformed("2.14: there are no keys")) { $0.clear.append(Raw(46, Array(repeating: 3, count: 60))) }
            return cases
        }
        add("ICV wrong", .forged("3.14")) { $0.breaksICV = true }
        add("first payload is not SK", .forged("3.14: nothing shows who sent it")) { $0.next = 43 }
        add("nothing encrypted", .forged("2.21: an unprotected message on a protected SA")) {
            $0.clear = $0.inner ?? []; $0.inner = nil
        }
        add("SK longer than the message", .forged("3.14")) { $0.encryptedLengthDelta = 1 }
        add("SK shorter than the message", .forged("3.14: it is the last")) { $0.encryptedLengthDelta = -1 }
        add("a payload behind SK", .forged("3.14: it is the last")) { $0.afterEncrypted = [0, 0, 0, 8, 1, 2, 3, 4] }
        add("SK twice", .forged("3.14: it is the last")) { $0.clear = [Raw(46, Array(repeating: 9, count: 60))] }
        add("SK critical", .harmless("3.2")) { $0.encryptedFlags = 0x80 }
        add("reserved bits of SK", .harmless("2.5")) { $0.encryptedFlags = 0x7f }
        add("a Vendor ID before SK", .harmless("3.14: it is not part of what is protected")) { $0.clear = [Raw(43, [1, 2, 3])] }
        add("a critical unknown before SK", .critical) { $0.clear = [Raw(200, [1, 2, 3], flags: 0x80)] }
        add("padding", .harmless("3.14: any length that fills the block")) { $0.padding = Array(repeating: 0xee, count: 16) }
        add("the most padding", .harmless("3.14")) { $0.padding = Array(repeating: 0xee, count: 255) }
        add("Pad Length one too many", .malformed("3.14: the last payload is cut")) { $0.padLength = UInt8(clamping: Raw.chain($0.inner ?? []).count + 1) }
        add("Pad Length 255", .malformed("3.14")) {
            $0.innerBytes = [UInt8](Raw.chain($0.inner ?? []).prefix(40)); $0.padLength = 255
        }
        add("nothing inside, a first payload named", .malformed("3.2")) {
            $0.innerFirst = 41; $0.innerBytes = []
        }
        if honest.inner?.isEmpty == false {
            add("no first payload named", .malformed("3.2: octets that belong to no payload")) { $0.innerFirst = 0 }
            add("one octet inside", .malformed("3.2")) { $0.innerBytes = [0] }
        }
        add("the last payload names another", .malformed("3.2: it is not there")) { draft in
            if draft.inner?.isEmpty == true { draft.innerFirst = 41 } else { draft.innerLast = 41 }
        }
        // Fragments, RFC 7383 section 2.6. The honest peer of these tests has not said that it takes them: none is expected from it.
        for (number, total) in [(0, 0), (0, 1), (1, 0), (2, 1), (1, 1), (1, 2), (65535, 65535)] as [(UInt16, UInt16)] {
            add("fragment \(number) of \(total), not negotiated", .forged("RFC 7383 2.3, 2.6")) { $0.fragment = (number, total) }
        }
        return cases
    }

    /// Nothing is kept for such a message. An unprotected INVALID_IKE_SPI answers it.
    private static let unknownSPI = Fault.only([.refused(.invalidIKESPI)], "1.5, 2.21.4: an SA that is not here")

    private static func exchangeType(_ type: UInt8, _ scene: Scene) -> Fault {
        switch scene {
        case .initRequest: return .forged("3.1, 2.21.4: no SA of ours, and not the first exchange")
        case .initResponse, .authResponse: return .forged("2.2: it answers nothing that was asked")
        case .authRequest: return .forged("1.2: IKE_AUTH comes next, and nothing before it")
        default:
            guard scene.isRequest else { return .forged("2.2: it answers nothing that was asked") }
            if type == 36 || type == 37 { return informationInPlaceOfChild(scene, type) }
            return .malformed("3.10.1: an error that has no notification of its own")
        }
    }

    /// What one exchange consists of, sent as the other.
    private static func informationInPlaceOfChild(_ scene: Scene, _ type: UInt8) -> Fault {
        if type == 36 { return .malformed("1.3: neither SA nor nonce") }
        return .only([.answered], "1.4: payloads of no meaning there are ignored")
    }
}
