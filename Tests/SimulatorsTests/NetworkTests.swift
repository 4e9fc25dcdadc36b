import Crypto
import Foundation
import Testing

@testable import Simulators

func makePush(
    _ provider: SimulatedProvider = .apn, id: String = UUID().uuidString, token: String = "ab", app: String = "dev.app",
    expiresAtMs: Int64? = nil, collapseKey: String? = nil, values: [String: String] = [:]
) -> SimulatedPush {
    SimulatedPush(
        provider: provider, messageID: id, pushToken: token, appID: app, pushType: "alert", priority: 10,
        collapseKey: collapseKey, expiresAtMs: expiresAtMs, alert: nil, values: values, acceptedAtMs: 0)
}

@Suite("What providers store for a phone that is offline")
struct OfflineStoreTests {
    @Test("APNs keeps one per app, the latest")
    func onePerApp() {
        var store = OfflineStore()
        #expect(store.store(makePush(id: "1", expiresAtMs: 100), nowMs: 0) == .stored)
        #expect(store.store(makePush(id: "2", app: "dev.other", expiresAtMs: 100), nowMs: 0) == .stored)
        #expect(store.store(makePush(id: "3", expiresAtMs: 100), nowMs: 0) == .displaced(1))
        #expect(store.take(nowMs: 1).pushes.map(\.messageID) == ["2", "3"])
        #expect(store.pushes.isEmpty)
    }

    @Test("expiration 0 is one try: not stored, and nothing is displaced by it")
    func oneTry() {
        var store = OfflineStore()
        _ = store.store(makePush(id: "1", expiresAtMs: 100), nowMs: 0)
        #expect(store.store(makePush(id: "2", expiresAtMs: 0), nowMs: 0) == .notStored)
        #expect(store.store(makePush(id: "3", expiresAtMs: 50), nowMs: 50) == .notStored)
        #expect(store.take(nowMs: 1).pushes.map(\.messageID) == ["1"])
    }

    @Test("what has run out when the phone comes online is not handed out; without a time it never runs out")
    func expiry() {
        var store = OfflineStore()
        _ = store.store(makePush(id: "1", expiresAtMs: 100), nowMs: 0)
        _ = store.store(makePush(id: "2", app: "b", expiresAtMs: nil), nowMs: 0)
        let (pushes, expired) = store.take(nowMs: 100)
        #expect(pushes.map(\.messageID) == ["2"] && expired == 1)
    }

    @Test("FCM keeps a hundred, one per collapse key, and throws all away past that")
    func fcm() {
        var store = OfflineStore()
        for index in 0..<98 { _ = store.store(makePush(.fcm, id: "\(index)", expiresAtMs: 100), nowMs: 0) }
        #expect(store.store(makePush(.fcm, id: "k1", expiresAtMs: 100, collapseKey: "k"), nowMs: 0) == .stored)
        #expect(store.store(makePush(.fcm, id: "k2", expiresAtMs: 100, collapseKey: "k"), nowMs: 0) == .displaced(1))
        #expect(store.store(makePush(.fcm, id: "99", expiresAtMs: 100), nowMs: 0) == .stored)
        #expect(store.pushes.count == 100)
        #expect(store.store(makePush(.fcm, id: "100", expiresAtMs: 100), nowMs: 0) == .displaced(100))
        #expect(store.take(nowMs: 0).pushes.map(\.messageID) == ["100"])
    }
}

@Suite("From look-alikes to phones", .timeLimit(.minutes(5)))
struct PushNetworkTests {
    private static func first(_ count: Int, of stream: AsyncStream<SimulatedPush>) async -> [String] {
        var ids: [String] = []
        if count == 0 { return ids }
        for await push in stream {
            ids.append(push.messageID)
            if ids.count == count { break }
        }
        return ids
    }

    @Test("online phones get pushes in order, what was stored first; nobody's tokens lead nowhere")
    func order() async throws {
        let network = PushNetwork(nowMs: { 10 })
        network.accept(makePush(id: "0", expiresAtMs: 100), drops: false, nowMs: 10)
        try network.register(.apn, token: "AB", appID: "dev.app")
        network.accept(makePush(id: "1", expiresAtMs: 100), drops: false, nowMs: 10)
        let stream = try network.receive(.apn, token: "ab", appID: "dev.app")
        #expect(network.isOnline(.apn, token: "aB"))
        for id in 2...4 { network.accept(makePush(id: "\(id)"), drops: false, nowMs: 10) }
        #expect(await Self.first(4, of: stream) == ["1", "2", "3", "4"])
        let counters = network.counters(.apn)
        #expect(counters.accepted == 5 && counters.unclaimed == 1 && counters.stored == 1 && counters.delivered == 4)
        #expect(network.log().map(\.fate) == [.unclaimed, .stored, .delivered, .delivered, .delivered])
    }

    @Test("a phone whose reception ends is offline, and the next one takes over from the last")
    func takeOver() async throws {
        let network = PushNetwork()
        let old = try network.receive(.apn, token: "ab", appID: "dev.app")
        do {
            let new = try network.receive(.apn, token: "ab", appID: "dev.app")
            var ended = old.makeAsyncIterator()
            #expect(await ended.next(isolation: nil) == nil, "taken over")
            #expect(network.isOnline(.apn, token: "ab"))
            network.accept(makePush(id: "1"), drops: false, nowMs: 0)
            #expect(await Self.first(1, of: new) == ["1"])
        }
        try await eventually("offline when the stream is let go") { !network.isOnline(.apn, token: "ab") }
        network.accept(makePush(id: "2", expiresAtMs: 0), drops: false, nowMs: 0)
        #expect(network.counters(.apn).notStored == 1)
    }

    @Test("a phone that takes nothing loses what is beyond the bound, counted")
    func bound() throws {
        let network = PushNetwork()
        let stream = try network.receive(.apn, token: "ab", appID: "dev.app")
        for _ in 0..<PushNetwork.streamBound + 5 { network.accept(makePush(), drops: false, nowMs: 0) }
        #expect(network.counters(.apn).overflowed == 5)
        withExtendedLifetime(stream) {}
    }

    @Test("the log is bounded, its numbers go on; a unit accepted twice is a duplicate")
    func log() {
        let network = PushNetwork(logBound: 3)
        let unit = ["challenge_sid": "YC1", "dispatch": "c", "kind": "visible"]
        network.accept(makePush(id: "1", values: unit), drops: false, nowMs: 0)
        network.accept(makePush(id: "2", values: unit), drops: false, nowMs: 0)
        network.accept(makePush(id: "3", values: unit.merging(["dispatch": "t1"]) { $1 }), drops: false, nowMs: 0)
        network.accept(makePush(id: "4", token: "cd", values: unit), drops: false, nowMs: 0)
        network.accept(makePush(id: "5"), drops: false, nowMs: 0)
        network.accept(makePush(id: "5"), drops: false, nowMs: 0)
        #expect(network.counters(.apn).duplicates == 2)
        #expect(network.log().map(\.sequence) == [3, 4, 5])
        #expect(network.log(after: 3).map(\.sequence) == [4, 5])
        #expect(network.log(after: 4, limit: 1).map(\.messageID) == ["5"])
        #expect(network.log(after: 5).isEmpty)
        #expect(network.log().map(\.isDuplicate) == [false, false, true])
    }

    @Test("an unregistered token ends its phone's reception")
    func unregister() async throws {
        let network = PushNetwork()
        let stream = try network.receive(.fcm, token: "T", appID: "dev.app")
        try network.unregister(.fcm, token: "T")
        #expect(await stream.first { _ in true } == nil)
        if case .unregistered = network.standing(.fcm, "T") {} else { Issue.record("not unregistered") }
    }
}

@Suite("The control port", .timeLimit(.minutes(5)))
struct ControlPortTests {
    @Test("faults are set, read, and refused with the reason when they are none")
    func faults() async throws {
        try await Lab.run { lab in
            let url = lab.addresses.controlURL + "/faults/apn"
            let put = try await lab.send("PUT", url, [], Array(#"{"errorShare":0.5,"goAwayEveryStreams":10}"#.utf8))
            #expect(put.status == 200)
            #expect(lab.providers.faults(.apn).errorShare == 0.5 && lab.providers.faults(.apn).goAwayEveryStreams == 10)
            #expect(lab.providers.faults(.fcm) == ProviderFaults())
            #expect(try await lab.send("GET", url, [], nil).body.contains(#""errorShare":0.5"#))
            for (body, word) in [
                (#"{"errorShare":2}"#, "between 0 and 1"), (#"{"errorShares":1}"#, "unknown fault"),
                (#"{"latencyMs":-1}"#, "latencyMs"), ("x", "JSON"),
            ] {
                let answer = try await lab.send("PUT", url, [], Array(body.utf8))
                #expect(answer.status == 400 && answer.body.contains(word), "\(body): \(answer.body)")
            }
            #expect(lab.providers.faults(.apn).errorShare == 0.5, "a bad body changes nothing")
            #expect(try await lab.send("GET", lab.addresses.controlURL + "/faults/webpush", [], nil).status == 404)
        }
    }

    @Test("credentials that are registered here may push")
    func credentials() async throws {
        try await Lab.run { lab in
            let other = TestAPNsKey(team: "TEAM000001", id: "KEY0000001", key: .init())
            let pem = other.key.publicKey.pemRepresentation
            let body = try JSONEncoder().encode(
                CredentialRegistration.apn(teamID: other.team, keyID: other.id, publicKeyPEM: pem, topics: ["dev.app"]))
            let authorization = try other.authorization(nowSeconds: lab.clock.nowMs / 1000)
            #expect(try await lab.push { $0.set("authorization", authorization) }.status == 403)
            let answer = try await lab.send("POST", lab.addresses.controlURL + "/credentials", [], Array(body))
            #expect(answer.status == 204)
            #expect(try await lab.push { $0.set("authorization", authorization) }.status == 200)
            for bad in [
                #"{"provider":"apn"}"#, #"{"provider":"fcm","project_id":"p","client_email":"e","public_key":"x"}"#,
            ] {
                #expect(
                    try await lab.send("POST", lab.addresses.controlURL + "/credentials", [], Array(bad.utf8)).status
                        == 400)
            }
        }
    }

    @Test("the log comes as JSON lines, the counters as JSON")
    func log() async throws {
        try await Lab.run { lab in
            _ = try await lab.push()
            _ = try await lab.push { $0.set("apns-topic", nil) }
            let lines = try await lab.send("GET", lab.addresses.controlURL + "/pushes", [], nil).body
                .split(separator: "\n").map { try JSONDecoder().decode(PushRecord.self, from: Data($0.utf8)) }
            #expect(lines.map(\.status) == [200, 400] && lines[1].reason == "MissingTopic")
            #expect(lines[0].challengeSID == "YC1" && lines[0].dispatch == "c" && lines[0].kind == "visible")
            let later = try await lab.send("GET", lab.addresses.controlURL + "/pushes?after=0", [], nil).body
            for after in [Int64.max, .max - 1, .min] {
                let url = lab.addresses.controlURL + "/pushes?after=\(after)&limit=\(Int64.max)"
                #expect(try await lab.send("GET", url, [], nil).status == 200, "after=\(after)")
            }
            #expect(later.split(separator: "\n").count == 1)
            let counters = try await lab.send("GET", lab.addresses.controlURL + "/counters", [], nil).body
            let decoded = try JSONDecoder().decode([String: PushCounters].self, from: Data(counters.utf8))
            #expect(decoded["apn"]?.accepted == 1 && decoded["apn"]?.refusedByReason == ["MissingTopic": 1])
        }
    }

    @Test("a phone in another process receives over HTTP, goes offline when it leaves, and can be unregistered")
    func remote() async throws {
        try await Lab.run { lab in
            let remote = RemotePushReception(controlURL: lab.addresses.controlURL + "/", client: lab.client)
            try await remote.register(.apn, token: TestPush.token, appID: "dev.app")
            // Stored while nobody receives.
            _ = try await lab.push {
                $0.set("apns-expiration", String(lab.clock.nowMs / 1000 + 60))
                $0.body = Array(#"{"aps":{"alert":"x"},"challenge_sid":"YC0"}"#.utf8)
            }
            let reader = Task {
                var seen: [String] = []
                for await push in try await remote.receive(.apn, token: TestPush.token, appID: "dev.app") {
                    seen.append(push.values["challenge_sid"] ?? "")
                    if seen.count == 2 { break }
                }
                return seen
            }
            try await eventually("online") { lab.providers.network.isOnline(.apn, token: TestPush.token) }
            _ = try await lab.push()
            #expect(try await reader.value == ["YC0", "YC1"])
            try await eventually("offline after the reader left", within: .seconds(60)) {
                !lab.providers.network.isOnline(.apn, token: TestPush.token)
            }
            try await remote.unregister(.apn, token: TestPush.token)
            #expect(try await lab.push().status == 410)
        }
    }

    @Test("the authority's file is what a client has to trust, and no key is in it")
    func certificates() throws {
        let certificates = try SimulatedCertificates()
        let path = NSTemporaryDirectory() + UUID().uuidString + ".pem"
        try certificates.writePEM(to: path)
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try FileManager.default.removeItem(atPath: path)
        #expect(text == certificates.authorityPEM && !text.contains("PRIVATE"))
    }
}
