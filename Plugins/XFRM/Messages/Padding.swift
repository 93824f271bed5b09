// Octets of the kernel's structures that no field has. What stands there is left to chance by the compiler; in a message it is zero, so that nothing of this
// process's memory leaves with it. The layout is that of linux/xfrm.h, the same on every machine with 64 bits.

import CXFRM

protocol Padded {
    static var padding: [Range<Int>] { get }
}

extension xfrm_selector: Padded { static let padding = [45..<48] }
extension xfrm_id: Padded { static let padding = [21..<24] }
extension xfrm_usersa_info: Padded { static let padding = [45..<48, 77..<80, 217..<224] }
extension xfrm_usersa_id: Padded { static let padding = [23..<24] }
extension xfrm_userspi_info: Padded { static let padding = xfrm_usersa_info.padding }
extension xfrm_userpolicy_info: Padded { static let padding = [45..<48, 164..<168] }
extension xfrm_userpolicy_id: Padded { static let padding = [45..<48, 61..<64] }
extension xfrm_user_tmpl: Padded { static let padding = [21..<24, 26..<28, 51..<52] }
extension xfrm_encap_tmpl: Padded { static let padding = [6..<8] }
