import Wire

/// The results of an examination, as text, as JSON, and as an exit status.
public struct Report: Sendable {
    public let results: [CheckResult]

    public init(_ results: [CheckResult]) { self.results = results }

    public var findings: [Finding] { results.flatMap(\.findings) }

    /// 0: nothing was found; 1: something was; 3: something that is needed gave no answer, so that more may be wrong
    /// than was found.
    /// - Parameter isStrict: warnings count too.
    public func status(isStrict: Bool) -> Int32 {
        let severities = Set(findings.map(\.severity))
        if severities.contains(.unreachable) { return 3 }
        return severities.contains(.failure) || isStrict && severities.contains(.warning) ? 1 : 0
    }

    // MARK: Text

    /// One line per check, and behind a check that has found something what it saw, what that means, and what to do.
    /// - Parameter isColoured: for a terminal.
    public func text(isColoured: Bool) -> String {
        let width = results.map(\.id.count).max() ?? 0
        var lines: [String] = []
        for result in results {
            let name = result.id + String(repeating: " ", count: width - result.id.count)
            let mark = Mark(result.verdict)
            var line = "\(mark.text(isColoured)) \(name)  \(result.title)"
            switch result.verdict {
            case .passed(let evidence): if !evidence.isEmpty { line += " (\(evidence))" }
            case .skipped(let because): line += " (skipped: \(because))"
            case .found: break
            }
            lines.append(line)
            for finding in result.findings {
                let own = Mark(finding.severity)
                let indent = String(repeating: " ", count: width + 4)
                lines.append("\(indent)\(own.text(isColoured)) saw    \(finding.saw)")
                lines.append("\(indent)  means  \(finding.means)")
                lines.append("\(indent)  do     \(finding.mend)")
                lines.append("\(indent)  see    docs/doctor.md#\(result.id)")
            }
        }
        return lines.joined(separator: "\n")
    }

    /// The last line: how many of what.
    public var summary: String {
        func count(_ severity: Severity) -> Int { findings.count { $0.severity == severity } }
        func counted(_ number: Int, _ one: String, _ many: String) -> String? {
            number == 0 ? nil : "\(number) \(number == 1 ? one : many)"
        }
        let passed = results.count { if case .passed = $0.verdict { true } else { false } }
        let skipped = results.count { if case .skipped = $0.verdict { true } else { false } }
        return [
            counted(count(.failure), "failure", "failures"),
            counted(count(.unreachable), "without an answer", "without an answer"),
            counted(count(.warning), "warning", "warnings"), "\(passed) passed", counted(skipped, "skipped", "skipped"),
        ].compactMap { $0 }.joined(separator: ", ")
    }

    private enum Mark {
        case good, warning, bad, skipped

        init(_ verdict: Verdict) {
            switch verdict {
            case .passed: self = .good
            case .skipped: self = .skipped
            case .found(let findings): self = Mark(findings.map(\.severity).max() ?? .warning)
            }
        }

        init(_ severity: Severity) { self = severity == .warning ? .warning : .bad }

        func text(_ isColoured: Bool) -> String {
            let (sign, colour) =
                switch self {
                case .good: ("✓", "32")
                case .warning: ("!", "33")
                case .bad: ("✗", "31")
                case .skipped: ("–", "2")
                }
            return isColoured ? "\u{1B}[\(colour)m\(sign)\u{1B}[0m" : sign
        }
    }

    // MARK: JSON

    /// One object: `status`, `checks` and their findings.
    /// - Parameter isStrict: as of ``status(isStrict:)``.
    public func json(isStrict: Bool) -> String {
        JSONValue.object([
            ("status", .integer(Int64(status(isStrict: isStrict)))), ("checks", .array(results.map(Self.json))),
        ]).text
    }

    private static func json(_ result: CheckResult) -> JSONValue {
        var members: [(name: String, value: JSONValue)] = [
            ("id", .string(result.id)), ("title", .string(result.title)),
            ("took_ms", .integer(result.took.wholeMilliseconds)),
        ]
        switch result.verdict {
        case .passed(let evidence): members += [("result", .string("passed")), ("evidence", .string(evidence))]
        case .skipped(let because): members += [("result", .string("skipped")), ("because", .string(because))]
        case .found(let findings):
            members.append(("result", .string("found")))
            members.append(
                (
                    "findings",
                    .array(
                        findings.map {
                            .object([
                                ("mistake", .string($0.mistake)), ("severity", .string($0.severity.rawValue)),
                                ("saw", .string($0.saw)), ("means", .string($0.means)), ("do", .string($0.mend)),
                            ])
                        })
                ))
        }
        return .object(members)
    }
}
