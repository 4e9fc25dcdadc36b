import ChallengeModel
import Foundation
import KafkaClient
import Logging
import TestSupport
import Testing

/// Every alert of `deploy/prometheus/rules` is provoked by its fault in a running system, fires, and clears when the
/// fault is mended. A real Prometheus server evaluates the rules; only their times are shortened. `scripts/alerts` runs
/// it.
@Suite(
    "Alerts in a running system", .serialized, .postgres, .prometheus, .timeLimit(.minutes(30)),
    .enabled(if: ProcessInfo.processInfo.environment["BECKON_ALERTS_STRETCH"] != nil, "scripts/alerts runs it"))
struct AlertTests {
    private static let stretch =
        ProcessInfo.processInfo.environment["BECKON_ALERTS_STRETCH"].flatMap { Double($0) } ?? 1
    private static let logger = Logger(label: "alerts") { _ in SwiftLogNoOpLogHandler() }

    /// Metrics of dashboards and rules that nothing in this test moves for certain, and why.
    private static let still = [
        "beckon_build_info": "it is always 1",
        "beckon_http_connections_limit": "it is a setting",
        "beckon_tracker_partitions_expected": "the topic keeps its partitions",
        "beckon_dispatcher_credentials": "a dispatcher shows it once it has read all of them",
        "beckon_dispatcher_unreadable_credentials": "only a dispatcher that lacks keys shows it, from its start on",
        "beckon_hms_receipts_total": "HMS's own receipts are not configured",
        "beckon_long_polls": "no client waits",
        "beckon_long_polls_refused_total": "no client waits",
        "beckon_auth_failures_total": "every client has its credentials",
        "beckon_limited_total": "the limits are off",
        "beckon_alerts_total": "an account's failures are not the subject here",
        "beckon_webhook_alerts_total": "an account's failures are not the subject here",
        "beckon_trace_spans_exported_total": "no receiver of traces is configured",
        "beckon_trace_spans_dropped_total": "no receiver of traces is configured",
        "beckon_tracker_carried_total": "no challenge is held for ten minutes",
        "beckon_tracker_early_dropped_total": "the table of early facts is not full",
        "beckon_tracker_logs_cut_total": "the dispatcher's log is the one that is cut",
        "beckon_dispatcher_misplaced_total": "no record is in a wrong partition",
        "beckon_dispatcher_attempts_unsure_total": "Kafka answers every query of end offsets",
        "beckon_dispatcher_window_full_total": "the load is far below the window",
        "beckon_dispatcher_repeats_possible_total": "no push is forgotten",
        "beckon_dispatcher_connect_failures_total": "the simulators take every connection",
        "beckon_dispatcher_push_timeouts_total": "a push reaches its deadline only on a busy machine",
        "beckon_tracker_expected_latency_seconds": "a learned value, which may stay the same",
        "beckon_dispatcher_resends_total": "a GOAWAY meets a request that is under way only by chance",
        "beckon_http_accept_failures_total": "no listener runs out of file descriptors",
        "beckon_outbox_dead_letters_total": "no row of the outbox is too large",
        "beckon_outbox_abandoned_total": "no row of the outbox is too large",
    ]

    @Test(
        "each alert fires while its fault lasts and clears afterwards, and every metric of dashboards and rules moves",
        .standIn(), .shiftedClock)
    func campaign() async throws {
        let server = try await PostgresServer()
        let database = try await server.database()
        _ = try await BeckonProcess.output(
            of: ["migrate", "up"], environment: ["BECKON_STORE_URL": server.url(database)])
        try await BeckonCluster.with(storeURL: server.url(database)) { cluster in
            let stage = try await AlertStage(cluster, server: server, database: database, stretch: Self.stretch)
            let producer = try KafkaProducer(configuration: cluster.kafka, logger: Self.logger)
            let (load, watch) = (Task { await stage.load.run() }, Task { await stage.watch() })
            defer {
                load.cancel()
                watch.cancel()
            }
            do {
                try await Self.campaign(stage, producer)
            } catch {
                await Self.end(stage, producer)
                throw error
            }
            await Self.end(stage, producer)
        }
        try await server.stop()
    }

    private static func end(_ stage: AlertStage, _ producer: KafkaProducer) async {
        await stage.close()
        await producer.close(deadline: .seconds(1))
    }

    private static func campaign(_ stage: AlertStage, _ producer: KafkaProducer) async throws {
        let everything = Set(stage.prometheus.rules.map { String($0.description.prefix { $0 != " " }) }).sorted()
        try await stage.startDispatcherOnAnotherLog(logger: logger)
        try await stage.fires("BeckonLogCut")
        stage.load.setSteady()
        try await calm(stage, everything)
        try await providersAndEdges(stage, producer)
        try await stage.setDays(areMade: false)
        try await commits(stage)
        try await store(stage)
        try await dispatcherOfAnotherWorld(stage)
        try await keys(stage, producer)
        try await kills(stage)
        try await calm(stage, everything)
        #expect(stage.prometheus.rules.subtracting(stage.fired).isEmpty, "no fault of this test provokes these")
        try await metrics(stage)
    }

    /// All is well: nothing fires.
    private static func calm(_ stage: AlertStage, _ alerts: [String]) async throws {
        note("calm")
        let end = ContinuousClock.now + .seconds(240 * stretch)
        while true {
            let up = try await stage.prometheus.query("up == 1 and on (job, instance) beckon_build_info")
            let firing = try await stage.prometheus.firing()
            if firing.isEmpty, up.count == AlertStage.roles.count { return }
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "still firing: \(firing.sorted()); up: \(up.count)")
            }
            try await Task.sleep(for: .milliseconds(300))
        }
    }

    /// Each provider in a way of its own, a webhook that is down, records that nobody can read, and processes without
    /// files or connections.
    private static func providersAndEdges(_ stage: AlertStage, _ producer: KafkaProducer) async throws {
        note("providers, webhook, entrance, files, connections")
        stage.load.set([.fcm: 10, .hms: 3, .apn: 1, .quiet: 1])
        try await stage.end(connectionsOf: "fcm", "goaway")
        try await stage.end(connectionsOf: "apn", "cut")
        try await stage.set("apn", #"{"errorShare": 1, "errorReason": "InvalidProviderToken"}"#)
        try await stage.set("fcm", #"{"errorShare": 0.3, "errorReason": "UNREGISTERED"}"#)
        try await stage.set("hms", #"{"unavailableForMs": 600000}"#)
        await stage.stopReceiver()
        let limit = try await stage.lowerOpenFiles("tracker")
        let occupation = Task { try await stage.occupySecondProducer() }
        defer { occupation.cancel() }
        let type = RecordHeader(ContentType.headerName, ContentType.json.rawValue)
        for size in [10, 200_000] {
            _ = try await producer.send(
                ProducerRecord(
                    topic: stage.cluster.names[.requests], key: [1], value: Array(repeating: 65, count: size),
                    headers: [type]))
        }
        try await stage.fires(
            "BeckonCredentialFault", "BeckonCircuitOpen", "BeckonTokensDying", "BeckonUndeliveredBudget",
            "BeckonWebhookEndpointDown", "BeckonOpenFiles", "BeckonConnectionsRefused", "BeckonDeadLetters",
            "BeckonDeadLettersLost")
        for provider in ["apn", "fcm", "hms"] { try await stage.set(provider) }
        try await stage.startReceiver()
        try await stage.setOpenFiles("tracker", limit)
        occupation.cancel()
        _ = await occupation.result
        stage.load.setSteady()
        try await stage.clears(
            "BeckonCredentialFault", "BeckonCircuitOpen", "BeckonTokensDying", "BeckonWebhookEndpointDown",
            "BeckonOpenFiles", "BeckonConnectionsRefused", "BeckonDeadLetters", "BeckonDeadLettersLost")
    }

    /// The coordinator refuses commits: work is held, and is late afterwards.
    private static func commits(_ stage: AlertStage) async throws {
        note("commits")
        // GROUP_AUTHORIZATION_FAILED.
        try await stage.setErrors(apiKey: 8, code: 30)
        try await stage.fires("BeckonCommitsStale", "BeckonChallengesUnsent")
        try await stage.setErrors(apiKey: 8, code: nil)
        try await stage.fires("BeckonAttemptsLate", "BeckonLatePushBudget")
        try await stage.clears("BeckonCommitsStale", "BeckonChallengesUnsent", "BeckonAttemptsLate")
    }

    /// Somebody locks a table of the database; then it is away.
    private static func store(_ stage: AlertStage) async throws {
        note("store")
        let input = Pipe()
        let shell = try stage.server.shell(in: stage.database, input: input)
        try input.fileHandleForWriting.write(
            contentsOf: Data("BEGIN; LOCK TABLE challenges IN ACCESS EXCLUSIVE MODE;\n".utf8))
        try await stage.fires("BeckonStoreConnectionsBusy")
        try input.fileHandleForWriting.close()
        shell.waitUntilExit()
        try await stage.server.stop(.fast)
        try await stage.fires("BeckonStoreFault", "BeckonAPIErrorBudget", "BeckonNotReady")
        try await stage.server.start()
        try await stage.clears("BeckonStoreConnectionsBusy", "BeckonStoreFault", "BeckonNotReady")
    }

    /// A dispatcher with other configuration keys, on a machine whose clock is wrong. ``kills(_:)`` ends it.
    private static func dispatcherOfAnotherWorld(_ stage: AlertStage) async throws {
        note("dispatcher of another world")
        await stage.cluster["dispatcher"]?.stop()
        try stage.start(
            "dispatcher",
            [
                "BECKON_CONFIGURATION_KEYS": KeyRing.random(id: "other").text,
                "LD_PRELOAD": try await ShiftedClock.preload(in: stage.cluster.folder),
            ])
        try await stage.fires("BeckonCredentialsUnreadable", "BeckonClockWrong")
    }

    private static let unknownKey = KeyRing.random(id: "stranger")

    /// Records that are signed with an unknown key hold partitions, and more records come behind them.
    private static func keys(_ stage: AlertStage, _ producer: KafkaProducer) async throws {
        note("keys")
        try await stage.hold(.outcomes, by: unknownKey, then: 10_100, producer)
        try await stage.hold(.events, by: unknownKey, then: 5100, producer)
        try await stage.fires(
            "BeckonRecordKeyMissing", "BeckonTrackerBehind", "BeckonEntranceBehind", "BeckonWebhooksBehind")
        // Producers look at the days once a minute.
        if !stage.fired.contains(PrometheusServer.Rule("BeckonStoreDaysAhead")) {
            try await stage.fires("BeckonStoreDaysAhead")
        }
        try await stage.setDays(areMade: true)
    }

    /// Every role is gone. They come back with the unknown key, to a Kafka that takes no writes.
    private static func kills(_ stage: AlertStage) async throws {
        note("kills")
        for name in AlertStage.roles.keys { stage.cluster.kill(name) }
        try await stage.fires(
            "BeckonRoleMissing", "BeckonTargetDown", "BeckonPartitionsUnserved", "BeckonTrackerPartitionsUnserved")
        let keys = ["BECKON_RECORD_KEYS": KeyRing(keys: stage.cluster.recordKeys.keys + unknownKey.keys).text]
        // TOPIC_AUTHORIZATION_FAILED.
        try await stage.setErrors(apiKey: 0, code: 29)
        for name in AlertStage.roles.keys.sorted() { try stage.start(name, keys) }
        let refill = Task {
            while !Task.isCancelled {
                try await Task.sleep(for: .seconds(1))
                try await stage.setErrors(apiKey: 0, code: 29)
            }
        }
        defer { refill.cancel() }
        try await stage.fires(
            "BeckonOutboxStalled", "BeckonOutboxShedding", "BeckonOutboxPartitionsFailing", "BeckonEventsLeft")
        refill.cancel()
        _ = await refill.result
        try await stage.setErrors(apiKey: 0, code: nil)
    }

    // MARK: - Metrics

    /// Every metric that dashboards and rules name exists in Prometheus, and its value has changed.
    private static func metrics(_ stage: AlertStage) async throws {
        var named: Set<String> = []
        let root = ToolRun.root.appending(path: "deploy")
        let files = ["prometheus/rules/causes.yaml", "prometheus/rules/slo.yaml"].map { root.appending(path: $0) }
        let dashboards = try FileManager.default.contentsOfDirectory(
            at: root.appending(path: "grafana/dashboards"), includingPropertiesForKeys: nil)
        for file in files + dashboards {
            let text = try String(contentsOf: file, encoding: .utf8)
            named.formUnion(text.matches(of: #/\b(?:beckon|process)_[a-z_]+/#).map { String($0.0) })
        }
        #expect(named.count > 80)
        var (unknown, unmoved): (Set<String>, Set<String>) = ([], [])
        for name in named {
            let samples = try await stage.prometheus.query(
                "max(max_over_time(\(name)[1h]) - min_over_time(\(name)[1h]))")
            if samples.isEmpty { unknown.insert(name) }
            if samples.first?.value == 0 { unmoved.insert(name) }
        }
        #expect(unknown.subtracting(still.keys).isEmpty, "no role has shown these")
        #expect(unmoved.subtracting(still.keys).isEmpty, "these have never changed")
    }

    /// Progress, for whoever waits for the test.
    private static func note(_ phase: String) {
        FileHandle.standardError.write(Data("alerts: \(phase)\n".utf8))
    }
}
