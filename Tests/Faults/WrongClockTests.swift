import AsyncHTTPClient
import ChallengeModel
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import Simulators
import TestSupport
import Testing
import Wire

@Suite("A dispatcher whose clock is ten minutes ahead", .timeLimit(.minutes(10)), .serialized)
struct WrongClockTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    static let compiler = ["/usr/bin/cc", "/usr/bin/clang"].first { FileManager.default.isExecutableFile(atPath: $0) }

    /// Moves the clock of one process, as libfaketime does: its steady clocks run on.
    private static let shift = """
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

    private func preload(in folder: URL) throws -> String {
        let (source, library) = (folder.appending(path: "shift.c"), folder.appending(path: "shift.so"))
        try Self.shift.write(to: source, atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(filePath: try #require(Self.compiler))
        process.arguments = ["-shared", "-fPIC", "-o", library.path, source.path, "-ldl"]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return library.path
    }

    @Test(
        "holds, is unready and says so; the backend is told in time; one with a right clock then pushes what was held",
        .enabled(if: compiler != nil, "needs a C compiler, for a library that moves one process's clock"))
    func ahead() async throws {
        try await BeckonCluster.with { cluster in
            for (name, role) in [("producer", "producer"), ("tracker", "ack-tracker")] { try cluster.start(name, role) }
            for name in ["producer", "tracker"] { _ = try await cluster[name]?.ready() }
            let service = try await cluster.startPhones(1, behaviour: "answers", platform: "fcm")
            let wrong = try cluster.start("wrong", "dispatcher", more: ["LD_PRELOAD": preload(in: cluster.folder)])
            let admin = try await wrong.ready()["admin"] ?? ""
            let names = cluster.names
            let topics = [names[.challenges], names[.outcomes]]
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                func create(lifeMs: Int64) async throws -> String {
                    var draft = ChallengeDraft(message: "Sign in?")
                    draft.expiresAtMs = Timestamp.nowMs() + lifeMs
                    return try await cluster.backend.createChallenge(
                        serviceSID: service, identity: "person-00001", draft
                    ).sid
                }
                func escalated(_ sid: String) throws -> Bool {
                    try tail.records(of: names[.outcomes]).contains { record in
                        guard case .escalation(let told) = try OutcomeRecord(value: record.value, contentType: nil).kind
                        else { return false }
                        return told.challengeSid == sid
                    }
                }
                let short = try await create(lifeMs: 30_000)
                let long = try await create(lifeMs: 1_200_000)
                for _ in 0..<1200 where try !escalated(short) { try await Task.sleep(for: .milliseconds(100)) }
                #expect(try escalated(short), "\(cluster.tails)")
                // No outcome of either: neither pushed nor dropped.
                let outcomes = try tail.records(of: names[.outcomes]).filter { record in
                    if case .push = try OutcomeRecord(value: record.value, contentType: nil).kind {
                        true
                    } else {
                        false
                    }
                }
                #expect(outcomes.isEmpty)
                let answer = try await cluster.client.get(url: admin + "/readyz").get()
                let body = answer.body.map { String(buffer: $0) } ?? ""
                #expect(
                    answer.status.code == 503 && body.contains("dispatcher-clock") && body.contains("ahead"), "\(body)")
                #expect(wrong.output.contains("the clock is wrong"))
                await wrong.stop()
                try cluster.start("right", "dispatcher")
                for _ in 0..<1200 {
                    let read = try await cluster.backend.challenge(
                        serviceSID: service, identity: "person-00001", sid: long)
                    if read.status == "approved" { return }
                    try await Task.sleep(for: .milliseconds(100))
                }
                Issue.record("what was held is not pushed\n\(cluster.tails)")
            }
        }
    }
}
