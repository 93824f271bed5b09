// The plugin's section of the configuration.

import PlaneKit

struct Settings: Sendable {
    /// Holds inner addresses and takes the routes. Packets that no policy takes from there go nowhere.
    var interface = "martlet0"
    var routing = RoutingSettings()
    /// Bytes of events that may wait.
    var eventBuffer: Int32 = 4 << 20

    struct Defect: Error { let description: String }

    init() {}

    /// Reads `key` through `value`; a value that cannot be is an error, not a default.
    init(_ value: (String) -> String?) throws(Defect) {
        if let name = value("interface") {
            guard !name.isEmpty, name.utf8.count < 16, name.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "%") }), name != ".", name != ".."
            else { throw Defect(description: "interface = \(name): not the name of an interface (1 to 15 characters, no '/')") }
            interface = name
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
