public import Foundation
public import Testing

/// A library that moves the clock of one process ahead by ten minutes, as libfaketime does. Its steady clocks run on.
public enum ShiftedClock {
    /// Nil: there is none on this machine.
    private static let compiler = ["/usr/bin/cc", "/usr/bin/clang"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }

    public static let isPossible = compiler != nil

    private static let source = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <sys/time.h>
        #include <time.h>
        static int (*real)(clockid_t, struct timespec *);
        int clock_gettime(clockid_t id, struct timespec *at) {
            if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
            int result = real(id, at);
            if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += 600;
            return result;
        }
        int gettimeofday(struct timeval *restrict at, void *restrict zone) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            if (at) { at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000; }
            return 0;
        }
        time_t time(time_t *at) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            if (at) *at = now.tv_sec;
            return now.tv_sec;
        }
        """

    /// Compiles the library in a folder.
    /// - Returns: the value of `LD_PRELOAD`.
    public static func preload(in folder: URL) async throws -> String {
        let (code, library) = (folder.appending(path: "shift.c"), folder.appending(path: "shift.so"))
        try source.write(to: code, atomically: true, encoding: .utf8)
        let compiled = try await ToolRun.of(
            compiler ?? "/usr/bin/cc", ["-shared", "-fPIC", "-o", library.path, code.path, "-ldl"])
        guard compiled.status == 0 else { throw BeckonProcess.Failure(description: compiled.output) }
        return library.path
    }
}

extension Trait where Self == ConditionTrait {
    public static var shiftedClock: Self {
        .enabled(
            if: ShiftedClock.isPossible, "needs a C compiler, for a library that moves one process's clock")
    }
}
