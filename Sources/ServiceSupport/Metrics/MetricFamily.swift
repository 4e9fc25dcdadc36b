/// The description of one metric family: the only source of its HELP text, of its row in docs/metrics.md, and of the
/// series that exist from the start of a process.
public struct MetricFamily: Sendable, Hashable {
    public enum Kind: String, Sendable {
        case counter
        case gauge
        /// A gauge of the seconds since a moment. It grows between two records, so that a loop that stands still cannot
        /// keep it at a good value. A record of 0 says that nothing is waiting.
        case age
        case histogram

        /// The word of the exposition format.
        var word: String { self == .age ? "gauge" : rawValue }
    }

    public struct Label: Sendable, Hashable {
        public let name: String
        /// Values that are known beforehand. Counters and histograms have a series at 0 for each of them from the
        /// start, because an alert cannot see the first increase of a series that did not exist before.
        public let values: [String]

        /// - Parameter values: empty: the values are only known while the process runs. Their number is bounded.
        public init(_ name: String, _ values: [String] = []) {
            self.name = name
            self.values = values
        }
    }

    public let name: String
    public let kind: Kind
    public let help: String
    public let labels: [Label]
    /// Upper bounds of a histogram's buckets, in the unit of the name; empty for the other kinds.
    public let bounds: [Double]

    private init(_ name: String, _ kind: Kind, _ help: String, _ labels: [Label], bounds: [Double] = []) {
        self.name = name
        self.kind = kind
        self.help = help
        self.labels = labels
        self.bounds = bounds
    }

    public static func counter(_ name: String, _ help: String, _ labels: [Label] = []) -> MetricFamily {
        MetricFamily(name, .counter, help, labels)
    }

    public static func gauge(_ name: String, _ help: String, _ labels: [Label] = []) -> MetricFamily {
        MetricFamily(name, .gauge, help, labels)
    }

    public static func age(_ name: String, _ help: String, _ labels: [Label] = []) -> MetricFamily {
        MetricFamily(name, .age, help, labels)
    }

    /// Durations in seconds.
    public static func seconds(
        _ name: String, _ help: String, _ labels: [Label] = [], bounds: [Double] = standardBounds
    ) -> MetricFamily {
        MetricFamily(name, .histogram, help, labels, bounds: bounds)
    }

    /// From a millisecond to five minutes. 0.06 is the target from creation to acceptance, 0.3 that of a call of the
    /// API, and 2 the limit of the alert on late pushes.
    public static let standardBounds = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.06, 0.1, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300,
    ]

    /// The label sets whose values are known; one empty set for a family without labels; none when a label is open.
    var knownLabelSets: [[(String, String)]] {
        labels.reduce([[]]) { sets, label in
            sets.flatMap { set in label.values.map { set + [(label.name, $0)] } }
        }
    }
}

/// The names of a role's metrics. Each name has one description.
public protocol MetricNames: CaseIterable, RawRepresentable<String>, Sendable {
    var family: MetricFamily { get }
}

extension MetricNames {
    public static var families: [MetricFamily] { allCases.map(\.family) }
}
