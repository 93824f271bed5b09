// Initiator: a job makes our half of the key exchange.
// RFC 7296 section 1.2.

import IKECrypto
import IKEWire

struct GeneratingKey {
    let job: JobID
    let method: Transform
    var work: Initiation
    /// What the responder demanded of an earlier try.
    let cookie: [UInt8]?
    /// How often the responder has sent us back, with a cookie or another method.
    let detours: Int
    /// The requests that were sent before. One of them may be answered still.
    let earlier: [InitSent]

    /// Starts the initiation, or starts it over with another key exchange method.
    static func begin(_ sa: IKESA, _ work: Initiation, method: Transform? = nil, cookie: [UInt8]? = nil, detours: Int = 0, earlier: [InitSent] = []) -> State {
        guard let transform = method ?? sa.connection.proposals.keyExchangeMethods.first, let algorithm = sa.registry.keyExchange(transform) else {
            work.fail(
                Failure(.internalError, "No loaded plugin provides a key exchange method of connection \(sa.connection.name)", advice: ["Load a crypto plugin that does, or change `proposals`."]), sa,
                retry: false)
            return .dead
        }
        var work = work
        work.deadline = sa.now + sa.context.limits.jobTime
        return .generatingKey(GeneratingKey(job: sa.context.run(.generateKey(algorithm), for: sa.localSPI), method: transform, work: work, cookie: cookie, detours: detours, earlier: earlier))
    }

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        guard case .keyGenerated(let key) = result else {
            work.fail(.job(result, "generating a key", sa), sa, retry: false)
            return .dead
        }
        return InitSent.send(sa, work, key: key, method: method, cookie: cookie, detours: detours, earlier: earlier)
    }

    /// What made us generate another key was not authentic: an answer to the request before is as good as if that had never come.
    func received(_ header: Header, _ datagram: Datagram, _ sa: IKESA) -> State {
        guard var last = earlier.last else { return .generatingKey(self) }
        last.work = work
        if case .agreeing(let next) = last.received(header, datagram, sa, isSuperseded: true) { return .agreeing(next) }
        return .generatingKey(self)
    }
}
