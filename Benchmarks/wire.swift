// Compiled by Benchmarks/wire together with the files of Sources/Wire.
import Foundation

/// Nanoseconds per call: the fastest of nine rounds.
func measure(_ count: Int, _ body: () -> Int) -> Double {
    var best = Double.infinity
    var sum = 0
    for _ in 0..<9 {
        let start = ContinuousClock.now
        for _ in 0..<count { sum &+= body() }
        let time = (ContinuousClock.now - start).inSeconds * 1e9 / Double(count)
        best = min(best, time)
    }
    precondition(sum != 0)
    return best
}

struct Event: Codable {
    var specversion = "1.0"
    var id = "YC03018f2a7b9c4d0e8fa1b2c3d4e5f60718/challenge.created"
    var source = "beckon/AC000000000000000000000000000000aa/VA000000000000000000000000000000bb"
    var type = "beckon.challenge.created"
    var subject = "YC03018f2a7b9c4d0e8fa1b2c3d4e5f60718"
    var time = "2026-05-01T12:00:00.123Z"
    var datacontenttype = "application/json"
    var sequence = "42"
    var data = [
        "account_sid": "AC000000000000000000000000000000aa", "service_sid": "VA000000000000000000000000000000bb",
        "challenge_sid": "YC03018f2a7b9c4d0e8fa1b2c3d4e5f60718", "identity": "person-1000001",
        "message": "Sign in from \"Firefox\" in Graz?\nAsk your bank when in doubt.",
        "expiration_date": "2026-05-01T12:05:00Z",
    ]

    var members: [(name: String, value: String)] {
        [
            ("datacontenttype", datacontenttype), ("id", id), ("sequence", sequence), ("source", source),
            ("specversion", specversion), ("subject", subject), ("time", time), ("type", type),
        ]
    }

    func written() -> [UInt8] {
        var json = JSONWriter(capacity: 768)
        json.raw(#"{"data":"#)
        json.object(data.sorted { $0.key < $1.key }) { member, json in
            json.name(member.key)
            json.string(member.value)
        }
        for member in members {
            json.raw(",")
            json.name(member.name)
            json.string(member.value)
        }
        json.raw("}")
        return json.bytes
    }
}

let event = Event()
let encoder = JSONEncoder.line
let decoder = JSONDecoder()
let bytes = event.written()
let data = Data(bytes)
let encoded = try encoder.encode(event)
precondition(encoded == data, "both write the same bytes")
let mac = (0..<32).map { UInt8($0 * 7) }
let macText = Base64URL.encode(mac)
let date = Date(timeIntervalSince1970: 1_777_636_800)
let text = "person/Zoë +1@example.com"

let figures: [(String, ours: Double, foundation: Double)] = [
    (
        "json_write", measure(20_000) { event.written().count },
        measure(5000) { (try? encoder.encode(event).count) ?? 0 }
    ),
    (
        "json_read", measure(20_000) { (try? JSONParser.parse(bytes))?.members?.count ?? 0 },
        measure(5000) { (try? decoder.decode(Event.self, from: data))?.data.count ?? 0 }
    ),
    (
        "json_read_untyped", measure(20_000) { (try? JSONParser.parse(bytes))?.members?.count ?? 0 },
        measure(5000) { ((try? JSONSerialization.jsonObject(with: data)) as? [String: Any])?.count ?? 0 }
    ),
    (
        "base64_write", measure(200_000) { Base64.encode(mac).utf8.count },
        measure(100_000) { Data(mac).base64EncodedString().utf8.count }
    ),
    (
        "base64url_read", measure(200_000) { Base64URL.decode(macText)?.count ?? 0 },
        measure(20_000) {
            let padded = macText.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
            return Data(base64Encoded: padded + "=")?.count ?? 0
        }
    ),
    (
        "rfc3339_write", measure(200_000) { Timestamp.rfc3339Seconds(1_777_636_800_000).utf8.count },
        measure(50_000) { date.formatted(.iso8601).utf8.count }
    ),
    (
        "rfc3339_read", measure(200_000) { Int(Timestamp.epochMs("2026-05-01T12:00:00Z") ?? 0) },
        measure(20_000) { Int((try? Date("2026-05-01T12:00:00Z", strategy: .iso8601))?.timeIntervalSince1970 ?? 0) }
    ),
    (
        "percent_write", measure(200_000) { Percent.encode(text).utf8.count },
        measure(50_000) { text.addingPercentEncoding(withAllowedCharacters: .alphanumerics)?.utf8.count ?? 0 }
    ),
]
for figure in figures {
    print(
        JSONValue.object([
            ("what", .string(figure.0)), ("ns", .number(String(format: "%.0f", figure.ours))),
            ("foundation_ns", .number(String(format: "%.0f", figure.foundation))),
            ("ratio", .number(String(format: "%.1f", figure.foundation / figure.ours))),
        ]).text)
}
