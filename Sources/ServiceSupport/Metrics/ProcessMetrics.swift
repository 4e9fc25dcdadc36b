import Foundation
public import HTTPEdge
import KafkaClient

/// Metrics that every role has.
public enum ProcessMetricName: String, MetricNames {
    case buildInfo = "beckon_build_info"
    case ready = "beckon_ready"
    case logLines = "beckon_log_lines_total"
    case startTime = "process_start_time_seconds"
    case cpu = "process_cpu_seconds_total"
    case resident = "process_resident_memory_bytes"
    case virtual = "process_virtual_memory_bytes"
    case openFiles = "process_open_fds"
    case maxFiles = "process_max_fds"

    public var family: MetricFamily {
        switch self {
        case .buildInfo:
            .gauge(
                rawValue, "Always 1. The labels give the version of Beckon, the role and the version of librdkafka.",
                [.init("version"), .init("role"), .init("librdkafka")])
        case .ready: .gauge(rawValue, "1 while /readyz answers 200, otherwise 0.")
        case .logLines:
            .counter(rawValue, "Lines written to the log, by level.", [.init("level", LogLines.levels)])
        case .startTime: .gauge(rawValue, "Start of the process, as seconds since 1970.")
        case .cpu: .counter(rawValue, "Processor time that the process has used, in user and in system mode.")
        case .resident: .gauge(rawValue, "Resident memory of the process.")
        case .virtual: .gauge(rawValue, "Virtual memory of the process.")
        case .openFiles: .gauge(rawValue, "Open file descriptors.")
        case .maxFiles: .gauge(rawValue, "Soft limit of open file descriptors.")
        }
    }
}

extension EdgeMetricName: MetricNames {
    public var family: MetricFamily {
        let listener = MetricFamily.Label("listener")
        return switch self {
        case .open: .gauge(rawValue, "Open connections.", [listener])
        case .limit: .gauge(rawValue, "Maximum number of open connections.", [listener])
        case .refused:
            .counter(
                rawValue,
                "Refused connections: all connections of the listener (full) or of the address (client) have a request "
                    + "in progress.", [listener, .init("reason", ["full", "client"])])
        case .closedEarly:
            .counter(
                rawValue,
                "Connections that were closed early: the longest idle one was closed for a new one (room, and client "
                    + "within one address), no file descriptor was left (files), no request arrived (silent), or the "
                    + "client did not read a reply (reader).",
                [listener, .init("reason", ["room", "client", "files", "silent", "reader"])])
        case .acceptFailures:
            .counter(rawValue, "Calls of accept that failed for lack of file descriptors or memory.", [listener])
        }
    }
}

/// What the metrics of every role read.
public enum ProcessMetrics {
    /// The families that every role has.
    public static var families: [MetricFamily] {
        ProcessMetricName.families + EdgeMetricName.families + TracingMetricName.families
    }

    /// - Parameter role: the value of the label `role`.
    public static func observe(
        in registry: PrometheusRegistry, role: String, version: String, readiness: Readiness
    ) {
        func observe(
            _ name: ProcessMetricName, _ labels: [(String, String)] = [], _ read: @escaping @Sendable () -> Double?
        ) {
            registry.observe(name.family, labels, read: read)
        }
        observe(
            .buildInfo, [("version", version), ("role", role), ("librdkafka", KafkaLibrary.version)]
        ) { 1 }
        observe(.ready) { readiness.isReady ? 1 : 0 }
        for (index, level) in LogLines.levels.enumerated() {
            observe(.logLines, [("level", level)]) { Double(LogLines.count(index)) }
        }
        observe(.startTime) { ProcessStatus()?.startTime }
        observe(.cpu) { ProcessStatus()?.cpuSeconds }
        observe(.resident) { ProcessStatus()?.residentBytes }
        observe(.virtual) { ProcessStatus()?.virtualBytes }
        observe(.openFiles) {
            (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")).map { Double($0.count) }
        }
        observe(.maxFiles) { Double(OpenFiles.limit) }
    }
}

/// Linux's account of this process (`proc(5)`); nil on other systems.
struct ProcessStatus {
    let startTime, cpuSeconds, residentBytes, virtualBytes: Double

    init?() {
        guard let stat = try? String(contentsOfFile: "/proc/self/stat", encoding: .utf8),
            let system = try? String(contentsOfFile: "/proc/stat", encoding: .utf8),
            // The name of the process is in parentheses and may contain any character.
            let name = stat.lastIndex(of: ")"),
            let booted = system.split(separator: "\n").first(where: { $0.hasPrefix("btime ") })?.dropFirst(6),
            let bootTime = Double(booted)
        else { return nil }
        // The first field after the name is field 3.
        let fields = stat[stat.index(after: name)...].split(separator: " ")
        func field(_ number: Int) -> Double? { fields.count > number - 3 ? Double(fields[number - 3]) : nil }
        guard let user = field(14), let kernel = field(15), let started = field(22), let virtual = field(23),
            let pages = field(24)
        else { return nil }
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        cpuSeconds = (user + kernel) / ticks
        startTime = bootTime + started / ticks
        virtualBytes = virtual
        residentBytes = pages * Double(sysconf(Int32(_SC_PAGESIZE)))
    }
}
