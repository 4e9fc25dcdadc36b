/// Who serves which partition.
struct Workers: Sendable {
    /// Dispatchers or trackers together.
    struct Pool: Sendable {
        let name: String
        let served: Double
        let expected: Double
        /// Partitions by number with the dispatcher that serves each; only of dispatchers, whose metrics name them.
        var owners: [Int: [String]] = [:]
        var lags: [Int: Double] = [:]

        /// Known by number; empty when the metrics do not tell.
        var orphans: [Int] {
            owners.isEmpty ? [] : (0..<Int(expected)).filter { owners[$0] == nil }
        }
    }

    let pools: [Pool]

    init(_ ring: MetricsRing) {
        var pools: [Pool] = []
        if let expected = ring.largest("beckon_dispatcher_partitions_expected") {
            var pool = Pool(
                name: "dispatcher", served: ring.total("beckon_dispatcher_lanes"), expected: expected)
            for (target, labels, value) in ring.gauges("beckon_dispatcher_lag_records") {
                guard let partition = labels["partition"].flatMap({ Int($0) }) else { continue }
                pool.owners[partition, default: []].append(target.url)
                pool.lags[partition, default: 0] += value
            }
            pools.append(pool)
        }
        if let expected = ring.largest("beckon_tracker_partitions_expected") {
            pools.append(
                Pool(name: "ack tracker", served: ring.total("beckon_tracker_partitions"), expected: expected))
        }
        self.pools = pools
    }
}

/// A push provider's name for people.
enum Provider {
    static let all = ["apn", "fcm", "hms"]

    static func name(_ word: String?) -> String {
        switch word {
        case "apn": "APNs"
        case "fcm": "FCM"
        case "hms": "HMS"
        default: word ?? "a provider"
        }
    }
}
