// Memory that has held keys is zeros when the message, the batch or the datagram has gone. The tests lend the memory, and look at it afterwards.

import CXFRM
import IKEWire
import Testing

@testable import XFRMMessages

struct WipingTests {
    private static let key = [UInt8](0xa1...0xc4)

    /// Memory with nothing in it that is zero, so that what is zero afterwards was made so.
    private func withMemory(_ count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0xff)
        body(memory)
    }

    private func holds(_ memory: UnsafeRawBufferPointer, _ bytes: [UInt8]) -> Bool {
        (0...(memory.count - bytes.count)).contains { start in memory[start..<(start + bytes.count)].elementsEqual(bytes) }
    }

    private func attribute(_ message: inout NetlinkMessage) {
        Self.key.withUnsafeBytes { key in withUnsafeBytes(of: xfrm_algo_aead()) { message.attribute(XFRMA_ALG_AEAD, $0, key) } }
    }

    @Test(arguments: [1024, 260]) func aMessageLeavesNothing(room: Int) {
        withMemory(room) { memory in
            do {
                var message = NetlinkMessage(type: UInt16(XFRM_MSG_NEWSA), flags: 0, memory: memory, isLent: true)
                message.body([UInt8](repeating: 0xee, count: 160).withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) })
                attribute(&message)
                let isWhole = !message.isTruncated
                #expect(isWhole && holds(UnsafeRawBufferPointer(memory), Self.key))
                // Another one has no room in the smaller message: what is there already goes all the same.
                attribute(&message)
                let isTruncated = message.isTruncated
                #expect(isTruncated == (room == 260))
            }
            #expect(memory.allSatisfy { $0 == 0 })
        }
    }

    @Test func aBatchLeavesNothing() {
        withMemory(64 << 10) { memory in
            do {
                var batch = NetlinkBatch(memory, isLent: true)
                for _ in 0..<3 {
                    var message = NetlinkMessage(type: UInt16(XFRM_MSG_NEWSA), flags: 0)
                    attribute(&message)
                    let isTaken = batch.append(message)
                    #expect(isTaken)
                }
                #expect(holds(UnsafeRawBufferPointer(memory), Self.key))
            }
            #expect(!holds(UnsafeRawBufferPointer(memory), Self.key))
            // Behind the messages nothing was ever written.
            let end = memory.firstIndex { $0 != 0 } ?? memory.count
            #expect(end > 3 * Self.key.count && memory[end...].allSatisfy { $0 == 0xff })
        }
    }

    @Test func aDatagramLeavesNothing() {
        withMemory(4096) { memory in
            let buffer = ReceiveBuffer(memory, isLent: true)
            var message = NetlinkMessage(type: UInt16(XFRM_MSG_NEWSA), flags: 0)
            attribute(&message)
            let datagram = message.withBytes { Array($0) }
            var seen = 0
            func read(_ answer: Int?) -> Int32? {
                buffer.receive(
                    { room in
                        room.copyBytes(from: datagram)
                        return answer ?? datagram.count
                    }, { _ in seen += holds(UnsafeRawBufferPointer(memory), Self.key) ? 1 : 0 })
            }
            #expect(read(nil) == nil && seen == 1)
            #expect(!holds(UnsafeRawBufferPointer(memory), Self.key) && memory.prefix(datagram.count).allSatisfy { $0 == 0 })
            // What came before an error, and a datagram that says it is longer than the buffer.
            #expect(read(-105) == 105 && seen == 1 && memory.allSatisfy { $0 == 0 })
            #expect(read(1 << 20) == nil && seen == 2 && memory.allSatisfy { $0 == 0 })
        }
    }

    @Test func theBufferGoesCleanToo() {
        withMemory(4096) { memory in
            do { _ = ReceiveBuffer(memory, isLent: true) }
            #expect(memory.allSatisfy { $0 == 0 })
        }
    }

    // MARK: What no field has

    /// A structure whose memory was something else before: its fields go, and the octets between them do not.
    private func sent<T>(_ type: T.Type) -> (fields: Int, between: Int) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: MemoryLayout<T>.size, alignment: 8)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0xff)
        var message = NetlinkMessage(type: 1, flags: 0)
        message.body(memory.load(as: T.self))
        message.attribute(XFRMA_SA, memory.load(as: T.self))
        let bytes = message.withBytes { Array($0) }
        let body = bytes[16..<(16 + MemoryLayout<T>.size)], attribute = bytes.suffix(MemoryLayout<T>.size)
        return body.elementsEqual(attribute) ? (body.count { $0 == 0xff }, body.count { $0 == 0 }) : (0, 0)
    }

    @Test func nothingIsSentBetweenTheFields() {
        let address = 16, selector = 2 * address + 4 * 2 + 2 + 3 + 2 * 4, id = address + 4 + 1, life = 8 * 8 + 4 * 8
        #expect(sent(xfrm_selector.self) == (selector, 3))
        #expect(sent(xfrm_id.self) == (id, 3))
        #expect(sent(xfrm_usersa_info.self) == (selector + id + address + life + 3 * 4 + 2 * 4 + 2 + 3, 13))
        #expect(sent(xfrm_usersa_id.self) == (address + 4 + 2 + 1, 1))
        #expect(sent(xfrm_userspi_info.self) == (selector + id + address + life + 3 * 4 + 2 * 4 + 2 + 3 + 8, 13))
        #expect(sent(xfrm_userpolicy_info.self) == (selector + life + 2 * 4 + 4, 7))
        #expect(sent(xfrm_userpolicy_id.self) == (selector + 4 + 1, 6))
        #expect(sent(xfrm_user_tmpl.self) == (id + 2 + address + 4 + 3 + 3 * 4, 6))
        #expect(sent(xfrm_encap_tmpl.self) == (3 * 2 + address, 2))
        // One without any.
        #expect(sent(xfrm_mark.self) == (8, 0))
    }
}
