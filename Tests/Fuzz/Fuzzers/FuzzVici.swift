// Whatever bytes a control client sends: they are refused, or they are packets that are written and read again unchanged; and as a connection or a pool
// to load they are refused with an explanation, or are a configuration.

import Configuration
import ViciWire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzVici(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    // As a message, as a packet, and as a stream that arrives in two pieces.
    if let message = try? ViciMessage(decoding: bytes[...]) {
        precondition((try? message.encoded()) == bytes, "wrote another message than it read: \(message)")
        if let (_, root) = try? MessageTree.connection(message) { load(root) }
        if let (_, root) = try? MessageTree.pool(message) { load(root) }
    }
    if let packet = try? ViciPacket(decoding: bytes[...]) {
        guard let framed = try? packet.framed() else { fatalError("read a packet that it cannot write: \(packet)") }
        precondition(framed[4...].elementsEqual(bytes), "wrote another packet than it read: \(packet)")
    }
    var framer = ViciFramer()
    var taken = 0
    let cut = bytes.first.map { Int($0) % (count + 1) } ?? 0
    for piece in [bytes[..<cut], bytes[cut...]] {
        framer.append(piece)
        do {
            while let frame = try framer.next() {
                taken += 4 + frame.count
                _ = try? ViciPacket(decoding: frame)
            }
        } catch {
            return 0
        }
    }
    precondition(taken + framer.pendingBytes == count, "bytes were lost or made up")
    return 0
}

private func load(_ root: ConfigurationSection) {
    let capabilities = Capabilities(serves: { $0.id != 2 }, providers: ["openssl"], methods: ["psk"])
    let result = ConfigurationLoader.validate(ConfigurationLoader.read(tree: root, from: "vici"), capabilities, joining: GatewayConfiguration(path: "m.conf"))
    precondition((result.configuration == nil) == !result.errors.isEmpty)
    precondition(result.diagnostics.allSatisfy { !$0.position.description.isEmpty && $0.message.utf8.count < 2000 })
    guard let configuration = result.configuration else { return }
    var sources = ConfigurationSources(files: GatewayConfiguration(path: "m.conf"))
    for connection in configuration.connections {
        let first = try? sources.load(connection), second = try? sources.load(connection)
        precondition(first == .some(nil) && second == connection && sources.merged.connections == [connection])
        precondition((try? sources.unload(connection: connection.name)) == connection && sources.merged.connections.isEmpty)
    }
}
