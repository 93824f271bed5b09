// The JSON of `martlet status`: snake_case keys that stay.
import ViciWire

extension IKESA {
    var json: JSON {
        func end(_ side: String) -> JSON {
            .object([
                ("host", .text(body["\(side)-host"])), ("port", .integer(body["\(side)-port"])), ("id", .text(body["\(side)-id"])),
                ("behind_nat", .bool(body.boolean("nat-\(side)"))),
            ])
        }
        return .object([
            ("name", .string(name)),
            ("unique_id", .integer(body["uniqueid"])),
            ("state", .string(state)),
            ("version", .integer(body["version"])),
            ("initiator", .bool(body.boolean("initiator"))),
            ("local", end("local")),
            ("remote", end("remote")),
            ("initiator_spi", .text(body["initiator-spi"])),
            ("responder_spi", .text(body["responder-spi"])),
            ("encryption", .text(body["encr-alg"])),
            ("encryption_bits", .integer(body["encr-keysize"])),
            ("integrity", .text(body["integ-alg"])),
            ("prf", .text(body["prf-alg"])),
            ("key_exchange", .text(body["dh-group"])),
            ("provider", .text(body["martlet-provider"])),
            ("shard", .integer(body["martlet-shard"])),
            ("established_seconds", .integer(body["established"])),
            ("rekey_seconds", .integer(body["rekey-time"])),
            ("life_seconds", .integer(body["martlet-life-time"])),
            ("tasks_queued", .strings(body.list("tasks-queued"))),
            ("tasks_active", .strings(body.list("tasks-active"))),
            ("tasks_passive", .strings(body.list("tasks-passive"))),
            ("children", .array(children.map(\.json))),
        ])
    }
}

extension ChildSA {
    var json: JSON {
        func direction(_ side: String) -> JSON {
            .object([
                ("spi", .text(body["spi-\(side)"])), ("bytes", .integer(body["bytes-\(side)"])),
                ("packets", .integer(body["packets-\(side)"])), ("idle_seconds", .integer(body["use-\(side)"])),
            ])
        }
        return .object([
            ("name", .string(name)),
            ("unique_id", .integer(body["uniqueid"])),
            ("request_id", .integer(body["reqid"])),
            ("state", .string(state)),
            ("mode", .text(body["mode"])),
            ("protocol", .text(body["protocol"])),
            ("udp_encapsulated", .bool(body.boolean("encap"))),
            ("local_selectors", .strings(localSelectors)),
            ("remote_selectors", .strings(remoteSelectors)),
            ("encryption", .text(body["encr-alg"])),
            ("encryption_bits", .integer(body["encr-keysize"])),
            ("integrity", .text(body["integ-alg"])),
            ("key_exchange", .text(body["dh-group"])),
            ("extended_sequence_numbers", .bool(body["esn"] == "1")),
            ("provider", .text(body["martlet-provider"])),
            ("inbound", direction("in")),
            ("outbound", direction("out")),
            ("replayed", .integer(body["martlet-replayed"])),
            ("failed_integrity", .integer(body["martlet-failed-integrity"])),
            ("outside_selectors", .integer(body["martlet-outside-selectors"])),
            ("malformed", .integer(body["martlet-malformed"])),
            ("rekey_seconds", .integer(body["rekey-time"])),
            ("life_seconds", .integer(body["life-time"])),
            ("installed_seconds", .integer(body["install-time"])),
        ])
    }
}

extension ConfiguredConnection {
    func json(isUp: Bool, childrenUp: Set<String>) -> JSON {
        .object([
            ("name", .string(name)),
            ("up", .bool(isUp)),
            ("origin", .text(body["martlet-origin"])),
            ("version", .text(body["version"])),
            ("local_addresses", .strings(body.list("local_addrs"))),
            ("remote_addresses", .strings(body.list("remote_addrs"))),
            ("local_id", .text(body.section("local-1")?["id"])),
            ("remote_id", .text(body.section("remote-1")?["id"])),
            ("last_failure", failureJSON(lastFailure)),
            (
                "children",
                .array(
                    children.map { name, child in
                        .object([
                            ("name", .string(name)),
                            ("up", .bool(childrenUp.contains(name))),
                            ("mode", .text(child["mode"])),
                            ("start_action", .text(child["martlet-start-action"])),
                            ("local_selectors", .strings(child.list("local-ts"))),
                            ("remote_selectors", .strings(child.list("remote-ts"))),
                            ("last_failure", failureJSON(child.section("martlet-last-failure"))),
                        ])
                    })
            ),
        ])
    }
}

func failureJSON(_ failure: ViciMessage?) -> JSON {
    guard let failure else { return .null }
    return .object([
        ("code", .text(failure["code"])),
        ("summary", .text(failure["summary"])),
        ("evidence", .strings(failure.list("evidence"))),
        ("advice", .strings(failure.list("advice"))),
        ("age_seconds", .integer(failure["age"])),
    ])
}

/// One event of the log.
func logJSON(_ event: ViciMessage) -> JSON {
    .object([
        ("time", .text(logTime(event).map { $0.iso })),
        ("group", .text(event["group"])),
        ("level", .integer(event["level"])),
        ("ike_sa", .text(event["ikesa-name"])),
        ("ike_sa_id", .integer(event["ikesa-uniqueid"])),
        ("message", .text(event["msg"])),
    ])
}
