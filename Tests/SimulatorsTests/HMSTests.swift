import Crypto
import DeviceKit
import Foundation
import HTTPTypes
import Hummingbird
import NIOHTTP1
import Synchronization
import Testing
import Wire

@testable import Simulators

@Suite("HMS look-alike", .timeLimit(.minutes(5)))
struct HMSLookAlikeTests {
    static let token = "IQAAAACy0" + String(repeating: "x", count: 121)

    private static func message(
        _ android: String = #""urgency":"HIGH","ttl":"300s","collapse_key":-1,"bi_tag":"tag-1""#,
        tokens: [String] = [token]
    ) -> [UInt8] {
        let data = #"{\"challenge_sid\":\"YC1\",\"kind\":\"visible\"}"#
        let list = tokens.map { #""\#($0)""# }.joined(separator: ",")
        return Array(
            #"{"validate_only":false,"message":{"data":"\#(data)","android":{\#(android)},"token":[\#(list)]}}"#.utf8)
    }

    private static func grant(
        _ lab: Lab, _ app: HMSAppSecret, _ change: (inout [(name: String, value: String)]) -> Void = { _ in }
    ) async throws -> TestAnswer {
        var form: [(name: String, value: String)] = [
            ("grant_type", "client_credentials"), ("client_id", app.appID), ("client_secret", app.appSecret),
        ]
        change(&form)
        return try await lab.send(
            "POST", lab.addresses.hmsTokenURL, [("content-type", "application/x-www-form-urlencoded")],
            Array(Form.encode(form).utf8))
    }

    private static func bearer(_ lab: Lab, _ app: HMSAppSecret) async throws -> String {
        "Bearer " + (try #require(try await grant(lab, app).tree?["access_token"]?.stringValue))
    }

    private static func send(
        _ lab: Lab, _ app: String, _ bearer: String?, _ body: [UInt8] = message()
    ) async throws -> TestAnswer {
        var headers = [("content-type", "application/json")]
        if let bearer { headers.append(("authorization", bearer)) }
        return try await lab.send("POST", lab.addresses.hmsURL + "/v1/\(app)/messages:send", headers, body)
    }

    @Test("the token endpoint takes the app's secret, an hour at a time, a thousand in five minutes")
    func grants() async throws {
        try await Lab.run { lab in
            let app = lab.providers.makeHMSApp()
            let answer = try await Self.grant(lab, app)
            #expect(answer.status == 200 && answer.tree?["token_type"]?.stringValue == "Bearer")
            #expect(answer.tree?["expires_in"]?.integerValue == 3600)
            func error(_ change: (inout [(name: String, value: String)]) -> Void) async throws -> Int64 {
                let answer = try await Self.grant(lab, app, change)
                #expect(answer.status == 400 && answer.tree?["error"]?.integerValue == 1101)
                return answer.tree?["sub_error"]?.integerValue ?? 0
            }
            #expect(try await error { $0[0].value = "password" } == 20181)
            #expect(try await error { $0[1].value = "1" } == 20151)
            #expect(try await error { $0[2].value += "x" } == 20002)
            #expect(try await lab.send("GET", lab.addresses.hmsTokenURL, [], nil).status == 405)
            #expect(lab.providers.hmsAccessTokensGranted == 1)
        }
        let apps = HMSApps(accessLifeSeconds: 3600)
        apps.register(app: "1", secret: "s")
        func grant(_ now: Int64) -> Int? {
            do throws(HMSApps.Refusal) {
                _ = try apps.grant(
                    form: Array("grant_type=client_credentials&client_id=1&client_secret=s".utf8), nowSeconds: now)
                return nil
            } catch { return error.status }
        }
        for _ in 0..<1000 { #expect(grant(0) == nil) }
        #expect(grant(299) == 503)
        #expect(grant(300) == nil)
    }

    @Test("a right message is answered with success and reaches its phone")
    func accepted() async throws {
        try await Lab.run { lab in
            let app = lab.providers.makeHMSApp()
            let pushes = try lab.providers.network.receive(.hms, token: Self.token, appID: "dev.app")
            let answer = try await Self.send(lab, app.appID, try await Self.bearer(lab, app))
            #expect(answer.status == 200 && answer.tree?["code"]?.stringValue == "80000000")
            let push = await pushes.first { _ in true }
            #expect(push?.messageID == answer.tree?["requestId"]?.stringValue)
            #expect(push?.values == ["challenge_sid": "YC1", "kind": "visible"])
            #expect(push?.priority == 10 && push?.pushType == "data" && push?.appID == "dev.app")
            #expect(push?.expiresAtMs == lab.clock.nowMs + 300_000 && push?.collapseKey == nil)
        }
    }

    @Test("bearers: none, unknown, run out, of another app, of a revoked one")
    func bearers() async throws {
        try await Lab.run { lab in
            let app = lab.providers.makeHMSApp()
            let bearer = try await Self.bearer(lab, app)
            func code(_ bearer: String?, _ appID: String = app.appID) async throws -> String {
                try await Self.send(lab, appID, bearer).tree?["code"]?.stringValue ?? ""
            }
            for wrong in [nil, "Bearer nonsense", bearer.lowercased()] {
                let answer = try await Self.send(lab, app.appID, wrong)
                #expect(answer.status == 401 && answer.tree?["code"]?.stringValue == "80200001")
            }
            #expect(try await code(bearer, lab.providers.makeHMSApp().appID) == "80300002")
            lab.clock.advance(ms: 3_600_000)
            #expect(try await code(bearer) == "80200003")
            let fresh = try await Self.bearer(lab, app)
            #expect(try await code(fresh) == "80000000")
            lab.providers.revokeHMSApp(appID: app.appID)
            #expect(try await code(fresh) == "80200001")
            #expect(try await lab.send("POST", lab.addresses.hmsURL + "/v2/1/messages:send", [], []).status == 404)
        }
    }

    @Test("dead tokens: all of them, or some beside good ones")
    func deadTokens() async throws {
        try await Lab.run { lab in
            let app = lab.providers.makeHMSApp()
            let bearer = try await Self.bearer(lab, app)
            let (dead, good) = (Self.token + "d", Self.token + "g")
            try lab.providers.network.unregister(.hms, token: dead)
            let all = try await Self.send(lab, app.appID, bearer, Self.message(tokens: [dead]))
            #expect(all.status == 200 && all.tree?["code"]?.stringValue == "80300007")
            #expect(lab.providers.network.log().last?.reason == "80300007")
            let some = try await Self.send(lab, app.appID, bearer, Self.message(tokens: [good, dead]))
            #expect(some.status == 200 && some.tree?["code"]?.stringValue == "80100000")
            let told = try JSONParser.parse(try #require(some.tree?["msg"]?.stringValue), .reply)
            #expect(told["success"]?.integerValue == 1 && told["failure"]?.integerValue == 1)
            #expect(told["illegal_tokens"]?.elements?.compactMap(\.stringValue) == [dead])
            let counters = lab.providers.network.counters(.hms)
            #expect(counters.accepted == 1 && counters.refused == 1)
        }
    }

    static let invalidBodies: [(String, String)] = [
        ("nonsense", "80100003"), ("{}", "80100003"), (#"{"message":[]}"#, "80100003"),
        (#"{"message":{"token":["T"]}}"#, "80100003"), (#"{"message":{"data":"x"}}"#, "80100003"),
        (#"{"message":{"data":{"a":"b"},"token":["T"]}}"#, "80100003"),
        (#"{"message":{"data":"x","token":"T"}}"#, "80300010"), (#"{"message":{"data":"x","token":[]}}"#, "80300010"),
        (#"{"message":{"data":"x","token":[7]}}"#, "80300010"),
        (#"{"message":{"data":"x","token":["T"],"topic":"t"}}"#, "80100003"),
        (#"{"message":{"data":"x","token":["T"],"unknown":1}}"#, "80100003"),
        (#"{"message":{"data":"x","token":["T"]},"registration_ids":[]}"#, "80100003"),
        (#"{"validate_only":"yes","message":{"data":"x","token":["T"]}}"#, "80100001"),
        (#"{"message":{"data":"x","token":["T"],"android":{"ttl":"0s"}}}"#, "80100004"),
        (#"{"message":{"data":"x","token":["T"],"android":{"ttl":"1296001s"}}}"#, "80100004"),
        (#"{"message":{"data":"x","token":["T"],"android":{"ttl":"soon"}}}"#, "80100004"),
        (#"{"message":{"data":"x","token":["T"],"android":{"collapse_key":101}}}"#, "80100013"),
        (#"{"message":{"data":"x","token":["T"],"android":{"collapse_key":"1"}}}"#, "80100013"),
        (#"{"message":{"data":"x","token":["T"],"android":{"urgency":"LOUD"}}}"#, "80100001"),
        (#"{"message":{"data":"x","token":["T"],"android":{"bi_tag":7}}}"#, "80100001"),
        (
            #"{"message":{"data":"x","token":["T"],"android":{"bi_tag":"\#(String(repeating: "t", count: 65))"}}}"#,
            "80100001"
        ),
        (#"{"message":{"data":"x","token":["T"],"android":{"tag":"x"}}}"#, "80100003"),
    ]

    @Test("a message that is not of its form has Huawei's code", arguments: invalidBodies)
    func invalid(json: String, code: String) {
        #expect {
            try HMSMessage(Array(json.utf8), length: json.utf8.count)
        } throws: { ($0 as? HMSResult)?.code == code }
    }

    @Test("4,096 bytes without the tokens, of which there may be a thousand")
    func sizes() throws {
        func body(_ length: Int, tokens: Int) -> [UInt8] {
            let list = (0..<tokens).map { #""\#(Self.token)\#($0)""# }.joined(separator: ",")
            let frame = #"{"message":{"data":"","token":}}"#.utf8.count
            return Array(
                #"{"message":{"data":"\#(String(repeating: "v", count: length - frame))","token":[\#(list)]}}"#.utf8)
        }
        func check(_ length: Int, _ tokens: Int) -> String? {
            do throws(HMSResult) {
                let bytes = body(length, tokens: tokens)
                return try HMSMessage(bytes, length: bytes.count).tokens.count == tokens ? nil : "count"
            } catch { return error.code }
        }
        #expect(check(4096, 1) == nil && check(4096, 1000) == nil)
        #expect(check(4097, 1) == "80300008" && check(4097, 1000) == "80300008")
        #expect(check(100, 1001) == "80300010")
    }

    @Test("faults have Huawei's forms")
    func faults() async throws {
        try await Lab.run { lab in
            let app = lab.providers.makeHMSApp()
            let bearer = try await Self.bearer(lab, app)
            func send(_ change: (inout ProviderFaults) -> Void) async throws -> TestAnswer {
                lab.providers.setFaults(ProviderFaults.with(change), .hms)
                return try await Self.send(lab, app.appID, bearer)
            }
            func error(_ word: String) async throws -> (Int, String) {
                let answer = try await send {
                    $0.errorShare = 1
                    $0.errorReason = word
                    $0.retryAfterSeconds = 7
                }
                return (
                    answer.status, answer.tree?["code"]?.stringValue ?? answer.headers.first(name: "retry-after") ?? ""
                )
            }
            #expect(try await error("80300011") == (200, "80300011"))
            #expect(try await error("80200001") == (401, "80200001"))
            #expect(try await error("429") == (429, "7"))
            #expect(try await error("") == (500, "81000001"))
            #expect(try await send { $0.unavailableForMs = 1000 }.status == 503)
            #expect(try await Self.grant(lab, app).status == 200, "the token endpoint is not hit")
            lab.providers.setFaults(ProviderFaults.with { $0.tokenEndpointFails = true }, .hms)
            #expect(try await Self.grant(lab, app).status == 503)
            #expect(try await Self.send(lab, app.appID, bearer).status == 200)
        }
    }

    @Test("a phone's report becomes a signed receipt, tried again until the callback takes it")
    func receipts() async throws {
        struct Call: Sendable {
            var header: String
            var statuses: [JSONValue]
        }
        let calls = Mutex<[Call]>([])
        let router = Router()
        router.post("/hms") { request, _ in
            let body = try await request.body.collect(upTo: 1 << 20)
            let tree = try JSONParser.parse(Array(body.readableBytesView), .reply)
            let name = try #require(HTTPField.Name("X-HUAWEI-CALLBACK-ID"))
            let count = calls.withLock {
                $0.append(Call(header: request.headers[name] ?? "", statuses: tree["statuses"]?.elements ?? []))
                return $0.count
            }
            return count == 1 ? #"{"code":"1","message":"not yet"}"# : #"{"code":"0","message":"success"}"#
        }
        let (ports, bound) = AsyncStream.makeStream(of: Int.self)
        let server = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { bound.yield($0.localAddress?.port ?? 0) }, logger: quiet)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            let port = try #require(await ports.first { _ in true })
            try await Lab.run { lab in
                let app = lab.providers.makeHMSApp()
                let key = Data(repeating: 7, count: 32).base64EncodedString()
                let callback = HMSCallback(url: "http://127.0.0.1:\(port)/hms", user: "beckon", key: key)
                let put = try await lab.send(
                    "PUT", lab.addresses.controlURL + "/receipts/\(app.appID)", [],
                    Array(try JSONEncoder().encode(callback)))
                #expect(put.status == 204)
                let answer = try await Self.send(lab, app.appID, try await Self.bearer(lab, app))
                let id = try #require(answer.tree?["requestId"]?.stringValue)
                // Of no message: no receipt.
                lab.providers.network.report(.hms, token: Self.token, messageID: "nonsense", result: 0)
                let report = try await lab.send(
                    "POST", lab.addresses.controlURL + "/devices/hms/\(Self.token)/reports?message=\(id)&result=6", [],
                    [])
                #expect(report.status == 204)
                try await eventually("the receipt is taken", within: .seconds(60)) {
                    lab.providers.network.counters(.hms).receiptsTaken == 1
                }
                let seen = calls.withLock { $0 }
                #expect(seen.count == 2)
                for call in seen {
                    #expect(call.statuses.count == 1)
                    let status = try #require(call.statuses.first)
                    #expect(status["biTag"]?.stringValue == "tag-1" && status["status"]?.integerValue == 6)
                    #expect(status["appid"]?.stringValue == app.appID && status["requestId"]?.stringValue == id)
                    #expect(status["token"]?.stringValue == Self.token)
                    let fields = Dictionary(
                        uniqueKeysWithValues: call.header.components(separatedBy: "; ").map { field in
                            (field.prefix { $0 != "=" }.description, field.drop { $0 != "=" }.dropFirst().description)
                        })
                    let text = "\(try #require(fields["timestamp"]))\(try #require(fields["nonce"]))beckon"
                    let code = HMAC<SHA256>.authenticationCode(
                        for: Data(text.utf8), using: SymmetricKey(data: Data(repeating: 7, count: 32)))
                    #expect(fields["value"] == Data(code).base64EncodedString())
                }
            }
            group.cancelAll()
        }
    }

    @Test("what is kept for a phone that is offline: all, or the latest of a group")
    func offline() {
        func push(_ number: Int, _ key: String?) -> SimulatedPush {
            SimulatedPush(
                provider: .hms, messageID: "\(number)", pushToken: "t", appID: "a", pushType: "data", priority: 10,
                collapseKey: key, expiresAtMs: 1000, alert: nil, values: [:], acceptedAtMs: 0)
        }
        var store = OfflineStore()
        for number in 0..<10 { #expect(store.store(push(number, nil), nowMs: 0) == .stored) }
        for number in 10..<13 { _ = store.store(push(number, "5"), nowMs: 0) }
        #expect(store.pushes.map(\.messageID) == (0..<10).map(String.init) + ["12"])
        for number in 20..<140 { _ = store.store(push(number, nil), nowMs: 0) }
        #expect(store.pushes.count == 120 && store.pushes.last?.messageID == "139")
        #expect(store.take(nowMs: 1000).expired == 120)
    }
}
