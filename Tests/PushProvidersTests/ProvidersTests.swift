import ChallengeModel
import Crypto
import Testing

@testable import PushProviders

@Suite("Providers")
struct ProvidersTests {
    @Test(
        "a refused push has its code",
        arguments: [
            (Platform.apn, Disposition.rejected, 400, "BadDeviceToken", 52134),
            (.apn, .tokenDead, 410, "Unregistered", 52141),
            (.apn, .tokenDead, 410, "", 52141), (.apn, .rejected, 400, "TopicDisallowed", 52143),
            (.apn, .rejected, 413, "", 52138), (.apn, .credentialFault, 403, "InvalidProviderToken", 52147),
            (.apn, .credentialFault, 0, "", 52004), (.apn, .rejected, 400, "Whatever", 52140),
            (.fcm, .tokenDead, 404, "UNREGISTERED", 52103), (.fcm, .rejected, 403, "SENDER_ID_MISMATCH", 52104),
            (.fcm, .rejected, 400, "INVALID_ARGUMENT", 52102), (.fcm, .credentialFault, 401, "", 52109),
            (.fcm, .rejected, 400, "Whatever", 52111), (.noPush, .rejected, 0, "", 52301),
            (.hms, .tokenDead, 0, "", 52001),
        ] as [(Platform, Disposition, UInt32, String, UInt32)])
    func codes(platform: Platform, disposition: Disposition, status: UInt32, reason: String, code: UInt32) {
        var outcome = PushOutcome()
        outcome.platform = platform
        outcome.disposition = disposition
        outcome.providerStatus = status
        outcome.reason = reason
        outcome.explain()
        #expect(outcome.errorCode == code)
    }

    @Test(
        "why a push was refused, in neutral terms",
        arguments: [
            (Platform.apn, Disposition.rejected, "BadDeviceToken", PushCause.tokenUnknown),
            (.apn, .rejected, "DeviceTokenNotForTopic", .tokenUnknown), (.apn, .rejected, "BadTopic", .pushRefused),
            (.apn, .tokenDead, "Unregistered", .tokenDead),
            (.apn, .credentialFault, "InvalidProviderToken", .credentialRefused),
            (.fcm, .rejected, "SENDER_ID_MISMATCH", .tokenUnknown), (.fcm, .rejected, "BadDeviceToken", .pushRefused),
            (.hms, .rejected, "80300007", .tokenUnknown), (.hms, .rejected, "80100000", .pushRefused),
            (.webpush, .rejected, "unsupported-platform", .pushRefused), (.apn, .accepted, "", .unspecified),
            (.apn, .deferred, "BadDeviceToken", .unspecified), (.apn, .dropped, "", .unspecified),
        ] as [(Platform, Disposition, String, PushCause)])
    func causes(platform: Platform, disposition: Disposition, reason: String, cause: PushCause) {
        var outcome = PushOutcome()
        outcome.platform = platform
        outcome.disposition = disposition
        outcome.reason = reason
        outcome.explain()
        #expect(outcome.cause == cause)
        #expect((outcome.errorCode == 0) == (cause == .unspecified))
    }

    @Test("what a record says about its cause stays")
    func explained() {
        var outcome = PushOutcome()
        outcome.platform = .apn
        outcome.disposition = .rejected
        outcome.reason = "BadDeviceToken"
        outcome.cause = .pushRefused
        outcome.errorCode = 1
        let before = outcome
        outcome.explain()
        #expect(outcome == before)
    }

    @Test("each provider has a platform, a word and settings of its own")
    func distinct() {
        #expect(Set(PushProviders.all.map(\.platform)).count == PushProviders.all.count)
        #expect(Set(PushProviders.all.map(\.word)).count == PushProviders.all.count)
        #expect(Set(PushProviders.endpoints.map(\.setting)).count == PushProviders.endpoints.count)
        for provider in PushProviders.all {
            #expect(PushProviders.provider(of: provider.platform)?.word == provider.word)
            #expect(PushProviders.provider(ofType: provider.word)?.platform == provider.platform)
            #expect(PushProviders.traits(of: provider.platform) == provider.traits)
            #expect(!["", "none", "other", "unknown"].contains(provider.word))
        }
        #expect(PushProviders.traits(of: .noPush) == nil && PushProviders.traits(of: .UNRECOGNIZED(-1)) == nil)
        #expect(PushProviders.traits(of: .UNRECOGNIZED(.max)) == nil)
        #expect(Platform.noPush.word == "none" && Platform.unspecified.word == nil)
    }

    @Test("a credential of a provider that is not here cannot be opened")
    func foreign() {
        var credential = ProviderCredential()
        #expect(throws: UnusableCredential.self) { try PushProviders.open(credential) }
        credential.other.type = "carrier-pigeon"
        #expect(throws: UnusableCredential.self) { try PushProviders.open(credential) }
    }

    @Test("each provider reads the parameters of its credential and opens what it made of them")
    func credentials() throws {
        let key = P256.Signing.PrivateKey().pemRepresentation
        var apns = Parameters([
            "TeamId": "TEAM123456", "KeyId": "KEY1234567", "PrivateKey": key, "Sandbox": "true",
        ])
        var hms = Parameters(["AppId": "101234", "AppSecret": "s"])
        for (word, secret) in [
            ("apn", try APNs().readCredential(&apns)), ("hms", try HMS().readCredential(&hms)),
        ] {
            var credential = ProviderCredential()
            credential.secret = secret
            #expect(try PushProviders.open(credential).platform == PushProviders.provider(ofType: word)?.platform)
        }
        var wrong = Parameters(["TeamId": "team", "KeyId": "KEY1234567", "PrivateKey": key])
        #expect(throws: ParameterFault("TeamId", "ten capital letters and digits")) {
            try APNs().readCredential(&wrong)
        }
        var letters = Parameters(["AppId": "x", "AppSecret": "s"])
        #expect(throws: ParameterFault("AppId", "the app's number, up to 32 digits")) {
            try HMS().readCredential(&letters)
        }
    }

    private struct Parameters: CredentialParameters {
        let values: [String: String]

        init(_ values: [String: String]) { self.values = values }

        func required(
            _ name: String, _ form: ParameterForm, length: ClosedRange<Int>
        ) throws(ParameterFault) -> String {
            guard let value = values[name] else { throw ParameterFault(name, "a value, it is required") }
            return value
        }

        func optional(_ name: String, _ form: ParameterForm) throws(ParameterFault) -> String? { values[name] }
        func flag(_ name: String) throws(ParameterFault) -> Bool? { values[name].map { $0 == "true" } }
    }
}
