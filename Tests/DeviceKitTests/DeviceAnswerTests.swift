import Foundation
import HTTPTypes
import Synchronization
import Testing

@testable import DeviceKit

@Suite("A device's answers", .timeLimit(.minutes(5)))
struct DeviceAnswerTests {
    /// GET answers by `statuses` in turn, POST by `post`.
    private static func server(
        statuses: [String], post: ServerReply = ServerReply(body: "{}"), fields: String? = "sid,details"
    ) -> @Sendable (Int, SeenRequest) -> ServerReply {
        let gets = Mutex(0)
        return { _, request in
            guard request.method == "GET" else { return post }
            let index = gets.withLock {
                $0 += 1
                return $0 - 1
            }
            var reply = ServerReply(body: challengeJSON(statuses[min(index, statuses.count - 1)]))
            reply.headers[fieldsHeader] = fields
            return reply
        }
    }

    @Test(
        "an answer is fetched, signed over the advertised fields, posted alone, and read back",
        arguments: [true, false])
    func answer(approved: Bool) async throws {
        let key = SoftwareKey()
        let word = approved ? "approved" : "denied"
        try await withDevice(key: key, answer: Self.server(statuses: ["pending", word])) { device, requests in
            let challenge = try await device.challenge(challengeSID)
            let after = try await device.answer(challenge, approved: approved)
            #expect(after.status.rawValue == word)
            #expect(requests.all.map(\.method) == ["GET", "POST", "GET"])
            let post = requests.all[1]
            #expect(post.form.map(\.name) == ["AuthPayload"])
            let token = try #require(post.field("AuthPayload"))
            #expect(try DeviceJWTTests.isSigned(token, by: key))
            #expect(
                try DeviceJWTTests.texts(token).payload
                    == #"{"sid":"\#(challengeSID)","details":{"message":"Log in \/ é?","fields":[{"label":"IP","value":"1"}]},"status":"\#(word)"}"#
            )
        }
    }

    @Test("what may not be answered is not sent")
    func notSent() async throws {
        try await withDevice(answer: Self.server(statuses: ["expired"])) { device, requests in
            let expired = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.notPending(.expired)) { try await device.answer(expired, approved: true) }
            let other = try DeviceChallenge(
                json: Array(challengeJSON("pending", factor: "YF03" + String(repeating: "0", count: 30)).utf8),
                signatureFields: "sid")
            await #expect(throws: DeviceError.otherFactor) { try await device.answer(other, approved: true) }
            #expect(requests.all.allSatisfy { $0.method == "GET" })
        }
        try await withDevice(answer: Self.server(statuses: ["pending"], fields: nil)) { device, requests in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.missingSignatureFields) {
                try await device.answer(challenge, approved: true)
            }
            #expect(requests.all.allSatisfy { $0.method == "GET" })
        }
    }

    @Test("an answer whose reply was lost is no error when the challenge says that it arrived")
    func lostReply() async throws {
        let busy = refusal(503, 20503)
        try await withDevice(answer: Self.server(statuses: ["pending", "approved"], post: busy)) { device, _ in
            let after = try await device.answer(try await device.challenge(challengeSID), approved: true)
            #expect(after.status == .approved)
        }
        try await withDevice(answer: Self.server(statuses: ["pending"], post: busy)) { device, _ in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.refused(ServerRefusal(status: 503, code: 20503, message: "no"))) {
                try await device.answer(challenge, approved: true)
            }
        }
    }

    @Test("a challenge that reads otherwise afterwards is an error")
    func notApplied() async throws {
        try await withDevice(answer: Self.server(statuses: ["pending", "denied"])) { device, _ in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.notApplied(.denied)) {
                try await device.answer(challenge, approved: true)
            }
        }
    }

    @Test("a refused signature is the server's word, with its code")
    func refused() async throws {
        try await withDevice(answer: Self.server(statuses: ["pending"], post: refusal(403, 60324))) { device, _ in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.refused(ServerRefusal(status: 403, code: 60324, message: "no"))) {
                try await device.answer(challenge, approved: true)
            }
        }
    }

    @Test("a receipt by token needs no key, and is sent again when the server is busy")
    func receiptToken() async throws {
        try await withDevice { number, _ in
            number == 0 ? refusal(503, 20503) : ServerReply(status: 204)
        } body: { device, requests in
            try await device.client.confirm(receiptToken: "r+1", channel: .visible, shown: .yes)
            #expect(requests.all.count == 2)
            #expect(requests.all[1].target == "/v2/Receipts" && requests.all[1].authorization == nil)
            #expect(
                requests.all[1].form.map { "\($0.name)=\($0.value)" } == [
                    "ReceiptToken=r+1", "Channel=visible", "Shown=yes", "DeviceTime=1767225600000",
                ])
        }
    }

    @Test("a receipt that is refused is not sent again")
    func receiptRefused() async throws {
        try await withDevice { _, _ in
            refusal(401, 20003)
        } body: { device, requests in
            await #expect(throws: DeviceError.refused(ServerRefusal(status: 401, code: 20003, message: "no"))) {
                try await device.confirm(receiptToken: "r", channel: .background, shown: .no)
            }
            #expect(requests.all.count == 1)
        }
    }

    @Test("a receipt by challenge goes to the challenge with the device's token")
    func receiptChallenge() async throws {
        try await withDevice { _, _ in
            ServerReply(status: 204)
        } body: { device, requests in
            try await device.confirm(challenge: challengeSID, channel: .background, shown: .unknown)
            #expect(
                requests.all[0].target
                    == "/v2/Services/VA11/Entities/user-0001/Challenges/\(challengeSID)/Receipts")
            #expect(requests.all[0].password != nil && requests.all[0].field("Shown") == "unknown")
        }
    }

    @Test("a server that does not answer costs the deadline and no more")
    func deadline() async throws {
        try await withDevice(deadline: .milliseconds(200)) { _, _ in
            ServerReply(delay: .seconds(3600))
        } body: { device, _ in
            await #expect(throws: DeviceError.deadlineExceeded) { try await device.challenge(challengeSID) }
        }
    }

    @Test("a port that nobody listens on is unreachable")
    func unreachable() async throws {
        try await TinyServer.run { _, _ in
            ServerReply()
        } body: { _, transport, _ in
            let client = DeviceClient(apiURL: "http://127.0.0.1:1", transport: transport, deadline: .seconds(5))
            await #expect {
                try await client.device(registration, signer: SoftwareKey()).challenge(challengeSID)
            } throws: { error in
                (error as? DeviceError)?.isTransient == true
            }
        }
    }

    @Test(
        "a challenge that is not of its form is an error that names the field",
        arguments: [
            (#"{"sid":"1"}"#, "factor_sid"), ("[]", "object"),
            (challengeJSON("paused"), "status"),
            (
                challengeJSON("pending").replacingOccurrences(of: "2026-01-01T00:05:00Z", with: "soon"),
                "expiration_date"
            ),
            (challengeJSON("pending").replacingOccurrences(of: #"{"k":"v"}"#, with: #"{"k":1}"#), "hidden_details.k"),
        ])
    func malformed(json: String, field: String) {
        #expect {
            try DeviceChallenge(json: Array(json.utf8), signatureFields: nil)
        } throws: { error in
            guard case .malformedReply(let reason)? = error as? DeviceError else { return false }
            return reason.contains(field)
        }
    }
}
