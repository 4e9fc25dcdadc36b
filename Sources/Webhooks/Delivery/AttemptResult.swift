import Challenges
import GuardedHTTP

/// What became of one request to a webhook.
struct AttemptResult: Sendable, Hashable {
    enum Disposition: Sendable, Hashable {
        case delivered
        /// It is tried again later.
        case failed
        /// The receiver wants no more of this event.
        case abort
        /// The receiver wants nothing any more.
        case disable
    }

    var disposition: Disposition
    /// Of the answer; 0: there was none.
    var status = 0
    /// The debugger's code; 0 for what was delivered.
    var code = 0
    /// A stable word.
    var reason = ""
    /// It took its time and gave nothing: what an endpoint's limit is halved for.
    var isTimeout = false
    /// Our own network or bounds: nothing that counts against the receiver.
    var isOurs = false
    /// The receiver is not well as a whole, as opposed to refusing this one event.
    var isEndpointFault = false
    var retryAfter: Duration?
    /// The first bytes of the answer's body.
    var body: [UInt8] = []

    /// A pure function of what came back.
    init(_ answer: HTTPAnswer) {
        status = answer.status
        retryAfter = answer.retryAfter
        body = answer.body
        switch answer.status {
        case 200..<300: disposition = .delivered
        case _ where answer.delivery == "disable":
            (disposition, code, reason) = (.disable, 11_200, "disabled-by-receiver")
        case _ where answer.delivery == "abort-message":
            (disposition, code, reason) = (.abort, 11_200, "aborted-by-receiver")
        case 300..<400: (disposition, code, reason) = (.failed, 11_215, "redirect")
        case 410: (disposition, code, reason) = (.abort, 11_200, "gone")
        case 429, 500...: (disposition, code, reason, isEndpointFault) = (.failed, 11_200, "status", true)
        default: (disposition, code, reason) = (.failed, 11_200, "status")
        }
    }

    init(_ error: GuardedHTTPError) {
        disposition = .failed
        switch error {
        case .refused: (code, reason) = (11_210, WebhookFailure.refused)
        case .nameNotFound: (code, reason, isEndpointFault) = (11_210, "no-such-host", true)
        case .nameServerSilent: (code, reason, isOurs) = (11_210, "name-server", true)
        case .connectTimeout: (code, reason, isTimeout, isEndpointFault) = (11_205, "connect-timeout", true, true)
        case .connect: (code, reason, isEndpointFault) = (11_205, "connect", true)
        case .tls(.name, _): (code, reason, isEndpointFault) = (11_235, "certificate-name", true)
        case .tls(.certificate, _): (code, reason, isEndpointFault) = (11_237, "certificate", true)
        case .tls(.other, _): (code, reason, isEndpointFault) = (11_220, "tls", true)
        case .readTimeout: (code, reason, isTimeout, isEndpointFault) = (11_200, "read-timeout", true, true)
        case .closed: (code, reason, isEndpointFault) = (11_205, "closed", true)
        case .notHTTP: (code, reason, isEndpointFault) = (11_206, "not-http", true)
        case .busy: (code, reason, isOurs) = (11_205, "busy", true)
        case .cancelled: (code, reason, isOurs) = (0, "cancelled", true)
        }
    }

    /// A URL that is not taken any more.
    init(refused: CustomerURLError) {
        (disposition, code, reason) = (.failed, 11_210, WebhookFailure.refused)
    }

    /// The receiver did not consent to get events.
    static func withoutConsent(_ answer: HTTPAnswer) -> AttemptResult {
        var result = AttemptResult(refused: .refused)
        (result.code, result.reason, result.status) = (11_200, "no-consent", answer.status)
        result.retryAfter = answer.retryAfter
        result.isEndpointFault = true
        return result
    }

    /// The rate that the receiver allows is used up.
    static func overRate(waitMs: Int64) -> AttemptResult {
        var result = AttemptResult(GuardedHTTPError.busy)
        result.reason = "rate"
        result.retryAfter = .milliseconds(waitMs)
        return result
    }

    /// Whether a quick try follows, as the URL's fragment says.
    func isRepeated(for policy: Set<ConnectionOverrides.Retry>) -> Bool {
        guard disposition == .failed, !isOurs, reason != WebhookFailure.refused, retryAfter == nil else { return false }
        if policy.contains(.all) { return true }
        switch reason {
        case "status" where status < 500: return policy.contains(.status4xx)
        case "status": return policy.contains(.status5xx)
        case "read-timeout": return policy.contains(.read)
        case "redirect", "not-http": return false
        default: return policy.contains(.connect)
        }
    }
}
