import Wire

/// A table with headings, which is wider than a phone's screen at times: it scrolls in a box of its own.
func table(caption: String, _ headings: [String], rows: [[Escaped]]) -> Escaped {
    tag("div", ["class": "wide", "tabindex": "0", "role": "region", "aria-label": caption]) {
        tag("table") {
            tag("caption", ["class": "hidden"]) { caption }
            tag("thead") {
                tag("tr") { headings.map { heading in tag("th", ["scope": "col"]) { heading } } }
            }
            tag("tbody") {
                rows.map { row in
                    tag("tr") {
                        row.enumerated().map { index, cell in
                            index == 0 ? tag("th", ["scope": "row"]) { cell } : tag("td") { cell }
                        }
                    }
                }
            }
        }
    }
}

/// A list of names and values.
func facts(_ facts: [(name: String, value: Escaped)]) -> Escaped {
    tag("dl", ["class": "facts"]) {
        facts.map { fact in
            tag("div") {
                tag("dt") { fact.name }
                tag("dd") { fact.value }
            }
        }
    }
}

/// A label and its field. The label is visible.
func field(_ label: String, id: String, @Markup _ control: () -> Escaped) -> Escaped {
    tag("div", ["class": "field"]) {
        tag("label", ["for": id]) { label }
        control()
    }
}

/// A state as a word with a mark, so that its meaning is not in its colour alone.
enum Tone: String, Sendable {
    case good, warning, bad, quiet

    fileprivate var mark: String {
        switch self {
        case .good: "✓"
        case .warning: "!"
        case .bad: "✕"
        case .quiet: "–"
        }
    }
}

func badge(_ tone: Tone, _ text: String) -> Escaped {
    tag("span", ["class": "badge \(tone.rawValue)"]) {
        tag("span", ["aria-hidden": "true"]) { tone.mark + " " }
        text
    }
}

/// A moment: how long ago in words, the exact time as its title.
func moment(_ atMs: Int64, nowMs: Int64) -> Escaped {
    tag("time", ["datetime": Timestamp.rfc3339Milliseconds(atMs), "title": Timestamp.rfc3339Milliseconds(atMs)]) {
        Words.distance(nowMs - atMs)
    }
}

/// A button that posts, as a form of its own.
func button(
    _ text: String, action: String, values: [(name: String, value: String)] = [], kind: String = "",
    label: String? = nil
) -> Escaped {
    tag("form", ["method": "post", "action": action, "data-act": ""]) {
        values.map { tag("input", ["type": "hidden", "name": $0.name, "value": $0.value]) }
        tag("button", ["class": kind.isEmpty ? nil : kind, "aria-label": label]) { text }
    }
}

/// Numbers and times in words.
enum Words {
    /// `just now`, `12 s ago`, `in 40 s`.
    static func distance(_ ms: Int64) -> String {
        if ms < -999 { return "in \(span(-ms))" }
        return ms < 1000 ? "just now" : "\(span(ms)) ago"
    }

    /// `40 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
    static func span(_ ms: Int64) -> String {
        switch ms {
        case ..<1000: "\(ms) ms"
        case ..<120_000: "\(ms / 1000) s"
        case ..<7_200_000: "\(ms / 60_000) min"
        case ..<172_800_000: "\(ms / 3_600_000) h"
        default: "\(ms / 86_400_000) d"
        }
    }

    /// `12,345`.
    static func count(_ value: Double) -> String {
        let digits = String(Int64(value.rounded()).magnitude)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { text += "," }
            text.append(digit)
        }
        return value <= -0.5 ? "−" + text : text
    }

    /// `1 push`, `2 pushes`.
    static func count(_ value: Double, _ one: String, _ many: String) -> String {
        "\(count(value)) \(Int64(value.rounded()) == 1 ? one : many)"
    }

    /// `0.8 ms`, `12 ms`, `1.2 s`.
    static func seconds(_ value: Double) -> String {
        if value < 0.0095 { return "\((value * 10_000).rounded() / 10) ms" }
        if value < 0.9995 { return "\(Int((value * 1000).rounded())) ms" }
        if value < 10 { return "\((value * 10).rounded() / 10) s" }
        return span(Int64(value * 1000))
    }
}
