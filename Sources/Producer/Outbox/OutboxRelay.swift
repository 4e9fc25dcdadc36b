import ChallengeModel
public import Challenges
import Foundation
public import KafkaClient
public import Logging
public import Metrics
public import ServiceSupport
public import Wire

/// Carries outbox rows to Kafka: claims them under a lease, publishes them signed, deletes them when the broker has
/// them. Nothing is held open in the store while Kafka is asked. What is published twice (a crash between the
/// acknowledgement and the deletion) is the same record with the same dispatch or event id.
public struct OutboxRelay: Sendable {
    /// The name of the readiness check.
    public static let readinessCheck = "outbox"

    public struct Options: Sendable {
        /// Who holds the leases: a name that no other relay has or had. What a relay that died has claimed is free when
        /// its lease ends, or when the next one opens the store to serve it. Default: host, process and a random part.
        public var owner = """
            producer@\(ProcessInfo.processInfo.hostName):\(ProcessInfo.processInfo.processIdentifier):\(UUID().uuidString)
            """
        /// A row is somebody else's to take after this. Longer than `messageTimeout`. Default 60 s.
        public var lease: Duration = .seconds(60)
        /// The producer's `message.timeout.ms`: after it a record has its report. Default 30 s.
        public var messageTimeout: Duration = .seconds(30)
        /// Rows claimed in one commit. Default 500.
        public var claim = 500
        /// Rows held at once: in flight, waiting for an earlier one of their key, or to be deleted. Default 4,000.
        public var window = 4000
        /// From one claim to the next at least, so that rows which come one by one share a commit. The first after a
        /// rest is at once. Default 5 ms.
        public var claimPace: Duration = .milliseconds(5)
        /// The same for deletions. What was acknowledged within it is published again after a crash. Default 10 ms.
        public var settlePace: Duration = .milliseconds(10)
        /// While true nothing is claimed: the topics are not as they were at the start. Asked before each claim;
        /// default: never.
        public var isHeld: @Sendable () -> Bool = { false }
        /// How far the clock of this process is ahead of the store's, in milliseconds; default: it is not.
        public var clockAheadMs: @Sendable () -> Int64 = { 0 }
        /// How often it looks without being called. Default 1 s.
        public var look: Duration = .seconds(1)
        /// How long a stop waits for acknowledgements. Default 5 s.
        public var stopBound: Duration = .seconds(5)
        /// Nil: no spans are made.
        public var tracer: ServiceTracer?
        /// When the role is not ready.
        public var limits = OutboxLimits()

        public init() {}

        /// - Parameter sharing: of the store.
        public init(sharing: OutboxSharing?) {
            guard let sharing else { return }
            lease = sharing.lease
            messageTimeout = sharing.messageTimeout
        }
    }

    private let run: RelayRun

    /// - Parameters:
    ///   - producer: has been asked for the topics' partitions, and is not asked again: a key keeps its partition. A
    ///     topic of which it does not know them counts as one partition.
    ///   - nowMs: epoch milliseconds, of the clock that stamps the rows.
    public init(
        store: any OutboxStore, producer: KafkaProducer, signer: RecordSigner, readiness: Readiness, logger: Logger,
        metrics: any MetricsFactory, options: Options = Options(),
        nowMs: @escaping @Sendable () -> Int64 = { Timestamp.nowMs() }
    ) {
        run = RelayRun(
            store: store, producer: producer, signer: signer, readiness: readiness, logger: logger,
            metrics: OutboxMetrics(factory: metrics), options: options, nowMs: nowMs)
    }

    /// Relays until the task is cancelled. Then it claims no more, waits up to `stopBound` for what is in flight,
    /// deletes what was acknowledged and gives back what was not sent. Called once.
    public func run() async {
        await run.untilCancelled()
    }
}
