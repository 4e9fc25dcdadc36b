import ChallengeModel
import Foundation
import SwiftProtobuf
import TestSupport
import Testing
import Wire

@Suite("Records")
struct RecordCodecTests {
    static var request: ChallengeRequest {
        var request = ChallengeRequest()
        request.requestID = "r-1"
        request.serviceSid = "VA000000000000000000000000000000bb"
        request.identity = "user-0001"
        request.message = "Sign in?"
        request.hiddenDetails = ["ip": "10.0.0.1"]
        request.fallbacks = ["sms", "voice"]
        return request
    }

    @Test("a request reads the same in protobuf and in JSON")
    func both() throws {
        let json = Array(try Self.request.jsonUTF8Data())
        #expect(
            try ChallengeRequest(value: Self.request.protobufBytes(), contentType: "application/protobuf")
                == Self.request)
        #expect(try ChallengeRequest(value: json, contentType: "application/json; charset=utf-8") == Self.request)
        #expect(try ChallengeRequest(value: json, contentType: nil) == Self.request)
        #expect(try ChallengeRequest(value: Self.request.protobufBytes(), contentType: nil) == Self.request)
    }

    @Test("JSON takes the names that people write, and its error names the bad field")
    func names() throws {
        let json = Array(#"{"request_id":"r","serviceSid":"VA1","ttl_seconds":60}"#.utf8)
        let request = try ChallengeRequest(value: json, contentType: nil)
        #expect(request.requestID == "r" && request.serviceSid == "VA1" && request.ttlSeconds == 60)
        let error = #expect(throws: RecordFormatError.self) {
            try ChallengeRequest(value: Array(#"{"request_idd":"r"}"#.utf8), contentType: nil)
        }
        #expect(error?.reason == "json")
        #expect(error?.description.contains("request_idd") == true)
    }

    @Test("another content type is refused by name", arguments: ["text/plain", "", "application/cloudevents+json"])
    func contentType(type: String) {
        let error = #expect(throws: RecordFormatError.self) { try ChallengeRequest(value: [], contentType: type) }
        #expect(error?.reason == "content-type")
    }

    @Test("random bytes never crash the decoder")
    func fuzz() {
        var generator = SeededGenerator(seed: 7)
        var refused = 0
        for _ in 0..<5_000 {
            let bytes = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            for type in ["application/protobuf", "application/json"] {
                do { _ = try ChallengeRecord(value: bytes, contentType: type) } catch { refused += 1 }
            }
        }
        #expect(refused > 5_000)
    }

    @Test(
        "every time of every record is bounded, at the border", arguments: [Int64.max, .min, -1, 253_402_300_800_000])
    func bounds(time: Int64) {
        func refused<Value: RecordValue>(_ edit: (inout Value) -> Void) -> Bool {
            var value = Value()
            edit(&value)
            let error = #expect(throws: RecordFormatError.self) {
                try Value(value: value.protobufBytes(), contentType: "application/protobuf")
            }
            return error?.reason == "range"
        }
        #expect(refused { (record: inout ChallengeRecord) in record.dispatch.expiresAtMs = time })
        #expect(refused { (record: inout ChallengeRecord) in record.dispatch.createdAtMs = time })
        #expect(refused { (record: inout ChallengeRecord) in record.dispatch.pushExpiresAtMs = time })
        #expect(refused { (record: inout ChallengeRecord) in record.carried.dispatch.expiresAtMs = time })
        #expect(refused { (record: inout ChallengeRecord) in record.deviceChanged.target.registeredAtMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.push.atMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.push.sentAtMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.push.retryAtMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.push.tokenDiedAtMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.push.registeredAtMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.push.expiresAtMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.escalation.atMs = time })
        #expect(refused { (record: inout OutcomeRecord) in record.escalation.expiresAtMs = time })
        #expect(refused { (record: inout Receipt) in record.receivedAtMs = time })
        #expect(refused { (record: inout Resolution) in record.atMs = time })
        // Advice only: a receipt is not lost for a device's clock.
        var receipt = Receipt()
        receipt.deviceTimeMs = time
        #expect((try? Receipt(value: receipt.protobufBytes(), contentType: nil))?.deviceTimeMs == 0)
        // Whatever is shown, showing it ends nothing.
        #expect(Timestamp.rfc3339Milliseconds(time).hasSuffix("Z") && Timestamp.rfc3339Seconds(time).count == 20)
    }

    @Test("deep JSON is refused, not recursed into")
    func bomb() {
        let json = Array((String(repeating: #"{"dispatch":"#, count: 10_000)).utf8)
        #expect(throws: RecordFormatError.self) { try ChallengeRecord(value: json, contentType: "application/json") }
    }

    @Test("an event survives its JSON, with the time in milliseconds")
    func event() throws {
        let event = CloudEvent(
            id: "YC1/undelivered", type: .challengeUndelivered, account: "AC1", service: "VA1", subject: "YC1",
            timeMs: 1_760_000_000_123, sequence: 7, writer: .producer,
            data: ["fallbacks": .list(["sms", "voice"]), "attempts": .integer(4)])
        let read = try CloudEvent(json: event.jsonBytes())
        #expect(read == event)
        #expect(read.time == "2025-10-09T08:53:20.123Z")
        #expect(read.type == "beckon.challenge.undelivered")
        #expect(read.data["fallbacks"]?.listValue?.compactMap(\.stringValue) == ["sms", "voice"])
    }

    @Test("an event's bytes are those of an encoder that sorts names")
    func eventBytes() throws {
        let odd = "quote \" back \\ slash / line \n tab \t bell \u{7} é 漢 👩‍👩‍👧 \u{2028}"
        let event = CloudEvent(
            id: odd, type: .pushFailed, account: "AC1", service: "VA1", subject: "YC1", timeMs: 1_760_000_000_123,
            sequence: .max, writer: .producer,
            data: [
                "z": .string(odd), "a_b": .integer(-4), "a": .boolean(true), "B": .null, "list": .list([]),
                "deep": .object(["y": .list([.boolean(false), .object([:])]), odd: "x"]),
            ])
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        #expect(try CloudEvent(json: event.jsonBytes()) == event)
        let text = String(decoding: event.jsonBytes(), as: UTF8.self)
        #expect(text == String(decoding: try encoder.encode(event), as: UTF8.self))
    }

    @Test(
        "times are written in seconds with Z and read with fraction or offset",
        arguments: [
            ("2015-07-30T20:00:00Z", 1_438_286_400_000), ("2015-07-30T22:00:00+02:00", 1_438_286_400_000),
            ("2015-07-30T20:00:00.250Z", 1_438_286_400_250),
        ])
    func times(text: String, ms: Int64) {
        #expect(Timestamp.epochMs(text) == ms)
        #expect(Timestamp.rfc3339Seconds(ms) == "2015-07-30T20:00:00Z")
        #expect(Timestamp.epochMs("yesterday") == nil)
    }
}
