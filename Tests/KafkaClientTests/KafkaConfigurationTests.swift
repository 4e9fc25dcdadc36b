import Testing

@testable import KafkaClient

@Suite("Kafka configuration")
struct KafkaConfigurationTests {
    private func configuration(_ properties: [String: String], isEmbedded: Bool = false) -> KafkaConfiguration {
        KafkaConfiguration(bootstrapServers: "127.0.0.1:1", properties: properties, isEmbedded: isEmbedded)
    }

    @Test(
        "the fence follows the session timeout that librdkafka uses, also one that was passed through",
        arguments: [
            ([:], false, 15_000, 13_000), ([:], true, 3000, 1500),
            (["session.timeout.ms": "45000"], false, 45_000, 43_000),
            (["session.timeout.ms": "6000"], true, 6000, 4000),
            // librdkafka reads numbers as strtol(3) does.
            (["session.timeout.ms": "0x2710"], false, 10_000, 8000),
            (["fetch.wait.max.ms": "7"], false, 15_000, 13_000),
        ] as [([String: String], Bool, Int, Int)])
    func fence(properties: [String: String], isEmbedded: Bool, sessionMs: Int, fenceMs: Int) {
        let configuration = configuration(properties, isEmbedded: isEmbedded)
        #expect(configuration.sessionTimeout == .milliseconds(sessionMs))
        #expect(configuration.ownershipFence == .milliseconds(fenceMs))
    }

    @Test("the session outlasts Kafka's own wait for a dead broker, 9 s, by what finding the next coordinator takes")
    func session() {
        #expect(configuration([:]).sessionTimeout >= .seconds(9 + 5))
    }

    @Test("which refused commits say that the group has counted a member out")
    func evictions() {
        for code in ["UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "FENCED_INSTANCE_ID"] {
            #expect(KafkaError(code: code, reason: "").isEviction)
        }
        for code in [
            "REBALANCE_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS",
            "REQUEST_TIMED_OUT", "_TRANSPORT", "_TIMED_OUT", "_WAIT_COORD",
        ] {
            #expect(!KafkaError(code: code, reason: "").isEviction)
        }
    }
}
