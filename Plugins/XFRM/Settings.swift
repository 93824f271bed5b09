// The plugin's section of the configuration.

import PlaneKit

struct Settings: Sendable {
    /// Holds inner addresses and takes the routes. Packets that no policy takes from there go nowhere.
    var interface = "martlet0"
    var routing = RoutingSettings()
    /// Bytes of events that may wait.
    var eventBuffer: Int32 = 4 << 20

    struct Defect: Error { let description: String }

    enum Size: Equatable { case automatic, no, fixed(Int) }
    /// Of packets that the routes take; `automatic` follows from the way to the peer and the algorithms.
    var mtu = Size.automatic
    /// Whether TCP's peers hear of it.
    var clampsSegmentSize = true
    /// Of the names of XFRM interfaces that are made for the numbers in use; nil where they are the administrator's.
    var interfacePrefix: String?

    init() {}

    /// Reads `key` through `value`; a value that cannot be is an error, not a default.
    init(_ value: (String) -> String?) throws(Defect) {
        if let name = value("interface") {
            guard !name.isEmpty, name.utf8.count < 16, name.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "%") }), name != ".", name != ".."
            else { throw Defect(description: "interface = \(name): not the name of an interface (1 to 15 characters, no '/')") }
            interface = name
        }
        switch value("mtu") {
        case nil, "auto": break
        case "no": mtu = .no
        case let text?: mtu = .fixed(try Self.number("mtu", text, 1280...65_535))
        }
        if let text = value("clamp_mss") { clampsSegmentSize = try Self.flag("clamp_mss", text) }
        if let text = value("interface_prefix") {
            // Ten digits follow, where the number is large.
            guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ ($0 | 32) >= UInt8(ascii: "a") && ($0 | 32) <= UInt8(ascii: "z") }) else {
                throw Defect(description: "interface_prefix = \(text): one to five letters are wanted, which numbers follow")
            }
            interfacePrefix = text
        }
        if let text = value("table") { routing.table = UInt32(try Self.number("table", text, 1...0xffff_fffe)) }
        if let text = value("rule_priority") { routing.rulePriority = UInt32(try Self.number("rule_priority", text, 1...32763)) }
        if let text = value("install_routes") { routing.installRoutes = try Self.flag("install_routes", text) }
        if let text = value("event_buffer") { eventBuffer = Int32(try Self.number("event_buffer", text, 2048...(256 << 20))) }
        if (253...255).contains(routing.table) { throw Defect(description: "table = \(routing.table): belongs to the system") }
    }

    private static func number(_ key: String, _ text: String, _ range: ClosedRange<Int>) throws(Defect) -> Int {
        guard let value = Int(text), range.contains(value) else { throw Defect(description: "\(key) = \(text): a number from \(range.lowerBound) to \(range.upperBound) is wanted") }
        return value
    }

    private static func flag(_ key: String, _ text: String) throws(Defect) -> Bool {
        switch text {
        case "yes", "true", "1", "enabled": return true
        case "no", "false", "0", "disabled": return false
        default: throw Defect(description: "\(key) = \(text): yes or no is wanted")
        }
    }
}
