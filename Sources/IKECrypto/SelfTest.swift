// Known-answer tests, owned by the host: what an algorithm must do right before it is offered to a peer.
// Each function returns why the algorithm is disabled, or nil.

import IKEWire

package enum SelfTest {
    /// Sizes of text that every cipher and MAC is run over, on one context.
    private static let sizes = 0...272

    package static func failure(of algorithm: any AEADAlgorithm) -> String? {
        guard let answer = KnownAnswers.aeads.first(where: { $0.transform == algorithm.transform }) else { return unknown }
        let key = bytes(answer.key), nonce = bytes(answer.nonce), tag = bytes(answer.tag)
        guard algorithm.keyLength == key.count, algorithm.tagLength == tag.count, algorithm.saltLength == 4, algorithm.ivLength == 8 else { return wrongSizes }
        return reason { () throws(CryptoError) in
            let sealer = try algorithm.makeContext(key: key.span, sealing: true)
            let opener = try algorithm.makeContext(key: key.span, sealing: false)
            let aad = bytes(answer.aad)
            let sealed = try seal(sealer, nonce, aad, bytes(answer.text), tag.count)
            guard sealed.text == bytes(answer.sealed), sealed.tag == tag else { return "sealing gives a wrong answer" }

            var folded = [UInt8](repeating: 0, count: tag.count)
            for size in sizes {
                let text = pattern(size), aad = pattern(size % 33)
                let sealed = try seal(sealer, nonce, aad, text, tag.count)
                fold(sealed.tag, into: &folded)
                guard try open(opener, nonce, aad, sealed.text, sealed.tag) == text else { return "\(size) bytes do not open to what was sealed" }
                // Each place in a block, and every block, for a fraction of the time that every size would take.
                guard size < 34 || size % 17 == 0 else { continue }
                guard !opens(opener, nonce, aad, sealed.text, flipped(sealed.tag, size)) else { return "a wrong tag is accepted on \(size) bytes" }
                guard size == 0 || !opens(opener, nonce, aad, flipped(sealed.text, size), sealed.tag) else { return "a changed text of \(size) bytes is accepted" }
                guard aad.isEmpty || !opens(opener, nonce, flipped(aad, size), sealed.text, sealed.tag) else { return "changed associated data is accepted on \(size) bytes" }
            }
            return folded == bytes(answer.sweep) ? nil : "sealing gives a wrong answer for some size up to \(sizes.upperBound)"
        }
    }

    package static func failure(of algorithm: any CipherAlgorithm) -> String? {
        guard let answer = KnownAnswers.ciphers.first(where: { $0.transform == algorithm.transform }) else { return unknown }
        let key = bytes(answer.key), iv = bytes(answer.iv)
        guard algorithm.keyLength == key.count, algorithm.blockLength == iv.count else { return wrongSizes }
        return reason { () throws(CryptoError) in
            let encrypter = try algorithm.makeContext(key: key.span, encrypting: true)
            let decrypter = try algorithm.makeContext(key: key.span, encrypting: false)
            guard try process(encrypter, iv, bytes(answer.text)) == bytes(answer.encrypted) else { return "encrypting gives a wrong answer" }
            var folded = [UInt8](repeating: 0, count: iv.count)
            for size in stride(from: iv.count, through: sizes.upperBound, by: iv.count) {
                let text = pattern(size)
                let encrypted = try process(encrypter, iv, text)
                fold(Array(encrypted.suffix(iv.count)), into: &folded)
                guard try process(decrypter, iv, encrypted) == text else { return "\(size) bytes do not decrypt to what was encrypted" }
            }
            return folded == bytes(answer.sweep) ? nil : "encrypting gives a wrong answer for some size up to \(sizes.upperBound)"
        }
    }

    package static func failure(of algorithm: any MACAlgorithm) -> String? {
        guard let answer = KnownAnswers.macs.first(where: { $0.transform == algorithm.transform }) else { return unknown }
        let key = bytes(answer.key), tag = bytes(answer.tag)
        guard algorithm.keyLength == key.count, algorithm.tagLength == tag.count else { return wrongSizes }
        return reason { () throws(CryptoError) in
            let context = try algorithm.makeContext(key: key.span)
            guard try compute(context, bytes(answer.data), [], tag.count) == tag else { return "the MAC is wrong" }
            var folded = [UInt8](repeating: 0, count: tag.count)
            for size in sizes {
                let text = pattern(size)
                let cut = size / 3
                fold(try compute(context, Array(text[..<cut]), Array(text[cut...]), tag.count), into: &folded)
            }
            return folded == bytes(answer.sweep) ? nil : "the MAC is wrong for some size up to \(sizes.upperBound)"
        }
    }

    package static func failure(of algorithm: any PRFAlgorithm) -> String? {
        guard let answer = KnownAnswers.prfs.first(where: { $0.transform == algorithm.transform }) else { return unknown }
        let output = bytes(answer.output)
        guard algorithm.outputLength == output.count, algorithm.keyLength == output.count else { return wrongSizes }
        return reason { () throws(CryptoError) in
            guard try compute(algorithm, bytes(answer.key), bytes(answer.data)) == output else { return "the output is wrong" }
            var folded = [UInt8](repeating: 0, count: output.count)
            // Keys longer than the hash's block are hashed first.
            for size in 0..<200 { fold(try compute(algorithm, pattern(size), pattern(size * 5 % 131)), into: &folded) }
            return folded == bytes(answer.sweep) ? nil : "the output is wrong for some size of key or data"
        }
    }

    package static func failure(of algorithm: any KeyExchangeAlgorithm) -> String? {
        guard let answer = KnownAnswers.keyExchanges.first(where: { $0.transform == algorithm.transform }) else { return unknown }
        let peer = bytes(answer.peerValue), shared = bytes(answer.shared)
        guard algorithm.publicLength == peer.count else { return wrongSizes }
        return reason { () throws(CryptoError) in
            if let key = try algorithm.makeKey(privateValue: bytes(answer.privateValue).span) {
                guard try agreement(key, peer) == shared else { return "the shared secret is wrong" }
            }
            let ours = try algorithm.generate(), theirs = try algorithm.generate()
            guard ours.publicValue.count == peer.count, ours.publicValue != theirs.publicValue else { return "fresh public values are wrong" }
            let left = try agreement(ours, theirs.publicValue), right = try agreement(theirs, ours.publicValue)
            guard left.count == shared.count, left == right else { return "two fresh keys do not agree" }
            //= RFC 6989 §2: each of these is a value that must not be computed with.
            let zero = [UInt8](repeating: 0, count: peer.count), ones = [UInt8](repeating: 0xff, count: peer.count)
            var bad = [zero, Array(peer.dropLast())]
            // Of x25519 and x448 a value of ones is a point like others (RFC 7748 section 5).
            if algorithm.transform != .curve25519, algorithm.transform != .curve448 { bad.append(ones) }
            if [.ecp256, .ecp384, .ecp521].contains(algorithm.transform) { bad.append(flipped(peer, peer.count - 1)) }
            for value in bad where agrees(ours, value) { return "a bad public value is accepted" }
            return nil
        }
    }

    /// Whether the source is alive: two runs of 64 bytes that differ from each other and from zero.
    package static func failure(of random: any RandomSource) -> String? {
        var a = [UInt8](repeating: 0, count: 64), b = a
        let zero = a
        var span = a.mutableSpan
        random.fill(&span)
        var other = b.mutableSpan
        random.fill(&other)
        return a == b || a == zero || b == zero ? "the random bytes repeat" : nil
    }

    // MARK: -

    private static let unknown = "the host has no known answers for it"
    private static let wrongSizes = "its sizes are not the standard's"

    private static func reason(_ body: () throws(CryptoError) -> String?) -> String? {
        do { return try body() } catch {
            switch error {
            case .rejected: return "it rejects what it made itself"
            case .invalid: return "it refuses valid input"
            case .failed, .unavailable: return "it fails"
            }
        }
    }

    private static func seal(_ context: any AEADContext, _ nonce: [UInt8], _ aad: [UInt8], _ text: [UInt8], _ tagLength: Int) throws(CryptoError) -> (text: [UInt8], tag: [UInt8]) {
        var text = text, tag = [UInt8](repeating: 0, count: tagLength)
        var textSpan = text.mutableSpan, tagSpan = tag.mutableSpan
        try context.seal(nonce: nonce.span, aad: aad.span, text: &textSpan, tag: &tagSpan)
        return (text, tag)
    }

    private static func open(_ context: any AEADContext, _ nonce: [UInt8], _ aad: [UInt8], _ text: [UInt8], _ tag: [UInt8]) throws(CryptoError) -> [UInt8] {
        var text = text
        var span = text.mutableSpan
        try context.open(nonce: nonce.span, aad: aad.span, text: &span, tag: tag.span)
        return text
    }

    private static func opens(_ context: any AEADContext, _ nonce: [UInt8], _ aad: [UInt8], _ text: [UInt8], _ tag: [UInt8]) -> Bool {
        do { return try open(context, nonce, aad, text, tag).count == text.count } catch { return false }
    }

    private static func process(_ context: any CipherContext, _ iv: [UInt8], _ text: [UInt8]) throws(CryptoError) -> [UInt8] {
        var text = text
        var span = text.mutableSpan
        try context.process(iv: iv.span, text: &span)
        return text
    }

    private static func compute(_ context: any MACContext, _ head: [UInt8], _ body: [UInt8], _ tagLength: Int) throws(CryptoError) -> [UInt8] {
        var tag = [UInt8](repeating: 0, count: tagLength)
        var span = tag.mutableSpan
        try context.compute(head.span, body.span, into: &span)
        return tag
    }

    private static func compute(_ prf: any PRFAlgorithm, _ key: [UInt8], _ data: [UInt8]) throws(CryptoError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: prf.outputLength)
        var span = output.mutableSpan
        try prf.compute(key: key.span, data: data.span, into: &span)
        return output
    }

    private static func agrees(_ key: any KeyExchangeKey, _ value: [UInt8]) -> Bool {
        do { return try !agreement(key, value).isEmpty } catch { return false }
    }

    /// The shared secret of keys that protect nothing.
    private static func agreement(_ key: any KeyExchangeKey, _ value: [UInt8]) throws(CryptoError) -> [UInt8] {
        let secret = try key.agree(value.span)
        return secret.span.indices.map { secret.span[$0] }
    }

    /// Text of which no two neighbours are equal.
    private static func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) } }

    /// One bit changed, at a place that `choice` picks.
    private static func flipped(_ bytes: [UInt8], _ choice: Int) -> [UInt8] {
        var bytes = bytes
        bytes[choice % bytes.count] ^= 1 << UInt8(choice % 8)
        return bytes
    }

    /// Adds an output to those before it, so that their order counts.
    private static func fold(_ output: [UInt8], into folded: inout [UInt8]) {
        for index in folded.indices { folded[index] ^= output[index] }
        folded.append(folded.removeFirst())
    }

    /// Hexadecimal digits of a known answer. Others are no bytes, and no answer then matches.
    private static func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = hexadecimal.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
