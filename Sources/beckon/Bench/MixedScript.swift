import ChallengeModel
import Challenges
import DeviceKit
import Foundation
import NIOCore
import Storage
import Wire

/// The life of a challenge as backend and device call for it, person after person, and an enrolment each time.
struct MixedScript: LoadScript {
    private enum Step: String, CaseIterable {
        case create, list, fetch, receipt, resend, answer, read, entity, factors, service, token, enrol, verify
    }

    private let world: BenchWorld
    private let people: [Int]
    private var person: Int
    private var round = 0
    private var step = Step.create
    private var challenge: [UInt8] = []
    private var accessToken = ""
    private var factor: [UInt8] = []
    private var newKey = SoftwareKey()

    init(world: BenchWorld, people: [Int]) {
        self.world = world
        self.people = people
        person = people[0]
    }

    mutating func next() throws -> LoadRequest {
        let expecting =
            switch step {
            case .create, .resend, .token, .enrol: 201
            case .receipt: 204
            default: 200
            }
        return LoadRequest(kind: step.rawValue, bytes: try bytes(), expecting: expecting)
    }

    private mutating func bytes() throws -> ByteBuffer {
        let path = world.path(person)
        let keyID = StoreFill.keyID(person)
        let challengePath = try path + "/Challenges/" + (step == .create ? "" : member("sid", of: challenge))
        switch step {
        case .create: return world.create(for: person)
        case .list: return try world.list(for: person)
        case .fetch: return try world.device("GET", challengePath, keyID: keyID, signer: world.signer)
        case .receipt:
            guard let sid = ChallengeSID(try member("sid", of: challenge)),
                let factor = FactorSID(StoreFill.factor(person))
            else { throw BenchError("the reply to create has no sid") }
            let token = ReceiptToken(
                account: world.account, service: world.service, challenge: sid, factor: factor, dispatch: .creation,
                expiresAtMs: Timestamp.nowMs() + 300_000)
            return BenchWorld.request(
                "POST", "/v2/Receipts", "none",
                form: "ReceiptToken=\(token.sealed(with: world.recordKeys))&Channel=visible&Shown=yes")
        case .resend: return world.backend("POST", challengePath + "/Notifications")
        case .answer:
            let fields = [
                "sid", "account_sid", "service_sid", "factor_sid", "identity", "date_created", "expiration_date",
                "details", "hidden_details",
            ]
            let answer = try DeviceJWT.answer(
                json: challenge, fields: fields, status: "approved", signer: world.signer)
            return try world.device(
                "POST", challengePath, keyID: keyID, signer: world.signer, form: "AuthPayload=\(answer)")
        case .read: return world.backend("GET", challengePath)
        case .entity: return world.backend("GET", path)
        case .factors: return world.backend("GET", path + "/Factors")
        case .service: return world.backend("GET", "/v2/Services/\(world.service)")
        case .token:
            return world.backend(
                "POST", "/v2/Services/\(world.service)/AccessTokens",
                form: "Identity=\(StoreFill.identity(person))&FactorType=push")
        case .enrol:
            newKey = SoftwareKey()
            let key = Percent.encode(Base64.encode(newKey.publicKeyDER))
            return world.bearer(
                accessToken, "POST", path + "/Factors",
                form: "FriendlyName=phone&FactorType=push&Binding.Alg=ES256&Binding.PublicKey=\(key)"
                    + "&Config.NotificationPlatform=none&Config.AppId=com.example.bank&Config.SdkVersion=1.0.0")
        case .verify:
            let sid = try member("sid", of: factor)
            let proof = try newKey.sign(Array(sid.utf8)).der
            return try world.device(
                "POST", path + "/Factors/\(sid)", keyID: try member("credential_sid", of: factor), signer: newKey,
                form: "AuthPayload=\(Percent.encode(Base64.encode(proof)))")
        }
    }

    mutating func took(_ reply: LoadReply) {
        switch step {
        case .create, .fetch: challenge = reply.body
        case .token: accessToken = (try? member("token", of: reply.body)) ?? ""
        case .enrol: factor = reply.body
        default: break
        }
        let all = Step.allCases
        step = all[(all.firstIndex(of: step).map { $0 + 1 } ?? 0) % all.count]
        if step == .create {
            round += 1
            person = people[round % people.count]
        }
    }

    /// A string member of compact JSON, at any depth: enough for what SIDs and tokens are.
    private func member(_ name: String, of json: [UInt8]) throws -> String {
        let text = String(decoding: json, as: UTF8.self)
        guard let start = text.range(of: "\"\(name)\":\""), let end = text[start.upperBound...].firstIndex(of: "\"")
        else { throw BenchError("a reply has no \(name): \(text.prefix(200))") }
        return String(text[start.upperBound..<end])
    }
}
