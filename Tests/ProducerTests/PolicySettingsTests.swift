import ChallengeModel
import Challenges
import Foundation
import Testing
import Wire

@testable import Producer

@Suite("The service's defaults", .timeLimit(.minutes(5)))
struct PolicySettingsTests {
    /// Name, a good value, its member in `beckon` and how it reads; two bad values.
    static let settings: [(name: String, value: String, path: [String], reads: JSONValue, bad: [String])] = [
        ("Push.FanOut", "false", ["fan_out"], .boolean(false), ["no", "0"]),
        ("Push.NumberMatching", "required", ["number_matching"], .string("required"), ["true", "optional"]),
        ("Push.NumberDigits", "4", ["number_digits"], .integer(4), ["1", "7"]),
        ("Push.RequireSession", "true", ["require_session"], .boolean(true), ["yes", "1"]),
        ("Push.Redelivery.MaxAttempts", "2", ["redelivery", "max_attempts"], .integer(2), ["0", "11"]),
        (
            "Push.Redelivery.ExpectedLatency", "1500", ["redelivery", "expected_latency"], .integer(1500),
            ["499", "soon"]
        ),
        ("Push.Redelivery.ExpectedLatency", "adaptive", ["redelivery", "adaptive"], .boolean(true), ["60001", "-1"]),
        ("Push.Redelivery.Confirm", "any", ["redelivery", "confirm"], .string("any"), ["all", "Any"]),
        ("Push.Fallback", "sms", ["fallbacks"], .array([.string("sms")]), ["SMS", String(repeating: "a", count: 33)]),
        ("Push.MaxFactors", "3", ["max_factors"], .integer(3), ["0", "21"]),
        ("Push.WhenFull", "replace-oldest", ["when_full"], .string("replace-oldest"), ["replace", "true"]),
        ("Push.UnreachableFactors", "at-once", ["unreachable_factors"], .string("at-once"), ["30", "always"]),
    ]

    @Test(
        "each setting is kept, shown in the object beckon, and set back by an empty value", arguments: settings.indices)
    func each(index: Int) async throws {
        let setting = Self.settings[index]
        try await ProducerHarness.run { producer in
            let path = try await producer.makeService()
            let before = try await producer.get(path, as: producer.backend).json()
            #expect(before["beckon"] == nil)
            let changed = try await producer.post(path, [(setting.name, setting.value)], as: producer.backend)
            #expect(changed.status == 200, "\(changed.text)")
            #expect(changed.header("Beckon-Ignored") == nil)
            for answer in [changed, try await producer.get(path, as: producer.backend)] {
                let shown = try #require(try answer.json()["beckon"])
                #expect(setting.path.reduce(shown) { $0?[$1] } == setting.reads)
            }
            for value in setting.bad {
                let refused = try await producer.post(path, [(setting.name, value)], as: producer.backend)
                #expect(refused.status == 400)
                #expect(try refused.code() == 60200)
                #expect(try refused.text("message").contains("\(setting.name): expected "), "\(refused.text)")
            }
            let made = try await producer.post(
                "/v2/Services", [("FriendlyName", "Bank"), (setting.name, setting.value)], as: producer.backend)
            let shown = try #require(try made.json()["beckon"])
            #expect(made.status == 201 && setting.path.reduce(shown) { $0?[$1] } == setting.reads)
            let reset = try await producer.post(path, [(setting.name, "")], as: producer.backend)
            #expect(try reset.json()["beckon"] == nil, "\(reset.text)")
        }
    }

    @Test("a client that sets none of them sees the members it always saw")
    func unchanged() async throws {
        try await ProducerHarness.run { producer in
            let made = try await producer.post("/v2/Services", [("FriendlyName", "Bank")], as: producer.backend)
            #expect(
                try made.json().members?.map(\.name) == [
                    "sid", "account_sid", "friendly_name", "code_length", "lookup_enabled", "psd2_enabled",
                    "skip_sms_to_landlines", "dtmf_input_required", "tts_name", "do_not_share_warning_enabled",
                    "custom_code_enabled", "push", "totp", "default_template_sid", "whatsapp", "passkeys",
                    "verify_event_subscription_enabled", "date_created", "date_updated", "url", "links",
                ])
            #expect(
                try made.json()["push"]?.members?.map(\.name) == [
                    "include_date", "apn_credential_sid", "fcm_credential_sid",
                ])
        }
    }

    @Test("a credential must be of the provider's type, and goes by an empty value")
    func credentials() async throws {
        try await ProducerHarness.run { producer in
            let hms = try await producer.post(
                "/v1/Credentials", [("Type", "hms"), ("AppId", "100"), ("AppSecret", "secret")], as: producer.backend)
            let sid = try hms.text("sid")
            let path = try await producer.makeService()
            for name in ["Push.ApnCredentialSid", "Push.FcmCredentialSid", "Push.WebPushCredentialSid"] {
                let refused = try await producer.post(path, [(name, sid)], as: producer.backend)
                #expect(try refused.status == 400 && refused.text("message").contains(name), "\(refused.text)")
            }
            let changed = try await producer.post(path, [("Push.HmsCredentialSid", sid)], as: producer.backend)
            #expect(try changed.json()["beckon"]?["hms_credential_sid"] == .string(sid))
            let same = try await producer.post(path, [("FriendlyName", "Other")], as: producer.backend)
            #expect(try same.json()["beckon"]?["hms_credential_sid"] == .string(sid))
            let cleared = try await producer.post(path, [("Push.HmsCredentialSid", "")], as: producer.backend)
            #expect(try cleared.json()["beckon"] == nil)
            _ = try await producer.post(path, [("Push.HmsCredentialSid", sid)], as: producer.backend)
            #expect(try await producer.delete("/v1/Credentials/\(sid)", as: producer.backend).status == 204)
            #expect(try await producer.get(path, as: producer.backend).json()["beckon"] == nil)
        }
    }

    @Test("Push.FanOut=false restores the original 400 for a challenge without FactorSid")
    func fanOut() async throws {
        try await ProducerHarness.run { producer in
            let path = try await producer.makeService()
            let device = try await producer.enroll("user-0001", service: path)
            _ = try await producer.post(path, [("Push.FanOut", "false")], as: producer.backend)
            let refused = try await producer.createChallenge(path, "user-0001")
            #expect(refused.status == 400)
            #expect(try refused.code() == 60200)
            #expect(try refused.text("message").contains("FactorSid"))
            #expect(try await producer.createChallenge(path, "user-0001", [("FactorSid", device.factor)]).status == 201)
        }
    }

    @Test("redelivery and fall-backs: the challenge's own count before the service's, the service's before ours")
    func defaults() async throws {
        try await ProducerHarness.run { producer in
            let path = try await producer.makeService()
            _ = try await producer.enroll("user-0001", service: path)
            _ = try await producer.post(
                path,
                [
                    ("Push.Redelivery.MaxAttempts", "2"), ("Push.Redelivery.ExpectedLatency", "adaptive"),
                    ("Push.Redelivery.Confirm", "any"), ("Push.Fallback", "totp"), ("Push.Fallback", "sms"),
                ], as: producer.backend)
            let plain = try await producer.createChallenge(path, "user-0001").json()["beckon"]
            #expect(plain?["redelivery"]?["max_attempts"] == .integer(2))
            #expect(plain?["redelivery"]?["adaptive"] == .boolean(true))
            #expect(plain?["redelivery"]?["confirm"] == .string("any"))
            #expect(plain?["fallbacks"] == .array([.string("totp"), .string("sms")]))
            let own = try await producer.createChallenge(
                path, "user-0001",
                [
                    ("Redelivery.MaxAttempts", "3"), ("Redelivery.ExpectedLatency", "900"),
                    ("Redelivery.Confirm", "each"), ("Fallback", "email"),
                ]
            ).json()["beckon"]
            #expect(own?["redelivery"]?["max_attempts"] == .integer(3))
            #expect(own?["redelivery"]?["adaptive"] == .boolean(false))
            #expect(own?["redelivery"]?["expected_latency"] == .integer(900))
            #expect(own?["redelivery"]?["confirm"] == .string("each"))
            #expect(own?["fallbacks"] == .array([.string("email")]))
            // Of nobody enrolled the refusal names them.
            _ = try await producer.post("\(path)/Entities", [("Identity", "user-0002")], as: producer.backend)
            let nobody = try await producer.createChallenge(path, "user-0002")
            #expect(nobody.status == 403)
            #expect(try nobody.code() == 60318)
            #expect(try nobody.text("message").contains("totp, sms"))
        }
    }
}
