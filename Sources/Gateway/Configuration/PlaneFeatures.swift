// What a data plane can do with packets beside ESP, as far as the configuration asks for it. The bits are those of martlet/plane.h.

package struct PlaneFeatures: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let marks = PlaneFeatures(rawValue: 1)
    package static let setMarks = PlaneFeatures(rawValue: 2)
    package static let interfaces = PlaneFeatures(rawValue: 4)
    package static let offload = PlaneFeatures(rawValue: 8)
    package static let dscpIn = PlaneFeatures(rawValue: 16)
    package static let passesExactly = PlaneFeatures(rawValue: 32)
    package static let segments = PlaneFeatures(rawValue: 64)
    package static let makesInterfaces = PlaneFeatures(rawValue: 128)
    package static let all: PlaneFeatures = [.marks, .setMarks, .interfaces, .offload, .dscpIn, .passesExactly, .segments, .makesInterfaces]

    /// As an administrator knows them.
    package static let names: [(feature: PlaneFeatures, name: String)] = [
        (.marks, "mark_in and mark_out"), (.setMarks, "set_mark_in and set_mark_out"), (.interfaces, "if_id_in and if_id_out"), (.offload, "hw_offload"), (.dscpIn, "copy_dscp = in"),
        (.passesExactly, "mode = pass for some senders, protocols or ports alone"), (.segments, "clamp_mss for forwarded connections (nf_tables)"),
        (.makesInterfaces, "interface_prefix (XFRM interfaces)"),
    ]
}
