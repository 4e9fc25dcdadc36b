import ChallengeModel
import Challenges
import Foundation
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Reading a request")
struct RequestReadingTests {
    let account = AccountSID.generate(nowMs: 0)
    let now: Int64 = 1_700_000_000_000

    private func read(timestampMs: Int64, _ change: (inout ChallengeRequest) -> Void = { _ in }) -> RequestReading {
        var request = ChallengeRequest()
        request.requestID = "r"
        request.serviceSid = "VA" + String(repeating: "1", count: 32)
        request.identity = "user-0001"
        request.message = "m"
        change(&request)
        return RequestReading(
            value: request.protobufBytes(), contentType: nil, timestampMs: timestampMs, traceparent: nil,
            account: account, nowMs: now)
    }

    private func field(_ label: String, _ value: String) -> DetailField {
        var field = DetailField()
        (field.label, field.value) = (label, value)
        return field
    }

    private func expiry(_ reading: RequestReading) -> Int64? {
        if case .create(let new) = reading { new.expiresAtMs } else { nil }
    }

    private func rejection(_ reading: RequestReading) -> RequestRejection? {
        if case .reject(let rejection) = reading { rejection } else { nil }
    }

    @Test("life counts from the record's timestamp, never from the future")
    func life() {
        #expect(expiry(read(timestampMs: now - 100_000)) == now + 200_000)
        #expect(expiry(read(timestampMs: now + 100_000)) == now + 300_000)
        #expect(expiry(read(timestampMs: -1)) == now + 300_000)
        #expect(expiry(read(timestampMs: now) { $0.ttlSeconds = 3600 }) == now + 3_600_000)
        #expect(
            expiry(read(timestampMs: now - 600_000)) == now - 300_000, "over: the store knows whether it is a repeat")
    }

    @Test("each rule names the record's field")
    func fields() {
        let cases: [(String, (inout ChallengeRequest) -> Void)] = [
            ("service_sid", { $0.serviceSid = "x" }), ("identity", { $0.identity = "short" }),
            ("factor_sid", { $0.factorSid = "x" }), ("message", { $0.message = "" }),
            ("fields", { $0.fields = Array(repeating: DetailField(), count: 21) }),
            ("hidden_details", { $0.hiddenDetails = ["a": String(repeating: "b", count: 1024)] }),
            ("ttl_seconds", { $0.ttlSeconds = 3601 }), ("fallbacks", { $0.fallbacks = ["S M S"] }),
            ("redelivery.max_attempts", { $0.redelivery.maxAttempts = 11 }),
            ("redelivery.expected_latency_ms", { $0.redelivery.expectedLatencyMs = 499 }),
            ("redelivery.confirm", { $0.redelivery.confirm = .UNRECOGNIZED(9) }),
            ("number_digits", { $0.numberDigits = 1 }), ("number_digits", { $0.numberDigits = 7 }),
            ("action_key", { $0.actionKey = String(repeating: "k", count: 129) }),
            // Control characters that nobody could mean: U+0000 ended texts in the store.
            ("message", { $0.message = "Pay 1,000\u{0}0 to Bob?" }), ("message", { $0.message = "Pay\u{8}?" }),
            ("action_key", { $0.actionKey = "a\u{0}b" }), ("action_key", { $0.actionKey = "a\nb" }),
            ("fields", { $0.fields = [field("IP", "1\u{0}2")] }),
            ("fields", { $0.fields = [field("I\tP", "1")] }),
            ("hidden_details", { $0.hiddenDetails = ["a": "1\u{0}2"] }),
            ("hidden_details", { $0.hiddenDetails = ["a\u{85}": "1"] }),
            ("identity", { $0.identity = "user-0001\u{0}x" }), ("fallbacks", { $0.fallbacks = ["sms\u{0}x"] }),
            ("service_sid", { $0.serviceSid += "\u{0}" }), ("factor_sid", { $0.factorSid = "YF\u{0}" }),
        ]
        for (field, change) in cases {
            let rejection = rejection(read(timestampMs: now, change))
            #expect(rejection?.parameter == field)
            #expect(rejection?.code == .invalidParameter)
            #expect(rejection?.reason.hasPrefix("\(field): expected ") == true)
        }
    }

    @Test("line ends in a message are meant; a request id with a control character is nobody's")
    func controlCharacters() {
        #expect(expiry(read(timestampMs: now) { $0.message = "Pay?\r\n\tTo: Bob" }) != nil)
        for id in ["r\u{0}", "\u{0}r", "r\ns", "r\u{7F}", "r\u{9F}"] {
            guard case .deadLetter("field", let detail) = read(timestampMs: now, { $0.requestID = id }) else {
                Issue.record("expected a dead letter for \(id.debugDescription)")
                continue
            }
            #expect(detail.hasPrefix("request_id: expected text without control characters"))
        }
    }

    @Test("JSON that names a field twice is refused, as over HTTP")
    func doubles() {
        let service = "VA" + String(repeating: "1", count: 32)
        func read(_ more: String, contentType: String? = nil) -> RequestReading {
            let json =
                #"{"request_id":"r","serviceSid":"\#(service)","identity":"user-0001","message":"m""# + more + "}"
            return RequestReading(
                value: Array(json.utf8), contentType: contentType, timestampMs: now, traceparent: nil,
                account: account, nowMs: now)
        }
        #expect(expiry(read("")) != nil)
        #expect(expiry(read(#","hidden_details":{"a_b":"1","aB":"2"}"#)) != nil, "names of a map are data")
        for more in [
            #","message":"Pay Eve?""#, #","requestId":"s""#, #","request_id":"s""#, #","ttl_seconds":1,"ttlSeconds":2"#,
            #","redelivery":{"max_attempts":1,"maxAttempts":2}"#, #","redelivery":{"confirm":"EACH","confirm":"ANY"}"#,
            #","fields":[{"label":"a","label":"b","value":"c"}]"#, #","hidden_details":{"a":"1","a":"2"}"#,
            #","hidden_details":{},"hiddenDetails":{"a":"2"}"#, #"} {"#,
        ] {
            for type in [nil, "application/json"] {
                guard case .deadLetter("json", _) = read(more, contentType: type) else {
                    Issue.record("expected a dead letter for \(more)")
                    continue
                }
            }
        }
        let token = #"{"receipt_token":"x","receiptToken":"y"}"#
        let receipt = ReceiptReading(
            value: Array(token.utf8), contentType: nil, keys: .random(), account: account, nowMs: now)
        guard case .deadLetter("json", _) = receipt else {
            Issue.record("expected a dead letter")
            return
        }
    }

    @Test("a rejection's event has the same id for each redelivery, and one per request")
    func eventIDs() throws {
        let one = try #require(rejection(read(timestampMs: now) { $0.message = "" }))
        let again = try #require(rejection(read(timestampMs: now) { $0.message = "" }))
        let other = try #require(
            rejection(
                read(timestampMs: now) {
                    $0.message = ""
                    $0.requestID = "s"
                }))
        #expect(one.eventID(account: account) == again.eventID(account: account))
        #expect(one.eventID(account: account) != other.eventID(account: account))
        // One id, two callers who name no service.
        let (empty, wrong) = (
            read(timestampMs: now) { $0.serviceSid = "" }, read(timestampMs: now) { $0.serviceSid = "x" }
        )
        let (first, second) = (try #require(rejection(empty)), try #require(rejection(wrong)))
        #expect(first.eventID(account: account) != second.eventID(account: account))
        #expect(first.service != second.service && empty.order != wrong.order)
    }
}
