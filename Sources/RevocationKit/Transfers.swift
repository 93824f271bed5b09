// HTTP by libcurl: any number of transfers on one thread, each with its end in time and its limit of size.

import CCURL

/// One request and what came of it so far.
final class Transfer {
    let uri: String
    /// What is posted; nil where the URI is just read.
    let body: [UInt8]?
    let limit: Int
    fileprivate(set) var received: [UInt8] = []
    fileprivate var isTooLong = false
    fileprivate var handle: UnsafeMutableRawPointer?
    fileprivate var headers: UnsafeMutablePointer<curl_slist>?

    init(uri: String, body: [UInt8]?, limit: Int) { (self.uri, self.body, self.limit) = (uri, body, limit) }
}

/// How a transfer failed, as the end of a sentence that begins with its URI.
struct TransferFailure: Error {
    let reason: String
}

/// All of them. Belongs to one thread, but for `wake`.
final class Transfers: @unchecked Sendable {
    private let curl: UnsafeMutablePointer<martlet_curl>
    private let multi: UnsafeMutableRawPointer
    private var running: [UnsafeMutableRawPointer: Transfer] = [:]

    struct Unavailable: Error { let missing: String }

    /// Never ends: neither does who uses it.
    init() throws(Unavailable) {
        curl = .allocate(capacity: 1)
        curl.initialize(to: martlet_curl())
        if let missing = martlet_curl_load(curl) {
            let name = String(cString: missing)
            curl.deallocate()
            throw Unavailable(missing: name)
        }
        guard let multi = martlet_curl_multi(curl) else { throw Unavailable(missing: "memory") }
        self.multi = multi
    }

    /// False where it cannot even begin.
    func begin(_ transfer: Transfer, milliseconds: Int) -> Bool {
        let context = Unmanaged.passUnretained(transfer).toOpaque()
        let write: martlet_curl_write = { bytes, size, count, context in
            guard let bytes, let context else { return 0 }
            let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
            let total = size * count
            guard transfer.received.count + total <= transfer.limit else {
                transfer.isTooLong = true
                return 0
            }
            bytes.withMemoryRebound(to: UInt8.self, capacity: total) { transfer.received.append(contentsOf: UnsafeBufferPointer(start: $0, count: total)) }
            return total
        }
        let handle = transfer.uri.withCString { uri in
            if let body = transfer.body {
                return martlet_curl_begin(curl, multi, uri, body, body.count, milliseconds, transfer.limit, write, context, &transfer.headers)
            }
            return martlet_curl_begin(curl, multi, uri, nil, 0, milliseconds, transfer.limit, write, context, &transfer.headers)
        }
        guard let handle else { return false }
        transfer.handle = handle
        running[handle] = transfer
        return true
    }

    /// Goes on with what can go on; returns what has ended.
    func step() -> [(Transfer, Result<[UInt8], TransferFailure>)] {
        martlet_curl_perform(curl, multi)
        var ended: [(Transfer, Result<[UInt8], TransferFailure>)] = []
        var handle: UnsafeMutableRawPointer?, result: Int32 = 0, status = 0
        while martlet_curl_ended(curl, multi, &handle, &result, &status) != nil {
            guard let pointer = handle, let transfer = running.removeValue(forKey: pointer) else { continue }
            ended.append((transfer, outcome(of: transfer, result, status)))
            martlet_curl_end(curl, multi, pointer, transfer.headers)
            (transfer.handle, transfer.headers) = (nil, nil)
        }
        return ended
    }

    private func outcome(of transfer: Transfer, _ result: Int32, _ status: Int) -> Result<[UInt8], TransferFailure> {
        if transfer.isTooLong || result == MARTLET_CURL_SIZE { return .failure(TransferFailure(reason: "sends more than \(transfer.limit) octets")) }
        if result == MARTLET_CURL_TIMEOUT { return .failure(TransferFailure(reason: "did not answer in time")) }
        guard result == MARTLET_CURL_OK else {
            return .failure(TransferFailure(reason: "cannot be asked: " + (martlet_curl_reason(curl, result).map { String(cString: $0) } ?? "error \(result)")))
        }
        return status == 200 ? .success(transfer.received) : .failure(TransferFailure(reason: "answers with the status \(status)"))
    }

    /// Returns when something can go on, after `milliseconds`, or when somebody calls `wake`.
    func wait(milliseconds: Int) { martlet_curl_wait(curl, multi, Int32(clamping: milliseconds)) }

    /// From any thread.
    func wake() { martlet_curl_wake(curl, multi) }
}
