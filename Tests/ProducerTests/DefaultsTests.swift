import ServiceSupport
import Testing
import Wire

@testable import Challenges

@Suite("Defaults that stand in the code and in the settings")
struct DefaultsTests {
    @Test("the limits and the brake of a store are the settings' defaults")
    func limits() async throws {
        let settings = try await Settings(role: .producer, arguments: [], environment: [:])
        let limits = ChallengeLimits()
        #expect(try settings(Settings.limitBurst) == limits.burst)
        #expect(try settings(Settings.limitInterval).wholeMilliseconds == limits.intervalMs)
        #expect(try settings(Settings.limitPending) == limits.pending)
        #expect(try settings(Settings.limitDenials) == limits.denials)
        #expect(try settings(Settings.limitDenialWindow).wholeMilliseconds == limits.denialWindowMs)
        #expect(try settings(Settings.limitQuiet).wholeMilliseconds == limits.quietMs)
        #expect(try settings(Settings.limitFactorGuesses) == limits.factorGuesses)
        #expect(try settings(Settings.limitIdentityGuesses) == limits.identityGuesses)
        #expect(try settings(Settings.limitGuessWindow).wholeMilliseconds == limits.guessWindowMs)
        let brake = TokenBrake()
        #expect(try settings(Settings.tokensBrakeWindow).wholeMilliseconds == brake.windowMs)
        #expect(try Int64(settings(Settings.tokensBrakeMinimum)) == brake.minimum)
        #expect(try Int64(settings(Settings.tokensBrakeShare)) == brake.sharePercent)
    }
}
