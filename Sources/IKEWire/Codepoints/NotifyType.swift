// Notify message types. 0-16383 are errors, 16384 and above status.
// RFC 7296 section 3.10.1; IANA "IKEv2 Notify Message Types".

package struct NotifyType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let unsupportedCriticalPayload = NotifyType(rawValue: 1)
    package static let invalidIKESPI = NotifyType(rawValue: 4)
    package static let invalidMajorVersion = NotifyType(rawValue: 5)
    package static let invalidSyntax = NotifyType(rawValue: 7)
    package static let invalidMessageID = NotifyType(rawValue: 9)
    package static let invalidSPI = NotifyType(rawValue: 11)
    package static let noProposalChosen = NotifyType(rawValue: 14)
    package static let invalidKEPayload = NotifyType(rawValue: 17)
    package static let authenticationFailed = NotifyType(rawValue: 24)
    package static let singlePairRequired = NotifyType(rawValue: 34)
    package static let noAdditionalSAs = NotifyType(rawValue: 35)
    package static let internalAddressFailure = NotifyType(rawValue: 36)
    package static let failedCPRequired = NotifyType(rawValue: 37)
    package static let tsUnacceptable = NotifyType(rawValue: 38)
    package static let invalidSelectors = NotifyType(rawValue: 39)
    package static let unacceptableAddresses = NotifyType(rawValue: 40)
    package static let unexpectedNATDetected = NotifyType(rawValue: 41)
    package static let temporaryFailure = NotifyType(rawValue: 43)
    package static let childSANotFound = NotifyType(rawValue: 44)

    package static let initialContact = NotifyType(rawValue: 16384)
    package static let setWindowSize = NotifyType(rawValue: 16385)
    package static let additionalTSPossible = NotifyType(rawValue: 16386)
    package static let ipcompSupported = NotifyType(rawValue: 16387)
    package static let natDetectionSourceIP = NotifyType(rawValue: 16388)
    package static let natDetectionDestinationIP = NotifyType(rawValue: 16389)
    package static let cookie = NotifyType(rawValue: 16390)
    package static let useTransportMode = NotifyType(rawValue: 16391)
    package static let httpCertLookupSupported = NotifyType(rawValue: 16392)
    package static let rekeySA = NotifyType(rawValue: 16393)
    package static let espTFCPaddingNotSupported = NotifyType(rawValue: 16394)
    package static let nonFirstFragmentsAlso = NotifyType(rawValue: 16395)
    package static let mobikeSupported = NotifyType(rawValue: 16396)
    package static let additionalIP4Address = NotifyType(rawValue: 16397)
    package static let additionalIP6Address = NotifyType(rawValue: 16398)
    package static let noAdditionalAddresses = NotifyType(rawValue: 16399)
    package static let updateSAAddresses = NotifyType(rawValue: 16400)
    package static let cookie2 = NotifyType(rawValue: 16401)
    package static let noNATsAllowed = NotifyType(rawValue: 16402)
    package static let authLifetime = NotifyType(rawValue: 16403)
    package static let eapOnlyAuthentication = NotifyType(rawValue: 16417)
    package static let childlessSupported = NotifyType(rawValue: 16418)
    package static let fragmentationSupported = NotifyType(rawValue: 16430)
    package static let signatureHashAlgorithms = NotifyType(rawValue: 16431)

    package var isError: Bool { rawValue < 16384 }

    /// Of errors in the answer to IKE_AUTH: those that are about the child or inner addresses alone. RFC 7296 section 1.2.
    package var leavesIKESA: Bool {
        switch self {
        case .noProposalChosen, .singlePairRequired, .noAdditionalSAs, .internalAddressFailure, .failedCPRequired, .tsUnacceptable, .temporaryFailure: true
        default: false
        }
    }
}
