import AsyncHTTPClient
import ChallengeModel
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import Simulators
import TestSupport
import Testing

@Suite("HMS's own delivery receipts, through every role", .timeLimit(.minutes(10)))
struct HMSDeliveryTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("an app that tells nobody: Huawei's receipt ends redelivery, and without it the tracker pushes again")
    func arrived() async throws {
        try await BeckonCluster.with { cluster in
            let key = Data((0..<32).map { _ in UInt8.random(in: 0...255) }).base64EncodedString()
            try cluster.start("producer", "producer", more: ["BECKON_HMS_CALLBACK_KEYS": "beckon:\(key)"])
            try cluster.start("dispatcher", "dispatcher")
            try cluster.start("tracker", "ack-tracker")
            for name in ["producer", "dispatcher", "tracker"] { _ = try await cluster[name]?.ready() }
            let callback = HMSCallback(url: cluster.apiURL + "/v2/HmsReceipts", user: "beckon", key: key)
            try await control(cluster, .PUT, "/receipts/*", try JSONEncoder().encode(callback))
            let service = try await cluster.startPhones(1, behaviour: "mute", platform: "hms")

            let topics = Topic.copartitioned.map { cluster.names[$0] }
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                let first = try await ask(cluster, service)
                let receipt = try await receipt(of: first, tail, cluster.names)
                #expect(receipt.channel == .provider && receipt.shown == .unknown && receipt.dispatchID == "c")
                #expect(receipt.accountSid == cluster.account.sid && receipt.serviceSid == service)
                let target = try dispatches(of: first, tail, cluster.names).first?.targets.first
                #expect(receipt.factorSid == target?.factorSid && target?.platform == .hms)

                try await control(cluster, .DELETE, "/receipts/*", nil)
                let second = try await ask(cluster, service)
                try await until("the second is pushed again", cluster) {
                    try dispatches(of: second, tail, cluster.names).contains { $0.dispatchID == "t1" }
                }
                // The first was due before the second was, under the same tracker.
                #expect(try dispatches(of: first, tail, cluster.names).map(\.dispatchID) == ["c"])
                let counters = try JSONDecoder().decode(
                    [String: PushCounters].self, from: try await control(cluster, .GET, "/counters", nil))
                #expect(counters["hms"]?.receiptsTaken == 1 && counters["hms"]?.duplicates == 0)
            }
        }
    }

    private func ask(_ cluster: BeckonCluster, _ service: String) async throws -> String {
        var draft = ChallengeDraft(message: "Sign in?")
        draft.expectedLatencyMs = 2000
        draft.maxAttempts = 3
        return try await cluster.backend.createChallenge(
            serviceSID: service, identity: "person-00001", draft
        ).sid
    }

    private func dispatches(of challenge: String, _ tail: TopicTail, _ names: TopicNames) throws -> [ChallengeDispatch]
    {
        try tail.records(of: names[.challenges]).compactMap { record in
            let value = try ChallengeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
            guard case .dispatch(let dispatch) = value.kind, dispatch.challengeSid == challenge else { return nil }
            return dispatch
        }
    }

    private func receipt(of challenge: String, _ tail: TopicTail, _ names: TopicNames) async throws -> Receipt {
        let end = ContinuousClock.now + .seconds(90)
        while true {
            let found = try tail.records(of: names[.receipts]).map {
                try Receipt(value: $0.value, contentType: ContentType.protobuf.rawValue)
            }.first { $0.challengeSid == challenge }
            if let found { return found }
            guard ContinuousClock.now < end else { throw BeckonProcess.Failure(description: "no receipt in 90 s") }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func until(_ what: String, _ cluster: BeckonCluster, _ condition: () throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(90)
        while try !condition() {
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "not in 90 s: \(what)\n\(cluster.tails)")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    @discardableResult
    private func control(
        _ cluster: BeckonCluster, _ method: HTTPMethod, _ path: String, _ body: Data?
    ) async throws -> Data {
        var request = HTTPClientRequest(url: cluster.control + path)
        request.method = method
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await cluster.client.execute(request, timeout: .seconds(60))
        guard (200..<300).contains(response.status.code) else {
            throw BeckonProcess.Failure(description: "the simulator answered \(response.status.code) to \(path)")
        }
        return Data((try await response.body.collect(upTo: 1 << 20)).readableBytesView)
    }
}
