import Foundation
import HTTPTypes
import Synchronization
import Testing

@testable import DeviceKit

@Suite("What an approval and an action mean to a device", .timeLimit(.minutes(5)))
struct ShownChallengesTests {
    private static func sid(_ number: Int) -> String { "YC03" + String(repeating: "\(number)", count: 30) }

    private static func challenge(_ number: Int, action: String?, _ status: String = "pending") throws
        -> DeviceChallenge
    {
        let beckon = action.map { #","beckon":{"action_id":"\#($0)"}"# } ?? ""
        let json = challengeJSON(status, sid: sid(number)).dropLast() + beckon + "}"
        return try DeviceChallenge(json: Array(json.utf8), signatureFields: nil)
    }

    @Test("two challenges of one action: the newer takes the place of the older, however their pushes come")
    func action() throws {
        var shown = ShownChallenges()
        #expect(shown.pushed(Self.sid(1)) && !shown.pushed(Self.sid(1)))
        #expect(shown.fetched(try Self.challenge(1, action: "a")) == .init(shows: false, withdrawn: []))
        #expect(shown.hasOthers(than: Self.sid(2)) && !shown.hasOthers(than: Self.sid(1)))
        #expect(shown.fetched(try Self.challenge(2, action: "a")) == .init(shows: true, withdrawn: [Self.sid(1)]))
        // The first one's late push: it is over.
        #expect(shown.fetched(try Self.challenge(1, action: "a", "expired")) == .init(shows: false, withdrawn: []))
        #expect(shown.sids == [Self.sid(2)])
        #expect(shown.fetched(try Self.challenge(3, action: "b")).withdrawn.isEmpty)
        #expect(shown.fetched(try Self.challenge(4, action: nil)).shows)
        #expect(shown.fetched(try Self.challenge(5, action: nil)) == .init(shows: true, withdrawn: []))
        shown.remove(Self.sid(3))
        #expect(shown.fetched(try Self.challenge(2, action: "a", "approved")).withdrawn == [Self.sid(2)])
        #expect(shown.sids == [4, 5].map(Self.sid))
        for number in 0..<500 { shown.pushed("YC\(number)") }
        #expect(shown.sids.count == 100)
    }

    @Test("asked for when the app is opened: what was shown and is not in the list goes, what came since stays")
    func listed() throws {
        var shown = ShownChallenges()
        for number in 1...3 { shown.pushed(Self.sid(number)) }
        let before = shown.sids
        shown.pushed(Self.sid(4))
        let pending = try [2, 5].map { try Self.challenge($0, action: nil) }
        #expect(shown.listed(pending, of: before) == [1, 3].map(Self.sid))
        #expect(shown.sids == [2, 4].map(Self.sid), "the list shows nothing by itself")
    }

    @Test("a list has the newest of each action")
    func list() throws {
        let challenges = try [(1, "a"), (2, nil), (3, "b"), (4, "a"), (5, nil)].map {
            try Self.challenge($0, action: $1)
        }
        #expect(challenges.lastOfEachAction.map(\.sid) == [2, 3, 4, 5].map(Self.sid))
    }

    /// A pending challenge that asks for a number and a session.
    private static func server(_ posted: String) -> @Sendable (Int, SeenRequest) -> ServerReply {
        let isAnswered = Mutex(false)
        return { _, request in
            guard request.method == "GET" else {
                isAnswered.withLock { $0 = true }
                return ServerReply(body: "{}")
            }
            let json = challengeJSON(isAnswered.withLock { $0 } ? posted : "pending").dropLast()
            var reply = ServerReply(body: json + #","beckon":{"number_digits":2,"require_session":true}}"#)
            reply.headers[fieldsHeader] = "sid,details"
            return reply
        }
    }

    @Test("number and session token are sent with an approval, and asked for before anything is sent")
    func proof() async throws {
        try await withDevice(answer: Self.server("approved")) { device, requests in
            let challenge = try await device.challenge(challengeSID)
            #expect(challenge.numberDigits == 2 && challenge.requiresSession && challenge.actionID == nil)
            await #expect(throws: DeviceError.sessionRequired) { try await device.answer(challenge, approved: true) }
            await #expect(throws: DeviceError.numberRequired(digits: 2)) {
                try await device.answer(challenge, approved: true, proof: ApprovalProof(sessionToken: "s"))
            }
            #expect(requests.all.allSatisfy { $0.method == "GET" })
            try await device.answer(challenge, approved: true, proof: ApprovalProof(number: "42", sessionToken: "s"))
            let post = try #require(requests.all.first { $0.method == "POST" })
            #expect(post.form.map(\.name) == ["AuthPayload", "Number", "SessionToken"])
            #expect(post.field("Number") == "42" && post.field("SessionToken") == "s")
        }
        try await withDevice(answer: Self.server("denied")) { device, requests in
            let challenge = try await device.challenge(challengeSID)
            try await device.answer(
                challenge, approved: false, proof: ApprovalProof(number: "42", sessionToken: "s"))
            let post = try #require(requests.all.first { $0.method == "POST" })
            #expect(post.form.map(\.name) == ["AuthPayload"])
        }
    }
}
