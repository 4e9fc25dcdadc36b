import Logging
import PushGateway
import Wire

/// Takes the looks: side by side what does not depend on each other, and each with a deadline of its own.
struct Examiner: Sendable {
    /// Writes down what a look has seen.
    typealias Note = @Sendable (inout Facts) -> Void

    let examination: Examination
    let logger: Logger
    private let looks: Set<Look>

    var patience: Duration { examination.patience }

    init(examination: Examination, looks: Set<Look>, logger: Logger) {
        self.examination = examination
        self.logger = logger
        var looks = looks
        // What a look is told by others.
        if looks.contains(.probes) { looks.formUnion([.store, .configurationTopic]) }
        if looks.contains(.webhooks) { looks.insert(.store) }
        if !looks.isDisjoint(with: [.topics, .topicSettings, .groups, .reads, .configurationTopic]) {
            looks.formUnion([.kafka, .topics])
        }
        self.looks = looks
    }

    func facts() async -> Facts {
        var facts = Facts(examination, nowMs: Timestamp.nowMs())
        let gateway = gateway()
        async let local = take(.files) { await lookAtFiles() }
        async let limits = take(.limits) { await lookAtLimits() }
        async let cluster = lookAtCluster()
        async let store = take(.store) { await lookAtStore() }
        async let clock = take(.clock) { await lookAtClocks(gateway) }
        async let egress = take(.egress) { await lookAtEgress(gateway) }
        for note in await [cluster, store] { note(&facts) }
        let known = facts
        async let probes = take(.probes) { await probe(known, gateway) }
        async let webhooks = take(.webhooks) { await lookAtWebhooks(known) }
        for note in await [local, limits, clock, egress, probes, webhooks] { note(&facts) }
        if case .seen(let opened) = gateway { await opened.close(deadline: .milliseconds(500)) }
        return facts
    }

    /// Takes a look when it is needed.
    func take(_ look: Look, _ body: @Sendable () async -> Note) async -> Note {
        guard looks.contains(look) else { return { _ in } }
        let start = ContinuousClock.now
        let note = await body()
        let took = ContinuousClock.now - start
        return { facts in
            note(&facts)
            facts.took[look] = took
        }
    }

    /// The gateway of a dispatcher, with its proxy and its certificates; it sends nothing by itself.
    private func gateway() -> Seen<PushGateway> {
        guard !looks.isDisjoint(with: [.probes, .clock, .egress]),
            let configuration = examination.roles.lazy.compactMap(\.gateway).first
        else { return .not("no dispatcher is examined") }
        do {
            return .seen(try PushGateway(configuration: configuration, logger: logger))
        } catch {
            return .not("the gateway cannot be made: \(error)")
        }
    }
}
