/// A sample of Prometheus's text format.
struct MetricSample: Sendable, Hashable {
    /// `beckon_dispatcher_pushes_total`; a bucket of a histogram has its suffix.
    var name: String
    var labels: [String: String]
    var value: Double
}

/// Reads the text of `/metrics`, as far as Beckon writes it: no timestamps, no exemplars. Lines that cannot be read are
/// left out.
enum MetricsText {
    /// - Parameter isWanted: by name; everything else is skipped before it is taken apart.
    static func samples(_ text: some StringProtocol, isWanted: (Substring) -> Bool) -> [MetricSample] {
        var samples: [MetricSample] = []
        for line in text.split(separator: "\n") where line.first != "#" {
            let name = Substring(line.prefix { $0 != "{" && $0 != " " })
            guard isWanted(name), let sample = sample(Substring(line), name) else { continue }
            samples.append(sample)
        }
        return samples
    }

    private static func sample(_ line: Substring, _ name: Substring) -> MetricSample? {
        var rest = line[name.endIndex...]
        var labels: [String: String] = [:]
        if rest.first == "{" {
            rest.removeFirst()
            while let next = rest.first, next != "}" {
                let label = rest.prefix { $0 != "=" }
                rest = rest[label.endIndex...].dropFirst()
                guard rest.first == "\"" else { return nil }
                rest.removeFirst()
                var value = ""
                var isEscaped = false
                var isClosed = false
                while let character = rest.popFirst() {
                    if isEscaped {
                        value.append(character == "n" ? "\n" : character)
                        isEscaped = false
                    } else if character == "\\" {
                        isEscaped = true
                    } else if character == "\"" {
                        isClosed = true
                        break
                    } else {
                        value.append(character)
                    }
                }
                guard isClosed else { return nil }
                labels[String(label)] = value
                if rest.first == "," { rest.removeFirst() }
            }
            guard rest.popFirst() == "}" else { return nil }
        }
        let word = rest.drop { $0 == " " }
        let value = ["+Inf": Double.infinity, "-Inf": -Double.infinity, "NaN": Double.nan][word] ?? Double(word)
        return value.map { MetricSample(name: String(name), labels: labels, value: $0) }
    }
}
