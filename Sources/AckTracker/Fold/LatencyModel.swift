/// How long devices take from `accepted` to a receipt, per (platform, app): a decaying histogram, from which the
/// expected latency of challenges that ask for `adaptive` is read. A pure value.
struct LatencyModel: Sendable {
    struct Key: Hashable, Sendable {
        let platform: UInt8
        let app: String
    }

    private struct Histogram {
        /// Bucket i counts latencies below 50 ms × 1.25^i.
        var weights = [Float](repeating: 0, count: 40)
        var total: Float = 0
    }

    private let policy: TrackerPolicy
    private var histograms: [Key: Histogram] = [:]

    init(policy: TrackerPolicy) { self.policy = policy }

    /// A receipt of an app (not a poll) came so long after its push was accepted.
    mutating func record(_ key: Key, latencyMs: Int64) {
        guard latencyMs >= 0, histograms[key] != nil || histograms.count < 1_000 else { return }
        var histogram = histograms[key] ?? Histogram()
        var bucket = 0
        var bound = 50.0
        while Double(latencyMs) > bound, bucket < 39 {
            bound *= 1.25
            bucket += 1
        }
        histogram.weights[bucket] += 1
        histogram.total += 1
        if histogram.total >= 2_000 {
            for index in histogram.weights.indices { histogram.weights[index] /= 2 }
            histogram.total /= 2
        }
        histograms[key] = histogram
    }

    /// Milliseconds; nil until enough is known.
    func expectedLatencyMs(_ key: Key) -> UInt32? {
        guard let histogram = histograms[key], histogram.total >= Float(policy.adaptiveSamples) else { return nil }
        var seen: Float = 0
        var bound = 50.0
        let wanted = histogram.total * Float(policy.adaptiveQuantile)
        for weight in histogram.weights {
            if seen + weight >= wanted {
                // Between the bucket's bounds, in proportion.
                bound *= 0.8 + 0.2 * Double((wanted - seen) / max(weight, .leastNonzeroMagnitude))
                break
            }
            seen += weight
            bound *= 1.25
        }
        let latency = Int64(bound * policy.adaptiveFactor)
        return UInt32(min(max(latency, policy.adaptiveFloorMs), policy.adaptiveCeilingMs))
    }

    /// All that is known, for the metric.
    var expected: [Key: UInt32] { histograms.keys.reduce(into: [:]) { $0[$1] = expectedLatencyMs($1) } }
}
