import Crypto
import DeviceKit
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization
import Wire

@testable import Simulators

/// The few calls of the Verify API that a phone makes, with real signature checks; the rest of a server is not in it.
final class MiniVerify: Sendable {
    struct Receipt: Sendable, Hashable {
        var token: String
        var channel: String
        var shown: String
    }

    private struct State {
        var keys: [String: P256.Signing.PublicKey] = [:]
        var platforms: [String: String] = [:]
        var verified: Set<String> = []
        var challenges: [String: (factor: String, status: String, action: String?)] = [:]
        var receipts: [Receipt] = []
        /// What apps said of their notifications, in order.
        var notifications: [String] = []
        var fetched: [String] = []
        /// Requests that waited for a change.
        var waits = 0
        /// So many of them are answered 503.
        var refusedWaits = 0
        var enrolmentsAtOnce = 0
        var mostEnrolmentsAtOnce = 0
        var next = 0
    }

    private let state = Mutex(State())

    var receipts: [Receipt] { state.withLock { $0.receipts } }
    var notifications: [String] { state.withLock { $0.notifications } }
    var fetched: [String] { state.withLock { $0.fetched } }
    var waits: Int { state.withLock { $0.waits } }
    func refuseWaits(_ count: Int) { state.withLock { $0.refusedWaits = count } }
    var verifiedCount: Int { state.withLock { $0.verified.count } }
    var mostEnrolmentsAtOnce: Int { state.withLock { $0.mostEnrolmentsAtOnce } }
    func status(_ sid: String) -> String? { state.withLock { $0.challenges[sid]?.status } }

    private static func sid(_ prefix: String, _ number: Int) -> String {
        let digits = String(number)
        return prefix + String(repeating: "0", count: 32 - digits.count) + digits
    }

    func create(for factor: String, action: String? = nil) -> String {
        state.withLock {
            $0.next += 1
            let sid = Self.sid("YC", $0.next)
            $0.challenges[sid] = (factor, "pending", action)
            return sid
        }
    }

    /// As another device, the backend or time would.
    func end(_ sid: String, _ status: String = "expired") { state.withLock { $0.challenges[sid]?.status = status } }

    private func json(_ sid: String, _ challenge: (factor: String, status: String, action: String?)) -> String {
        let beckon = challenge.action.map { #","beckon":{"action_id":"\#($0)"}"# } ?? ""
        return
            #"{"sid":"\#(sid)","factor_sid":"\#(challenge.factor)","identity":"user-0001","status":"\#(challenge.status)","#
            + #""expiration_date":"2099-01-01T00:00:00Z","details":{"message":"Log in?"},"hidden_details":null\#(beckon)}"#
    }

    private static func reply(_ status: Int, _ body: String, _ headers: HTTPFields = [:]) -> Response {
        Response(
            status: .init(code: status), headers: headers, body: .init(byteBuffer: ByteBuffer(string: body)))
    }

    private static func form(_ request: Request) async throws -> [String: String] {
        let body = try await request.body.collect(upTo: 100_000)
        return Dictionary(((try? Form(body.readableBytesView))?.pairs ?? []).map { ($0.name, $0.value) }) { $1 }
    }

    func router() -> Router<BasicRequestContext> {
        let router = Router()
        router.post("/v2/Services/:va/AccessTokens") { _, _ in
            self.state.withLock {
                $0.enrolmentsAtOnce += 1
                $0.mostEnrolmentsAtOnce = max($0.mostEnrolmentsAtOnce, $0.enrolmentsAtOnce)
            }
            return Self.reply(201, #"{"sid":"YK","token":"access"}"#)
        }
        router.post("/v2/Services/:va/Entities/:id/Factors") { request, _ in
            let form = try await Self.form(request)
            let key = try P256.Signing.PublicKey(
                derRepresentation: Data(base64Encoded: form["Binding.PublicKey"] ?? "") ?? Data())
            let sid = self.state.withLock {
                $0.next += 1
                let sid = Self.sid("YF", $0.next)
                $0.keys[sid] = key
                return sid
            }
            return Self.reply(
                201,
                #"{"sid":"\#(sid)","account_sid":"AC1","status":"unverified","config":{"credential_sid":"\#(sid)"}}"#)
        }
        router.post("/v2/Services/:va/Entities/:id/Factors/:yf") { request, context in
            let sid = try context.parameters.require("yf")
            let form = try await Self.form(request)
            if let notifications = form["Config.NotificationsEnabled"] {
                self.state.withLock { $0.notifications.append(notifications) }
                return Self.reply(
                    200,
                    #"{"sid":"\#(sid)","account_sid":"AC1","status":"verified","config":{"credential_sid":"\#(sid)"}}"#)
            }
            let isGood = try self.state.withLock { state -> Bool in
                state.enrolmentsAtOnce -= 1
                let signature = try P256.Signing.ECDSASignature(
                    derRepresentation: Data(base64Encoded: form["AuthPayload"] ?? "") ?? Data())
                guard state.keys[sid]?.isValidSignature(signature, for: Data(sid.utf8)) == true else { return false }
                state.verified.insert(sid)
                return true
            }
            return isGood
                ? Self.reply(200, #"{"status":"verified"}"#) : Self.reply(403, #"{"code":60311,"message":""}"#)
        }
        router.get("/v2/Services/:va/Entities/:id/Challenges") { request, _ in
            let factor = request.uri.queryParameters["FactorSid"].map(String.init)
            let list = self.state.withLock { state in
                state.challenges.filter { $0.value.factor == factor && $0.value.status == "pending" }
                    .map { self.json($0.key, $0.value) }
            }
            return Self.reply(200, #"{"challenges":[\#(list.joined(separator: ","))],"meta":{"next_page_url":null}}"#)
        }
        router.get("/v2/Services/:va/Entities/:id/Challenges/:yc") { request, context in
            let sid = try context.parameters.require("yc")
            let end = ContinuousClock.now + .seconds(request.uri.queryParameters.get("Wait", as: Int.self) ?? 0)
            let isWait = request.headers[.ifNoneMatch] != nil
            let isRefused = self.state.withLock { state in
                state.fetched.append(sid)
                guard isWait else { return false }
                state.waits += 1
                state.refusedWaits -= 1
                return state.refusedWaits >= 0
            }
            if isRefused { return Self.reply(503, #"{"code":20503,"message":""}"#) }
            while true {
                guard let found = self.state.withLock({ $0.challenges[sid] }) else {
                    return Self.reply(404, #"{"code":60391,"message":""}"#)
                }
                if request.headers[.ifNoneMatch] != found.status {
                    return Self.reply(
                        200, self.json(sid, found),
                        [
                            HTTPField.Name("Twilio-Verify-Signature-Fields")!: "sid,factor_sid,details",
                            .eTag: found.status,
                        ])
                }
                guard ContinuousClock.now < end else { return Self.reply(304, "", [.eTag: found.status]) }
                try await Task.sleep(for: .milliseconds(10))
            }
        }
        router.post("/v2/Services/:va/Entities/:id/Challenges/:yc") { request, context in
            let sid = try context.parameters.require("yc")
            let parts = (try await Self.form(request)["AuthPayload"] ?? "").split(separator: ".")
            let refused = try self.state.withLock { state -> Bool in
                guard parts.count == 3, let found = state.challenges[sid], found.status == "pending",
                    let signature = Base64URL.decode(parts[2]),
                    let payload = Base64URL.decode(parts[1]),
                    let status = try JSONParser.parse(payload, .reply)["status"]?.stringValue,
                    state.keys[found.factor]?.isValidSignature(
                        try P256.Signing.ECDSASignature(rawRepresentation: Data(signature)),
                        for: Data("\(parts[0]).\(parts[1])".utf8)) == true
                else { return true }
                state.challenges[sid]?.status = status
                return false
            }
            return refused ? Self.reply(403, #"{"code":60324,"message":""}"#) : Self.reply(200, "{}")
        }
        router.post("/v2/Services/:va/Entities/:id/Challenges/:yc/Receipts") { request, _ in
            let form = try await Self.form(request)
            self.state.withLock {
                $0.receipts.append(Receipt(token: "", channel: form["Channel"] ?? "", shown: form["Shown"] ?? ""))
                if let notifications = form["Config.NotificationsEnabled"] { $0.notifications.append(notifications) }
            }
            return Response(status: .noContent)
        }
        router.post("/v2/Receipts") { request, _ in
            let form = try await Self.form(request)
            self.state.withLock {
                $0.receipts.append(
                    Receipt(
                        token: form["ReceiptToken"] ?? "", channel: form["Channel"] ?? "", shown: form["Shown"] ?? ""))
            }
            return Response(status: .noContent)
        }
        return router
    }
}
