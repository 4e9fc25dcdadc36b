import CRdKafka
import Foundation
import Logging

/// Owns one `rd_kafka_t` and the queue on which its blocking calls run.
///
/// `@unchecked Sendable`: librdkafka handles are thread-safe (INTRODUCTION.md, "Threads and callbacks"); the pointer never
/// changes, and ``destroy()`` is called once, by the owner, after every other use.
final class RDKafkaHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    private let blocking: DispatchQueue
    /// Retained by the handle as its opaque, released after its end.
    private let log: Unmanaged<LibraryLog>

    /// - Parameter logger: gets what librdkafka says.
    init(
        type: rd_kafka_type_t, properties: [(String, String)], logger: Logger,
        configure: (OpaquePointer) -> Void = { _ in }
    ) throws(KafkaError) {
        guard let conf = rd_kafka_conf_new() else { throw KafkaError(code: "_FAIL", reason: "out of memory") }
        var text = [CChar](repeating: 0, count: 512)
        for (name, value) in properties
        where rd_kafka_conf_set(conf, name, value, &text, text.count) != RD_KAFKA_CONF_OK {
            rd_kafka_conf_destroy(conf)
            throw KafkaError(code: "_INVALID_ARG", reason: "Kafka property \(name): \(text.string)")
        }
        let log = Unmanaged.passRetained(LibraryLog(logger))
        rd_kafka_conf_set_opaque(conf, log.toOpaque())
        rd_kafka_conf_set_log_cb(conf) { handle, level, facility, text in
            guard let opaque = rd_kafka_opaque(handle), let facility, let text else { return }
            Unmanaged<LibraryLog>.fromOpaque(opaque).takeUnretainedValue()
                .say(level, String(cString: facility), String(cString: text))
        }
        configure(conf)
        guard let handle = rd_kafka_new(type, conf, &text, text.count) else {
            // The handle did not take the configuration over.
            rd_kafka_conf_destroy(conf)
            log.release()
            throw KafkaError(code: "_FAIL", reason: text.string)
        }
        pointer = handle
        self.log = log
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
    func destroy() {
        rd_kafka_destroy(pointer)
        log.release()
    }
}

/// Takes librdkafka's log lines, which otherwise go to standard error past our levels.
final class LibraryLog: Sendable {
    private let logger: Logger

    init(_ logger: Logger) { self.logger = logger }

    /// - Parameter level: syslog's, 0 to 7. A broker out of reach is an error to librdkafka and a warning to us: it goes on by
    ///   itself, and readiness says what is held up.
    func say(_ level: Int32, _ facility: String, _ text: String) {
        let ours: Logger.Level =
            switch level {
            case ...2: .error
            case 3: .warning
            case 4...5: .info
            default: .debug
            }
        logger.log(level: ours, "librdkafka", metadata: ["facility": "\(facility)", "text": "\(text)"])
    }
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
        self.init(
            code: String(cString: rd_kafka_err2name(code)),
            reason: "\(context): \(String(cString: rd_kafka_err2str(code)))",
            isFatal: code == RD_KAFKA_RESP_ERR__FATAL)
    }

    static let closed = KafkaError(code: "_CLOSED", reason: "the client was closed")
    static func deadline(_ what: String) -> KafkaError {
        KafkaError(code: "_TIMED_OUT", reason: "\(what): no answer before the deadline")
    }
}

/// The librdkafka in this process.
public enum KafkaLibrary {
    /// For example `2.0.2`.
    public static var version: String { String(cString: rd_kafka_version_str()) }
    /// librdkafka before 2.6.1 fails with SASL/SCRAM (confluentinc/librdkafka#4895).
    public static var supportsSCRAM: Bool { rd_kafka_version() >= 0x0206_01ff }
}
