public import ChallengeModel
import KafkaClient
public import Logging
import Metrics
import PushGateway
import PushProviders
import ServiceSupport
import Synchronization

/// One reading of topic `configuration` from its start to its end, as a dispatcher reads it: for `beckon doctor`.
public struct ConfigurationReading: Sendable {
    /// The credentials that a dispatcher would have.
    public var credentials: [ProviderCredential] = []
    /// Why records cannot be used, each reason once; at most ``mostFaults``.
    public var faults: [String] = []
    /// False: the end was not reached in time.
    public var isWhole = false

    /// The number of distinct reasons that are kept.
    public static let mostFaults = 20

    /// - Parameters:
    ///   - patience: for the whole reading.
    ///   - logger: gets what the clients say.
    public static func read(
        _ configuration: DispatcherConfiguration, patience: Duration, logger: Logger
    ) async -> ConfigurationReading {
        let collector = Collector()
        let (ends, end) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let follower = ConfigurationFollower(
            configuration: configuration, changed: ArrivalSignal(),
            signer: RecordSigner(
                names: configuration.topics, authenticator: RecordAuthenticator(keys: configuration.recordKeys)),
            sender: collector,
            readiness: Readiness(), metrics: DispatcherMetrics(factory: NOOPMetricsHandler.instance), logger: logger,
            onRefusal: { collector.refuse($0) },
            onRead: {
                collector.reading.withLock { $0.isWhole = true }
                end.yield()
            })
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                do { try await follower.run() } catch { collector.refuse("\(error)") }
            }
            group.addTask { for await _ in ends { break } }
            group.addTask { try? await Task.sleep(for: patience) }
            await group.next()
            group.cancelAll()
        }
        return collector.reading.withLock { $0 }
    }

    /// Takes credentials as a gateway does, and sends nothing.
    private final class Collector: PushSending {
        let reading = Mutex(ConfigurationReading())
        let inFlight = 0

        func refuse(_ reason: String) {
            reading.withLock { reading in
                guard reading.faults.count < mostFaults, !reading.faults.contains(reason) else { return }
                reading.faults.append(reason)
            }
        }

        func setCredential(_ credential: ProviderCredential) {
            reading.withLock { reading in
                reading.credentials.removeAll { $0.credentialSid == credential.credentialSid }
                reading.credentials.append(credential)
            }
        }

        func removeCredential(sid: String) {
            reading.withLock { $0.credentials.removeAll { $0.credentialSid == sid } }
        }

        func send(_ push: Push, completion: @escaping @Sendable (PushAnswer) -> Void) {
            completion(PushAnswer(disposition: .deferred, reason: "closing"))
        }

        func close(deadline: Duration) async {}
    }
}
