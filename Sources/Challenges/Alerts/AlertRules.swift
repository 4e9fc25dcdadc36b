public import ChallengeModel
import Synchronization
import Wire

/// The alerts of accounts, and where they are posted to.
extension ChallengeStore {
    /// What became of alerts in this process since the last call, for a metric.
    public func takeAlertCounts() -> AlertCounts { rules.alerts.take() }

    /// Nil: the account has no such alert.
    public func alert(_ sid: AlertSID, account: AccountSID) async throws -> Alert? {
        try await engine.read { rows in try rows.keepsAlerts() ? rows.alert(sid, account: account) : nil }
    }

    /// The newest first.
    public func alerts(_ filter: AlertFilter, page: PageRequest) async throws -> Page<Alert> {
        try await engine.read { rows in
            guard try rows.keepsAlerts() else { return Page(items: [], next: nil) }
            return try rows.alerts(filter, page: page)
        }
    }

    /// A customer has named an address that Beckon refuses.
    /// - Parameters:
    ///   - parameter: that named it, like `WebhookUrl`.
    ///   - digest: of the refused text. The text itself is not kept: it may hold a password.
    public func reportRefusedURL(
        _ parameter: String, digest: [UInt8], account: AccountSID, service: ServiceSID?, nowMs: Int64
    ) async throws {
        try await write(nowMs) { decision in
            var details = AlertDetails()
            details.words = ["parameter": parameter, "reason": "refused"]
            if let requestID = decision.caller.requestID { details.words["request_id"] = requestID }
            try decision.raise(
                RaisedAlert(
                    account: account, service: service,
                    cause: "url \(parameter) \(Hexadecimal.encode(digest.prefix(16)))",
                    resource: service?.rawValue ?? account.rawValue, code: 11_210,
                    text: "The address in \(parameter) is refused. No request was sent.", details: details))
        }
    }

    public func debugger(_ account: AccountSID) async throws -> Debugger? {
        try await engine.read { rows in try rows.keepsAlerts() ? rows.debugger(account) : nil }
    }

    /// Sets where the alerts of an account are posted to.
    /// - Throws: ``StoreError/failed(_:)`` while the database has no place for it yet.
    public func setDebugger(url: String, account: AccountSID, nowMs: Int64) async throws -> Debugger {
        try await write(nowMs) { decision in
            try decision.rows.lock(account)
            try decision.requireAlerts()
            let known = try decision.rows.debugger(account)
            var debugger =
                known
                ?? Debugger(account: account, sid: decision.newSID(), url: url, createdAtMs: nowMs, updatedAtMs: nowMs)
            debugger.url = url
            debugger.updatedAtMs = nowMs
            try decision.rows.put(debugger)
            try decision.audit("debugger.updated", account: account, subject: debugger.sid.rawValue)
            return debugger
        }
    }

    /// - Returns: false when there was none.
    public func deleteDebugger(_ account: AccountSID, nowMs: Int64) async throws -> Bool {
        try await write(nowMs) { decision in
            guard try decision.rows.keepsAlerts(), let debugger = try decision.rows.debugger(account) else {
                return false
            }
            try decision.rows.deleteDebugger(account)
            // The relay takes stored alerts away.
            try decision.rows.deleteEndpoint(debugger.sid)
            try decision.audit("debugger.deleted", account: account, subject: debugger.sid.rawValue)
            return true
        }
    }
}

/// What became of events that are alerts.
public struct AlertCounts: Sendable, Hashable {
    public enum Result: String, Sendable, CaseIterable {
        /// A new alert.
        case made
        /// Counted in the alert of its cause.
        case counted
        /// It followed within a second of the last counted event of its cause, and changed nothing.
        case skipped
        /// Without an alert of its own, because the account had its alerts of the hour.
        case merged
    }

    private var counts: [Result: Int] = [:]

    public subscript(result: Result) -> Int { counts[result, default: 0] }
    fileprivate mutating func add(_ result: Result) { counts[result, default: 0] += 1 }
}

/// Counts when an alert is decided. A transaction that runs again counts again.
final class AlertTally: Sendable {
    private let state = Mutex(AlertCounts())

    func add(_ result: AlertCounts.Result) { state.withLock { $0.add(result) } }

    func take() -> AlertCounts {
        state.withLock { state in
            defer { state = AlertCounts() }
            return state
        }
    }
}

/// An event that is an alert, or is counted in one.
struct RaisedAlert {
    var account: AccountSID
    /// Nil: of no service.
    var service: ServiceSID?
    /// Events of one account with the same cause share an alert.
    var cause: String
    var resource: String
    var code: Int
    var level = Alert.Level.error
    var text: String
    var details: AlertDetails
}

extension Decision {
    /// Events of one cause share an alert for so long.
    private static let alertSpanMs: Int64 = 3_600_000
    /// New alerts of an account within that time; all further causes share one alert.
    static let alertsPerSpan = 1000
    /// An alert is written at most once in so long.
    private static let countEveryMs: Int64 = 1000

    /// Writes an alert, or counts the event in the alert of its cause. Call it as the last thing that a transaction
    /// does: in a storm, transactions of several processes meet here.
    func raise(_ raised: RaisedAlert) throws {
        guard try rows.keepsAlerts() else { return }
        if try count(raised.account, cause: raised.cause) { return }
        guard
            try rows.countAlerts(
                account: raised.account, sinceMs: nowMs - Self.alertSpanMs, most: Self.alertsPerSpan)
                >= Self.alertsPerSpan
        else { return try make(raised) }
        rules.alerts.add(.merged)
        if try count(raised.account, cause: "more") { return }
        var more = raised
        more.cause = "more"
        more.level = .warning
        more.details = AlertDetails()
        more.text =
            "The account has \(Self.alertsPerSpan) alerts of the last hour. Further causes are counted in this alert, which "
            + "has the code of the first of them."
        try make(more)
    }

    /// - Returns: whether the cause has an alert that the event belongs to.
    private func count(_ account: AccountSID, cause: String) throws -> Bool {
        guard let newest = try rows.newestAlert(account: account, cause: cause)?.alert,
            abs(nowMs - newest.createdAtMs) < Self.alertSpanMs
        else { return false }
        // Also when another process's clock is ahead.
        guard nowMs - newest.updatedAtMs >= Self.countEveryMs else {
            rules.alerts.add(.skipped)
            return true
        }
        try rows.countEvent(of: newest.sid, nowMs: nowMs)
        rules.alerts.add(.counted)
        return true
    }

    private func make(_ raised: RaisedAlert) throws {
        let newest = try rows.newestAlert(account: raised.account, cause: raised.cause)
        let alert = Alert(
            sid: newSID(), account: raised.account, service: raised.service,
            resource: String(raised.resource.prefix(64)),
            level: raised.level, code: raised.code, text: raised.text, details: raised.details.bounded,
            createdAtMs: nowMs)
        guard try rows.insert(alert, cause: raised.cause, number: (newest?.number ?? 0) + 1) else {
            // Another process was faster: its row can be read now.
            _ = try count(raised.account, cause: raised.cause)
            return
        }
        rules.alerts.add(.made)
        try tellDebugger(alert)
    }

    func requireAlerts() throws {
        guard try rows.keepsAlerts() else {
            throw StoreError.failed("the database has no place for this yet: run beckon migrate up")
        }
    }
}

extension AlertDetails {
    /// Without U+0000 and other control characters, which a receiver's answer may hold.
    fileprivate var bounded: AlertDetails {
        var bounded = self
        bounded.responseBody = responseBody.map { Self.line($0, Self.bodyLimit) }
        bounded.requestURL = requestURL.map { Self.line($0, 512) }
        bounded.words = words.mapValues { Self.line($0, 200) }
        return bounded
    }

    private static func line(_ text: String, _ most: Int) -> String {
        var line = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(most) {
            line.append(scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) ? " " : scalar)
        }
        return String(line)
    }
}
