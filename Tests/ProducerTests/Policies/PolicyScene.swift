import AsyncHTTPClient
import ChallengeModel
import Challenges
import Foundation
import Testing
import Wire

@testable import Producer

/// One service, one person, one phone, and what tests of the policies do with them.
struct PolicyScene {
    let producer: ProducerHarness
    let service: String
    let phone: TestDevice
    static let identity = "user-0001"

    /// - Parameter settings: of the service.
    init(_ producer: ProducerHarness, _ settings: [(String, String)] = []) async throws {
        self.producer = producer
        service = try await producer.makeService()
        phone = try await producer.enroll(Self.identity, service: service)
        guard !settings.isEmpty else { return }
        let changed = try await producer.post(service, settings, as: producer.backend)
        #expect(changed.status == 200, "\(changed.text)")
    }

    var serviceSID: ServiceSID {
        get throws { try #require(ServiceSID(service.split(separator: "/").last ?? "")) }
    }

    func create(
        _ form: [(String, String)] = [], headers: [(String, String)] = [], as authorization: Authorization? = nil
    ) async throws -> HTTPAnswer {
        try await producer.post(
            phone.challengesPath, [("Details.Message", "Log in?")] + form, as: authorization ?? producer.backend,
            headers: headers)
    }

    func read(_ sid: String, as authorization: Authorization? = nil, query: String = "") async throws -> HTTPAnswer {
        try await producer.get("\(phone.challengesPath)/\(sid)\(query)", as: authorization ?? producer.backend)
    }

    /// What the phone reads, signs and sends.
    func answer(
        _ sid: String, _ status: String = "approved", _ more: [(String, String)] = [], by device: TestDevice? = nil
    ) async throws -> HTTPAnswer {
        let device = device ?? phone
        let shown = try await read(sid, as: device.token(nowMs: producer.clock.nowMs))
        return try await producer.post(
            "\(device.challengesPath)/\(sid)", [("AuthPayload", try device.answer(shown, status))] + more,
            as: device.token(nowMs: producer.clock.nowMs))
    }

    /// The last entry of the timeline.
    func end(_ sid: String) async throws -> JSONValue {
        let timeline = try await producer.get("\(phone.challengesPath)/\(sid)/Timeline", as: producer.backend)
        return try #require(try timeline.items("timeline").last, "\(timeline.text)")
    }

    func cancel(_ sid: String, _ status: String = "canceled") async throws -> HTTPAnswer {
        try await producer.post("\(phone.challengesPath)/\(sid)", [("Status", status)], as: producer.backend)
    }

    func sessionToken(_ identity: String = identity, _ more: [(String, String)] = []) async throws -> String {
        let answer = try await producer.post(
            "\(service)/SessionTokens", [("Identity", identity)] + more, as: producer.backend)
        #expect(answer.status == 201, "\(answer.text)")
        return try answer.text("token")
    }
}

extension ProducerHarness {
    /// Takes every row out of an outbox whose relay does not run (`ownBroker: [.receipts: 5]`).
    func drainOutbox() async throws -> [OutboxRow] {
        var rows: [OutboxRow] = []
        while true {
            let claimed = try await store.outbox.claimOutbox(
                owner: "test", limit: 500, leaseMs: 60_000, nowMs: clock.nowMs)
            if claimed.isEmpty { return rows }
            rows += claimed
            try await store.outbox.deleteOutbox(claimed.map(\.id), owner: "test")
        }
    }

    /// An API key's credentials.
    func key(_ role: AccountRole) async throws -> Authorization {
        let (key, secret) = try await store.createKey(
            account: account.sid, role: role, friendlyName: "", nowMs: clock.nowMs)
        return .basic(key.sid.rawValue, secret)
    }
}

extension [OutboxRow] {
    /// Pushes asked for, by challenge.
    var pushes: [String: Int] {
        get throws {
            try filter { $0.topic == .challenges }.reduce(into: [:]) { counts, row in
                if case .dispatch = try ChallengeRecord(value: row.value, contentType: nil).kind {
                    counts[row.key, default: 0] += 1
                }
            }
        }
    }

    /// Types of events without `beckon.`, in order.
    var events: [String] {
        get throws {
            try filter { $0.topic == .events }.map { String(try CloudEvent(json: $0.value).type.dropFirst(7)) }
        }
    }
}
