// Seeded random messages, so that a failing case replays from its printed seed.
@testable import ViciWire

struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func name() -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789-_.é")
        return String((0..<Int.random(in: 0...12, using: &self)).compactMap { _ in letters.randomElement(using: &self) })
    }
    mutating func value() -> [UInt8] {
        (0..<Int.random(in: 0...20, using: &self)).map { _ in UInt8.random(in: 0...255, using: &self) }
    }
    mutating func message(depth: Int = 0) -> ViciMessage {
        var message = ViciMessage()
        for _ in 0..<Int.random(in: 0...(depth == 0 ? 6 : 4), using: &self) {
            switch Int.random(in: 0..<4, using: &self) {
            case 0 where depth < 4: message.elements.append(.section(name(), self.message(depth: depth + 1)))
            case 1:
                let count = Int.random(in: 0...3, using: &self)
                message.elements.append(.list(name(), (0..<count).map { _ in value() }))
            default: message.elements.append(.value(name(), value()))
            }
        }
        return message
    }
    mutating func packet() -> ViciPacket {
        switch Int.random(in: 0...7, using: &self) {
        case 0: .commandRequest(name: name(), message())
        case 1: .commandResponse(message())
        case 2: .commandUnknown
        case 3: .eventRegister(name: name())
        case 4: .eventUnregister(name: name())
        case 5: .eventConfirm
        case 6: .eventUnknown
        default: .event(name: name(), message())
        }
    }
}
