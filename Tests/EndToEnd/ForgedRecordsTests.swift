import AsyncHTTPClient
import ChallengeModel
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import Simulators
import SwiftProtobuf
import TestSupport
import Testing
import Wire

@Suite("Forged records", .timeLimit(.minutes(10)))
struct ForgedRecordsTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// No code at all, or one under a key that is not the cluster's.
    static let forgers: [KeyRing?] = [nil, .random()]

    @Test("ring no phone, silence none, decide nothing, and end in dead-letters")
    func forged() async throws {
        try await BeckonCluster.with { cluster in
            for (name, role) in [("producer", "producer"), ("dispatcher", "dispatcher"), ("tracker", "ack-tracker")] {
                try cluster.start(name, role)
            }
            for name in ["producer", "dispatcher", "tracker"] { _ = try await cluster[name]?.ready() }
            // It loses every push: only a receipt that is believed could keep the tracker quiet.
            let service = try await cluster.startPhones(1, behaviour: "drops:100", platform: "fcm")
            let producer = try KafkaProducer(configuration: cluster.kafka, logger: logger)
            let names = cluster.names
            let topics = (Topic.copartitioned + [.events, .deadLetters]).map { names[$0] }
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                var draft = ChallengeDraft(message: "Is this really you?")
                draft.expectedLatencyMs = 2000
                draft.maxAttempts = 2
                let sid = try await cluster.backend.createChallenge(
                    serviceSID: service, identity: "person-00001", draft
                ).sid
                let real = try await dispatch("c", of: sid, tail, names)

                for keys in Self.forgers {
                    for record in forgeries(of: real, names) {
                        _ = try await producer.send(signed(record, by: keys))
                    }
                }
                try await receiptRequests(cluster, producer, real)

                // The attempt comes as if nothing had been said.
                _ = try await dispatch("t1", of: sid, tail, names)
                try await eventually("two pushes") {
                    try outcomes(tail, names).filter { $0.challengeSid == sid }.count >= 2
                }
                let read = try await cluster.backend.challenge(serviceSID: service, identity: "person-00001", sid: sid)
                #expect(read.status == "pending")
                // Two forgers, and on `challenges`, `outcomes`, `receipts`, `resolutions` a record each; two bad
                // receipt requests.
                try await eventually("dead letters") { tail.count(of: names[.deadLetters]) >= 10 }
                let reasons = tail.records(of: names[.deadLetters]).map {
                    "\($0.headers.text(of: RecordHeaderName.deadLetterTopic) ?? "") \($0.headers.text(of: RecordHeaderName.deadLetterReason) ?? "")"
                }
                for topic in Topic.copartitioned {
                    #expect(reasons.filter { $0 == "\(names[topic]) mac" }.count == 2, "\(topic): \(reasons)")
                }
                #expect(reasons.filter { $0 == "\(names[.receiptRequests]) token" }.count == 2, "\(reasons)")
                // What was forged rang no phone: nothing but the real dispatches has an outcome.
                #expect(
                    try Set(outcomes(tail, names).filter { $0.disposition == .accepted }.map(\.dispatchID)) == [
                        "c", "t1",
                    ])
                #expect(
                    try Set(outcomes(tail, names).map(\.challengeSid)).subtracting([
                        sid, "YC03" + String(repeating: "a", count: 30),
                    ]).isEmpty)
                let refused = try await post(
                    cluster.apiURL + "/v2/Receipts", "ReceiptToken=AQID&Channel=visible&Shown=yes")
                #expect(refused == 401)
            }
            await producer.close(deadline: .seconds(5))
        }
    }

    /// A dispatch to the real device for a challenge that does not exist, and for the real one: a later attempt, an
    /// outcome, a receipt and an approval.
    private func forgeries(of real: ChallengeDispatch, _ names: TopicNames) -> [ProducerRecord] {
        var invented = real
        invented.challengeSid = "YC03" + String(repeating: "a", count: 30)
        var outcome = PushOutcome()
        outcome.challengeSid = real.challengeSid
        outcome.factorSid = real.targets[0].factorSid
        outcome.dispatchID = "t1"
        outcome.kind = .visible
        outcome.disposition = .accepted
        outcome.expiresAtMs = real.expiresAtMs
        var receipt = Receipt()
        receipt.accountSid = real.accountSid
        receipt.serviceSid = real.serviceSid
        receipt.challengeSid = real.challengeSid
        receipt.factorSid = real.targets[0].factorSid
        receipt.dispatchID = "c"
        receipt.channel = .visiblePush
        receipt.shown = .yes
        var resolution = Resolution()
        resolution.accountSid = real.accountSid
        resolution.serviceSid = real.serviceSid
        resolution.challengeSid = real.challengeSid
        resolution.status = .approved
        resolution.factorSid = real.targets[0].factorSid
        let event = CloudEvent(
            id: "\(real.challengeSid)/challenge.approved", type: .challengeApproved, account: real.accountSid,
            service: real.serviceSid, subject: real.challengeSid, timeMs: Timestamp.nowMs(), sequence: 1,
            writer: .producer, data: [:])
        func record(_ topic: Topic, _ key: String, _ value: [UInt8], _ type: ContentType = .protobuf) -> ProducerRecord
        {
            ProducerRecord(
                topic: names[topic], key: Array(key.utf8), value: value,
                headers: [RecordHeader(ContentType.headerName, type.rawValue)])
        }
        return [
            record(.challenges, invented.challengeSid, ChallengeRecord.with { $0.dispatch = invented }.protobufBytes()),
            record(.outcomes, real.challengeSid, OutcomeRecord.with { $0.push = outcome }.protobufBytes()),
            record(.receipts, real.challengeSid, receipt.protobufBytes()),
            record(.resolutions, real.challengeSid, resolution.protobufBytes()),
            record(.events, real.challengeSid, event.jsonBytes(), .cloudEvent),
        ]
    }

    private func signed(_ record: ProducerRecord, by keys: KeyRing?) -> ProducerRecord {
        guard let keys else { return record }
        let type = record.headers.text(of: ContentType.headerName).flatMap { ContentType(header: $0) } ?? .protobuf
        var signed = record
        signed.headers.append(
            RecordHeader(
                RecordAuthenticator.headerName,
                RecordAuthenticator(keys: keys).mac(
                    topic: record.topic, key: record.key, contentType: type, value: record.value)))
        return signed
    }

    /// A receipt without a token, and one whose token another key made.
    private func receiptRequests(
        _ cluster: BeckonCluster, _ producer: KafkaProducer, _ real: ChallengeDispatch
    ) async throws {
        let account = try #require(AccountSID(real.accountSid))
        let service = try #require(ServiceSID(real.serviceSid))
        let challenge = try #require(ChallengeSID(real.challengeSid))
        let factor = try #require(FactorSID(real.targets[0].factorSid))
        let forged = ReceiptToken(
            account: account, service: service, challenge: challenge, factor: factor, dispatch: .creation,
            expiresAtMs: real.expiresAtMs
        ).sealed(with: .random())
        for token in ["", forged] {
            _ = try await producer.send(
                ProducerRecord(
                    topic: cluster.names[.receiptRequests], key: Array(real.challengeSid.utf8),
                    value: Array(#"{"challengeSid":"\#(real.challengeSid)","receiptToken":"\#(token)"}"#.utf8),
                    headers: [RecordHeader(ContentType.headerName, "application/json")]))
        }
    }

    private func dispatch(
        _ id: String, of sid: String, _ tail: TopicTail, _ names: TopicNames
    ) async throws -> ChallengeDispatch {
        var found: ChallengeDispatch?
        try await eventually("dispatch \(id)") {
            found =
                tail.records(of: names[.challenges]).lazy.compactMap { record -> ChallengeDispatch? in
                    guard
                        let value = try? ChallengeRecord(
                            value: record.value, contentType: ContentType.protobuf.rawValue),
                        case .dispatch(let dispatch) = value.kind, dispatch.challengeSid == sid,
                        dispatch.dispatchID == id
                    else { return nil }
                    return dispatch
                }.first
            return found != nil
        }
        return try #require(found)
    }

    /// Outcomes that carry the cluster's code.
    private func outcomes(_ tail: TopicTail, _ names: TopicNames) throws -> [PushOutcome] {
        try tail.records(of: names[.outcomes]).compactMap { record in
            guard record.headers.contains(where: { $0.name == "beckon-writer" }),
                case .push(let outcome) = try OutcomeRecord(value: record.value, contentType: nil).kind
            else { return nil }
            return outcome
        }
    }

    private func post(_ url: String, _ form: String) async throws -> Int {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
        request.body = .bytes(ByteBuffer(string: form))
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
        _ = try await response.body.collect(upTo: 65_536)
        return Int(response.status.code)
    }

    private func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(90)
        while ContinuousClock.now < end {
            if try condition() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw BeckonProcess.Failure(description: "no \(what) within 90 s")
    }
}
