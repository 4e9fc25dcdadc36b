import ChallengeModel
import Challenges
import Crypto
import Foundation
import Synchronization
import Testing

@testable import Producer

@Suite("Who may call what", .timeLimit(.minutes(10)))
struct AccessTests {
    enum Visitor: String, CaseIterable {
        case full, send, enrol, read
        case revoked = "revoked key"
        case otherAccount = "other account"
        case ownFactor = "own factor"
        case anotherFactor = "another factor"
        case unverifiedFactor = "unverified factor"
        case accessToken = "access token"
        case receiptToken = "receipt token"
        case nobody = "none"
    }

    /// One line of the table: `POST /v2/Services` and the status per visitor.
    struct Line {
        let method: String
        let template: String
        let statuses: [Visitor: Int]
    }

    static func table() throws -> [Line] {
        let page = try String(
            contentsOf: URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appending(path: "docs/api.md"), encoding: .utf8)
        let section = try #require(page.components(separatedBy: "## Who may call what").dropFirst().first)
        let rows = section.components(separatedBy: "\n## ")[0].split(separator: "\n").filter { $0.hasPrefix("|") }.map {
            $0.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let head = try #require(rows.first).dropFirst().map { Visitor(rawValue: $0) }
        #expect(head.count == Visitor.allCases.count && !head.contains(nil), "every kind of caller has a column")
        return try rows.dropFirst(2).map { cells in
            let words = cells[0].replacingOccurrences(of: "`", with: "").split(separator: " ").map(String.init)
            var statuses: [Visitor: Int] = [:]
            for (visitor, cell) in zip(head, cells.dropFirst()) {
                guard let visitor, let status = Int(cell) else { throw CocoaError(.formatting) }
                statuses[visitor] = status
            }
            return Line(method: words[0], template: words[1], statuses: statuses)
        }
    }

    @Test("docs/api.md has a line for every route and method, and each visitor gets what it says")
    func everyRoute() async throws {
        let lines = try Self.table()
        let served = Route.table.flatMap { route in
            route.operations.map { "\($0.method.rawValue) \(route.template)" }
        }
        #expect(Set(served) == Set(lines.map { "\($0.method) \($0.template)" }) && served.count == lines.count)
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            for line in lines {
                for visitor in Visitor.allCases {
                    let answer = try await scene.visit(line, visitor)
                    #expect(
                        answer.status == line.statuses[visitor],
                        "\(line.method) \(line.template) as \(visitor.rawValue): \(answer.text)")
                    if (200..<300).contains(answer.status), line.method != "GET", !line.template.hasSuffix("Receipts") {
                        let trail = try await producer.store.auditEvents(
                            AuditFilter(account: visitor == .otherAccount ? scene.other.sid : producer.account.sid),
                            // What was refused is written once a minute, all at once.
                            page: PageRequest(size: 1000))
                        let request = answer.header("Twilio-Request-Id")
                        #expect(
                            trail.items.contains { $0.requestID == request },
                            "\(line.method) \(line.template) as \(visitor.rawValue) leaves its mark in the trail")
                    }
                }
            }
        }
    }

    /// Everything that a visit needs, made anew where a visit uses it up.
    final class Scene: Sendable {
        let producer: ProducerHarness
        let other: AccountCredentials
        let keys: [Visitor: Authorization]
        private let serial = SerialNumber()

        init(_ producer: ProducerHarness) async throws {
            self.producer = producer
            let (store, now) = (producer.store, producer.clock.nowMs)
            other = try await store.createAccount(nowMs: now)
            var keys: [Visitor: Authorization] = [:]
            for (visitor, role) in [
                (Visitor.full, AccountRole.full), (.send, .send), (.enrol, .enrol), (.read, .read), (.revoked, .full),
            ] {
                let (key, secret) = try await store.createKey(
                    account: producer.account.sid, role: role, friendlyName: "", nowMs: now)
                keys[visitor] = .basic(key.sid.rawValue, secret)
                if visitor == .revoked {
                    #expect(try await producer.get("/v2/Services", as: keys[visitor]).status == 200)
                    #expect(try await store.revokeKey(key.sid, account: producer.account.sid, nowMs: now))
                }
            }
            keys[.otherAccount] = .basic(other.sid.rawValue, other.authToken)
            self.keys = keys
        }

        func visit(_ line: Line, _ visitor: Visitor) async throws -> HTTPAnswer {
            let now = producer.clock.nowMs
            let number = serial.next()
            let identity = "user-\(1000 + number)"
            let (account, store) = (producer.account.sid, producer.store)
            let service = try await store.createService(NewService(account: account, friendlyName: "Bank"), nowMs: now)
                .sid
            func device(_ isVerified: Bool) async throws -> TestDevice {
                var device = TestDevice()
                let factor = try await store.createFactor(
                    NewFactor(
                        account: account, service: service, identity: identity, friendlyName: "phone",
                        publicKey: Array(device.key.publicKey.derRepresentation), platform: .apn,
                        pushToken: device.pushToken, appID: "app"), accessToken: nil, nowMs: now)
                if isVerified { _ = try await store.verifyFactor(factor.sid, nowMs: now) }
                device.factor = factor.sid.rawValue
                device.account = account.rawValue
                device.keyID = factor.keyID.rawValue
                return device
            }
            let (own, another) = (try await device(true), try await device(true))
            let factorSID = try #require(FactorSID(own.factor))
            let (challenge, _) = try await store.createChallenge(
                NewChallenge(
                    account: account, service: service, identity: identity, factor: factorSID, message: "Log in?",
                    expiresAtMs: now + 300_000), nowMs: now)
            let unverified = try await device(false)
            let webhook = try await store.createWebhook(
                NewWebhook(
                    account: account, service: service, friendlyName: "hook", eventTypes: ["*"],
                    url: "https://shop.example.com/hook"), nowMs: now)
            let (token, secret) = try await store.createAccessToken(
                NewAccessToken(account: account, service: service, identity: identity), nowMs: now)
            var key = ApnsTokenKey()
            key.teamID = "TEAM123456"
            key.keyID = "KEY1234567"
            var credentialSecret = ProviderCredential()
            credentialSecret.apnsToken = key
            let credential = try await store.createCredential(
                account: account, friendlyName: "", secret: credentialSecret, nowMs: now)
            let receiptToken = ReceiptToken(
                account: account, service: service, challenge: challenge.sid, factor: factorSID, dispatch: .creation,
                expiresAtMs: challenge.expiresAtMs
            ).sealed(with: producer.keys)

            let digest = Array("\(number)".utf8)
            try await store.reportRefusedURL(
                "WebhookUrl", digest: digest, account: account, service: service, nowMs: now)
            let alert = try #require(
                try await store.alerts(AlertFilter(account: account), page: PageRequest(size: 1)).items.first)
            for one in [account, other.sid] {
                _ = try await store.setDebugger(url: "https://shop.example.com/debug", account: one, nowMs: now)
            }

            // A device that calls a factor's path calls its own; "another factor" calls somebody else's.
            let factor = visitor == .unverifiedFactor ? unverified.factor : own.factor
            let path = line.template
                .replacingOccurrences(of: "/Services/{sid}", with: "/Services/\(service)")
                .replacingOccurrences(of: "{identity}", with: identity)
                .replacingOccurrences(of: "/AccessTokens/{sid}", with: "/AccessTokens/\(token.sid)")
                .replacingOccurrences(of: "/Webhooks/{sid}", with: "/Webhooks/\(webhook.sid)")
                .replacingOccurrences(of: "/Factors/{sid}", with: "/Factors/\(factor)")
                .replacingOccurrences(of: "/Challenges/{sid}", with: "/Challenges/\(challenge.sid)")
                .replacingOccurrences(of: "/Credentials/{sid}", with: "/Credentials/\(credential.sid)")
                .replacingOccurrences(of: "/Alerts/{sid}", with: "/Alerts/\(alert.sid)")
            let authorization: Authorization? =
                switch visitor {
                case .full, .send, .enrol, .read, .revoked, .otherAccount: keys[visitor]
                case .ownFactor: try own.token(nowMs: now)
                case .anotherFactor: try another.token(nowMs: now)
                case .unverifiedFactor: try unverified.token(nowMs: now)
                case .accessToken: .basic("token", AccessTokenText.make(account: account, secret: secret))
                case .receiptToken: line.template == "/v2/Receipts" ? nil : .basic("token", receiptToken)
                case .nobody: nil
                }
            guard line.method == "POST" else { return try await producer.send(line.method, path, as: authorization) }
            var form: [(String, String)]
            switch line.template.split(separator: "/").suffix(2).joined(separator: "/") {
            case "v2/Services", "Services/{sid}": form = [("FriendlyName", "Shop")]
            case "{sid}/AccessTokens": form = [("Identity", identity), ("FactorType", "push")]
            case "{sid}/Webhooks":
                form = [
                    ("FriendlyName", "hook"), ("EventTypes", "*"), ("WebhookUrl", "https://shop.example.com/hook"),
                ]
            case "Webhooks/{sid}": form = [("FriendlyName", "new name")]
            case "{sid}/SessionTokens": form = [("Identity", identity)]
            case "{sid}/Entities": form = [("Identity", "new-\(identity)")]
            case "{identity}/Factors": form = TestDevice().enrolment
            case "Factors/{sid}": form = [("FriendlyName", "new name")]
            case "{identity}/Challenges": form = [("Details.Message", "Log in?"), ("FactorSid", own.factor)]
            case "Challenges/{sid}":
                let read = try await producer.get(path, as: own.token(nowMs: now))
                form = [("AuthPayload", try own.answer(read, "approved"))]
            case "v2/Receipts": form = visitor == .receiptToken ? [("ReceiptToken", receiptToken)] : []
            case "v1/Debugger": form = [("WebhookUrl", "https://shop.example.com/debug")]
            case "v1/Credentials":
                form = [
                    ("Type", "apn"), ("TeamId", "TEAM123456"), ("KeyId", "KEY1234567"),
                    ("PrivateKey", own.key.pemRepresentation),
                ]
            default: form = []
            }
            return try await producer.post(path, form, as: authorization)
        }
    }
}

final class SerialNumber: Sendable {
    private let last = Atomic(0)
    func next() -> Int { last.add(1, ordering: .relaxed).newValue }
}
