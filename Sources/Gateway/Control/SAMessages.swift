// list-sa and the SA events: snapshots as vici messages.
// Keys, formats and order are those of strongSwan's src/libcharon/plugins/vici/README.md, "list-sa"; keys that begin with `martlet-`
// are additions, after the others.
import ViciWire

enum SAMessages {
    /// Children in one `list-sa` event. An IKE SA with more takes several events, for a packet may not be larger than 512 KiB.
    static let childrenPerEvent = 256

    /// One `list-sa` event, or more where the SA has many children. `children` are those that the filter left.
    static func list(_ sa: IKESASnapshot, children: [ChildSASnapshot]) -> [ViciMessage] {
        var messages: [ViciMessage] = []
        var rest = children[...]
        repeat {
            let part = rest.prefix(childrenPerEvent)
            rest = rest.dropFirst(childrenPerEvent)
            var body = ike(sa)
            var section = ViciMessage()
            for one in part { section.add(uniqueName(one), section: child(one)) }
            body.add("child-sas", section: section)
            messages.append(named(sa.name, body))
        } while !rest.isEmpty
        return messages
    }

    static func ikeUpDown(isUp: Bool, _ sa: IKESASnapshot) -> ViciMessage {
        var message = ViciMessage()
        message.add("up", ifTrue: isUp)
        message.add(clipped(sa.name), section: ike(sa))
        return message
    }

    static func ikeUpdate(local: EndpointSnapshot, remote: EndpointSnapshot, _ sa: IKESASnapshot) -> ViciMessage {
        var message = ViciMessage()
        message.add("local-host", local.host)
        message.add("local-port", local.port)
        message.add("remote-host", remote.host)
        message.add("remote-port", remote.port)
        message.add(clipped(sa.name), section: ike(sa))
        return message
    }

    static func alert(type: String, _ sa: IKESASnapshot?, _ failure: FailureSnapshot) -> ViciMessage {
        var message = ViciMessage()
        message.add("type", type)
        if let sa { message.add("ike-sa", section: named(sa.name, ike(sa))) }
        message.add("martlet-failure", section: ConfigurationMessages.failure(failure))
        return message
    }

    static func ikeRekey(old: IKESASnapshot, new: IKESASnapshot) -> ViciMessage {
        var body = ViciMessage()
        body.add("old", section: ike(old))
        body.add("new", section: ike(new))
        return named(old.name, body)
    }

    static func childUpDown(isUp: Bool, _ sa: IKESASnapshot, _ one: ChildSASnapshot) -> ViciMessage {
        var section = ViciMessage()
        section.add(uniqueName(one), section: child(one))
        var body = ike(sa)
        body.add("child-sas", section: section)
        var message = ViciMessage()
        message.add("up", ifTrue: isUp)
        message.add(clipped(sa.name), section: body)
        return message
    }

    static func childRekey(_ sa: IKESASnapshot, old: ChildSASnapshot, new: ChildSASnapshot) -> ViciMessage {
        var pair = ViciMessage()
        pair.add("old", section: child(old))
        pair.add("new", section: child(new))
        var section = ViciMessage()
        section.add(clipped(old.name), section: pair)
        var body = ike(sa)
        body.add("child-sas", section: section)
        return named(sa.name, body)
    }

    private static func ike(_ sa: IKESASnapshot) -> ViciMessage {
        var m = ViciMessage()
        m.add("uniqueid", sa.uniqueID)
        m.add("version", 2)
        m.add("state", sa.state.rawValue)
        m.add("local-host", sa.local.host)
        m.add("local-port", sa.local.port)
        m.add("local-id", sa.local.id.isEmpty ? "%any" : sa.local.id)
        m.add("remote-host", sa.remote.host)
        m.add("remote-port", sa.remote.port)
        m.add("remote-id", sa.remote.id.isEmpty ? "%any" : sa.remote.id)
        m.add("remote-eap-id", sa.remoteEAPID)
        m.add("initiator", ifTrue: sa.isInitiator)
        m.add("initiator-spi", hexadecimal(sa.initiatorSPI))
        m.add("responder-spi", hexadecimal(sa.responderSPI))
        m.add("nat-local", ifTrue: sa.isLocalBehindNAT)
        m.add("nat-remote", ifTrue: sa.isRemoteBehindNAT)
        m.add("nat-any", ifTrue: sa.isLocalBehindNAT || sa.isRemoteBehindNAT)
        if let suite = sa.suite {
            m.add("encr-alg", suite.encryption)
            m.add("encr-keysize", suite.encryptionBits)
            m.add("integ-alg", suite.integrity)
            m.add("integ-keysize", suite.integrityBits)
            m.add("prf-alg", suite.prf)
            m.add("dh-group", suite.keyExchange)
        }
        // One that was replaced, or is going, has no time left to speak of.
        let lives = sa.establishedSeconds != nil && (sa.state == .established || sa.state == .rekeying)
        if lives {
            m.add("established", sa.establishedSeconds)
            m.add("rekey-time", sa.rekeySeconds)
            m.add("reauth-time", sa.reauthSeconds)
        }
        addUnlessEmpty(&m, "local-vips", sa.localVirtual)
        addUnlessEmpty(&m, "remote-vips", sa.remoteVirtual)
        addUnlessEmpty(&m, "tasks-queued", sa.tasksQueued)
        addUnlessEmpty(&m, "tasks-active", sa.tasksActive)
        addUnlessEmpty(&m, "tasks-passive", sa.tasksPassive)
        if lives { m.add("martlet-life-time", sa.lifeSeconds) }
        m.add("martlet-provider", sa.provider)
        m.add("martlet-shard", sa.shard)
        m.add("martlet-user", sa.account)
        m.add("martlet-mobike", ifTrue: sa.usesMOBIKE)
        addUnlessEmpty(&m, "martlet-moved-from", sa.movedFrom)
        return m
    }

    private static func child(_ sa: ChildSASnapshot) -> ViciMessage {
        var m = ViciMessage()
        m.add("name", sa.name)
        m.add("uniqueid", sa.uniqueID)
        m.add("reqid", sa.requestID)
        m.add("state", sa.state.rawValue)
        m.add("mode", sa.mode)
        // Before it is installed there is nothing true to say about the pair.
        if sa.state != .created && sa.state != .installing {
            m.add("protocol", sa.protocolName)
            m.add("encap", ifTrue: sa.isUDPEncapsulated)
            m.add("spi-in", hexadecimal(sa.inboundSPI))
            m.add("spi-out", hexadecimal(sa.outboundSPI))
            for (direction, mark) in [("in", sa.markIn), ("out", sa.markOut)] {
                guard let mark else { continue }
                m.add("mark-\(direction)", hexadecimal(mark.value))
                if mark.mask != .max { m.add("mark-mask-\(direction)", hexadecimal(mark.mask)) }
            }
            if let number = sa.interfaceIn { m.add("if-id-in", hexadecimal(number)) }
            if let number = sa.interfaceOut { m.add("if-id-out", hexadecimal(number)) }
            m.add("encr-alg", sa.suite.encryption)
            m.add("encr-keysize", sa.suite.encryptionBits)
            m.add("integ-alg", sa.suite.integrity)
            m.add("integ-keysize", sa.suite.integrityBits)
            m.add("dh-group", sa.suite.keyExchange)
            if sa.suite.hasExtendedSequenceNumbers { m.add("esn", 1) }
            m.add("bytes-in", sa.inbound.bytes)
            m.add("packets-in", sa.inbound.packets)
            m.add("use-in", sa.inbound.idleSeconds)
            m.add("bytes-out", sa.outbound.bytes)
            m.add("packets-out", sa.outbound.packets)
            m.add("use-out", sa.outbound.idleSeconds)
            m.add("rekey-time", sa.rekeySeconds)
            m.add("life-time", sa.lifeSeconds)
            m.add("install-time", sa.installedSeconds)
        }
        m.add("local-ts", list: sa.localSelectors)
        m.add("remote-ts", list: sa.remoteSelectors)
        if sa.state != .created && sa.state != .installing {
            m.add("martlet-replayed", sa.replayed)
            m.add("martlet-failed-integrity", sa.failedIntegrity)
            m.add("martlet-outside-selectors", sa.outsideSelectors)
            m.add("martlet-malformed", sa.malformed)
            m.add("martlet-provider", sa.provider)
            if let tunnel = sa.tunnel {
                m.add("martlet-tunnel-time", tunnel.seconds)
                m.add("martlet-tunnel-bytes-in", tunnel.inbound.bytes)
                m.add("martlet-tunnel-packets-in", tunnel.inbound.packets)
                m.add("martlet-tunnel-bytes-out", tunnel.outbound.bytes)
                m.add("martlet-tunnel-packets-out", tunnel.outbound.packets)
            }
        }
        return m
    }

    private static func uniqueName(_ sa: ChildSASnapshot) -> String { "\(clipped(sa.name))-\(sa.uniqueID)" }

    private static func named(_ name: String, _ body: ViciMessage) -> ViciMessage {
        var message = ViciMessage()
        message.add(clipped(name), section: body)
        return message
    }

    private static func addUnlessEmpty(_ message: inout ViciMessage, _ name: String, _ items: [String]) {
        if !items.isEmpty { message.add(name, list: items) }
    }
}

/// All digits of a number, in lower case: what vici does with SPIs.
func hexadecimal<Number: FixedWidthInteger & UnsignedInteger>(_ number: Number) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: max(0, Number.bitWidth / 4 - digits.count)) + digits
}

/// A name that fits a vici name with room for a number behind it.
func clipped(_ name: String, to limit: Int = 224) -> String {
    guard name.utf8.count > limit else { return name }
    var out = ""
    var size = 0
    for character in name {
        size += character.utf8.count
        guard size <= limit else { break }
        out.append(character)
    }
    return out
}
