import ChallengeModel
import Foundation
import NIOCore
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("requests as they leave")
struct RequestTests {
    @Test("an APNs alert: fields and payload")
    func alert() throws {
        var push = Rig.push()
        push.expiresAtMs = 1_777_636_800_999
        let request = try apns(push)
        #expect(
            request.fields == [
                ":path": "/3/device/" + push.pushToken, "apns-topic": "org.example.app", "apns-push-type": "alert",
                "apns-priority": "10", "apns-expiration": "1777636800", "apns-id": push.pushID,
                "apns-collapse-id": push.challengeSID,
            ])
        let payload = try json(request)
        let aps = try #require(payload["aps"] as? [String: Any])
        #expect(aps["alert"] as? [String: String] == ["body": push.message])
        #expect(aps["sound"] as? String == "default")
        #expect(aps["category"] as? String == "verify_push_challenge")
        #expect(aps["mutable-content"] as? Int == 1)
        #expect(aps["interruption-level"] as? String == "time-sensitive")
        #expect(aps["content-available"] == nil)
        try expectMembers(payload, of: push, kind: "visible")
        #expect(payload.count == 9)
    }

    @Test("an APNs background push: never stored, never collapsed, priority 5")
    func background() throws {
        let push = Rig.push(kind: .background)
        let request = try apns(push)
        #expect(request.fields["apns-push-type"] == "background")
        #expect(request.fields["apns-priority"] == "5")
        #expect(request.fields["apns-expiration"] == "0")
        #expect(request.fields["apns-collapse-id"] == nil)
        let payload = try json(request)
        #expect(payload["aps"] as? [String: Int] == ["content-available": 1])
        try expectMembers(payload, of: push, kind: "background")
    }

    @Test(
        "a push that a provider may hold for less than the challenge lives: the provider is told so, the app is not",
        arguments: [(Int64(1_800_000_030_500), "1800000030", "30s"), (1_799_999_999_000, "1799999999", "0s")])
    func heldUntil(untilMs: Int64, expiration: String, ttl: String) throws {
        var push = Rig.push()
        push.expiresAtMs = 1_800_000_300_000
        push.heldUntilMs = untilMs
        let request = try apns(push)
        #expect(request.fields["apns-expiration"] == expiration)
        try expectMembers(try json(request), of: push, kind: "visible")
        var toFCM = Rig.push(.fcm)
        toFCM.expiresAtMs = 1_800_000_300_000
        toFCM.heldUntilMs = untilMs
        let message = try #require(
            try json(fcm(toFCM, nowMs: 1_800_000_000_000))["message"] as? [String: Any])
        #expect((message["android"] as? [String: String])?["ttl"] == ttl)
    }

    @Test("an FCM data message: high priority, its life as ttl, no collapse key, the challenge as tag")
    func fcmMessage() throws {
        var push = Rig.push(.fcm)
        push.expiresAtMs = 1_800_000_057_900
        let request = try fcm(push, nowMs: 1_800_000_000_000)
        #expect(request.fields == [":path": "/v1/projects/p/messages:send", "content-type": "application/json"])
        let message = try #require(try json(request)["message"] as? [String: Any])
        #expect(message["token"] as? String == push.pushToken)
        #expect(Set(message.keys) == ["token", "data", "android"])
        let android = try #require(message["android"] as? [String: String])
        #expect(android == ["priority": "HIGH", "ttl": "57s"])
        let data = try #require(message["data"] as? [String: String])
        #expect(data["tag"] == push.challengeSID)
        try expectMembers(data, of: push, kind: "visible")
        #expect(data.count == 9)
    }

    @Test(
        "messages survive JSON whatever is in them",
        arguments: [
            "\"quoted\" \\ back", "line\nbreak\r\ttab", "\u{0}\u{1}\u{1F}\u{7F}", "Grüße aus Köln", "日本語 👩‍👩‍👧 é",
            "\u{2028}\u{2029}", "</script>", "", String(repeating: "\u{1}", count: 256),
        ])
    func escaping(message: String) throws {
        var push = Rig.push()
        push.message = message
        let payload = try json(apns(push))
        #expect(payload["message"] as? String == message)
        let alert = (payload["aps"] as? [String: Any])?["alert"] as? [String: String]
        #expect(alert?["body"] == message)
        push.platform = .fcm
        let data = (try json(fcm(push, nowMs: 0))["message"] as? [String: Any])?["data"] as? [String: String]
        #expect(data?["message"] == message)
    }

    @Test(
        "a push that can be no request is refused here, in the provider's words",
        arguments: [
            ({ @Sendable in $0.pushToken = "" }, "MissingDeviceToken"),
            ({ @Sendable in $0.pushToken = "../../x" }, "BadDeviceToken"),
            ({ @Sendable in $0.pushToken = "ab cd" }, "BadDeviceToken"),
            ({ @Sendable in $0.pushToken = "ab\r\nx: y" }, "BadDeviceToken"),
            ({ @Sendable in $0.pushToken = String(repeating: "a", count: 201) }, "BadDeviceToken"),
            ({ @Sendable in $0.appID = "" }, "MissingTopic"),
            ({ @Sendable in $0.appID = "a\r\nb" }, "MissingTopic"), ({ @Sendable in $0.pushID = "" }, "BadMessageId"),
            ({ @Sendable in $0.challengeSID = "a b" }, "BadCollapseId"),
            ({ @Sendable in $0.challengeSID = String(repeating: "a", count: 65) }, "BadCollapseId"),
            ({ @Sendable in $0.receiptToken = String(repeating: "t", count: 4096) }, "PayloadTooLarge"),
        ] as [(@Sendable (inout Push) -> Void, String)])
    func unfit(change: @Sendable (inout Push) -> Void, reason: String) throws {
        var push = Rig.push()
        change(&push)
        #expect(throws: UnfitPush(reason: reason)) { try apns(push) }
    }

    @Test("the largest payload that fits is sent, one byte more is not")
    func limit() throws {
        var push = Rig.push()
        push.message = ""
        let room = APNsRequest.payloadLimit - (try apns(push)).bodyCount
        push.receiptToken += String(repeating: "t", count: room)
        #expect(try apns(push).bodyCount == 4096)
        push.receiptToken += "t"
        #expect(throws: UnfitPush(reason: "PayloadTooLarge")) { try apns(push) }
    }

    /// `piece` so many times that no provider takes it whole.
    struct LongMessage: CustomTestStringConvertible {
        let piece: String
        let times: Int
        /// The most bytes that one of its characters takes up, escaped twice.
        let most: Int

        var text: String { String(repeating: piece, count: times) }
        var testDescription: String { "\(times) times \(piece.debugDescription)" }
    }
    static let longMessages = [
        LongMessage(piece: "👩‍👩‍👧‍👦", times: 256, most: 25), LongMessage(piece: "x", times: 5000, most: 1),
        LongMessage(piece: "\"\\", times: 1500, most: 4), LongMessage(piece: "\u{1}\n", times: 1200, most: 7),
        LongMessage(piece: "e\u{301}🇦🇹 ", times: 600, most: 8),
        LongMessage(piece: "z\u{335}\u{321}", times: 900, most: 5),
    ]

    @Test(
        "a message that does not fit is cut between two of its characters, and no shorter than it must be",
        arguments: longMessages)
    func shortened(long: LongMessage) throws {
        let (message, most) = (long.text, long.most)
        /// What is left, of `whole` or nothing at all.
        func expectCut(_ text: String?, _ whole: String) throws {
            let text = try #require(text)
            #expect(text.last == "…" && text.count > 1)
            #expect(whole.starts(with: text.dropLast()), "whole characters of it, in their order")
        }
        for kind in [PushKind.visible, .background] {
            var push = Rig.push(kind: kind)
            push.message = message
            let request = try apns(push)
            // Of two texts each may have wanted one more character.
            #expect((4097 - 2 * most...4096).contains(request.bodyCount))
            let payload = try json(request)
            #expect(payload["receipt_token"] as? String == push.receiptToken)
            try expectCut(payload["message"] as? String, message)
            if kind == .visible {
                let alert = (payload["aps"] as? [String: Any])?["alert"] as? [String: String]
                try expectCut(alert?["body"], message)
            }
        }
        var push = Rig.push(.fcm)
        push.message = message
        let data = try #require(
            (try json(fcm(push, nowMs: 0))["message"] as? [String: Any])?["data"] as? [String: String])
        try expectCut(data["message"], message)
        #expect(data["tag"] == push.challengeSID)
    }

    @Test("what is shown is cut before what the app is told")
    func alertFirst() throws {
        var push = Rig.push()
        push.message = String(repeating: "日", count: 700)
        let payload = try json(apns(push))
        #expect(payload["message"] as? String == push.message)
        let alert = (payload["aps"] as? [String: Any])?["alert"] as? [String: String]
        let body = try #require(alert?["body"])
        #expect(body.last == "…" && body.count < 700 && body.count > 350)
    }

    @Test("the longest message that fits FCM stays as it is")
    func fcmLimit() throws {
        var push = Rig.push(.fcm)
        push.message = ""
        func data() throws -> [String: String]? {
            (try json(fcm(push, nowMs: 0))["message"] as? [String: Any])?["data"] as? [String: String]
        }
        var longest = 0
        for count in stride(from: 4096, through: 1, by: -1) {
            push.message = String(repeating: "x", count: count)
            if try data()?["message"] == push.message {
                longest = count
                break
            }
        }
        #expect(longest > 3500)
        push.message = String(repeating: "x", count: longest + 1)
        #expect(try data()?["message"] == String(repeating: "x", count: longest - 3) + "…")
    }

    @Test(
        "FCM refuses here what it would refuse there",
        arguments: [
            ({ @Sendable in $0.kind = .background }, "no-background"),
            ({ @Sendable in $0.pushToken = "" }, "INVALID_ARGUMENT"),
            ({ @Sendable in $0.receiptToken = String(repeating: "t", count: 4096) }, "INVALID_ARGUMENT"),
        ] as [(@Sendable (inout Push) -> Void, String)])
    func unfitFCM(change: @Sendable (inout Push) -> Void, reason: String) throws {
        var push = Rig.push(.fcm)
        change(&push)
        #expect(throws: UnfitPush(reason: reason)) { try fcm(push, nowMs: 0) }
    }

    @Test("times in RFC 3339, as Foundation writes them")
    func times() {
        var times: [Int64] = [
            0, 1, 999, 1_000, 951_782_399_000, 951_782_400_000, 951_868_799_999, 1_777_636_800_000, 4_102_444_799_000,
            -1_000, 253_402_300_799_000,
        ]
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 { times.append(Int64.random(in: 0...4_102_444_800_000, using: &generator)) }
        for time in times {
            let request = OutboundRequest(capacity: 4, expiresAtMs: 0, deadline: .now()) { _, _ in }
            request.append(rfc3339: time)
            let floored = Double((Double(time) / 1000).rounded(.down))
            #expect(
                String(decoding: request.body, as: UTF8.self)
                    == Date(timeIntervalSince1970: floored).formatted(.iso8601), "\(time)")
        }
    }

    @Test("numbers in digits", arguments: [0, 7, -1, 1_234_567_890, .max, .min] as [Int64])
    func digits(number: Int64) {
        let request = OutboundRequest(capacity: 1, expiresAtMs: 0, deadline: .now()) { _, _ in }
        request.append(decimal: number)
        #expect(String(decoding: request.body, as: UTF8.self) == "\(number)")
    }

    private func apns(_ push: Push) throws -> OutboundRequest {
        let request = OutboundRequest(capacity: 16, expiresAtMs: push.expiresAtMs, deadline: .now()) { _, _ in }
        try APNsRequest.write(push, to: request)
        return request
    }

    private func fcm(_ push: Push, nowMs: Int64) throws -> OutboundRequest {
        let request = OutboundRequest(capacity: 16, expiresAtMs: push.expiresAtMs, deadline: .now()) { _, _ in }
        try FCMRequest.write(push, path: "/v1/projects/p/messages:send", nowMs: nowMs, to: request)
        return request
    }

    private func json(_ request: OutboundRequest) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(request.body)) as? [String: Any])
    }

    private func expectMembers(_ payload: [String: Any], of push: Push, kind: String) throws {
        #expect(payload["type"] as? String == "verify_push_challenge")
        #expect(payload["challenge_sid"] as? String == push.challengeSID)
        #expect(payload["factor_sid"] as? String == push.factorSID)
        #expect(payload["message"] as? String == push.message)
        #expect(payload["dispatch"] as? String == push.dispatchID)
        #expect(payload["receipt_token"] as? String == push.receiptToken)
        #expect(payload["kind"] as? String == kind)
        let seconds = Double(push.expiresAtMs / 1000)
        #expect(payload["expires_at"] as? String == Date(timeIntervalSince1970: seconds).formatted(.iso8601))
    }
}
