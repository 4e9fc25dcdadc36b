import CRdKafka
import Foundation

/// Owns one `rd_kafka_t` and the queue on which its blocking calls run.
///
/// `@unchecked Sendable`: librdkafka handles are thread-safe (INTRODUCTION.md, "Threads and callbacks"); the pointer never
/// changes, and ``destroy()`` is called once, by the owner, after every other use.
final class RDKafkaHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    private let blocking: DispatchQueue

    /// - Parameter opaque: handed to the callbacks set in `configure`.
    init(
        type: rd_kafka_type_t, properties: [(String, String)], opaque: UnsafeMutableRawPointer? = nil,
        configure: (OpaquePointer) -> Void = { _ in }
    ) throws(KafkaError) {
        guard let conf = rd_kafka_conf_new() else { throw KafkaError(code: "_FAIL", reason: "out of memory") }
        var text = [CChar](repeating: 0, count: 512)
        for (name, value) in properties
        where rd_kafka_conf_set(conf, name, value, &text, text.count) != RD_KAFKA_CONF_OK {
            rd_kafka_conf_destroy(conf)
            throw KafkaError(code: "_INVALID_ARG", reason: "Kafka property \(name): \(text.string)")
        }
        rd_kafka_conf_set_opaque(conf, opaque)
        configure(conf)
        guard let handle = rd_kafka_new(type, conf, &text, text.count) else {
            // The handle did not take the configuration over.
            rd_kafka_conf_destroy(conf)
            throw KafkaError(code: "_FAIL", reason: text.string)
        }
        pointer = handle
        blocking = DispatchQueue(label: "beckon.kafka.blocking", attributes: .concurrent)
    }

    /// Runs a blocking call on a thread of our own and returns its result, or nil at the deadline (the call then ends on
    /// its own and its result is dropped).
    func offPool<Result: Sendable>(
        deadline: Duration, _ body: @escaping @Sendable (OpaquePointer) -> Result
    ) async -> Result? {
        await withCheckedContinuation { (continuation: CheckedContinuation<Result?, Never>) in
            let once = Once(continuation)
            blocking.async { once.resume(body(self.pointer)) }
            blocking.asyncAfter(deadline: .now() + deadline.seconds) { once.resume(nil) }
        }
    }

    /// Ends the handle. Blocks: call on a thread of our own.
    func destroy() { rd_kafka_destroy(pointer) }
}

/// A continuation that is resumed by whoever comes first.
///
/// `@unchecked Sendable`: the continuation is only touched under the lock.
final class Once<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var continuation: CheckedContinuation<Value, Never>?

    init(_ continuation: CheckedContinuation<Value, Never>) { self.continuation = continuation }

    func resume(_ value: Value) {
        lock.lock()
        let taken = continuation
        continuation = nil
        lock.unlock()
        taken?.resume(returning: value)
    }
}

extension [CChar] {
    var string: String { String(decoding: prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
    var milliseconds: Int32 { Int32(clamping: Int64(seconds * 1000)) }
}

extension KafkaError {
    init(_ code: rd_kafka_resp_err_t, _ context: String) {
        let retriable: Set<Int32> = [
            RD_KAFKA_RESP_ERR__TRANSPORT.rawValue, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN.rawValue,
            RD_KAFKA_RESP_ERR__TIMED_OUT.rawValue, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT.rawValue,
            RD_KAFKA_RESP_ERR__QUEUE_FULL.rawValue, RD_KAFKA_RESP_ERR__WAIT_COORD.rawValue,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS.rawValue, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION.rawValue,
            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID.rawValue, RD_KAFKA_RESP_ERR_NOT_COORDINATOR.rawValue,
            RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS.rawValue,
            RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE.rawValue,
            RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE.rawValue, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION.rawValue,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT.rawValue, RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION.rawValue,
        ]
        self.init(
            code: String(cString: rd_kafka_err2name(code)),
            reason: "\(context): \(String(cString: rd_kafka_err2str(code)))",
            isFatal: code == RD_KAFKA_RESP_ERR__FATAL, isRetriable: retriable.contains(code.rawValue))
    }

    static let closed = KafkaError(code: "_CLOSED", reason: "the client was closed")
    static func deadline(_ what: String) -> KafkaError {
        KafkaError(code: "_TIMED_OUT", reason: "\(what): no answer before the deadline", isRetriable: true)
    }
}

/// The librdkafka in this process.
public enum KafkaLibrary {
    /// For example `2.0.2`.
    public static var version: String { String(cString: rd_kafka_version_str()) }
    /// librdkafka before 2.6.1 fails with SASL/SCRAM (confluentinc/librdkafka#4895).
    public static var supportsSCRAM: Bool { rd_kafka_version() >= 0x0206_01ff }
}
