// Payloads whose lengths are right and whose contents are wrong: proposals, public values, nonces, identities, selectors, Deletes.
// RFC 7296 sections 3.3 to 3.13.

@testable import IKECore
import IKEWire
import TestSupport

/// A Security Association payload that can be got wrong field by field. RFC 7296 sections 3.3.1 and 3.3.2.
private struct RawProposal {
    var number: UInt8 = 1
    var protocolID: UInt8
    var spi: [UInt8]
    var spiSize: UInt8?
    var transforms: [RawTransform]
    var transformCount: UInt8?
    var lengthDelta = 0
    var marker: UInt8?

    static func payload(_ proposals: [RawProposal]) -> [UInt8] {
        proposals.enumerated().flatMap { index, proposal in
            let last = proposal.transforms.count - 1
            let transforms = proposal.transforms.enumerated().flatMap { $1.bytes(isLast: $0 == last) }
            let length = 8 + proposal.spi.count + transforms.count + proposal.lengthDelta
            let head: [UInt8] = [proposal.marker ?? (index + 1 < proposals.count ? 2 : 0), 0xaa, UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length)]
            let count = proposal.transformCount ?? UInt8(proposal.transforms.count)
            return head + [proposal.number, proposal.protocolID, proposal.spiSize ?? UInt8(proposal.spi.count), count] + proposal.spi + transforms
        }
    }
}

private struct RawTransform {
    var type: UInt8
    var id: UInt16
    var attributes: [UInt8] = []
    var lengthDelta = 0
    var marker: UInt8?

    func bytes(isLast: Bool) -> [UInt8] {
        let length = 8 + attributes.count + lengthDelta
        return [marker ?? (isLast ? 0 : 3), 0x55, UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length), type, 0x77, UInt8(id >> 8), UInt8(id & 0xff)] + attributes
    }
}

extension HostileCases {
    static func contents(_ honest: Draft, _ scene: Scene) -> [HostileCase] {
        var cases: [HostileCase] = []
        for (index, payload) in honest.payloads.enumerated() {
            let variants: [(String, Fault, [UInt8])] =
                switch payload.type {
                case 33: proposals(scene)
                case 34: publicValues(payload.body, scene)
                case 35, 36: identities(payload, scene)
                case 39: proofs(payload.body)
                case 40: nonces(taken: honest.payloads.contains(where: \.isCookie) ? .only([.answered], "2.6: the cookie is for another nonce") : .harmless("3.9"))
                case 41: notifications(payload.body, scene)
                case 42: deletes(payload.body, scene)
                case 44, 45: selectors(payload.body)
                default: []
                }
            for (name, fault, body) in variants {
                cases.append(HostileCase("\(PayloadType(rawValue: payload.type)): \(name)", fault) { $0.payloads[index].body = body })
            }
        }
        return cases
    }

    // MARK: SA, section 3.3

    private static func proposals(_ scene: Scene) -> [(String, Fault, [UInt8])] {
        let isIKE = !scene.makesChild && scene != .authRequest && scene != .authResponse
        let isFirst = scene == .initRequest || scene == .initResponse
        let spi: [UInt8] = isFirst ? [] : isIKE ? [1, 2, 3, 4, 5, 6, 7, 8] : [0x0a, 0x0b, 0x0c, 0x0d]
        let gcm = RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0]), prf = RawTransform(type: 2, id: 5), group = RawTransform(type: 4, id: 31), esn = RawTransform(type: 5, id: 0)
        let right = isIKE ? [gcm, prf, group] : scene.makesChild ? [gcm, group, esn] : [gcm, esn]
        let honest = RawProposal(protocolID: isIKE ? 1 : 3, spi: spi, transforms: right)
        let isOffer = scene.isRequest
        var list: [(String, Fault, [UInt8])] = []
        func add(_ name: String, _ fault: Fault, _ proposals: [RawProposal]) { list.append((name, fault, RawProposal.payload(proposals))) }
        func changed(_ change: (inout RawProposal) -> Void) -> [RawProposal] {
            var proposal = honest
            change(&proposal)
            return [proposal]
        }
        func with(_ transforms: [RawTransform]) -> [RawProposal] { changed { $0.transforms = transforms } }
        let lie = Fault.malformed("3.3.1, 3.3.2: a length or a number that lies"), none = Fault.proposals("3.3.6")

        add("reserved octets", .harmless("2.5, 3.3.1, 3.3.2: ignored"), [honest])
        list.append(("no proposal", .malformed("3.3: one or more"), []))
        add("no transform", none, with([]))
        add("says no transform", lie, changed { $0.transformCount = 0 })
        add("says one transform too many", lie, changed { $0.transformCount = UInt8(right.count + 1) })
        add("says 255 transforms", lie, changed { $0.transformCount = 255 })
        add("one octet longer than it is", lie, changed { $0.lengthDelta = 1 })
        add("one octet shorter than it is", lie, changed { $0.lengthDelta = -1 })
        add("of length 0", lie, changed { $0.lengthDelta = -1000 })
        add("more proposals to come", lie, changed { $0.marker = 2 })
        add("marker of a transform", .malformed("3.3.1: 0 or 2"), changed { $0.marker = 3 })
        for size in [0, 3, 4, 8, 255] as [UInt8] where Int(size) != spi.count {
            // IKE has SPIs of no octets and of eight; which of them is due depends on the exchange.
            let wrong = isIKE && (size == 0 || size == 8) ? Fault.proposals("3.3.1: not in this exchange") : .malformed("3.3.1: the SPI Size of the protocol")
            add("SPI of \(size) octets", wrong, changed { $0.spi = Array(repeating: 9, count: Int(size)) })
            add("says its SPI has \(size) octets", lie, changed { $0.spiSize = size })
        }
        if !isFirst {
            let zero = Array(repeating: UInt8(0), count: spi.count)
            add("SPI zero", .proposals("3.1: not zero; RFC 4303 2.1"), changed { $0.spi = zero })
        }
        if !isIKE { add("SPI 255", .proposals("RFC 4303 2.1: reserved"), changed { $0.spi = [0, 0, 0, 255] }) }
        for other in [0, 1, 2, 3, 4, 200] as [UInt8] where other != honest.protocolID {
            let hasItsSize = isIKE ? ![2, 3].contains(other) : other != 1
            let fault: Fault = !hasItsSize ? .malformed("3.3.1: SPI Size") : scene == .rekeyIKERequest ? .malformed("1.3.1: a child without selectors") : none
            add("protocol \(other)", fault, changed { $0.protocolID = other })
        }
        add("number 0", .malformed("3.3.1: the first is 1"), changed { $0.number = 0 })
        add("two of one number", .malformed("3.3.1: each is one more"), [honest, honest])
        var second = honest
        second.number = 2
        if isOffer {
            add("a second like the first", .harmless("3.3"), [honest, second])
            var foreign = honest
            foreign.transforms = [RawTransform(type: 1, id: 9999)] + right.dropFirst()
            add("one of unknown things first", .harmless("3.3.6: the other is chosen"), [foreign, second])
        } else {
            add("two proposals in an answer", none, [honest, second])
            add("another number than was offered", none, [second])
        }
        add("transform marked wrong", .malformed("3.3.2: 0 or 3"), with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0], marker: 0)] + right.dropFirst()))
        add("transform one octet longer", lie, with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0], lengthDelta: 1)] + right.dropFirst()))
        add("transform of length 7", lie, with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0], lengthDelta: -5)] + right.dropFirst()))
        add("transform of length 0", lie, with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0], lengthDelta: -12)] + right.dropFirst()))
        add("no Key Length", none, with([RawTransform(type: 1, id: 20)] + right.dropFirst()))
        add("Key Length 0", none, with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 0, 0])] + right.dropFirst()))
        add("another Key Length", none, with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 0, 128])] + right.dropFirst()))
        add("Key Length twice", .proposals("3.3.5: one of a type"), with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0, 0x80, 14, 1, 0])] + right.dropFirst()))
        add(
            "Key Length in the long form", .proposals("3.3.5: it is in the short form"),
            with([RawTransform(type: 1, id: 20, attributes: [0, 14, 0, 2, 1, 0])] + right.dropFirst()))
        add("unknown attribute", .proposals("3.3.6: not understood, not acceptable"), with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0, 0x80, 99, 0, 1])] + right.dropFirst()))
        add("unknown long attribute", .proposals("3.3.6"), with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0, 0, 99, 0, 3, 1, 2, 3])] + right.dropFirst()))
        add("attribute beyond its end", .malformed("3.3.5"), with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0, 0, 99, 0, 4, 1, 2, 3])] + right.dropFirst()))
        add("half an attribute", .malformed("3.3.5"), with([RawTransform(type: 1, id: 20, attributes: [0x80, 14])] + right.dropFirst()))
        add(
            "17 attributes", .malformed("3.3.5: a limit of our own"),
            with([RawTransform(type: 1, id: 20, attributes: Array((0..<17).map { [0x80, UInt8($0 + 100), 0, 0] }.joined()))] + right.dropFirst()))
        add("a transform of an unknown type beside", .proposals("3.3.6: a type that is not understood"), with(right + [RawTransform(type: 99, id: 1)]))
        add("NONE of an unknown type beside", .harmless("3.3.6 says refused; taken for peers of RFC 9370, which can do without"), with(right + [RawTransform(type: 99, id: 0)]))
        add("an unknown algorithm alone", none, with([RawTransform(type: 1, id: 9999, attributes: [0x80, 14, 1, 0])] + right.dropFirst()))
        for (index, transform) in right.enumerated() {
            var less = right
            less.remove(at: index)
            // ESN "none" stands for what is left out; every other type here is one that there must be.
            let fault: Fault = transform.type == 5 ? .harmless("3.3.3: what is left out counts as none") : none
            add("without type \(transform.type)", fault, with(less))
        }
        if isOffer {
            add(
                "an unknown attribute beside a good one", .harmless("3.3.6: the other transform is taken"), with([RawTransform(type: 1, id: 20, attributes: [0x80, 14, 1, 0, 0x80, 99, 0, 1])] + right))
            let many = (0..<(255 - right.count)).map { RawTransform(type: 1, id: UInt16(2000 + $0), attributes: [0x80, 14, 1, 0]) }
            add("255 transforms, the last ones right", .harmless("3.3.2: 8 bits count them"), with(many + right))
            let bigger = (0..<255).map { RawTransform(type: 1, id: UInt16(2000 + $0)) }
            add("255 transforms of no use", none, with(bigger))
            add("integrity NONE beside a combined mode", .harmless("3.3.3: NONE, or nothing"), with(right + [RawTransform(type: 3, id: 0)]))
            add("integrity with a combined mode", none, with(right + [RawTransform(type: 3, id: 12)]))
            let hundred = (1...100).map { number in
                RawProposal(number: UInt8(number), protocolID: honest.protocolID, spi: spi, transforms: number == 100 ? right : [RawTransform(type: 1, id: 9999)] + right.dropFirst())
            }
            add("a hundred proposals, the last one right", .harmless("3.3"), hundred)
        } else {
            add("two of one type in an answer", none, with([gcm] + right))
            add("what was not offered in an answer", none, with([RawTransform(type: 1, id: 28)] + right.dropFirst()))
        }
        return list
    }

    // MARK: KE, section 3.4

    private static func publicValues(_ body: [UInt8], _ scene: Scene) -> [(String, Fault, [UInt8])] {
        let value = Array(body.dropFirst(4))
        func of(_ group: UInt16, _ value: [UInt8], reserved: UInt8 = 0) -> [UInt8] { [UInt8(group >> 8), UInt8(group & 0xff), reserved, reserved] + value }
        let otherGroup: Fault =
            scene.isRequest
            ? .only([.refused(.invalidKEPayload)], "1.2, 1.3: the group of the answer")
            : scene == .initResponse ? .only([.silence], "1.2; 2.21.1") : .only([.failed], "1.3.1: the group that was chosen")
        return [
            ("reserved octets", .harmless("3.4: ignored"), of(31, value, reserved: 0xff)),
            ("all zero", .publicValue, of(31, Array(repeating: 0, count: 32))),
            ("one", .publicValue, of(31, Array(repeating: 0, count: 31) + [1])),
            ("all ones", .publicValue, of(31, Array(repeating: 255, count: 32))),
            ("empty", .publicValue, of(31, [])),
            ("short", .publicValue, of(31, Array(value.dropLast()))),
            ("of 60,000 octets", scene == .initRequest ? .only([.silence], "2.6: so much is not kept for a stranger") : .publicValue, of(31, Array(repeating: 1, count: 60_000))),
            ("of a group that nobody offered", otherGroup, of(14, Array(repeating: 1, count: 256))),
            ("of group 0", otherGroup, of(0, value)),
            ("of an unknown group", otherGroup, of(4242, value)),
        ]
    }

    // MARK: IDi, IDr, AUTH, Nonce: sections 3.5, 3.8 and 3.9

    private static func identities(_ payload: Raw, _ scene: Scene) -> [(String, Fault, [UInt8])] {
        let name = Array(payload.body.dropFirst(4)), wrong = Fault.authentication("3.5, 2.15")
        return [
            ("empty", wrong, [2, 0, 0, 0]),
            ("of nobody", wrong, [2, 0, 0, 0] + Array("mallory.example".utf8)),
            ("of an unknown kind", wrong, [200, 0, 0, 0] + name),
            ("of kind 0", wrong, [0, 0, 0, 0] + name),
            ("an IPv4 address of three octets", wrong, [1, 0, 0, 0, 1, 2, 3]),
            ("an IPv6 address of four octets", wrong, [5, 0, 0, 0, 1, 2, 3, 4]),
            ("a distinguished name that is none", wrong, [9, 0, 0, 0, 0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
            ("with an end inside", wrong, [2, 0, 0, 0] + name + [0] + name),
            ("very long", wrong, [2, 0, 0, 0] + Array(repeating: 0x61, count: 20_000)),
        ]
    }

    private static func proofs(_ body: [UInt8]) -> [(String, Fault, [UInt8])] {
        let data = Array(body.dropFirst(4)), wrong = Fault.authentication("2.15, 3.8")
        var turned = data
        turned[turned.count - 1] ^= 1
        return [
            ("reserved octets", .harmless("3.8: ignored"), [2, 0xff, 0xff, 0xff] + data),
            ("empty", wrong, [2, 0, 0, 0]), ("one bit wrong", wrong, [2, 0, 0, 0] + turned), ("all zero", wrong, [2, 0, 0, 0] + data.map { _ in 0 }),
            ("half of it", wrong, [2, 0, 0, 0] + data.prefix(16)), ("twice", wrong, [2, 0, 0, 0] + data + data),
            ("method 0", wrong, [0, 0, 0, 0] + data), ("method RSA", wrong, [1, 0, 0, 0] + data), ("method NULL", wrong, [13, 0, 0, 0] + data), ("method 255", wrong, [255, 0, 0, 0] + data),
            ("a signature of no algorithm", wrong, [14, 0, 0, 0]), ("a signature whose algorithm is longer than it", wrong, [14, 0, 0, 0, 255, 1, 2, 3]),
        ]
    }

    private static func nonces(taken: Fault) -> [(String, Fault, [UInt8])] {
        let wrong = Fault.malformed("3.9: 16 to 256 octets")
        return [
            ("empty", wrong, []), ("of 15 octets", wrong, Array(repeating: 5, count: 15)), ("of 257 octets", wrong, Array(repeating: 5, count: 257)),
            ("of 16 octets", taken, Array(repeating: 5, count: 16)), ("of 256 octets", taken, Array(repeating: 5, count: 256)),
            ("of 60,000 octets", wrong, Array(repeating: 5, count: 60_000)),
        ]
    }

    // MARK: Notify and Delete, sections 3.10 and 3.11

    private static func notifications(_ body: [UInt8], _ scene: Scene) -> [(String, Fault, [UInt8])] {
        guard body.count >= 8, body[2] == 0x40, body[3] == 0x09 else { return [] }
        // N(REKEY_SA): protocol, SPI size, type, SPI.
        func rekey(_ protocolID: UInt8, _ spi: [UInt8], size: UInt8? = nil) -> [UInt8] { [protocolID, size ?? UInt8(spi.count), 0x40, 0x09] + spi }
        let right = Array(body[4..<8])
        let unknown = Fault.only([.refused(.childSANotFound)], "2.25, 3.10.1"), nameless = Fault.only([.fatal(.invalidSyntax)], "1.3.3, 3.10: it names no SA")
        return [
            ("of an SA that is not there", unknown, rekey(3, [0xde, 0xad, 0xbe, 0xef])),
            ("of SPI 0", unknown, rekey(3, [0, 0, 0, 0])),
            ("of AH", unknown, rekey(2, right)),
            ("of IKE", nameless, rekey(1, right)),
            ("of protocol 0", nameless, rekey(0, right)),
            ("of protocol 200", nameless, rekey(200, right)),
            ("without an SPI", nameless, rekey(3, [])),
            ("with an SPI of three octets", nameless, rekey(3, Array(right.prefix(3)))),
            ("with an SPI of five octets", nameless, rekey(3, right + [0])),
            ("with an SPI of eight octets", nameless, rekey(3, right + right)),
            ("with an SPI beyond its end", .malformed("3.10"), rekey(3, right, size: 5)),
            ("says it has no SPI", nameless, rekey(3, right, size: 0)),
        ]
    }

    private static func deletes(_ body: [UInt8], _ scene: Scene) -> [(String, Fault, [UInt8])] {
        guard body.count >= 4 else { return [] }
        let spis = Array(body.dropFirst(4))
        func delete(_ protocolID: UInt8, _ size: UInt8, _ count: UInt16, _ spis: [UInt8]) -> [UInt8] { [protocolID, size, UInt8(count >> 8), UInt8(count & 0xff)] + spis }
        let lie = Fault.malformed("3.11")
        guard body[0] == 3 else {
            return [
                ("with an SPI", lie, delete(1, 8, 1, [1, 2, 3, 4, 5, 6, 7, 8])), ("with an SPI Size and no SPI", lie, delete(1, 8, 0, [])), ("with octets behind", lie, delete(1, 0, 0, [1])),
                ("that counts one", .harmless("3.11: its SPI has no octets"), delete(1, 0, 1, [])),
            ]
        }
        // In a response the SPIs only confirm what was asked for.
        let ignored: Fault = scene.isRequest ? .only([.answered], "1.4.1: unknown ones are left out") : .harmless("1.4.1")
        return [
            ("of no SPI", ignored, delete(3, 4, 0, [])), ("of an SPI that is not there", ignored, delete(3, 4, 1, [1, 1, 1, 1])), ("of SPI 0", ignored, delete(3, 4, 1, [0, 0, 0, 0])),
            ("that counts one too many", lie, delete(3, 4, 2, spis)), ("that counts one too few", lie, delete(3, 4, 0, spis)), ("that counts 65535", lie, delete(3, 4, 65535, spis)),
            ("of the same SPI twice", .harmless("3.11"), delete(3, 4, 2, spis + spis)), ("beside unknown ones", .harmless("1.4.1"), delete(3, 4, 3, [9, 9, 9, 9] + spis + [8, 8, 8, 8])),
            ("with SPIs of no octets", lie, delete(3, 0, 1, [])), ("with SPIs of three octets", lie, delete(3, 3, 1, Array(spis.prefix(3)))),
            ("with SPIs of eight octets", lie, delete(3, 8, 1, spis + spis)),
            ("of AH", ignored, delete(2, 4, 1, spis)),
            ("of protocol 0", ignored, delete(0, 4, 1, spis)),
            ("of protocol 200", ignored, delete(200, 4, 1, spis)),
            ("of 1000 SPIs", ignored, delete(3, 4, 1000, Array(repeating: 7, count: 4000))),
        ]
    }

    // MARK: TSi and TSr, section 3.13

    private static func selectors(_ body: [UInt8]) -> [(String, Fault, [UInt8])] {
        let right = Array(body.dropFirst(4))
        func list(_ count: UInt8, _ selectors: [UInt8], reserved: UInt8 = 0) -> [UInt8] { [count, reserved, reserved, reserved] + selectors }
        func selector(type: UInt8 = 7, ipProtocol: UInt8 = 0, length: UInt16? = nil, ports: [UInt8] = [0, 0, 255, 255], _ addresses: [UInt8]) -> [UInt8] {
            let size = length ?? UInt16(8 + addresses.count)
            return [type, ipProtocol, UInt8(size >> 8), UInt8(size & 0xff)] + ports + addresses
        }
        let addresses = Array(right.suffix(8)), lie = Fault.malformed("3.13, 3.13.1"), none = Fault.selectors("3.13.1"), outside = Fault.selectors("2.9: nothing in common")
        return [
            ("reserved octets", .harmless("3.13: ignored"), list(1, right, reserved: 0xff)),
            ("none", none, list(0, [])),
            ("counts none", lie, list(0, right)), ("counts one too many", lie, list(2, right)), ("counts 255", lie, list(255, right)),
            ("255 of them", .harmless("3.13: 8 bits count them"), list(255, Array(repeatElement(right, count: 255).joined()))),
            ("addresses turned round", lie, list(1, selector(Array(addresses.suffix(4) + addresses.prefix(4))))),
            ("ports turned round", lie, list(1, selector(ports: [0, 20, 0, 10], addresses))),
            ("an unknown type alone", none, list(1, [99, 0, 0, 8, 1, 2, 3, 4])),
            ("an unknown type beside", .harmless("3.13.1: the other is taken"), list(2, [99, 0, 0, 8, 1, 2, 3, 4] + right)),
            ("an unknown type of length 3", lie, list(1, [99, 0, 0, 3])), ("an unknown type beyond the end", lie, list(1, [99, 0, 0, 9, 1, 2, 3, 4])),
            ("length 0", lie, list(1, selector(length: 0, addresses))), ("length 15", lie, list(1, selector(length: 15, addresses))),
            ("length 17", lie, list(1, selector(length: 17, addresses + [0]))),
            ("IPv6 of the size of IPv4", lie, list(1, selector(type: 8, addresses))), ("IPv4 of the size of IPv6", lie, list(1, selector(Array(repeating: 1, count: 32)))),
            ("of IPv6", outside, list(1, selector(type: 8, Array(repeating: 0, count: 16) + Array(repeating: 255, count: 16)))),
            ("elsewhere", outside, list(1, selector([198, 51, 100, 0, 198, 51, 100, 255]))),
        ]
    }
}
