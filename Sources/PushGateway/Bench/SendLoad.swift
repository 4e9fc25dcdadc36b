import Logging
import NIOCore
import NIOPosix
import PushProviders
import Synchronization
import Wire

#if canImport(Glibc)
    import Glibc
#endif

/// Pushes in the shape of APNs alerts against any HTTP/2 server, over the transport that the gateway sends with: for
/// measuring it. A payload of 400 bytes, an `apns-id` of its own each, one bearer token of an ordinary length.
public struct SendLoad: Sendable {
    /// `https://HOST:PORT`.
    public var url: String
    /// PEM of roots besides the system's.
    public var caFile: String?
    /// Pushes to send, at least 1.
    public var count: Int
    /// Pushes outstanding at a time, at least 1.
    public var inFlight: Int
    /// Most connections; opened as the load and the peer's limit ask.
    public var connections: Int
    /// Milliseconds from hand-over to answer.
    public var deadlineMs: Int
    /// Pushes per second, evenly; 0: as fast as answers come.
    public var rate: Int

    public init(
        url: String, caFile: String? = nil, count: Int, inFlight: Int, connections: Int = 1, deadlineMs: Int = 10_000,
        rate: Int = 0
    ) {
        self.url = url
        self.caFile = caFile
        self.count = count
        self.inFlight = inFlight
        self.connections = connections
        self.deadlineMs = deadlineMs
        self.rate = rate
    }

    /// What was measured.
    public struct Report: Sendable {
        public var pushes = 0
        public var seconds = 0.0
        public var perSecond = 0.0
        /// CPU of this process, user and system, from the first push handed over to the last answer.
        public var cpuMicrosecondsPerPush = 0.0
        /// From hand-over to answer; with a rate from when it was due, so that waiting for others counts. Without the
        /// first `inFlight`, which wait for TCP, TLS and the first answer.
        public var p50Ms = 0.0
        public var p99Ms = 0.0
        /// Pushes that did not end with a 2xx.
        public var errors = 0
        /// Connections opened.
        public var connections = 0
    }

    /// Runs the load to its end. - Throws: ``PushGatewayError`` when the settings are wrong.
    public func run() async throws -> Report {
        guard count > 0, inFlight > 0, connections > 0, deadlineMs > 0, rate >= 0 else {
            throw PushGatewayError(
                code: .configuration,
                message: "count, in-flight, connections and deadline-ms must be 1 or more, rate 0 or more")
        }
        let endpoint = try Endpoint(url: url, setting: "url")
        let connector = try Connector(caFile: caFile)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let counters = TransportCounters()
        var settings = ConnectionPool.Settings()
        settings.maxConnections = connections
        settings.streamsPerConnection = max(inFlight, 1)
        settings.firstStreamAlone = true
        let pool = ConnectionPool(
            loop: group.next(), endpoint: endpoint, settings: settings, connector: connector, clock: .system,
            counters: counters, logger: Logger(label: "beckon.bench", factory: { _ in SwiftLogNoOpLogHandler() }))
        let driver = Driver(load: self, pool: pool)
        let (started, cpuBefore) = (NIODeadline.now(), Self.cpuMicroseconds())
        await driver.run()
        let (ended, cpuAfter) = (NIODeadline.now(), Self.cpuMicroseconds())
        try await pool.drain().get()
        try await group.shutdownGracefully()
        var report = driver.report()
        report.seconds = Double((ended - started).nanoseconds) / 1e9
        report.perSecond = Double(count) / report.seconds
        report.cpuMicrosecondsPerPush = Double(cpuAfter - cpuBefore) / Double(count)
        report.connections = counters.connectionsOpened.load(ordering: .relaxed)
        return report
    }

    private static func cpuMicroseconds() -> Int64 {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func micros(_ time: timeval) -> Int64 { Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_usec) }
        return micros(usage.ru_utime) + micros(usage.ru_stime)
    }
}

/// Keeps `inFlight` pushes outstanding, or fewer at a rate, until `count` have ended.
private final class Driver: @unchecked Sendable {
    // Guarantee: touched on the pool's event loop only, but for `init` before and `report` after the run.
    private let load: SendLoad
    private let pool: ConnectionPool
    private let bearer = SharedBytes("bearer " + String(repeating: "y", count: 180))
    private let message = String(repeating: "x", count: 371)
    private let path = "/3/device/" + String(repeating: "ab", count: 32)
    private var handedOver = 0
    private var finished = 0
    private var errors = 0
    private var latenciesUs: [UInt32] = []
    private var done: CheckedContinuation<Void, Never>?

    init(load: SendLoad, pool: ConnectionPool) {
        self.load = load
        self.pool = pool
        latenciesUs.reserveCapacity(load.count)
    }

    func run() async {
        await withCheckedContinuation { continuation in
            pool.loop.execute {
                self.done = continuation
                if self.load.rate > 0 { return self.pace() }
                for _ in 0..<min(self.load.inFlight, self.load.count) { self.next(start: .now()) }
            }
        }
    }

    /// Hands over what is due, every millisecond.
    private func pace() {
        let began = NIODeadline.now()
        let interval = 1e9 / Double(load.rate)
        pool.loop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(1)) { task in
            let now = NIODeadline.now()
            while self.handedOver < self.load.count, self.handedOver - self.finished < self.load.inFlight {
                let due = began + .nanoseconds(Int64(Double(self.handedOver) * interval))
                guard due <= now else { return }
                self.next(start: due)
            }
            if self.handedOver == self.load.count { task.cancel() }
        }
    }

    private func next(start: NIODeadline) {
        handedOver += 1
        let request = OutboundRequest(
            capacity: 1024, expiresAtMs: .max, deadline: .now() + .milliseconds(Int64(load.deadlineMs))
        ) { [number = handedOver] request, end in
            self.ended(
                request, end, number > self.load.inFlight || self.load.count < self.load.inFlight * 2 ? start : nil)
        }
        _ = request.field(.path, path)
        _ = request.field(.apnsTopic, "org.example.app")
        _ = request.field(.apnsPushType, "alert")
        _ = request.field(.apnsPriority, "10")
        _ = request.field(.apnsExpiration, "1893456000")
        let id = request.beginField(.apnsID)
        Self.writeID(handedOver, to: request)
        request.endField(at: id)
        request.beginBody()
        let json = PayloadWriter(request: request)
        json.raw("{\"aps\":{\"alert\":{\"body\":")
        json.string(message)
        json.raw("}}}")
        request.authorization = bearer
        pool.submit(request)
    }

    /// - Parameter start: nil when its latency does not count.
    private func ended(_ request: OutboundRequest, _ end: RequestEnd, _ start: NIODeadline?) {
        finished += 1
        if let start { latenciesUs.append(UInt32(clamping: (NIODeadline.now() - start).nanoseconds / 1000)) }
        if end != .answered || !(200..<300).contains(request.status) { errors += 1 }
        if handedOver < load.count {
            if load.rate == 0 { next(start: .now()) }
        } else if finished == load.count {
            done?.resume()
            done = nil
        }
    }

    /// A UUID of version 4's shape that counts, so that the server can tell every push apart.
    private static func writeID(_ number: Int, to request: OutboundRequest) {
        request.append("00000000-0000-4000-8000-")
        for shift in stride(from: 44, through: 0, by: -4) {
            let digit = UInt8(truncatingIfNeeded: number >> shift) & 0xF
            request.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    func report() -> SendLoad.Report {
        let sorted = latenciesUs.sorted()
        func ms(_ share: Double) -> Double {
            sorted.isEmpty ? 0 : Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) / 1000
        }
        var report = SendLoad.Report()
        report.pushes = finished
        report.p50Ms = ms(0.5)
        report.p99Ms = ms(0.99)
        report.errors = errors
        return report
    }
}
