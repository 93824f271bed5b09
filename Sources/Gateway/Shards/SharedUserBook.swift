// The one book of users of a gateway, for all of its shards. Asked at log-ins and at the end of sessions, never for a packet; each call takes
// microseconds, and nothing waits in one.

import IKECore
import Synchronization

package final class SharedUserBook: UserBooks, Sendable {
    private let book: Mutex<UserBook>
    package init(_ limits: Limits) { book = Mutex(UserBook(limits)) }
    package func change<Result: Sendable>(_ use: (inout UserBook) -> Result) -> Result { book.withLock { use(&$0) } }
}
