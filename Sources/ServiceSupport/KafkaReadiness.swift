public import KafkaClient
public import ServiceLifecycle

/// Tells readiness why Kafka does not serve this process: missing rights, a wrong password, an unknown topic.
public struct KafkaReadiness: Service {
    /// The name of the readiness check.
    public static let check = "kafka-client"

    private let diagnosis: KafkaDiagnosis
    private let readiness: Readiness

    /// - Parameter diagnosis: that of the configuration which the process's clients are made of.
    public init(_ diagnosis: KafkaDiagnosis, readiness: Readiness) {
        self.diagnosis = diagnosis
        self.readiness = readiness
    }

    /// Looks twice a second until shut down or cancelled.
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
