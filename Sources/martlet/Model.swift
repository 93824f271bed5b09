// SAs and connections as the commands use them, read from list-sa and list-conn events.
import ViciWire

/// An IKE SA. Several events may carry one SA; their children are put together.
struct IKESA {
    var name: String
    var body: ViciMessage
    var children: [ChildSA]

    var uniqueID: String { body["uniqueid"] ?? "" }
    var state: String { body["state"] ?? "UNKNOWN" }

    /// The algorithms, in the order of a proposal.
    var suite: String { suiteText(body) }
}

struct ChildSA {
    var body: ViciMessage
    var name: String { body["name"] ?? "" }
    var state: String { body["state"] ?? "UNKNOWN" }
    var suite: String { suiteText(body) }
    var localSelectors: [String] { body.list("local-ts") ?? [] }
    var remoteSelectors: [String] { body.list("remote-ts") ?? [] }

    /// Inbound packets refused, with the words for why, where there are any.
    var refused: [(reason: String, packets: UInt64)] {
        [
            ("martlet-replayed", "replayed"), ("martlet-failed-integrity", "failed integrity check"),
            ("martlet-outside-selectors", "outside the selectors"), ("martlet-malformed", "malformed"),
        ].compactMap { key, words in
            guard let count: UInt64 = body.integer(key), count > 0 else { return nil }
            return (words, count)
        }
    }
}

struct ConfiguredConnection {
    var name: String
    var body: ViciMessage
    var children: [(name: String, body: ViciMessage)] { body.section("children")?.sections ?? [] }
    var lastFailure: ViciMessage? { body.section("martlet-last-failure") }
}

extension ViciConnection {
    func listSAs() throws(OperationFailure) -> [IKESA] {
        var all: [IKESA] = []
        for event in try list("list-sas", event: "list-sa") {
            for (name, body) in event.sections {
                let children = body.section("child-sas")?.sections.map { ChildSA(body: $0.body) } ?? []
                if let index = all.firstIndex(where: { $0.uniqueID == body["uniqueid"] && $0.name == name }) {
                    all[index].children += children
                } else {
                    all.append(IKESA(name: name, body: body, children: children))
                }
            }
        }
        return all
    }

    func listConnections() throws(OperationFailure) -> [ConfiguredConnection] {
        try list("list-conns", event: "list-conn").flatMap(\.sections).map(ConfiguredConnection.init)
    }
}

private func suiteText(_ body: ViciMessage) -> String {
    var parts: [String] = []
    for (name, size) in [("encr-alg", "encr-keysize"), ("integ-alg", "integ-keysize"), ("prf-alg", nil), ("dh-group", nil)] {
        guard let algorithm = body[name] else { continue }
        parts.append(algorithm + (size.flatMap { body[$0] }.map { "-" + $0 } ?? ""))
    }
    if body["esn"] == "1" { parts.append("ESN") }
    return parts.joined(separator: " / ")
}
