import Challenges
import Testing
import Wire

@testable import ServiceSupport

/// docs/configuration.md is compared with the settings elsewhere; this compares the settings with what the code takes without them.
@Suite("Defaults of the producer's settings")
struct DefaultsTests {
    @Test("the limits of an identity are the settings' defaults")
    func limits() {
        let limits = ChallengeLimits()
        #expect(Settings.limitBurst.defaultValue == limits.burst)
        #expect(Settings.limitInterval.defaultValue?.wholeMilliseconds == limits.intervalMs)
        #expect(Settings.limitPending.defaultValue == limits.pending)
        #expect(Settings.limitDenials.defaultValue == limits.denials)
        #expect(Settings.limitDenialWindow.defaultValue?.wholeMilliseconds == limits.denialWindowMs)
        #expect(Settings.limitQuiet.defaultValue?.wholeMilliseconds == limits.quietMs)
        #expect(Settings.limitFactorGuesses.defaultValue == limits.factorGuesses)
        #expect(Settings.limitIdentityGuesses.defaultValue == limits.identityGuesses)
        #expect(Settings.limitGuessWindow.defaultValue?.wholeMilliseconds == limits.guessWindowMs)
    }

    @Test("the brake on dead tokens is the settings' defaults")
    func brake() {
        let brake = TokenBrake()
        #expect(Settings.tokensBrakeWindow.defaultValue?.wholeMilliseconds == brake.windowMs)
        #expect(Settings.tokensBrakeMinimum.defaultValue.map { Int64($0) } == brake.minimum)
        #expect(Settings.tokensBrakeShare.defaultValue.map { Int64($0) } == brake.sharePercent)
    }
}
