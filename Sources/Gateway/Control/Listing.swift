// A long list for one client, a page at a time: the next page is made when the client has read the last.

/// On the control loop alone.
package final class Listing<Element: Sendable>: @unchecked Sendable {
    /// A page, or why there is none; nil after the last.
    package typealias Page = Result<[Element], FailureSnapshot>?
    private let make: (@escaping @Sendable (Page) -> Void) -> Void

    /// `make` calls its completion once, at once or later.
    package init(_ make: @escaping (@escaping @Sendable (Page) -> Void) -> Void) { self.make = make }

    /// Of what is there already: messages are what takes room, and are made page by page.
    package convenience init(_ all: [Element], size: Int = 64) {
        var rest = all[...]
        self.init { completion in
            let page = Array(rest.prefix(size))
            rest = rest.dropFirst(size)
            completion(page.isEmpty ? nil : .success(page))
        }
    }

    func next(_ completion: @escaping @Sendable (Page) -> Void) { make(completion) }
}
