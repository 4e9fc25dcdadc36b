import Foundation
import Testing

@testable import DeviceKit

@Suite("Pushes as the app gets them")
struct PushMessageTests {
    static let challenge = "YC03" + String(repeating: "a", count: 30)
    static let factor = "YF03" + String(repeating: "b", count: 30)

    static func values(_ more: [String: String] = [:]) -> [String: String] {
        [
            "type": "verify_push_challenge", "challenge_sid": challenge, "factor_sid": factor, "message": "Log in?",
            "dispatch": "c", "expires_at": "2026-01-01T00:00:10Z", "receipt_token": "r.1", "kind": "background",
        ].merging(more) { $1 }
    }

    @Test("all values are read")
    func all() throws {
        let push = try PushMessage(values: Self.values(["other": "x"]))
        #expect(push.challengeSID == Self.challenge && push.factorSID == Self.factor && push.message == "Log in?")
        #expect(push.dispatch == "c" && push.receiptToken == "r.1" && push.kind == .background)
        #expect(push.expiresAtMs == 1_767_225_610_000)
        #expect(!push.isExpired(nowMs: 1_767_225_609_999) && push.isExpired(nowMs: 1_767_225_610_000))
    }

    @Test("the four values of the original service are enough: visible, without an expiry")
    func original() throws {
        let push = try PushMessage(values: [
            "type": "verify_push_challenge", "challenge_sid": Self.challenge, "factor_sid": Self.factor, "message": "m",
        ])
        #expect(push.kind == .visible && push.expiresAtMs == nil && push.receiptToken == nil && push.dispatch == nil)
        #expect(!push.isExpired(nowMs: .max))
    }

    @Test("a whole APNs payload is read; its aps and values that are not strings are passed over")
    func payload() throws {
        let json =
            #"{"aps":{"alert":"x"},"n":1,"type":"verify_push_challenge","challenge_sid":"\#(Self.challenge)","factor_sid":"\#(Self.factor)"}"#
        #expect(try PushMessage(json: Array(json.utf8)).challengeSID == Self.challenge)
        #expect(throws: PushMessageError.otherType) { try PushMessage(json: Array("[]".utf8)) }
    }

    @Test(
        "a value of another form is an error that names it",
        arguments: [
            ("challenge_sid", "YC03"), ("challenge_sid", factor),
            ("factor_sid", "YF" + String(repeating: "g", count: 32)),
            ("expires_at", "soon"), ("kind", "loud"),
        ])
    func malformed(name: String, value: String) {
        #expect(throws: PushMessageError.malformed(name)) { try PushMessage(values: Self.values([name: value])) }
    }

    @Test("another type is not ours")
    func otherType() {
        #expect(throws: PushMessageError.otherType) {
            try PushMessage(values: Self.values(["type": "verify_factor_push"]))
        }
        #expect(throws: PushMessageError.otherType) { try PushMessage(values: [:]) }
    }
}

@Suite("The inbox of a closed app")
struct ChallengeInboxTests {
    static func push(_ number: Int, expiresAtMs: Int64? = 10_000) throws -> PushMessage {
        let digits = String(repeating: "0", count: 32 - String(number).count) + String(number)
        var push = try PushMessage(values: [
            "type": "verify_push_challenge", "challenge_sid": "YC" + digits, "factor_sid": PushMessageTests.factor,
            "message": "secret words", "receipt_token": "secret token",
        ])
        push.expiresAtMs = expiresAtMs
        return push
    }

    @Test("a challenge pushed twice is kept once")
    func once() throws {
        var inbox = ChallengeInbox()
        #expect(try inbox.add(Self.push(1), nowMs: 0))
        #expect(try !inbox.add(Self.push(1), nowMs: 1))
        #expect(inbox.entries.count == 1 && inbox.entries[0].receivedAtMs == 0)
    }

    @Test("what has expired is neither kept nor handed out")
    func expiry() throws {
        var inbox = ChallengeInbox()
        #expect(try !inbox.add(Self.push(1, expiresAtMs: 5), nowMs: 5))
        try inbox.add(Self.push(2, expiresAtMs: 6), nowMs: 5)
        try inbox.add(Self.push(3, expiresAtMs: nil), nowMs: 5)
        #expect(inbox.take(nowMs: 6).map(\.challengeSID) == [try Self.push(3).challengeSID])
        #expect(inbox.entries.isEmpty)
        try inbox.add(Self.push(3, expiresAtMs: nil), nowMs: 5)
        #expect(inbox.take(nowMs: 5 + 3_600_000).isEmpty, "no challenge lives longer than an hour")
    }

    @Test("when it is full the oldest makes room")
    func bound() throws {
        var inbox = ChallengeInbox(capacity: 2)
        for number in 1...3 { try inbox.add(Self.push(number), nowMs: Int64(number)) }
        #expect(inbox.entries.map(\.receivedAtMs) == [2, 3])
        inbox.remove(challengeSID: try Self.push(2).challengeSID)
        #expect(inbox.entries.count == 1)
        #expect(ChallengeInbox(capacity: 0).capacity == 1)
    }

    @Test("only ids are stored")
    func idsOnly() throws {
        var inbox = ChallengeInbox()
        try inbox.add(Self.push(1), nowMs: 1)
        let text = String(decoding: try JSONEncoder().encode(inbox), as: UTF8.self)
        #expect(!text.contains("secret"))
        #expect(try JSONDecoder().decode(ChallengeInbox.self, from: Data(text.utf8)) == inbox)
    }
}
