import CoreMetrics
import KafkaGroup
import Metrics
import Synchronization

/// The Producer's metrics. Label sets are bounded: routes are templates, and all other values come from enums.
final class ProducerMetrics: Sendable {
    enum CredentialKind: String, CaseIterable {
        case backend, device
        case accessToken = "access-token"
        case receiptToken = "receipt-token"
        case hmsCallback = "hms-callback"
    }
    enum AnswerResult: String, CaseIterable { case approved, denied, refused, late }
    enum ReceiptSource: String, CaseIterable { case device, token, kafka, provider }
    enum EntranceResult: String, CaseIterable {
        case accepted, repeated, rejected, forged, unreadable, deadLetter = "dead-letter"
    }

    private struct Series: Hashable {
        let name: ProducerMetricName
        var first = ""
        var second = ""
    }

    private let factory: any MetricsFactory
    private let counters = Mutex<[Series: Counter]>([:])
    private let requests: RequestMetrics

    init(factory: any MetricsFactory) {
        self.factory = factory
        requests = RequestMetrics(factory: factory)
    }

    /// - Parameter route: its position in ``Route/table``; nil: none.
    func answered(route: Int?, method: RequestMetrics.Method, status: Int, nanoseconds: Int64) {
        requests.count(route: route, method: method, status: status)
        requests.took(nanoseconds, route: route, method: method)
    }

    /// Counts a request that cannot be read, in addition to the readable requests.
    func refused(status: Int) { requests.count(route: nil, method: .other, status: status) }

    func challengeCreated(source: String) { count(.challengesCreated, [("source", source)]) }
    func answer(_ result: AnswerResult) { count(.answers, [("result", result.rawValue)]) }
    func receipt(_ source: ReceiptSource) { count(.receipts, [("source", source.rawValue)]) }
    func hmsReceipt(status: String, isOurs: Bool) {
        count(.hmsReceipts, [("status", status), ("ours", isOurs ? "yes" : "no")])
    }

    func authenticationFailed(_ kind: CredentialKind) { count(.authenticationFailures, [("kind", kind.rawValue)]) }
    func shed() { count(.shed, []) }
    func committed(_ count: Int) { self.count(.storeCommits, [], by: count) }
    func limited(_ limit: String) { count(.limited, [("limit", limit)]) }

    func entrance(_ entrance: String, _ result: EntranceResult) {
        count(.entranceRecords, [("entrance", entrance), ("result", result.rawValue)])
    }

    func entranceRetry(_ entrance: String) { count(.entranceRetries, [("entrance", entrance)]) }

    func deadLetter(_ fate: DeadLetters.Fate, topic: String, reason: String) {
        switch fate {
        case .written: count(.deadLetters, [("topic", topic), ("reason", reason)])
        case .refused: count(.deadLettersRefused, [("topic", topic)])
        }
    }

    func gauges(entrance: String) -> GroupReader.Gauges {
        let (inFlight, lag) = (gauge(.entranceInFlight, entrance), gauge(.entranceLag, entrance))
        return GroupReader.Gauges(inFlight: { inFlight.record($0) }, lag: { lag.record($0) })
    }

    func heldPartitions(_ count: Int) {
        Gauge(label: ProducerMetricName.heldPartitions.rawValue, factory: factory).record(count)
    }

    private func gauge(_ name: ProducerMetricName, _ entrance: String) -> Gauge {
        Gauge(label: name.rawValue, dimensions: [("entrance", entrance)], factory: factory)
    }

    /// - Parameter dimensions: two at most.
    private func count(_ name: ProducerMetricName, _ dimensions: [(String, String)], by amount: Int = 1) {
        let series = Series(
            name: name, first: dimensions.first?.1 ?? "", second: dimensions.count > 1 ? dimensions[1].1 : "")
        let counter = counters.withLock { counters in
            if let known = counters[series] { return known }
            let made = Counter(label: name.rawValue, dimensions: dimensions, factory: factory)
            counters[series] = made
            return made
        }
        counter.increment(by: amount)
    }
}
