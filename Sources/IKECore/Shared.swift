// One value behind many copies: what is configured is copied into every SA and every exchange, and seldom changed.

/// Behaves as the value does, at the size of a reference. A copy that is changed becomes a value of its own. In an extension its members are
/// reached through `self`.
@dynamicMemberLookup
package struct Shared<Value: Hashable & Sendable>: Hashable, Sendable {
    private final class Box: Sendable {
        let value: Value
        init(_ value: Value) { self.value = value }
    }
    private var box: Box

    package init(_ value: Value) { box = Box(value) }

    package var value: Value { box.value }

    package subscript<Member>(dynamicMember member: WritableKeyPath<Value, Member>) -> Member {
        get { box.value[keyPath: member] }
        set {
            var changed = box.value
            changed[keyPath: member] = newValue
            box = Box(changed)
        }
    }

    package subscript<Member>(dynamicMember member: KeyPath<Value, Member>) -> Member { box.value[keyPath: member] }

    package static func == (a: Self, b: Self) -> Bool { a.box === b.box || a.box.value == b.box.value }
    package func hash(into hasher: inout Hasher) { hasher.combine(box.value) }
}
