// Authentication with a pre-shared key.
// RFC 7296 section 2.15: AUTH = prf(prf(Shared Secret, "Key Pad for IKEv2"), <signed octets>).

import PluginABI
import PluginKit

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "psk", version: "0.1", provides: [.auth("psk")],
    initialize: { table in Host(table).provide(.auth("psk"), method) })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

/// "Shared Key Message Integrity Code".
private let sharedKey: UInt16 = 2

private nonisolated(unsafe) let method = Immortal.table(
    martlet_auth_method(
        struct_size: UInt32(MemoryLayout<martlet_auth_method>.size), max_concurrency: 0, name: Immortal.string("psk"), methods: Immortal.array([sharedKey]),
        method_count: 1,
        sign: { table, output, size in
            let request = AuthRequest(table)
            guard request.prfSize <= Int(MARTLET_AUTH_MAX) else { return MARTLET_E_UNSUPPORTED }
            let status = compute(request, into: output)
            size.pointee = status == MARTLET_OK ? request.prfSize : 0
            return status
        },
        verify: { table in
            let request = AuthRequest(table)
            let size = request.prfSize
            let expected = UnsafeMutablePointer<UInt8>.allocate(capacity: size)
            expected.initialize(repeating: 0, count: size)
            defer {
                wipe(expected, size)
                expected.deallocate()
            }
            let status = compute(request, into: expected)
            guard status == MARTLET_OK else { return status }
            let received = table.pointee.auth_data
            // The size of an AUTH is no secret.
            guard received.size == size, let data = received.data, constantTimeEqual(data, expected, size) else { return MARTLET_E_REJECTED }
            return MARTLET_OK
        }, cancel: nil, hashes: nil, hash_count: 0, flags: MARTLET_AUTH_QUICK.rawValue, reserved: 0, check_certificate: nil))

private func compute(_ request: AuthRequest, into output: UnsafeMutablePointer<UInt8>) -> martlet_status {
    let size = request.prfSize
    let padded = UnsafeMutablePointer<UInt8>.allocate(capacity: size)
    padded.initialize(repeating: 0, count: size)
    defer {
        wipe(padded, size)
        padded.deallocate()
    }
    let pad = Array("Key Pad for IKEv2".utf8)
    let status = request.withSecret { secret in
        pad.withUnsafeBufferPointer { request.prf(key: secret, [martlet_bytes(data: $0.baseAddress, size: $0.count)], into: padded) }
    }
    guard status == MARTLET_OK else { return status }
    return request.prf(key: martlet_bytes(data: padded, size: size), request.signedOctets, into: output)
}
