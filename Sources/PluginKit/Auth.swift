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

    public var weBegan: Bool { table.pointee.flags & MARTLET_AUTH_WE_BEGAN.rawValue != 0 }
    public var peerHashes: [UInt16] { AuthRequest.list(table.pointee.peer_hashes, table.pointee.peer_hash_count) }
    /// The peer's CERT payloads in their order, and its CERTREQ payloads. Nothing in them is proven.
    public var peerCertificates: [martlet_certificate_payload] { AuthRequest.list(table.pointee.peer_certificates, table.pointee.peer_certificate_count) }
    public var peerRequests: [martlet_certificate_payload] { AuthRequest.list(table.pointee.peer_requests, table.pointee.peer_request_count) }

    static func list<T>(_ first: UnsafePointer<T>?, _ count: Int) -> [T] { Array(UnsafeBufferPointer(start: first, count: first == nil ? 0 : count)) }

    /// The reason of a refusal, for the log of this end; a further one is evidence.
    public func explain(_ reason: String) { reason.withCString { table.pointee.explain(table, $0) } }
    /// The AUTH method that was made.
    public func made(_ method: UInt16) { table.pointee.made(table, method) }
    /// A CERT payload to send.
    public func add(certificate: [UInt8], encoding: UInt8) {
        certificate.withUnsafeBufferPointer { table.pointee.add_certificate(table, encoding, martlet_bytes(data: $0.baseAddress, size: $0.count)) }
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

extension martlet_bytes {
    public var array: [UInt8] { Array(UnsafeBufferPointer(start: data, count: data == nil ? 0 : size)) }
    public var buffer: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: data, count: data == nil ? 0 : size) }
}

/// A side of a connection, borrowed from the host for one call.
extension martlet_auth_side {
    public var certificateList: [[UInt8]] { AuthRequest.list(certificates, certificate_count).map(\.array) }
    public var authorityList: [[UInt8]] { AuthRequest.list(authorities, authority_count).map(\.array) }
    public var publicKeyList: [[UInt8]] { AuthRequest.list(public_keys, public_key_count).map(\.array) }
    public var policyList: [String] { AuthRequest.list(policies, policy_count).compactMap { $0.map { String(cString: $0) } } }
}
