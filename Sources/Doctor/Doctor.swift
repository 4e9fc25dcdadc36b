public import Logging
import Wire

/// Examines a system: looks at everything once, side by side and within bounds, and lets each check judge what was
/// seen.
///
/// Safe on production: nothing is written, no offset is committed, no schema is changed, and a probe of a provider
/// reaches no device.
public struct Doctor: Sendable {
    /// All checks in the order of cause: a fault in an earlier one explains later ones.
    public static let checks: [Check] =
        configurationChecks + kafkaChecks + topicChecks + clockChecks + keyChecks + storeChecks + providerChecks
        + egressChecks + webhookChecks + limitChecks

    private let examination: Examination
    private let logger: Logger

    /// - Parameter logger: gets what the clients say of faults, at level debug.
    public init(_ examination: Examination, logger: Logger) {
        self.examination = examination
        self.logger = logger
    }

    /// The results of the checks that the roles need, in the order of ``checks``.
    ///
    /// A cancelled examination ends early; what was not seen by then is skipped.
    public func examine() async -> [CheckResult] {
        let roles = Set(examination.roles.map(\.role))
        let due = Self.checks.filter { check in
            !check.roles.isDisjoint(with: roles) && (examination.only.isEmpty || examination.only.contains(check.id))
        }
        let looks = due.reduce(into: Set<Look>()) { $0.formUnion($1.looks) }
        let facts = await Examiner(examination: examination, looks: looks, logger: logger).facts()
        return due.map { check in
            CheckResult(
                id: check.id, title: check.title, verdict: Self.verdict(check, facts),
                took: check.looks.compactMap { facts.took[$0] }.max() ?? .zero)
        }
    }

    static func verdict(_ check: Check, _ facts: Facts) -> Verdict {
        guard case .found(let findings) = check.judge(facts) else { return check.judge(facts) }
        return .found(
            findings.map { finding in
                var finding = finding
                finding.check = check.id
                return finding
            })
    }
}
