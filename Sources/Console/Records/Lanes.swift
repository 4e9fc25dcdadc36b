import Wire

/// The story of one challenge as lanes: one for each device and attempt. A pure value, from the API's timeline.
struct Lanes: Sendable {
    /// A stretch of a lane.
    struct Bar: Sendable, Hashable {
        enum Kind: String, Sendable {
            /// The push is under way to the provider.
            case running
            /// The provider has it, the device has not confirmed it.
            case waiting
            /// The device has it, the person has not answered.
            case shown
        }

        let kind: Kind
        let fromMs: Int64
        let toMs: Int64
    }

    struct Lane: Sendable, Hashable {
        let factor: String
        let dispatch: String
        var bars: [Bar] = []
        /// The provider's answer, or why nothing was sent.
        var result = ""
        var reason = ""
        var receivedAtMs: Int64?
        var platform = ""
    }

    let status: String
    let delivery: String
    let createdAtMs: Int64
    /// The last event, or now while the challenge is pending.
    let endMs: Int64
    let lanes: [Lane]
    let events: [JSONValue]

    private struct Key: Hashable {
        let factor: String
        let dispatch: String
    }

    init(_ timeline: JSONValue, nowMs: Int64) {
        let events = timeline["timeline"]?.elements ?? []
        self.events = events
        let status = timeline["status"]?.stringValue ?? ""
        self.status = status
        delivery = timeline["delivery"]?.stringValue ?? ""
        let createdAtMs = events.first?.time("date") ?? nowMs
        let last = events.compactMap { $0.time("date") }.max() ?? nowMs
        let endMs = status == "pending" ? max(nowMs, last) : last
        (self.createdAtMs, self.endMs) = (createdAtMs, endMs)
        var starts: [String: Int64] = [:]
        var answers: [String: Int64] = [:]
        var lanes: [Key: Lane] = [:]
        var order: [Key] = []
        func lane(_ event: JSONValue) -> Key? {
            guard let factor = event["factor_sid"]?.stringValue else { return nil }
            let key = Key(factor: factor, dispatch: event["dispatch"]?.stringValue ?? "")
            if lanes[key] == nil {
                lanes[key] = Lane(factor: factor, dispatch: key.dispatch)
                order.append(key)
            }
            return key
        }
        for event in events {
            guard let atMs = event.time("date"), let name = event["event"]?.stringValue else { continue }
            switch name {
            case "dispatched": starts[event.word("dispatch")] = atMs
            case "approved", "denied": if let factor = event["factor_sid"]?.stringValue { answers[factor] = atMs }
            case "received":
                guard event["dispatch"] != nil, let key = lane(event) else { continue }
                // Events come in order of time: the first receipt counts.
                if lanes[key]?.receivedAtMs == nil { lanes[key]?.receivedAtMs = atMs }
            default:
                // One push to one device. A background push beside a visible one has no lane of its own.
                guard event["kind"]?.stringValue != "background", let key = lane(event) else { continue }
                lanes[key]?.result = name
                lanes[key]?.reason = event["reason"]?.stringValue ?? ""
                lanes[key]?.platform = event["platform"]?.stringValue ?? ""
                lanes[key]?.bars.append(
                    Bar(kind: .running, fromMs: min(starts[key.dispatch] ?? createdAtMs, atMs), toMs: atMs))
            }
        }
        self.lanes = order.compactMap { key in
            guard var lane = lanes[key] else { return nil }
            let sentMs = lane.bars.last?.toMs ?? starts[key.dispatch] ?? createdAtMs
            if lane.result == "accepted" || lane.bars.isEmpty {
                let until = lane.receivedAtMs ?? endMs
                if until > sentMs { lane.bars.append(Bar(kind: .waiting, fromMs: sentMs, toMs: until)) }
            }
            // A receipt can overtake the provider's answer.
            if let received = lane.receivedAtMs.map({ max($0, sentMs) }) {
                let until = answers[key.factor] ?? endMs
                if until > received { lane.bars.append(Bar(kind: .shown, fromMs: received, toMs: until)) }
            }
            return lane
        }
    }

    /// Where a moment stands between 0 and 1. Long stretches are compressed: each grows with its square root, so that
    /// 80 ms at the provider can be seen beside five minutes of waiting.
    func place(_ atMs: Int64) -> Double {
        let times = ([createdAtMs, endMs] + lanes.flatMap { $0.bars.flatMap { [$0.fromMs, $0.toMs] } })
            .filter { $0 >= createdAtMs }
        let sorted = Array(Set(times)).sorted()
        guard sorted.count > 1 else { return 0 }
        func width(_ ms: Int64) -> Double { Double(max(ms, 0)).squareRoot() }
        var whole = 0.0
        var part = 0.0
        for (from, to) in zip(sorted, sorted.dropFirst()) {
            whole += width(to - from)
            if to <= atMs {
                part += width(to - from)
            } else if from < atMs {
                part += width(to - from) * Double(atMs - from) / Double(to - from)
            }
        }
        return whole > 0 ? part / whole : 0
    }

    /// One sentence that says the finding.
    var finding: String {
        let devices = Set(lanes.map(\.factor)).count
        let received = lanes.compactMap(\.receivedAtMs).min()
        var words = [
            "\(Words.count(Double(lanes.count), "push", "pushes")) to \(Words.count(Double(devices), "device", "devices"))"
        ]
        words.append(
            received.map { "received after \(Words.span($0 - createdAtMs))" } ?? "not confirmed by any device")
        words.append(status == "pending" ? "still pending" : "\(status) after \(Words.span(endMs - createdAtMs))")
        return words.joined(separator: "; ") + "."
    }
}
