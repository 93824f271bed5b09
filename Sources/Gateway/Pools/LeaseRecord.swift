// What is remembered of a lease beyond its life, and who is told of it.

import IKECore
import IKEWire

/// An address of a pool, with who has or last had it.
package struct LeaseRecord: Hashable, Sendable {
    package var pool: String
    package var address: IPAddress
    package var identity: Identification
    package var isOnline: Bool
    /// Orders records: what was lent or given back later has a higher one.
    package var number: UInt64
    package init(pool: String, address: IPAddress, identity: Identification, isOnline: Bool, number: UInt64) {
        (self.pool, self.address, self.identity, self.isOnline, self.number) = (pool, address, identity, isOnline, number)
    }
}

package struct LeaseKey: Hashable, Sendable {
    package var pool: String
    package var address: IPAddress
}

/// Keeps records. Called under the pools' lock: it takes note and returns.
package protocol LeaseJournal: AnyObject, Sendable {
    /// What is now true of the address; nil: nobody is remembered for it.
    func note(_ key: LeaseKey, _ record: LeaseRecord?)
}
