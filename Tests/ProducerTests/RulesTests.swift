import ChallengeModel
import Challenges
import Foundation
import Testing

@testable import Producer

@Suite("Rules")
struct RulesTests {
    let now: Int64 = 1_700_000_000_123

    @Test("an expiry is in whole seconds, rounded up, in the future and at most an hour away")
    func expiry() throws {
        #expect(ChallengeRules.wholeSeconds(now) == 1_700_000_001_000)
        #expect(ChallengeRules.wholeSeconds(1_700_000_001_000) == 1_700_000_001_000)
        try ChallengeRules.expiry(now + 1, nowMs: now)
        try ChallengeRules.expiry(now + 3_605_000, nowMs: now)
        #expect(throws: RuleViolation.self) { try ChallengeRules.expiry(now, nowMs: now) }
        #expect(throws: RuleViolation.self) { try ChallengeRules.expiry(now + 3_605_001, nowMs: now) }
    }

    @Test("the message has 1 to 256 characters, counted as scalars")
    func message() throws {
        #expect(try ChallengeRules.message(String(repeating: "é", count: 256)).count == 256)
        #expect(throws: RuleViolation.self) { try ChallengeRules.message("") }
        #expect(throws: RuleViolation.self) { try ChallengeRules.message(String(repeating: "a", count: 257)) }
        #expect(throws: RuleViolation.self) {
            try ChallengeRules.message("a" + String(repeating: "\u{301}", count: 256))
        }
    }

    @Test("fields: at most 20, labels of 1 to 36, values to 128")
    func fields() throws {
        func field(_ label: Int, _ value: Int) -> DetailField {
            var field = DetailField()
            field.label = String(repeating: "l", count: label)
            field.value = String(repeating: "v", count: value)
            return field
        }
        #expect(try ChallengeRules.fields([]) == "[]")
        #expect(try ChallengeRules.fields([field(1, 0)]) == #"[{"label":"l","value":""}]"#)
        #expect(try !ChallengeRules.fields(Array(repeating: field(36, 128), count: 20)).isEmpty)
        for bad in [[field(0, 1)], [field(37, 1)], [field(1, 129)], Array(repeating: field(1, 1), count: 21)] {
            #expect(throws: RuleViolation.self) { try ChallengeRules.fields(bad) }
        }
    }

    @Test(
        "identities: 8 to 64 letters, digits and dashes",
        arguments: [
            ("user-0001", true), ("ABCDEFGH", true), (String(repeating: "a", count: 64), true), ("short-1", false),
            (String(repeating: "a", count: 65), false), ("user 0001", false), ("user/0001", false),
            ("üser-0001", false),
            ("YE" + String(repeating: "0", count: 32), false),
        ])
    func identities(text: String, isGood: Bool) {
        #expect(((try? TextRules.identity(text)) != nil) == isGood)
    }

    @Test("hidden details and metadata: an object of strings of at most 1,024 characters")
    func objects() throws {
        #expect(try TextRules.stringObject(#"{ "a" : "b" }"#, parameter: "p") == #"{"a":"b"}"#)
        for bad in ["", "[]", #"{"a":1}"#, #"{"a":null}"#, "{\"a\":\"\(String(repeating: "b", count: 1020))\"}"] {
            #expect(throws: RuleViolation.self) { try TextRules.stringObject(bad, parameter: "p") }
        }
    }

    @Test("push tokens by platform")
    func pushTokens() throws {
        let hex = String(repeating: "aB", count: 32)
        #expect(try FactorRules.pushToken(hex, platform: .apn) == hex.lowercased())
        #expect(try FactorRules.pushToken("f:" + hex, platform: .fcm) == "f:" + hex)
        #expect(try FactorRules.pushToken(nil, platform: .noPush) == nil)
        let bad: [(String?, Platform)] = [
            (nil, .apn), ("", .fcm), (hex, .noPush), ("f:" + hex, .apn), (String(repeating: "a", count: 31), .fcm),
            (String(repeating: "a", count: 256), .fcm), ("a b" + hex, .fcm), (String(repeating: "a", count: 33), .apn),
        ]
        for (token, platform) in bad {
            #expect(throws: RuleViolation.self) { try FactorRules.pushToken(token, platform: platform) }
        }
    }

    @Test("documentation lists exactly the codes that there are, with their status")
    func errorsPage() throws {
        let page = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "docs/errors.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        var listed: [Int: Int] = [:]
        for line in text.split(separator: "\n") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count >= 3, let code = Int(cells[0]), let status = Int(cells[1]) else { continue }
            #expect(listed[code] == nil, "\(code) stands twice")
            listed[code] = status
        }
        #expect(listed == Dictionary(uniqueKeysWithValues: ProblemCode.allCases.map { ($0.rawValue, $0.httpStatus) }))
    }
}
