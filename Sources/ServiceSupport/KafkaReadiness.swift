public import KafkaClient
public import ServiceLifecycle

/// Reports to readiness why Kafka refuses this process: missing rights, a wrong password, an unknown topic.
public struct KafkaReadiness: Service {
    /// The name of the readiness check.
    public static let check = "kafka-client"

    private let diagnosis: KafkaDiagnosis
    private let readiness: Readiness

    /// - Parameter diagnosis: the diagnosis in the configuration of the process's Kafka clients.
    public init(_ diagnosis: KafkaDiagnosis, readiness: Readiness) {
        self.diagnosis = diagnosis
        self.readiness = readiness
    }

    /// Checks twice a second until shut down or cancelled.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                if let cause = diagnosis.cause {
                    readiness.fail(Self.check, cause)
                } else {
                    readiness.pass(Self.check)
                }
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
    }
}
