import CoreMetrics
import KafkaGroup
import Metrics
import Synchronization

/// The names of the Producer's metrics.
enum ProducerMetricName: String, CaseIterable {
    /// Counter: answered requests, by `route` (template), `method` and `class` (`2xx` to `5xx`).
    case requests = "beckon_http_requests_total"
    /// Timer: from the end of the request head until the answer is built, by `route` and `method`.
    case requestDuration = "beckon_http_request_duration"
    /// Counter: created challenges, by `source` (`http`, `kafka`).
    case challengesCreated = "beckon_challenges_created_total"
    /// Counter: answers, by `result` (`approved`, `denied`, `refused`, `late`).
    case answers = "beckon_answers_total"
    /// Counter: accepted receipts, by `source` (`device`, `token`, `kafka`, `provider`).
    case receipts = "beckon_receipts_total"
    /// Counter: HMS's delivery receipts, by `status` (Huawei's number, `other`) and `ours` (`yes`; `no`: Beckon did not
    /// send the message).
    case hmsReceipts = "beckon_hms_receipts_total"
    /// Counter: refused credentials, by `kind` (`backend`, `device`, `access-token`, `receipt-token`, `hms-callback`).
    case authenticationFailures = "beckon_auth_failures_total"
    /// Counter: processed records of an entrance, by `entrance` (topic, or `delivery` for `outcomes` and `receipts`)
    /// and `result` (`accepted`, `repeated`, `rejected`, `dead-letter`, `forged`, `unreadable`).
    case entranceRecords = "beckon_entrance_records_total"
    /// Counter: failed tries that are repeated, by `entrance`.
    case entranceRetries = "beckon_entrance_retries_total"
    /// Gauge: records of an entrance that are in progress, by `entrance`.
    case entranceInFlight = "beckon_entrance_in_flight"
    /// Gauge: unprocessed records of an entrance, over the partitions of this Producer, by `entrance`.
    case entranceLag = "beckon_entrance_lag_records"
    /// Gauge: partitions of `outcomes` and `receipts` that are held because their next record is signed with a key that
    /// this role does not have.
    case heldPartitions = "beckon_entrance_held_partitions"
    /// Counter: records that went to dead letters, by `topic` (without prefix) and `reason`.
    case deadLetters = "beckon_dead_letters_total"
    /// Counter: records that were dropped because the topic `dead-letters` permanently refuses them, by `topic`
    /// (without prefix).
    case deadLettersRefused = "beckon_dead_letters_refused_total"
    /// Counter: creations and resends that were refused with 429, by `limit` (`creations`, `pending`, `quiet`).
    case limited = "beckon_limited_total"
    /// Counter: creations that were refused with 503 because the outbox is over its limit.
    case shed = "beckon_outbox_shed_total"
    /// Gauge: requests that wait until a challenge changes.
    case longPolls = "beckon_long_polls"
    /// Counter: requests with `Wait` that were answered at once because `api.maxLongPolls` requests were waiting.
    case longPollsRefused = "beckon_long_polls_refused_total"
    /// Counter: committed transactions of the store. Many writes share one transaction.
    case storeCommits = "beckon_store_commits_total"
    /// Gauge: connections to the database, by `state` (`open`, `busy`), and callers that wait for one (`waiting`).
    case storeConnections = "beckon_store_connections"
    /// Counter: transactions that the database refused or repeated, and COMMITs whose answer was lost, by `what` (`refused`,
    /// `repeated`, `found-done`, `found-undone`, `unknown`).
    case storeTransactions = "beckon_store_transactions_total"
    /// Gauge: days after today that have partitions, 7 in a healthy store; -1: today has none. PostgreSQL only.
    case storeDaysAhead = "beckon_store_days_ahead"
    /// Gauge: 1 while the store cannot write, by `cause` (`locked`, `disk-full`, `read-only`, `failing`, `unreachable`).
    case storeFault = "beckon_store_fault"
}

/// The Producer's metrics. Label sets are bounded: routes are templates, and all other values come from enums.
final class ProducerMetrics: Sendable {
    enum CredentialKind: String {
        case backend, device
        case accessToken = "access-token"
        case receiptToken = "receipt-token"
        case hmsCallback = "hms-callback"
    }
    enum AnswerResult: String { case approved, denied, refused, late }
    enum ReceiptSource: String { case device, token, kafka, provider }
    enum EntranceResult: String { case accepted, repeated, rejected, forged, unreadable, deadLetter = "dead-letter" }

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
