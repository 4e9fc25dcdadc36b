public import ServiceSupport

/// How bad a finding is.
public enum Severity: String, Sendable, Comparable, CaseIterable {
    /// It works, and should be mended.
    case warning
    /// It does not work, or will lose something.
    case failure
    /// Something that is needed gave no answer, so that later checks could not look.
    case unreachable

    public static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }

    private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// One thing that a check has found: what it saw, what that means, and what to do.
public struct Finding: Sendable, Hashable {
    /// The ``Check/id`` of its check.
    public var check: String
    /// The ``Mistake/id``.
    public var mistake: String
    public var severity: Severity
    public var saw: String
    public var means: String
    /// A command to paste, or the setting and the value that it needs.
    public var mend: String
}

/// A mistake that a check knows. docs/doctor.md is written from these texts, and findings are made of them.
public struct Mistake: Sendable {
    /// Lower-case words with hyphens; unique within its check.
    public let id: String
    public let severity: Severity
    /// What the check sees then, for the table.
    public let sees: String
    /// With names in angle brackets, which a finding replaces: `topic <topic> …`.
    public let means: String
    /// As ``means``.
    public let mend: String

    init(_ id: String, _ severity: Severity, sees: String, means: String, mend: String) {
        self.id = id
        self.severity = severity
        self.sees = sees
        self.means = means
        self.mend = mend
    }

    /// - Parameters:
    ///   - saw: what was seen now; one line.
    ///   - values: what stands for the names in angle brackets.
    func found(_ saw: String, _ values: [String: String] = [:]) -> Finding {
        func filled(_ text: String) -> String {
            values.reduce(text) { $0.replacing("<\($1.key)>", with: $1.value) }
        }
        return Finding(
            check: "", mistake: id, severity: severity, saw: Finding.line(saw), means: filled(means),
            mend: filled(mend))
    }
}

extension Finding {
    /// One line, bounded: what others say is shown on a terminal.
    static func line(_ text: String) -> String {
        let scalars = text.unicodeScalars.prefix(400).map { scalar -> Unicode.Scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: " "
            default: scalar
            }
        }
        return String(String.UnicodeScalarView(scalars))
    }
}

/// What a check concludes.
public enum Verdict: Sendable, Hashable {
    /// - Parameter evidence: what was seen, in a few words.
    case passed(_ evidence: String)
    case found([Finding])
    /// It could not look, or there is nothing to look at.
    case skipped(_ because: String)

    /// - Parameter evidence: when nothing was found.
    static func judged(_ findings: [Finding], else evidence: @autoclosure () -> String) -> Verdict {
        findings.isEmpty ? .passed(evidence()) : .found(findings)
    }
}

/// A check as a value: it judges what the looks have seen, and does no I/O itself.
public struct Check: Sendable {
    /// For `--only`: `kafka-name`, `apns`, …
    public let id: String
    public let title: String
    /// The roles that need it.
    public let roles: Set<Role>
    public let mistakes: [Mistake]
    /// What has to be looked at.
    let looks: Set<Look>
    let judge: @Sendable (Facts) -> Verdict

    init(
        _ id: String, _ title: String, roles: Set<Role>, looks: Set<Look>, mistakes: [Mistake],
        judge: @escaping @Sendable (Facts) -> Verdict
    ) {
        self.id = id
        self.title = title
        self.roles = roles
        self.looks = looks
        self.mistakes = mistakes
        self.judge = judge
    }
}

/// The result of one check.
public struct CheckResult: Sendable, Hashable {
    public let id: String
    public let title: String
    public let verdict: Verdict
    /// How long its slowest look took.
    public let took: Duration

    public var findings: [Finding] { if case .found(let findings) = verdict { findings } else { [] } }
}
