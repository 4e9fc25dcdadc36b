#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// File descriptors of this process: how many it may open, and how many of them listeners may use.
public enum OpenFiles {
    /// The soft limit is raised at most to this value. Some systems allow a thousand million, and code that walks over
    /// all descriptors would then take minutes.
    public static let wanted = 65_536

    /// Descriptors that are reserved for everything except accepted connections: Kafka (a socket for each broker and
    /// handle), the store's files and readers, connections to providers, the admin port, log files, event loops.
    public static let reserved = 320

    /// Raises the soft limit of this process to its hard limit, at most to ``wanted``. Call it before anything else.
    /// - Returns: the limit in force.
    @discardableResult
    public static func raiseLimit() -> Int {
        var limits = rlimit()
        guard getrlimit(resource, &limits) == 0 else { return 1024 }
        let raised = min(limits.rlim_max, rlim_t(wanted))
        if limits.rlim_cur < raised {
            limits.rlim_cur = raised
            _ = setrlimit(resource, &limits)
        }
        return limit
    }

    /// The soft limit in force.
    public static var limit: Int {
        var limits = rlimit()
        guard getrlimit(resource, &limits) == 0 else { return 1024 }
        return Int(min(limits.rlim_cur, rlim_t(1 << 30)))
    }

    /// The bound for each of several listeners: an equal share of the descriptors that remain after ``reserved``, and
    /// never more than `wanted`.
    /// - Parameters:
    ///   - wanted: the configured bound.
    ///   - listeners: the number of listeners that share, at least 1.
    /// - Returns: at least 16, so that a process with a very low limit still answers.
    public static func bound(atMost wanted: Int, listeners: Int, limit: Int = OpenFiles.limit) -> Int {
        min(wanted, max(16, (limit - reserved) / max(listeners, 1)))
    }

    #if canImport(Glibc)
        private static let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
        private static let resource = RLIMIT_NOFILE
    #endif
}
