import HTTPEdge
import ServiceSupport

extension Doctor {
    // MARK: 29

    static let limitChecks = [
        Check(
            "limits", "The process may open enough files, and has a processor and memory", roles: Role.workers,
            looks: [.limits], mistakes: [files, processors, memory]
        ) { facts in
            switch facts.limits {
            case .not(let because): return .skipped(because)
            case .seen(let limits):
                var findings: [Finding] = []
                let connections = facts.examination.roles.compactMap(\.connections).max() ?? 0
                let wanted = connections + 1024
                if limits.openFiles < wanted {
                    findings.append(
                        files.found(
                            "\(limits.openFiles) open files; \(connections) connections and 1024 more are wanted",
                            ["wanted": "\(wanted)"]))
                }
                if let quota = limits.processors, quota < 1 {
                    findings.append(processors.found("cpu.max allows \(quota) of a processor"))
                }
                if let bytes = limits.memory, bytes < 256 << 20 {
                    findings.append(memory.found("memory.max is \(bytes >> 20) MB"))
                }
                return .judged(findings, else: "\(limits.openFiles) open files")
            }
        }
    ]

    private static let files = Mistake(
        "open-files", .failure,
        sees: "the limit of open files is below the connections of the listeners and 1,024 more",
        means: "listeners take fewer connections than api.maxConnections, and Kafka or the store may get none",
        mend:
            "systemd: LimitNOFILE=65536; compose: ulimits: { nofile: 65536 }; Kubernetes: the limit of the container runtime. At least <wanted>"
    )
    private static let processors = Mistake(
        "processor-quota", .warning, sees: "the control group allows less than one processor",
        means: "the process is stopped for parts of each period: pushes and heartbeats are late",
        mend: "raise limits.cpu of the pod to 1 or more, or leave the limit out")
    private static let memory = Mistake(
        "memory-limit", .failure, sees: "the control group allows less than 256 MB of memory",
        means: "the process is killed under load", mend: "raise limits.memory of the pod to 256Mi or more")
}
