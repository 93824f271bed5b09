// What commands that change something answer.
// Keys are those of strongSwan's src/libcharon/plugins/vici/README.md; the failure's code, evidence and advice are Martlet's.
import ViciWire

enum OutcomeMessages {
    static func refusal(_ reason: String, code: String) -> ViciMessage {
        failed(FailureSnapshot(code: code, summary: reason))
    }

    static func initiated(_ result: Result<InitiateOutcome, FailureSnapshot>) -> ViciMessage {
        switch result {
        case .success(let outcome):
            var m = ViciMessage()
            m.add("success", "yes")
            m.add("martlet-was-up", ifTrue: outcome.wasUp)
            return m
        case .failure(let failure):
            return failed(failure)
        }
    }

    static func loaded(_ result: LoadResult) -> ViciMessage {
        switch result {
        case .success(let warnings):
            var m = ViciMessage()
            m.add("success", "yes")
            if !warnings.isEmpty { m.add("martlet-warnings", list: ConfigurationMessages.lines(warnings)) }
            return m
        case .failure(let failure):
            return failed(failure)
        }
    }

    /// Each connection's counters in a section of its name; those of all together in one without a name.
    static func counters(_ all: [NamedCounters]?, _ selection: CounterSelection) -> ViciMessage {
        var sections = ViciMessage()
        for one in all ?? [] {
            var section = ViciMessage()
            for counter in one.counters { section.add(counter.name, counter.value) }
            sections.add(clipped(one.connection), section: section)
        }
        var m = ViciMessage()
        m.add("counters", section: sections)
        m.elements += all == nil ? noCounters(selection).elements : loaded(.success([])).elements
        return m
    }

    static func noCounters(_ selection: CounterSelection) -> ViciMessage {
        let name = if case .connection(let name) = selection { name } else { "" }
        return refusal("the connection \(quoted(name)) has counted nothing", code: "not-configured")
    }

    static func list(_ name: String, _ items: [String]) -> ViciMessage {
        var m = ViciMessage()
        m.add(name, list: items)
        return m
    }

    /// `verb` as in "no SA to terminate matches"; `count` is the key for what was dealt with.
    static func selected(_ outcome: SelectionOutcome, verb: String, count: String) -> ViciMessage {
        var failure = outcome.failure
        if outcome.matches == 0 {
            failure = failure ?? FailureSnapshot(code: "no-match", summary: "there is no SA to \(verb) that matches")
        } else if outcome.completed < outcome.matches {
            failure =
                failure
                ?? FailureSnapshot(code: "incomplete", summary: "\(outcome.matches - outcome.completed) of \(outcome.matches) SAs did not \(verb)")
        }
        var m = ViciMessage()
        m.add("success", failure == nil ? "yes" : "no")
        m.add("matches", outcome.matches)
        m.add(count, outcome.completed)
        if let failure { add(failure, to: &m) }
        return m
    }

    private static func failed(_ failure: FailureSnapshot) -> ViciMessage {
        var m = ViciMessage()
        m.add("success", "no")
        add(failure, to: &m)
        return m
    }

    private static func add(_ failure: FailureSnapshot, to m: inout ViciMessage) {
        m.add("errmsg", clipped(failure.summary, to: 4_096))
        m.add("martlet-code", failure.code)
        if !failure.evidence.isEmpty { m.add("martlet-evidence", list: ConfigurationMessages.lines(failure.evidence)) }
        if !failure.advice.isEmpty { m.add("martlet-advice", list: ConfigurationMessages.lines(failure.advice)) }
    }
}
