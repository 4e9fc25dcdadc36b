import DeviceKit
import Foundation
import NIOHTTP1
import Testing
import Wire

@testable import Simulators

@Suite("APNs look-alike: what it takes and refuses", .timeLimit(.minutes(5)))
struct APNsRefusalTests {
    struct Spoilt: Sendable, CustomTestStringConvertible {
        var name: String
        var status: Int
        var reason: String
        var change: @Sendable (inout TestPush) -> Void
        var testDescription: String { name }

        init(_ name: String, _ status: Int, _ reason: String, _ change: @escaping @Sendable (inout TestPush) -> Void) {
            self.name = name
            self.status = status
            self.reason = reason
            self.change = change
        }
    }

    static let table: [Spoilt] = [
        Spoilt("GET", 405, "MethodNotAllowed") { $0.method = "GET" },
        Spoilt("other path", 404, "BadPath") { $0.path = "/2/device/" + TestPush.token },
        Spoilt("no token in the path", 400, "MissingDeviceToken") { $0.path = "/3/device/" },
        Spoilt("token too short", 400, "BadDeviceToken") { $0.path = "/3/device/abab" },
        Spoilt("token not hexadecimal", 400, "BadDeviceToken") {
            $0.path = "/3/device/" + String(repeating: "xy", count: 32)
        },
        Spoilt("token of odd length", 400, "BadDeviceToken") { $0.path += "a" },
        Spoilt("no authorization", 403, "MissingProviderToken") { $0.set("authorization", nil) },
        Spoilt("authorization of another scheme", 403, "InvalidProviderToken") {
            $0.set("authorization", "Basic eA==")
        },
        Spoilt("authorization that is no JWT", 403, "InvalidProviderToken") { $0.set("authorization", "bearer a.b") },
        Spoilt("a signature over something else", 403, "InvalidProviderToken") { push in
            let old = push.headers.first { $0.0 == "authorization" }?.1 ?? ""
            push.set("authorization", String(old.dropLast(8)) + "AAAAAAAA")
        },
        Spoilt("no topic", 400, "MissingTopic") { $0.set("apns-topic", nil) },
        Spoilt("topic with a space", 400, "BadTopic") { $0.set("apns-topic", "dev app") },
        Spoilt("topic of another app", 400, "TopicDisallowed") { $0.set("apns-topic", "dev.other") },
        Spoilt("no push type", 400, "InvalidPushType") { $0.set("apns-push-type", nil) },
        Spoilt("unknown push type", 400, "InvalidPushType") { $0.set("apns-push-type", "loud") },
        Spoilt("priority 7", 400, "BadPriority") { $0.set("apns-priority", "7") },
        Spoilt("priority in words", 400, "BadPriority") { $0.set("apns-priority", "high") },
        Spoilt("background with priority 10", 400, "BadPriority") {
            $0.set("apns-push-type", "background")
            $0.body = Array(#"{"aps":{"content-available":1}}"#.utf8)
        },
        Spoilt("background without priority, which means 10", 400, "BadPriority") {
            $0.set("apns-push-type", "background")
            $0.set("apns-priority", nil)
            $0.body = Array(#"{"aps":{"content-available":1}}"#.utf8)
        },
        Spoilt("background without content-available", 400, "InvalidPushType") {
            $0.set("apns-push-type", "background")
            $0.set("apns-priority", "5")
            $0.body = Array(#"{"aps":{}}"#.utf8)
        },
        Spoilt("background with an alert", 400, "InvalidPushType") {
            $0.set("apns-push-type", "background")
            $0.set("apns-priority", "5")
            $0.body = Array(#"{"aps":{"content-available":1,"alert":"x"}}"#.utf8)
        },
        Spoilt("alert without alert", 400, "InvalidPushType") { $0.body = Array(#"{"aps":{"sound":"x"}}"#.utf8) },
        Spoilt("expiration in words", 400, "BadExpirationDate") { $0.set("apns-expiration", "soon") },
        Spoilt("negative expiration", 400, "BadExpirationDate") { $0.set("apns-expiration", "-1") },
        Spoilt("expiration at the end of time", 400, "BadExpirationDate") {
            $0.set("apns-expiration", "9223372036854775807")
        },
        Spoilt("collapse id of 65 bytes", 400, "BadCollapseId") {
            $0.set("apns-collapse-id", String(repeating: "c", count: 65))
        },
        Spoilt("upper-case apns-id", 400, "BadMessageId") { $0.set("apns-id", "123E4567-E89B-12D3-A456-4266554400A0") },
        Spoilt("apns-id that is no UUID", 400, "BadMessageId") { $0.set("apns-id", "1") },
        Spoilt("a header twice", 400, "DuplicateHeaders") { $0.headers.append(("apns-topic", "dev.app")) },
        Spoilt("empty payload", 400, "PayloadEmpty") { $0.body = [] },
        Spoilt("payload that is no dictionary", 400, "PayloadEmpty") { $0.body = Array("[1]".utf8) },
        Spoilt("payload without aps", 400, "PayloadEmpty") { $0.body = Array(#"{"a":"b"}"#.utf8) },
        Spoilt("4,097 bytes", 413, "PayloadTooLarge") { $0.body = padded(4097) },
        Spoilt("60,000 bytes", 413, "PayloadTooLarge") { $0.body = padded(60_000) },
    ]

    static func padded(_ length: Int) -> [UInt8] {
        let frame = #"{"aps":{"alert":"x"},"p":""}"#
        return Array(#"{"aps":{"alert":"x"},"p":"\#(String(repeating: "p", count: length - frame.utf8.count))"}"#.utf8)
    }

    @Test("every fault has Apple's status and reason; nothing of it reaches a phone")
    func refusals() async throws {
        try await Lab.run(topics: ["dev.app"]) { lab in
            let pushes = try lab.providers.network.receive(.apn, token: TestPush.token, appID: "dev.app")
            for spoilt in Self.table {
                let answer = try await lab.push(spoilt.change)
                #expect(answer.status == spoilt.status, "\(spoilt.name)")
                #expect(answer.reason == spoilt.reason, "\(spoilt.name)")
                #expect(answer.headers.first(name: "apns-id") != nil, "\(spoilt.name)")
            }
            #expect(lab.providers.network.counters(.apn).refused == Self.table.count)
            #expect(try await lab.push().status == 200)
            let first = await pushes.first { _ in true }
            #expect(first?.values["challenge_sid"] == "YC1", "only the good one arrives")
        }
    }

    @Test("a good push goes over HTTP/2, has its apns-id echoed and reaches its phone whole")
    func accepted() async throws {
        try await Lab.run { lab in
            let pushes = try lab.providers.network.receive(.apn, token: TestPush.token.uppercased(), appID: "dev.app")
            let id = UUID().uuidString.lowercased()
            let answer = try await lab.push {
                $0.set("apns-id", id)
                $0.set("apns-collapse-id", String(repeating: "c", count: 64))
                $0.body = Self.padded(4096)
            }
            #expect(answer.status == 200 && answer.body.isEmpty && answer.headers.first(name: "apns-id") == id)
            #expect(answer.version == .http2)
            let push = await pushes.first { _ in true }
            #expect(push?.messageID == id && push?.alert == "x" && push?.appID == "dev.app" && push?.priority == 10)
            #expect(push?.collapseKey?.count == 64 && push?.expiresAtMs == 0)
            let record = try #require(lab.providers.network.log().last)
            #expect(record.messageID == id && record.status == 200 && record.fate == .delivered)
        }
    }

    @Test("a background push of the right form is taken, and a missing apns-id is made up")
    func background() async throws {
        try await Lab.run { lab in
            let answer = try await lab.push {
                $0.set("apns-push-type", "background")
                $0.set("apns-priority", "5")
                $0.set("apns-id", nil)
                $0.body = Array(#"{"aps":{"content-available":1},"kind":"background"}"#.utf8)
            }
            #expect(answer.status == 200)
            #expect(UUID(uuidString: answer.headers.first(name: "apns-id") ?? "") != nil)
        }
    }

    @Test("a deleted app is 410 with the time since when, a token of another app is not for this topic")
    func unregistered() async throws {
        try await Lab.run { lab in
            let network = lab.providers.network
            try network.register(.apn, token: TestPush.token, appID: "dev.other")
            #expect(try await lab.push().reason == "DeviceTokenNotForTopic")
            let since = lab.clock.nowMs
            try network.unregister(.apn, token: TestPush.token)
            lab.clock.advance(ms: 5000)
            let answer = try await lab.push()
            #expect(answer.status == 410 && answer.reason == "Unregistered")
            #expect(answer.tree?["timestamp"]?.integerValue == since)
        }
    }

    @Test("unknown tokens are BadDeviceToken when the simulator is told so")
    func unknownTokens() async throws {
        try await Lab.run {
            $0.refusesUnknownTokens = true
        } body: { lab in
            #expect(try await lab.push().reason == "BadDeviceToken")
            try lab.providers.network.register(.apn, token: TestPush.token, appID: "dev.app")
            #expect(try await lab.push().status == 200)
        }
    }
}

@Suite("APNs look-alike: provider tokens", .timeLimit(.minutes(5)))
struct APNsProviderTokenTests {
    @Test("a token lives an hour to the second, and does not come from the future")
    func age() async throws {
        try await Lab.run { lab in
            let now = lab.clock.nowMs / 1000
            func reason(_ issuedAt: Int64) async throws -> String {
                let authorization = try lab.apnsKey.authorization(nowSeconds: issuedAt)
                return try await lab.push { $0.set("authorization", authorization) }.reason
            }
            #expect(try await reason(now) == "")
            #expect(try await reason(now - 3600) == "")
            #expect(try await reason(now - 3601) == "ExpiredProviderToken")
            #expect(try await reason(now + 1) == "InvalidProviderToken")
            // A token that was good grows old too.
            let authorization = try lab.apnsKey.authorization(nowSeconds: now)
            #expect(try await lab.push { $0.set("authorization", authorization) }.status == 200)
            lab.clock.advance(ms: 3_601_000)
            let old = try await lab.push { $0.set("authorization", authorization) }
            #expect(old.status == 403 && old.reason == "ExpiredProviderToken")
        }
    }

    @Test("key, team and algorithm must be those that are registered; a revoked key is none")
    func keys() async throws {
        try await Lab.run { lab in
            let now = lab.clock.nowMs / 1000
            var other = lab.apnsKey
            other.team = "OTHERTEAM0"
            let otherTeam = try other.authorization(nowSeconds: now)
            other = lab.apnsKey
            other.id = "OTHERKEY00"
            let otherKey = try other.authorization(nowSeconds: now)
            let otherAlgorithm = try lab.apnsKey.authorization(nowSeconds: now, alg: "none")
            for authorization in [otherTeam, otherKey, otherAlgorithm] {
                #expect(try await lab.push { $0.set("authorization", authorization) }.reason == "InvalidProviderToken")
            }
            let good = lab.authorization
            #expect(try await lab.push { $0.set("authorization", good) }.status == 200)
            lab.providers.revokeAPNsKey(teamID: lab.apnsKey.team, keyID: lab.apnsKey.id)
            #expect(try await lab.push { $0.set("authorization", good) }.reason == "InvalidProviderToken")
        }
    }

    @Test("too many distinct tokens in 20 minutes are refused, those that are known go on")
    func updates() async throws {
        try await Lab.run {
            $0.providerTokenUpdates = 2
        } body: { lab in
            let now = lab.clock.nowMs / 1000
            let tokens = try (0..<3).map { try lab.apnsKey.authorization(nowSeconds: now - Int64($0)) }
            for token in tokens.prefix(2) {
                #expect(try await lab.push { $0.set("authorization", token) }.status == 200)
            }
            let third = try await lab.push { $0.set("authorization", tokens[2]) }
            #expect(third.status == 429 && third.reason == "TooManyProviderTokenUpdates")
            #expect(try await lab.push { $0.set("authorization", tokens[0]) }.status == 200)
            #expect(lab.providers.distinctProviderTokens(teamID: lab.apnsKey.team, keyID: lab.apnsKey.id) == 2)
            lab.clock.advance(ms: 20 * 60 * 1000)
            #expect(try await lab.push { $0.set("authorization", tokens[2]) }.status == 200)
        }
    }
}
