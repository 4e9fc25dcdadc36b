import DequeModule

/// A series: a name and labels, with the target's name when the series belongs to one target only.
struct SeriesKey: Sendable, Hashable {
    var name: String
    var labels: [String: String]
}

/// What one target said last.
struct TargetState: Sendable {
    /// The URL that was asked.
    var url: String
    /// `producer`, `dispatcher`, …; `dev` when all are in one process; empty: it never answered.
    var role = ""
    var version = ""
    /// When it answered last, in steady milliseconds; nil: never.
    var answeredAtMs: Int64?
    /// Why it did not answer last time; nil: it did.
    var fault: String?
    /// The gauges.
    var gauges: [SeriesKey: Double] = [:]
    /// The counters, for the next difference.
    fileprivate var counters: [SeriesKey: Double] = [:]

    /// `10.0.0.7:9464`: what tells one target from another.
    static func place(_ url: String) -> String {
        let rest = url.firstRange(of: "://").map { url[$0.upperBound...] } ?? url[...]
        return String(rest.hasSuffix("/metrics") ? rest.dropLast(8) : rest)
    }
}

/// The last quarter of an hour of the counters of all roles, and the gauges of now. A pure value.
///
/// Counters of several targets are added up. A counter that went down began again at 0 (its process was started anew),
/// so its whole value is new. The first look at a target counts as its zero, because what happened before is no news.
struct MetricsRing: Sendable {
    /// How far back it reaches.
    static let reach: Int64 = 15 * 60_000
    /// Most series of counters; more are ignored. With a tick of 2 s: 450 × 2,000 numbers, 7 MB.
    static let mostSeries = 2000
    /// Most targets.
    static let mostTargets = 256

    private struct Tick: Sendable {
        let atMs: Int64
        /// By ``index``; shorter than it for series that came later.
        let totals: [Double]
    }

    private(set) var targets: [String: TargetState] = [:]
    private var index: [SeriesKey: Int] = [:]
    private var totals: [Double] = []
    private var ticks: Deque<Tick> = []
    private(set) var ignoredSeries = 0

    /// - Parameters:
    ///   - url: the target.
    ///   - atMs: steady milliseconds.
    mutating func answered(_ url: String, _ samples: [MetricSample], atMs: Int64) {
        guard targets[url] != nil || targets.count < Self.mostTargets else { return }
        var target = targets[url] ?? TargetState(url: url)
        let isFirst = target.answeredAtMs == nil
        target.answeredAtMs = atMs
        target.fault = nil
        target.gauges = [:]
        var counters: [SeriesKey: Double] = [:]
        for sample in samples where sample.value.isFinite {
            let key = SeriesKey(name: sample.name, labels: sample.labels)
            if sample.name == "beckon_build_info" {
                target.role = sample.labels["role"] ?? ""
                target.version = sample.labels["version"] ?? ""
            }
            guard Self.isCounter(sample.name) else {
                target.gauges[key] = sample.value
                continue
            }
            counters[key] = sample.value
            let last = target.counters[key]
            let growth = isFirst ? 0 : sample.value - (last.map { $0 <= sample.value ? $0 : 0 } ?? 0)
            guard let position = position(of: key) else { continue }
            totals[position] += growth
        }
        target.counters = counters
        targets[url] = target
    }

    mutating func failed(_ url: String, _ fault: String) {
        guard targets[url] != nil || targets.count < Self.mostTargets else { return }
        targets[url, default: TargetState(url: url)].fault = fault
    }

    /// Forgets the targets that are asked no more, such as the pods that a rollout replaced.
    mutating func keep(only urls: Set<String>) { targets = targets.filter { urls.contains($0.key) } }

    /// Ends a round.
    mutating func tick(atMs: Int64) {
        ticks.append(Tick(atMs: atMs, totals: totals))
        while let first = ticks.first, first.atMs < atMs - Self.reach { ticks.removeFirst() }
    }

    private mutating func position(of key: SeriesKey) -> Int? {
        if let position = index[key] { return position }
        guard totals.count < Self.mostSeries else {
            ignoredSeries += 1
            return nil
        }
        index[key] = totals.count
        totals.append(0)
        return totals.count - 1
    }

    static func isCounter(_ name: String) -> Bool {
        ["_total", "_bucket", "_sum", "_count"].contains { name.hasSuffix($0) }
    }

    // MARK: - What it knows

    /// Since when the ring counts, in steady milliseconds; nil: nothing has been read yet.
    var sinceMs: Int64? { ticks.first?.atMs }

    /// How much the series of that name grew over the whole ring, for each set of labels.
    func growth(_ name: String, where fits: ([String: String]) -> Bool = { _ in true }) -> [(
        labels: [String: String], value: Double
    )] {
        index.compactMap { key, position in
            guard key.name == name, fits(key.labels) else { return nil }
            return (key.labels, totals[position] - (ticks.first?.totals[safe: position] ?? 0))
        }
    }

    /// Their sum.
    func sum(_ name: String, where fits: ([String: String]) -> Bool = { _ in true }) -> Double {
        growth(name, where: fits).reduce(0) { $0 + $1.value }
    }

    /// How much the sum grew in each of `count` equal parts of the ring's reach, oldest first: for a small chart.
    func steps(_ count: Int, of name: String, nowMs: Int64, where fits: ([String: String]) -> Bool) -> [Double] {
        let positions = index.filter { $0.key.name == name && fits($0.key.labels) }.map(\.value)
        func total(_ tick: Tick) -> Double { positions.reduce(0) { $0 + (tick.totals[safe: $1] ?? 0) } }
        let width = Self.reach / Int64(count)
        var steps: [Double] = []
        var before = ticks.first.map(total) ?? 0
        var next = ticks.startIndex
        for step in 1...count {
            let end = nowMs - Self.reach + Int64(step) * width
            var last = before
            while next < ticks.endIndex, ticks[next].atMs <= end {
                last = total(ticks[next])
                next = ticks.index(after: next)
            }
            steps.append(max(last - before, 0))
            before = last
        }
        return steps
    }

    /// A gauge of every target that answered.
    func gauges(_ name: String) -> [(target: TargetState, labels: [String: String], value: Double)] {
        targets.values.sorted { $0.url < $1.url }.filter { $0.fault == nil }.flatMap { target in
            target.gauges.filter { $0.key.name == name }.map { (target, $0.key.labels, $0.value) }
        }
    }

    /// The largest over all targets; nil: no target has it.
    func largest(_ name: String) -> Double? { gauges(name).map(\.value).max() }

    func total(_ name: String) -> Double { gauges(name).reduce(0) { $0 + $1.value } }

    /// A quantile of a histogram over the ring, by the buckets' upper bounds, interpolated within one as Prometheus
    /// does; nil: nothing was observed.
    func quantile(_ share: Double, of name: String, where fits: ([String: String]) -> Bool) -> Double? {
        var buckets: [Double: Double] = [:]
        for (labels, value) in growth(name + "_bucket", where: fits) {
            guard let word = labels["le"], let bound = word == "+Inf" ? Double.infinity : Double(word) else { continue }
            buckets[bound, default: 0] += value
        }
        let sorted = buckets.sorted { $0.key < $1.key }
        guard let all = sorted.last?.value, all > 0 else { return nil }
        let rank = share * all
        var lower = (bound: 0.0, count: 0.0)
        for (bound, count) in sorted {
            if count >= rank {
                guard bound.isFinite else { return lower.bound }
                let inside = count - lower.count
                return inside > 0 ? lower.bound + (bound - lower.bound) * (rank - lower.count) / inside : bound
            }
            lower = (bound, count)
        }
        return lower.bound
    }
}

extension Array {
    fileprivate subscript(safe index: Int) -> Element? { index < count ? self[index] : nil }
}
