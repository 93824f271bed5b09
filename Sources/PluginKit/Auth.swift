// Authentication methods: the C request as Swift sees it.

import PluginABI

/// One AUTH calculation, borrowed from the host for one call.
public struct AuthRequest {
    public let table: UnsafePointer<martlet_auth_request>
    public init(_ table: UnsafePointer<martlet_auth_request>) { self.table = table }

    public var prfSize: Int { Int(table.pointee.prf.pointee.output_size) }

    /// The octets that are signed, in order. RFC 7296 section 2.15.
    public var signedOctets: [martlet_bytes] { [table.pointee.message, table.pointee.nonce, table.pointee.maced_identity] }

    /// The prf of this IKE SA over `parts`; `output` has `prfSize` bytes.
    public func prf(key: martlet_bytes, _ parts: [martlet_bytes], into output: UnsafeMutablePointer<UInt8>) -> martlet_status {
        let prf = table.pointee.prf
        return parts.withUnsafeBufferPointer { parts in
            guard let base = parts.baseAddress else { return MARTLET_E_INVALID }
            return prf.pointee.compute(prf, key.data, key.size, base, parts.count, output)
        }
    }

    /// Lends the shared secret of these identities to `use`. `MARTLET_E_NOT_FOUND` where there is none.
    public func withSecret(_ use: (martlet_bytes) -> martlet_status) -> martlet_status {
        withoutActuallyEscaping(use) { use in
            var call = Call(use: use)
            let status = withUnsafeMutablePointer(to: &call) { call in
                table.pointee.with_secret(
                    table,
                    { context, secret in
                        guard let call = context?.assumingMemoryBound(to: Call.self) else { return }
                        call.pointee.status = call.pointee.use(secret)
                    }, call)
            }
            return status == MARTLET_OK ? call.status : status
        }
    }

    private struct Call {
        let use: (martlet_bytes) -> martlet_status
        var status = MARTLET_E_FAILED
    }
}
