import ChallengeModel
import CoreMetrics
import PushProviders

/// The tracker's metrics. Each is created once.
struct TrackerMetrics: Sendable {
    let held, due, early, lag, commitAge, partitions, partitionsExpected, heldPartitions: Gauge
    let attempts, escalations, carried, receiptsMatched, earlyFacts, earlyDropped, untold, commitFailures,
        logsCut: Counter
    let catchUp, fireDelay: Timer
    private let receiptAfter: [String: Timer]
    private let factory: any MetricsFactory

    init(factory: any MetricsFactory) {
        func gauge(_ name: TrackerMetricName) -> Gauge { Gauge(label: name.rawValue, factory: factory) }
        func counter(_ name: TrackerMetricName) -> Counter { Counter(label: name.rawValue, factory: factory) }
        self.factory = factory
        held = gauge(.held)
        due = gauge(.due)
        early = gauge(.early)
        lag = gauge(.lag)
        commitAge = gauge(.commitAge)
        partitions = gauge(.partitions)
        partitionsExpected = gauge(.partitionsExpected)
        heldPartitions = gauge(.heldPartitions)
        attempts = counter(.attempts)
        escalations = counter(.escalations)
        carried = counter(.carried)
        receiptsMatched = counter(.receiptsMatched)
        earlyFacts = counter(.earlyFacts)
        earlyDropped = counter(.earlyDropped)
        untold = counter(.untold)
        commitFailures = counter(.commitFailures)
        logsCut = counter(.logsCut)
        catchUp = Timer(label: TrackerMetricName.catchUp.rawValue, factory: factory)
        fireDelay = Timer(label: TrackerMetricName.fireDelay.rawValue, factory: factory)
        receiptAfter = Dictionary(
            uniqueKeysWithValues: PushProviders.all.map(\.word).map { word in
                let name = TrackerMetricName.receiptAfter.rawValue
                return (word, Timer(label: name, dimensions: [("provider", word)], factory: factory))
            })
    }

    func refused(topic: String, reason: RecordReader.Refusal) {
        Counter(
            label: TrackerMetricName.refused.rawValue, dimensions: [("topic", topic), ("reason", reason.rawValue)],
            factory: factory
        ).increment()
    }

    func event(type: String) {
        Counter(label: TrackerMetricName.events.rawValue, dimensions: [("type", type)], factory: factory).increment()
    }

    func writeFailed(kind: String) {
        Counter(label: TrackerMetricName.writeFailures.rawValue, dimensions: [("kind", kind)], factory: factory)
            .increment()
    }

    func ended(_ outcome: ChallengeOutcome) {
        let dimensions = [("outcome", outcome.status), ("responsible", outcome.responsible.rawValue)]
        Counter(label: TrackerMetricName.outcomes.rawValue, dimensions: dimensions, factory: factory).increment()
    }

    func receipt(of key: LatencyModel.Key, afterMs milliseconds: Int64) {
        receiptAfter[key.provider]?.recordMilliseconds(max(0, milliseconds))
    }

    /// Shows the longest expected latency among the apps of each provider.
    func expectedLatencies(_ latencies: [LatencyModel.Key: UInt32]) {
        for (provider, entries) in Dictionary(grouping: latencies, by: \.key.provider) {
            let longest = entries.map(\.value).max() ?? 0
            Gauge(
                label: TrackerMetricName.expectedLatency.rawValue, dimensions: [("provider", provider)],
                factory: factory
            ).record(Double(longest) / 1000)
        }
    }
}

extension LatencyModel.Key {
    /// The word of its provider.
    fileprivate var provider: String { Platform(rawValue: Int(platform))?.word ?? "other" }
}
