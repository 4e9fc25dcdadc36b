import HTTPTypes
import ServiceSupport
import Synchronization
import Tracing
import Wire

/// The server span of one HTTP request. It is made when the caller is known, because only then it is decided whether the
/// caller's trace is continued:
///
/// - An authenticated backend continues its trace, and its decision to record it counts.
/// - Everybody else, above all devices, gets a new trace with a link to the caller's. The caller's flag `sampled` does
///   not count, because anybody on the internet could turn recording on with it.
final class RequestTrace: Sendable {
    private enum State {
        case waiting
        case decided(ServiceSpan?)
    }

    private let tracer: ServiceTracer
    private let name: String
    private let caller: TraceContext?
    /// Whether a trace that starts here is recorded.
    private let samples: Bool
    private let start = DefaultTracerClock.now
    private let state = Mutex(State.waiting)

    /// Nil, without an allocation, when neither the caller nor Beckon records the request.
    /// - Parameter route: the template of the route; nil: none. The path is never shown, because it contains identities.
    init?(_ tracer: ServiceTracer, caller: TraceContext?, method: String, route: String?) {
        samples = tracer.samples()
        guard samples || caller?.isSampled == true else { return nil }
        self.tracer = tracer
        self.caller = caller
        name = route.map { "\(method) \($0)" } ?? method
    }

    /// Decides, once.
    /// - Parameter isTrusted: whether the caller is an authenticated backend.
    /// - Returns: the context for everything that follows from the request; nil: the request is not recorded.
    @discardableResult
    func begin(isTrusted: Bool) -> String? {
        state.withLock { state in
            if case .decided(let span) = state { return span?.text }
            let span: ServiceSpan? =
                if isTrusted, let caller {
                    tracer.span(name, .server, after: caller.text, at: start)
                } else if samples {
                    tracer.root(name, .server, link: caller, at: start)
                } else {
                    nil
                }
            state = .decided(span)
            return span?.text
        }
    }

    /// - Parameter status: of the reply. 4xx is no failure of a server.
    func end(method: String, route: String?, scheme: String, status: Int, requestID: String) {
        begin(isTrusted: false)
        guard case .decided(let span?) = state.withLock({ $0 }) else { return }
        span.set(.httpMethod, .string(method == "HTTP" ? "_OTHER" : method))
        if let route { span.set(.httpRoute, .string(route)) }
        span.set(.httpStatus, .int64(Int64(status)))
        span.set(.urlScheme, .string(scheme))
        span.set(.requestID, .string(requestID))
        if status >= 500 { span.fail(String(status)) }
        span.end()
    }
}
