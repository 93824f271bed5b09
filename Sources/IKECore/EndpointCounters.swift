// What became of datagrams and requests that no proven peer sent: plain numbers, for `martlet status` and vici's stats.

package struct EndpointCounters: Hashable, Sendable {
    package var datagrams: UInt64 = 0
    package var malformed: UInt64 = 0
    package var unknownSPI: UInt64 = 0
    /// IKE_SA_INIT requests dropped because the gateway is full or ending, and answers that strangers did not get because too many asked.
    package var overLimit: UInt64 = 0
    /// IKE_SA_INIT requests dropped because their address, or their network, has too many half-open SAs.
    package var addressOverLimit: UInt64 = 0
    package var networkOverLimit: UInt64 = 0
    /// IKE_SA_INIT requests dropped because too many key agreements are under way.
    package var agreementsOverLimit: UInt64 = 0
    /// Half-open SAs that have given their place to a newcomer.
    package var displaced: UInt64 = 0
    package var cookiesDemanded: UInt64 = 0
    /// Cookies that came back, and were ours.
    package var cookiesTaken: UInt64 = 0
    /// Answers held back: more than three times what had come from an address that has proven nothing.
    package var answersHeldBack: UInt64 = 0
    /// IKE_AUTH requests that were not opened, because too many of that half-open SA had been forged.
    package var authNotTried: UInt64 = 0
    /// Fragments for which there was no room.
    package var fragmentsOverLimit: UInt64 = 0
    /// INVALID_IKE_SPI, and INVALID_SPI: sent, and received without protection for an SA of ours.
    package var invalidSPISent: UInt64 = 0
    package var invalidSPIReceived: UInt64 = 0
}
