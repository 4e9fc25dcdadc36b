import ChallengeModel
import Challenges
import Foundation
import Testing
import Wire

@testable import Producer

@Suite("Control characters in what is sent", .timeLimit(.minutes(5)))
struct ControlCharacterTests {
    @Test("U+0000 and the like are refused in every parameter, and the refusal names it")
    func form() async throws {
        try await ProducerHarness.run(limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let challenges = "\(service)/Entities/user-0001/Challenges"
            let message = ("Details.Message", "Pay 1")
            let cases: [(String, [(String, String)], String)] = [
                (challenges, [("Details.Message", "Pay 1\u{0}000 to Mallory")], "Details.Message"),
                (challenges, [("Details.Message", "Pay\u{1B}[2K")], "Details.Message"),
                (challenges, [message, ("ActionKey", "login\u{0}a")], "ActionKey"),
                (challenges, [message, ("ActionKey", "login\na")], "ActionKey"),
                (
                    challenges, [message, ("Details.Fields", "{\"label\":\"a\",\"value\":\"b\\u0000c\"}")],
                    "Details.Fields"
                ),
                (
                    challenges, [message, ("Details.Fields", "{\"label\":\"a\",\"value\":\"b\u{7F}c\"}")],
                    "Details.Fields"
                ),
                (challenges, [message, ("HiddenDetails", "{\"a\\u0000\":\"b\"}")], "HiddenDetails"),
                (challenges, [message, ("HiddenDetails", "{\"a\":\"\u{85}\"}")], "HiddenDetails"),
                (challenges, [message, ("Fallback", "sms\u{0}")], "Fallback"),
                (phone.factorPath, [("FriendlyName", "Phone\u{0}")], "FriendlyName"),
                (phone.factorPath, [("Config.AppId", "app\u{0}")], "Config.AppId"),
                (
                    phone.factorPath, [("Config.NotificationToken", String(repeating: "a", count: 64) + "\u{0}")],
                    "Config.NotificationToken"
                ),
                ("/v2/Services", [("FriendlyName", "Bank\u{0}")], "FriendlyName"),
                (service, [("TtsName", "a\u{9F}")], "TtsName"),
                (
                    "\(service)/Webhooks", [("FriendlyName", "a\r\nb"), ("WebhookUrl", "https://a.example/")],
                    "FriendlyName"
                ),
                ("/v1/Credentials", [("FriendlyName", "a\u{0}"), ("Type", "apn")], "FriendlyName"),
            ]
            for (path, form, name) in cases {
                let answer = try await producer.post(path, form, as: producer.backend)
                #expect(answer.status == 400, "\(path) \(form)")
                #expect(try answer.code() == 60200)
                #expect(try answer.text("message").contains(name), "\(answer.text)")
            }
            let lines = try await producer.post(
                challenges, [("Details.Message", "Pay 1 €\n\tto Zoë"), ("HiddenDetails", "{\"a\":\"b\\n\"}")],
                as: producer.backend)
            #expect(lines.status == 201, "line ends and tabs are text")
        }
    }

    @Test("a path that ends in U+0000 names nothing", arguments: ["%00", "%00x", "%0A", "%C2%85"])
    func path(end: String) async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            _ = try await producer.enroll("user-0001", service: service)
            #expect(try await producer.get("\(service)/Entities/user-0001", as: producer.backend).status == 200)
            for path in ["\(service)/Entities/user-0001\(end)", "\(service)\(end)"] {
                #expect(try await producer.get(path, as: producer.backend).status == 404, "\(path)")
            }
        }
    }

    @Test("a name in a JWT that ends in U+0000 is not another's")
    func token() async throws {
        #expect(throws: JSONProblem.self) { try JSONParser.parse("{\"kid\":\"a\\u0000\"}") }
        #expect(throws: JSONProblem.self) { try JSONParser.parse("{\"kid\\u0000\":\"a\"}") }
        #expect(throws: JSONProblem.self) { try JSONParser.parse("{\"kid\":\"a\\b\"}") }
        #expect(try JSONParser.parse("\"a\\n\\tb\"").stringValue == "a\n\tb")
    }
}
