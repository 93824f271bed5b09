// What a table must be before anything in it is believed: long enough, named, and without null functions.

import IKEWire
import PluginABI

/// The table is as long as the host's struct for its kind, and has a name. Major 0 has one length for each.
func requireSize<Table>(_ table: UnsafePointer<Table>, _ head: KeyPath<Table, martlet_algorithm>) throws(TableDefect) {
    let raw = UnsafeRawPointer(table)
    let size = raw.load(as: martlet_algorithm.self).struct_size
    guard size >= UInt32(MemoryLayout<Table>.size) else {
        throw TableDefect("an algorithm's table has \(size) bytes and needs \(MemoryLayout<Table>.size)")
    }
    try requireFunctions(table, (head.appending(path: \.name), "name"))
}

/// None of the pointers at these fields is null. Read as numbers: Swift takes the fields' types at their word.
package func requireFunctions<Table>(_ table: UnsafePointer<Table>, _ fields: (PartialKeyPath<Table>, String)...) throws(TableDefect) {
    for (field, fieldName) in fields {
        guard let offset = MemoryLayout<Table>.offset(of: field) else { throw TableDefect("\(fieldName) has no place in its table") }
        guard UnsafeRawPointer(table).load(fromByteOffset: offset, as: UInt.self) != 0 else {
            throw TableDefect("\(fieldName) is null")
        }
    }
}

func name<Table>(of table: UnsafePointer<Table>, _ head: KeyPath<Table, martlet_algorithm>) -> String {
    String(cString: table.pointee[keyPath: head].name)
}
