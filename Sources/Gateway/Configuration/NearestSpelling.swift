// Finds what a misspelt word was probably meant to be.

/// The candidate that takes the fewest edits to reach from `word`, if they are few for its length.
func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    var best: (word: String, distance: Int)?
    for candidate in candidates {
        // The last part of a longer name is most of what was meant: `proposals` for `esp_proposals`.
        let distance = candidate.hasSuffix("_" + word) ? 1 : editDistance(word, candidate)
        if distance < (best?.distance ?? Int.max) { best = (candidate, distance) }
    }
    guard let best, best.distance <= max(1, min(word.utf8.count, best.word.utf8.count) / 3) else { return nil }
    return best.word
}

/// The end of a message that names the candidate.
func suggestion(_ candidate: String?) -> String { candidate.map { "; did you mean '\($0)'?" } ?? "" }

/// Insertions, deletions, replacements, and swaps of two neighbours.
func editDistance(_ a: String, _ b: String) -> Int {
    let a = Array(a.lowercased().utf8.prefix(64))
    let b = Array(b.lowercased().utf8.prefix(64))
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    var current = last
    for i in a.indices {
        current[0] = i + 1
        for j in b.indices {
            current[j + 1] = min(last[j] + (a[i] == b[j] ? 0 : 1), last[j + 1] + 1, current[j] + 1)
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { current[j + 1] = min(current[j + 1], beforeLast[j - 1] + 1) }
        }
        (beforeLast, last, current) = (last, current, beforeLast)
    }
    return last[b.count]
}
