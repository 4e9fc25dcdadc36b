import AckTracker
import ArgumentParser
import DispatcherWorker
import Foundation
import Producer
import ServiceSupport
import Webhooks
import Wire

/// The metrics of every role. docs/metrics.md is written from it.
enum MetricCatalogue {
    static let chapters: [(title: String, families: [MetricFamily])] = [
        ("Every role", ProcessMetrics.families),
        ("Producer", ProducerService.metricFamilies),
        ("Dispatcher", DispatcherMetricName.families),
        ("Ack tracker", TrackerMetricName.families),
        ("Webhook relay", WebhookRelayService.metricFamilies),
    ]

    static var everything: [MetricFamily] { chapters.flatMap(\.families) }

    static func families(of role: Role) -> [MetricFamily] {
        let own: [MetricFamily] =
            switch role {
            case .producer: ProducerService.metricFamilies
            case .dispatcher: DispatcherMetricName.families
            case .ackTracker: TrackerMetricName.families
            case .webhooks: WebhookRelayService.metricFamilies
            case .console, .broker, .simulator, .phone: []
            }
        return ProcessMetrics.families + own
    }

    /// The chapters of docs/metrics.md.
    static var markdown: String {
        chapters.map { chapter in
            let rows = chapter.families.map { family in
                let labels = family.labels.map { label in
                    label.values.isEmpty
                        ? "`\(label.name)`" : "`\(label.name)`: " + label.values.joined(separator: ", ")
                }
                return """
                    | `\(family.name)` | \(family.kind.rawValue) | \(labels.joined(separator: "; ")) | \
                    \(family.help) |
                    """
            }
            return """
                ## \(chapter.title)

                | metric | kind | labels and their known values | meaning |
                |---|---|---|---|
                \(rows.joined(separator: "\n"))

                """
        }.joined(separator: "\n")
    }
}

struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Lists the metrics of every role: names, kinds, labels and meaning.")

    @Flag(help: "Print one JSON object per metric and line.")
    var json = false

    private struct Line: Encodable {
        let name, kind, help, chapter: String
        let labels: [String: [String]]
    }

    func run() throws {
        guard json else { return print(MetricCatalogue.markdown, terminator: "") }
        for (title, families) in MetricCatalogue.chapters {
            for family in families {
                let line = Line(
                    name: family.name, kind: family.kind.rawValue, help: family.help, chapter: title,
                    labels: Dictionary(uniqueKeysWithValues: family.labels.map { ($0.name, $0.values) }))
                print(String(decoding: try JSONEncoder.line.encode(line), as: UTF8.self))
            }
        }
    }
}
