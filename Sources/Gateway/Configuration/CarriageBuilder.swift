// From the keys of a child that say how its packets are carried to a `Carriage`: marks, interfaces, headers, hardware. Values are written as
// swanctl.conf(5) has them. A key that this machine's data plane cannot serve is refused: without it other packets would pass.

import IKECore
import IKEWire

struct CarriageBuilder {
    let capabilities: Capabilities
    /// Of the connection, for children that do not say otherwise.
    let connection: ConfigurationSection?

    private static let everyBit: UInt32 = 0xffff_ffff

    func build(_ reader: SectionReader, _ diagnostics: inout Diagnostics) -> Carriage {
        var carriage = Carriage()
        carriage.inbound.mark = mark("mark_in", reader, &diagnostics)
        carriage.outbound.mark = mark("mark_out", reader, &diagnostics)
        carriage.inbound.setMark = setMark("set_mark_in", same: ("mark_in", carriage.inbound.mark), reader, &diagnostics)
        carriage.outbound.setMark = setMark("set_mark_out", same: ("mark_out", carriage.outbound.mark), reader, &diagnostics)
        carriage.marksInboundSA = reader.boolean("mark_in_sa") ?? false
        carriage.inbound.interfaceID = interfaceID("if_id_in", reader, &diagnostics)
        carriage.outbound.interfaceID = interfaceID("if_id_out", reader, &diagnostics)
        carriage.copiesDF = reader.boolean("copy_df") ?? true
        carriage.copiesECN = reader.boolean("copy_ecn") ?? true
        carriage.copiesDSCP = reader.text("copy_dscp").flatMap { Carriage.DSCP(rawValue: $0.lowercased()) } ?? .out
        if [.in, .yes].contains(carriage.copiesDSCP) { demand(.dscpIn, "copy_dscp", reader, &diagnostics) }
        carriage.offload = offload(reader, &diagnostics)
        return carriage
    }

    // MARK: Values

    /// `VALUE[/MASK]`, `%unique[/MASK]` or `%unique-dir[/MASK]`. Value and mask 0 are none.
    private func mark(_ key: String, _ reader: SectionReader, _ diagnostics: inout Diagnostics) -> Carriage.Mark? {
        guard let text = reader.text(key) else { return nil }
        let (value, mask) = parts(key, text, reader, &diagnostics)
        guard let number = number(value), let mask else {
            diagnostics.error(at: reader.position(key), "\(quoted(key)) is a mark with or without a mask, as 42 or 0x2a/0xff, or '%unique' or '%unique-dir', not \(quoted(text))")
            return nil
        }
        return checked(key, Carriage.Mark(number: number, mask: mask), isWritten: text.contains("/"), .marks, reader, &diagnostics)
    }

    /// The same, or `%same`: the value of the mark that packets are chosen by, with this mask.
    private func setMark(_ key: String, same: (key: String, mark: Carriage.Mark?), _ reader: SectionReader, _ diagnostics: inout Diagnostics) -> Carriage.Mark? {
        guard let text = reader.text(key) else { return nil }
        let (value, mask) = parts(key, text, reader, &diagnostics)
        let number: Carriage.Number?
        if value == "%same" {
            guard let mark = same.mark else {
                diagnostics.error(at: reader.position(key), "'\(key) = %same' has nothing to be the same as: there is no '\(same.key)'")
                return nil
            }
            number = mark.number
        } else {
            number = self.number(value).flatMap { $0.isFixed ? $0 : nil }
        }
        guard let number, let mask else {
            diagnostics.error(at: reader.position(key), "\(quoted(key)) is a mark with or without a mask, as 42 or 0x2a/0xff, or '%same', not \(quoted(text))")
            return nil
        }
        return checked(key, Carriage.Mark(number: number, mask: mask), isWritten: text.contains("/"), .setMarks, reader, &diagnostics)
    }

    private func checked(_ key: String, _ mark: Carriage.Mark, isWritten: Bool, _ feature: PlaneFeatures, _ reader: SectionReader, _ diagnostics: inout Diagnostics) -> Carriage.Mark? {
        // As strongSwan has it: 0 alone is none; 0/0xffffffff are packets without a mark.
        if mark.mask == 0 || (mark.number == .fixed(0) && !isWritten) { return nil }
        if case .fixed(let value) = mark.number, value & ~mark.mask != 0 {
            diagnostics.error(at: reader.position(key), "\(quoted(key)) has bits that its mask leaves out: no packet would ever have this mark")
        }
        demand(feature, key, reader, &diagnostics)
        return mark
    }

    private func interfaceID(_ key: String, _ reader: SectionReader, _ diagnostics: inout Diagnostics) -> Carriage.Number? {
        let own = reader.text(key) != nil
        guard let section = own ? reader.section : connection, let text = section.value(key)?.text else { return nil }
        let source = SectionReader(section: section)
        guard let number = number(text) else {
            diagnostics.error(at: source.position(key), "\(quoted(key)) is the number of an XFRM interface, '%unique' or '%unique-dir', not \(quoted(text))")
            return nil
        }
        guard number != .fixed(0) else { return nil }
        demand(.interfaces, key, source, &diagnostics)
        if own { return number }
        return switch number {
        case .unique: .uniqueOfIKESA
        case .uniqueInEachDirection: .uniqueOfIKESAInEachDirection
        default: number
        }
    }

    private func offload(_ reader: SectionReader, _ diagnostics: inout Diagnostics) -> Carriage.Offload {
        guard let word = reader.text("hw_offload")?.lowercased() else { return .no }
        // Until strongSwan 5.9.11 `yes` was `crypto`.
        let offload = word == "yes" ? .crypto : Carriage.Offload(rawValue: word) ?? .no
        if [.crypto, .packet].contains(offload) { demand(.offload, "hw_offload", reader, &diagnostics) }
        return offload
    }

    private func parts(_ key: String, _ text: String, _ reader: SectionReader, _ diagnostics: inout Diagnostics) -> (value: String, mask: UInt32?) {
        guard let slash = text.firstIndex(of: "/") else { return (text, Self.everyBit) }
        return (String(text[..<slash]), Self.number(String(text[text.index(after: slash)...])))
    }

    private func number(_ text: String) -> Carriage.Number? {
        switch text {
        case "%unique": .unique
        case "%unique-dir": .uniqueInEachDirection
        default: Self.number(text).map { .fixed($0) }
        }
    }

    /// Decimal, or hexadecimal behind `0x`.
    private static func number(_ text: String) -> UInt32? {
        text.hasPrefix("0x") || text.hasPrefix("0X") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
    }

    // MARK: What the plane can do

    private func demand(_ feature: PlaneFeatures, _ key: String, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        guard !capabilities.features.contains(feature) else { return }
        let value = reader.text(key).map { "\(key) = \($0)" } ?? key
        let why =
            switch capabilities.planeName {
            case nil: "no data plane that does it is loaded"
            case "tun": "the data plane tun, in user space, does not do that; the kernel's does (plane = xfrm)"
            case let name?: "the data plane \(name) does not do that on this machine: its kernel is too old for it"
            }
        diagnostics.error(at: reader.position(key), "'\(value)' cannot be: \(why)")
    }
}
