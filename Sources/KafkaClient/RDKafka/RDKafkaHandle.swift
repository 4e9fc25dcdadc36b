import CRdKafka
import Foundation
import Logging
import Synchronization
import Wire

/// Owns one `rd_kafka_t` and the queue on which its blocking calls run. The handle lives as long as anything holds this
/// object: a call under way, a thread that polls, a partition's queue. No call ends it earlier, so none can find it
/// ended.
///
/// `@unchecked Sendable`: librdkafka handles are thread-safe (INTRODUCTION.md, "Threads and callbacks"), and the
/// pointer never changes.
final class RDKafkaHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    private let library: LibraryLog
    private let blocking: DispatchQueue
    private let isProducer: Bool
    /// Retained by the handle as its opaque, released after its end.
    private let log: Unmanaged<LibraryLog>
    private let wasAnswered = Atomic(false)
    /// Left when the handle is gone.
    let end = DispatchGroup()

    /// - Parameters:
    ///   - diagnosis: gets what librdkafka's log lines say of causes.
    ///   - logger: gets what librdkafka says.
    init(
        type: rd_kafka_type_t, properties: [(String, String)], diagnosis: KafkaDiagnosis, groupID: String? = nil,
        logger: Logger, configure: (OpaquePointer) -> Void = { _ in }
    ) throws(KafkaError) {
        guard let conf = rd_kafka_conf_new() else { throw KafkaError(code: "_FAIL", reason: "out of memory") }
        var text = [CChar](repeating: 0, count: 512)
        for (name, value) in properties
        where rd_kafka_conf_set(conf, name, value, &text, text.count) != RD_KAFKA_CONF_OK {
            rd_kafka_conf_destroy(conf)
            throw KafkaError(code: "_INVALID_ARG", reason: "Kafka property \(name): \(text.string)")
        }
        let log = Unmanaged.passRetained(
            LibraryLog(logger, diagnosis: diagnosis, groupID: groupID, mechanism: conf.value(of: "sasl.mechanisms")))
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
        library = log.takeUnretainedValue()
        isProducer = type == RD_KAFKA_PRODUCER
        self.log = log
        blocking = DispatchQueue(label: "beckon.kafka.blocking", attributes: .concurrent)
        end.enter()
    }

    /// Ends the handle on a thread of our own: it blocks, and upstream has open hangs in there (librdkafka #3954,
    /// #4884).
    deinit {
        // Nothing else holds the handle, so nothing else uses the pointer.
        nonisolated(unsafe) let pointer = pointer
        let log = log
        blocking.async { [isProducer, end] in
            if isProducer {
                // A record that came in behind the last poll gets its report here.
                rd_kafka_purge(pointer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
                rd_kafka_flush(pointer, 1000)
            }
            rd_kafka_destroy(pointer)
            log.release()
            end.leave()
        }
    }

    /// Runs a blocking call on a thread of our own and returns its result, or nil at the deadline (the call then ends
    /// on its own and its result is dropped). The call holds the handle.
    func offPool<Result: Sendable>(
        deadline: Duration, _ body: @escaping @Sendable (OpaquePointer) -> Result
    ) async -> Result? {
        await withCheckedContinuation { (continuation: CheckedContinuation<Result?, Never>) in
            let once = Once(continuation)
            blocking.async { once.resume(body(self.pointer)) }
            blocking.asyncAfter(deadline: .now() + deadline.inSeconds) { once.resume(nil) }
        }
    }

    /// What an error event or a refused request says of its cause.
    /// - Parameter topic: which one it is about, if one is known.
    func note(_ error: KafkaError, topic: String?) { library.note(error, topic: topic) }

    /// A broker has answered: nothing that keeps all of them from it is wrong, nor anything with this.
    func isWell(_ subject: KafkaDiagnosis.Subject) {
        if !wasAnswered.exchange(true, ordering: .relaxed) { library.isAnswered() }
        library.isWell(subject)
    }

    /// Runs work that may block on a thread of our own; it may outlive this object.
    func later(_ work: @escaping @Sendable () -> Void) { blocking.async(execute: work) }
}

extension DispatchGroup {
    /// Returns when the group is empty, or at the deadline.
    func empty(deadline: Duration) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let once = Once(continuation)
            notify(queue: .global()) { once.resume(()) }
            DispatchQueue.global().asyncAfter(deadline: .now() + deadline.inSeconds) { once.resume(()) }
        }
    }
}

/// Takes librdkafka's log lines, which otherwise go to standard error past our levels.
final class LibraryLog: Sendable {
    private let logger: Logger
    private let diagnosis: KafkaDiagnosis
    private let client: Int
    private let facts: KafkaDiagnosis.Cause.Client

    init(_ logger: Logger, diagnosis: KafkaDiagnosis, groupID: String?, mechanism: String?) {
        self.logger = logger
        self.diagnosis = diagnosis
        client = diagnosis.enter()
        facts = KafkaDiagnosis.Cause.Client(
            groupID: groupID, mechanism: mechanism, libraryVersion: String(cString: rd_kafka_version_str()),
            // librdkafka before 2.6.1 fails with SASL/SCRAM (confluentinc/librdkafka#4895).
            supportsSCRAM: rd_kafka_version() >= 0x0206_01ff)
    }

    deinit { diagnosis.leave(client) }

    /// - Parameter level: syslog's, 0 to 7. A broker out of reach is an error to librdkafka and a warning to us: it
    ///   goes on by itself, and readiness says what is held up.
    func say(_ level: Int32, _ facility: String, _ text: String) {
        let ours: Logger.Level =
            switch level {
            case ...2: .error
            case 3: .warning
            case 4...5: .info
            default: .debug
            }
        logger.log(
            level: ours, "librdkafka",
            metadata: ["facility": "\(facility)", "text": "\(KafkaDiagnosis.Cause.printable(text))"])
        if let cause = KafkaDiagnosis.Cause(line: text, client: facts) {
            diagnosis.note(cause, client: client, logger: logger)
        }
    }

    func note(_ error: KafkaError, topic: String?) {
        guard
            let cause = KafkaDiagnosis.Cause(
                code: error.code, topic: topic, text: error.reason, client: facts)
        else { return }
        diagnosis.note(cause, client: client, logger: logger)
    }

    func isAnswered() { diagnosis.isAnswered(client) }
    func isWell(_ subject: KafkaDiagnosis.Subject) { diagnosis.isWell(subject, client: client) }
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

extension OpaquePointer {
    /// Of an `rd_kafka_conf_t`: a property as librdkafka reads it, its default when it was not set; nil: there is none.
    func value(of property: String) -> String? {
        var size = 512
        var text = [CChar](repeating: 0, count: size)
        return rd_kafka_conf_get(self, property, &text, &size) == RD_KAFKA_CONF_OK ? text.string : nil
    }
}

extension [CChar] {
    var string: String { String(decoding: prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) }
}

extension Duration {
    /// As librdkafka's calls take a time-out.
    var timeoutMs: Int32 { Int32(clamping: wholeMilliseconds) }
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
