import Foundation
import TestSupport
import Testing

/// Alert rules and dashboards against docs/metrics.md, which `MetricsTests` compares with the code.
@Suite("Alerts and dashboards", .timeLimit(.minutes(10)))
struct MonitoringTests {
    private static let rules = ["deploy/prometheus/rules/causes.yaml", "deploy/prometheus/rules/slo.yaml"]

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: ToolRun.root.appending(path: path), encoding: .utf8)
    }

    // MARK: - Names and labels

    /// Labels with their known values by the name of a metric, from docs/metrics.md; no values: any.
    private static func metrics() throws -> [String: [String: Set<String>]] {
        var metrics: [String: [String: Set<String>]] = [:]
        for line in try text("docs/metrics.md").split(separator: "\n") {
            guard let row = line.firstMatch(of: #/^\| `([a-z_]+)` \| ([a-z]+) \| ([^|]*) \|/#) else { continue }
            var labels: [String: Set<String>] = [:]
            for label in row.3.split(separator: ";") {
                let name = try #require(label.firstMatch(of: #/`([a-z]+)`/#)).1
                let values = label.split(separator: ":", maxSplits: 1).dropFirst().first ?? ""
                labels[String(name)] = Set(
                    values.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
            }
            metrics[String(row.1)] = labels
            guard row.2 == "histogram" else { continue }
            for suffix in ["_bucket", "_sum", "_count"] { metrics[String(row.1) + suffix] = labels }
            metrics[String(row.1) + "_bucket"]?["le"] = []
        }
        #expect(metrics.count > 100)
        return metrics
    }

    /// Labels that Prometheus adds.
    private static let ofTarget: Set<String> = ["job", "instance"]

    /// - Returns: what an expression uses that does not exist.
    private func strangers(_ expression: String, _ metrics: [String: [String: Set<String>]]) -> [String] {
        var strangers: [String] = []
        var labels = Self.ofTarget
        for match in expression.matches(of: #/\b((?:beckon|process)_[a-z_]+)(?:\{([^}]*)\})?/#) {
            guard let known = metrics[String(match.1)] else {
                strangers.append(String(match.1))
                continue
            }
            labels.formUnion(known.keys)
            for matcher in (match.2 ?? "").matches(of: #/([a-z]+) ?(=~|!~|!=|=) ?"([^"]*)"/#) {
                let name = String(matcher.1)
                guard !Self.ofTarget.contains(name) else { continue }
                guard let values = known[name] else {
                    strangers.append("\(match.1){\(name)}")
                    continue
                }
                let used = matcher.2.contains("~") ? matcher.3.split(separator: "|") : [matcher.3]
                strangers += used.filter { !values.isEmpty && !values.contains(String($0)) && $0 != "5xx" }
                    .map { "\(match.1){\(name)=\"\($0)\"}" }
            }
        }
        for group in expression.matches(of: #/\b(?:by|on|without|ignoring) ?\(([^)]*)\)/#) {
            strangers += group.1.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
                .filter { !labels.contains($0) }
        }
        return strangers
    }

    @Test("a name, a label or a value that does not exist is found")
    func finds() throws {
        let metrics = try Self.metrics()
        func found(_ expression: String) -> [String] { strangers(expression, metrics) }
        #expect(found("sum(beckon_dispatcher_lanez)") == ["beckon_dispatcher_lanez"])
        #expect(found(#"beckon_store_fault{why="disk-full"}"#) == ["beckon_store_fault{why}"])
        #expect(
            found(#"beckon_store_fault{cause=~"disk-full|fire"}"#) == [#"beckon_store_fault{cause="fire"}"#])
        #expect(found("sum by (provider, app) (beckon_dispatcher_open_circuits)") == ["app"])
        #expect(found(#"sum by (job) (rate(beckon_log_lines_total{level="error", job="x"}[5m]))"#) == [])
    }

    // MARK: - Rules

    @Test("promtool accepts the rules, and each alert fires and clears as its test says")
    func rules() async throws {
        let checked = try await Self.promtool(["check", "rules"] + Self.rules)
        #expect(checked.status == 0, "\(checked.output)")
        let tests = ["causes", "slo", "scaling"].map { "deploy/prometheus/rules/tests/\($0).test.yaml" }
        let tested = try await Self.promtool(["test", "rules"] + tests)
        #expect(tested.status == 0, "\(tested.output)")
        let cases = try tests.map(Self.text).joined()
        for alert in try Self.alerts().map(\.name) {
            #expect(
                cases.contains("alertname: \(alert)\n        exp_alerts:"), "\(alert) has no test in which it fires")
        }
    }

    private struct Alert {
        let name: String
        let severity: String
        let runbook: String
        let expression: String
    }

    private static func alerts() throws -> [Alert] {
        try rules.flatMap { path in
            try text(path).split(separator: "      - alert: ").dropFirst().map { part in
                let part = String(part)
                func value(_ key: String) throws -> String {
                    let expression = try Regex("(?m)^ +\(key): (.+)$", as: (Substring, Substring).self)
                    return String(try #require(part.firstMatch(of: expression), "\(key) of \(part)").1)
                }
                let expression = try #require(part.firstMatch(of: #/expr: \|\n(.+?)\n +for:/#.dotMatchesNewlines()))
                return Alert(
                    name: String(part.prefix { !$0.isNewline }), severity: try value("severity"),
                    runbook: try value("runbook_url"), expression: String(expression.1))
            }
        }
    }

    @Test("every alert has a section in the playbook and every section an alert; rules use what exists")
    func playbook() throws {
        let alerts = try Self.alerts()
        let sections = try Self.text("docs/playbook.md").matches(of: #/(?m)^### (.+)$/#).map { String($0.1) }
        #expect(Set(alerts.map(\.name)) == Set(sections))
        #expect(Set(sections).count == sections.count)
        for alert in alerts {
            #expect(["page", "ticket"].contains(alert.severity), "\(alert.name)")
            #expect(alert.runbook == "docs/playbook.md#\(alert.name.lowercased())")
        }
        let metrics = try Self.metrics()
        for path in Self.rules {
            let used = try Self.text(path).split(separator: "\n").filter {
                !$0.hasPrefix("#") && !$0.contains("description:") && !$0.contains("summary:")
            }.joined(separator: "\n")
            for alert in alerts { #expect(strangers(alert.expression, metrics) == [], "\(alert.name)") }
            let names = used.matches(of: #/\b(?:beckon|process)_[a-z_]+/#).map { String($0.0) }
            #expect(Set(names).subtracting(metrics.keys) == [], "\(path)")
        }
    }

    @Test("every section of the playbook has all its parts, valid queries, and a test that exists")
    func sections() async throws {
        let parts = [
            "**Meaning.** ", "**Impact.** ", "- **First minute:** ", "- **Questions:** 1. `", " 2. `", " 3. `",
            "- **Repair:** ", "- **Verify:** ", "- **Do not** ", "- **Last exercised:** `",
        ]
        let metrics = try Self.metrics()
        var queries: [String] = []
        for section in try Self.text("docs/playbook.md").split(separator: "\n### ").dropFirst() {
            let own = section.prefix(upTo: section.range(of: "\n## ")?.lowerBound ?? section.endIndex)
            let text = own.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            let name = text.prefix { $0 != " " }
            var rest = Substring(text)
            for part in parts {
                guard let place = rest.range(of: part) else {
                    Issue.record("\(name) has no part \(part), or not in this place")
                    break
                }
                rest = rest[place.upperBound...]
            }
            #expect(text.matches(of: #/ [123]\. `[^`]+` Healthy: [^.].*?\. Otherwise: /#).count == 3, "\(name)")
            let test = try #require(text.firstMatch(of: #/Last exercised:\*\* `([A-Za-z]+\/[A-Za-z]+)`/#), "\(name)").1
            #expect(FileManager.default.fileExists(atPath: ToolRun.root.appending(path: "Tests/\(test).swift").path))
            queries += text.matches(of: #/`((?:sum|max|min|count|rate|histogram_quantile)\b[^`]*\(.*?\))`/#).map {
                String($0.1)
            }
        }
        #expect(queries.count > 50)
        for query in queries { #expect(strangers(query, metrics) == [], "\(query)") }
        try await checkSyntax(queries)
    }

    @Test("the playbook and the operations page name only metrics that exist")
    func pages() throws {
        let metrics = try Self.metrics()
        for path in ["docs/playbook.md", "docs/operations.md", "docs/redelivery.md", "docs/scaling.md"] {
            let page = try Self.text(path)
            let names = page.matches(of: #/\bbeckon_(?:[a-z]+_)+[a-z]+\b/#).map { String($0.0) }
            let unknown = Set(names).subtracting(metrics.keys).filter { name in
                !["beckon_app", "beckon_migrate", "beckon_owner"].contains { name.hasPrefix($0) }
            }
            #expect(unknown == [], "\(path)")
        }
    }

    // MARK: - Dashboards

    @Test("the dashboards are what scripts/dashboards writes, can be provisioned, and ask for what exists")
    func dashboards() async throws {
        let script = try await ToolRun.of("scripts/dashboards", ["--check"])
        #expect(script.status == 0, "\(script.output)")
        let metrics = try Self.metrics()
        let folder = ToolRun.root.appending(path: "deploy/grafana/dashboards")
        var expressions: [String] = []
        var identifiers: Set<String> = []
        for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil) {
            let name = file.lastPathComponent
            let content = try #require(
                try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
            let identifier = try #require(content["uid"] as? String)
            #expect(identifiers.insert(identifier).inserted && name == identifier + ".json")
            #expect(content["id"] is NSNull, "\(name): a provisioned dashboard has no id")
            #expect(content["schemaVersion"] as? Int ?? 0 >= 39 && content["editable"] as? Bool == true)
            #expect(content["refresh"] is String && content["time"] is [String: Any], "\(name)")
            #expect((content["description"] as? String)?.isEmpty == false, "\(name)")
            let variables = (content["templating"] as? [String: Any])?["list"] as? [[String: Any]] ?? []
            #expect(variables.map { $0["type"] as? String } == ["datasource", "query"], "\(name)")
            let panels = try #require(content["panels"] as? [[String: Any]])
            #expect(Set(panels.compactMap { $0["id"] as? Int }).count == panels.count, "\(name)")
            for panel in panels where panel["type"] as? String != "row" {
                expressions += try check(panel, in: name)
            }
        }
        #expect(identifiers.count == 4)
        for expression in expressions { #expect(strangers(expression, metrics) == [], "\(expression)") }
        try await checkSyntax(expressions)
        let shown = Set(expressions.flatMap { $0.matches(of: #/\bbeckon_[a-z_]+/#).map { String($0.0) } })
        let hidden = metrics.keys.filter { name in
            name.hasPrefix("beckon_") && !shown.contains(name) && !shown.contains(name + "_bucket")
                && !["_bucket", "_sum", "_count"].contains { name.hasSuffix($0) }
        }
        #expect(hidden == [], "no dashboard shows these")
    }

    /// - Returns: the expressions of the panel.
    private func check(_ panel: [String: Any], in file: String) throws -> [String] {
        let title = try #require(panel["title"] as? String)
        let place = "\(file), \(title)"
        #expect((panel["description"] as? String)?.isEmpty == false, "\(place)")
        let source = panel["datasource"] as? [String: String]
        #expect(source == ["type": "prometheus", "uid": "${datasource}"], "\(place)")
        let defaults = (panel["fieldConfig"] as? [String: Any])?["defaults"] as? [String: Any]
        #expect((defaults?["unit"] as? String)?.isEmpty == false, "\(place)")
        let targets = try #require(panel["targets"] as? [[String: Any]])
        #expect(Set(targets.compactMap { $0["refId"] as? String }).count == targets.count, "\(place)")
        return try targets.map { target in
            #expect(target["datasource"] as? [String: String] == source, "\(place)")
            #expect((target["legendFormat"] as? String)?.isEmpty == false, "\(place)")
            let expression = try #require(target["expr"] as? String)
            for range in expression.matches(of: #/rate\([^\[]*\[([^\]]+)\]/#) {
                #expect(range.1 == "$__rate_interval", "\(place)")
            }
            return expression
        }
    }

    /// Prometheus' own parser reads the expressions as rules.
    private func checkSyntax(_ expressions: [String]) async throws {
        var rules = "groups:\n  - name: dashboards\n    rules:\n"
        for (index, expression) in expressions.enumerated() {
            var plain = expression
            for (variable, value) in [("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", ".*")] {
                plain = plain.replacingOccurrences(of: variable, with: value)
            }
            rules += "      - record: dashboards:\(index)\n        expr: |\n          \(plain)\n"
        }
        let file = FileManager.default.temporaryDirectory.appending(path: "dashboards-\(UUID().uuidString).yaml")
        try Data(rules.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let checked = try await Self.promtool(["check", "rules", file.path])
        #expect(checked.status == 0, "\(checked.output)")
    }

    private static func promtool(_ arguments: [String]) async throws -> ToolRun {
        try await ToolRun.of("/usr/bin/promtool", arguments)
    }
}
