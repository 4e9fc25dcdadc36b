import CoreMetrics
import HTTPTypes
import Metrics
import Synchronization

/// Counters and timers of requests by route, method and class of status. Each is created at its first use. Later uses
/// find it by its position, so a request creates no key and no label.
final class RequestMetrics: Sendable {
    /// The label `method`.
    enum Method: Int, CaseIterable, Sendable {
        case get, head, post, delete, options, other

        init(_ method: HTTPRequest.Method) {
            switch method {
            case .get: self = .get
            case .head: self = .head
            case .post: self = .post
            case .delete: self = .delete
            case .options: self = .options
            default: self = .other
            }
        }

        var label: String {
            switch self {
            case .get: "GET"
            case .head: "HEAD"
            case .post: "POST"
            case .delete: "DELETE"
            case .options: "OPTIONS"
            case .other: "other"
            }
        }

        /// The method in the name of a span.
        var spanName: String { self == .other ? "HTTP" : label }
    }

    private struct State {
        var counters: [Counter?]
        var timers: [Metrics.Timer?]
    }

    /// `1xx` to `5xx`.
    private static let classes = 5

    private let factory: any MetricsFactory
    private let state: Mutex<State>

    init(factory: any MetricsFactory) {
        self.factory = factory
        // The last index is for requests without a route.
        let pairs = (Route.table.count + 1) * Method.allCases.count
        state = Mutex(
            State(
                counters: Array(repeating: nil, count: pairs * Self.classes),
                timers: Array(repeating: nil, count: pairs)))
    }

    /// - Parameter route: its position in ``Route/table``; nil: none.
    func count(route: Int?, method: Method, status: Int) {
        let kind = min(max(status / 100, 1), Self.classes)
        let position = Self.position(route, method) * Self.classes + kind - 1
        let counter = state.withLock { state -> Counter? in
            if let known = state.counters[position] { return known }
            // Errors of the server get their counter with the first request, so that an alert sees the first error.
            for kind in Set([kind, Self.classes]) {
                let position = Self.position(route, method) * Self.classes + kind - 1
                guard state.counters[position] == nil else { continue }
                state.counters[position] = Counter(
                    label: ProducerMetricName.requests.rawValue,
                    dimensions: Self.labels(route, method) + [("class", "\(kind)xx")], factory: factory)
            }
            return state.counters[position]
        }
        counter?.increment()
    }

    func took(_ nanoseconds: Int64, route: Int?, method: Method) {
        let position = Self.position(route, method)
        let timer = state.withLock { state in
            if let known = state.timers[position] { return known }
            let made = Metrics.Timer(
                label: ProducerMetricName.requestDuration.rawValue, dimensions: Self.labels(route, method),
                factory: factory)
            state.timers[position] = made
            return made
        }
        timer.recordNanoseconds(nanoseconds)
    }

    private static func position(_ route: Int?, _ method: Method) -> Int {
        (route ?? Route.table.count) * Method.allCases.count + method.rawValue
    }

    private static func labels(_ route: Int?, _ method: Method) -> [(String, String)] {
        [("route", route.map { Route.table[$0].template } ?? "none"), ("method", method.label)]
    }
}
