// How the bytes of a fuzzer become messages and events. Here and not in the fuzzers, so that the tests can read their corpora too.

import IKEWire

package enum FuzzedInputs {
    /// Called when what is the same for every input is over. Set once, before the first one.
    package nonisolated(unsafe) static var isSetUp: () -> Void = {}

    /// Place, exchange, flags, first payload, then a chain of payloads as it is inside the Encrypted payload.
    package static func decrypted(_ bytes: [UInt8]) {
        guard bytes.count >= 4 else { return }
        let endpoint = endpoint(bytes[0])
        let response = bytes[2] & 1 != 0
        endpoint.receive(
            exchange: exchange(bytes[1]), id: response ? endpoint.outstanding : nextRequest(bytes[0]), response: response, first: bytes[3], chain: bytes[4...], padLength: bytes[2] & 2 != 0 ? 3 : 0)
        endpoint.end()
    }

    /// Place, exchange, flags; then fragments: number, total and length in an octet each, first payload, content.
    package static func fragments(_ bytes: [UInt8]) {
        guard bytes.count >= 3 else { return }
        let endpoint = endpoint(bytes[0])
        let response = bytes[2] & 1 != 0
        var rest = bytes[3...]
        var count = 0
        while rest.count >= 4, count < 200 {
            let head = Array(rest.prefix(4))
            rest = rest.dropFirst(4)
            let content = rest.prefix(Int(head[2]))
            rest = rest.dropFirst(content.count)
            count += 1
            // The highest total stands for totals that do not fit in an octet.
            let total = head[1] == 255 ? UInt16.max : UInt16(head[1])
            endpoint.receive(
                exchange: exchange(bytes[1]), id: response ? endpoint.outstanding : nextRequest(bytes[0]), response: response, first: head[3], chain: content, fragment: (UInt16(head[0]), total))
        }
        endpoint.end()
    }

    /// Place and flags; then events: what, and its argument, with as many octets behind it as it says.
    package static func events(_ bytes: [UInt8]) {
        guard bytes.count >= 2 else { return }
        let endpoint = endpoint(bytes[0])
        endpoint.worksAtOnce = bytes[1] & 1 == 0
        var rest = bytes[2...]
        var nextID = nextRequest(bytes[0])
        var count = 0
        while let what = rest.popFirst(), let argument = rest.popFirst(), count < 64 {
            count += 1
            switch what % 8 {
            // A request or a response, sealed.
            case 0, 1:
                guard let size = rest.popFirst(), let first = rest.popFirst() else { break }
                let chain = rest.prefix(Int(size))
                rest = rest.dropFirst(chain.count)
                if what % 8 == 0 {
                    endpoint.receive(exchange: exchange(argument), id: nextID, response: false, first: first, chain: chain)
                    if argument < 128 { nextID &+= 1 }
                } else {
                    endpoint.receive(exchange: exchange(argument), id: endpoint.outstanding, response: true, first: first, chain: chain)
                }
            // Octets as they are.
            case 2:
                let datagram = rest.prefix(Int(argument))
                rest = rest.dropFirst(datagram.count)
                endpoint.receive(Array(datagram))
            case 3: endpoint.pass(.milliseconds(Int64(argument) * 50))
            case 4: endpoint.finishJob(failing: argument & 1 != 0)
            case 5: endpoint.answerPlane(failing: argument & 1 != 0)
            case 6: endpoint.operate(argument)
            default: endpoint.worksAtOnce = argument & 1 == 0
            }
        }
        endpoint.end()
    }

    private static func endpoint(_ byte: UInt8) -> FuzzedEndpoint {
        guard let endpoint = FuzzedEndpoint(place(byte)) else { fatalError("the endpoint was not set up") }
        isSetUp()
        return endpoint
    }

    private static func place(_ byte: UInt8) -> FuzzedEndpoint.Place { FuzzedEndpoint.Place.allCases[Int(byte) % FuzzedEndpoint.Place.allCases.count] }
    /// Those that there are, mostly.
    private static func exchange(_ byte: UInt8) -> UInt8 { byte < 128 ? 34 + byte % 4 : byte }

    /// The identifier of the peer's next request.
    private static func nextRequest(_ byte: UInt8) -> UInt32 {
        switch place(byte) {
        case .awaitingAuth: 1
        case .responder, .rekeyingChild, .creatingChild: 2
        default: 0
        }
    }
}
