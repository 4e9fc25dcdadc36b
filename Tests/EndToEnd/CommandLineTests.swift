import ChallengeModel
import Foundation
import KafkaClient
import Logging
import ServiceSupport
import TestSupport
import Testing
import Wire

/// The commands of operators, run as they run them: arguments, output and exit status.
@Suite("The command line", .timeLimit(.minutes(10)))
struct CommandLineTests {
    static let key = "k1:" + Data(repeating: 7, count: 32).base64EncodedString()

    private func lines(_ text: String) throws -> [JSONValue] {
        try text.split(separator: "\n").map { try JSONParser.parse(String($0), .reply) }
    }

    private func withFile(_ text: String, _ body: (String) async throws -> Void) async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
        try text.write(to: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        try await body(file.path)
    }

    private func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < end {
            if try condition() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("not within two minutes: \(what)")
    }

    // MARK: config

    @Test("config check accepts what starts a role, and says all that is wrong with what does not, with status 2")
    func configCheck() async throws {
        let good = [
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": "k:1", "BECKON_RECORD_KEYS": Self.key,
            "BECKON_CONFIGURATION_KEYS": Self.key,
        ]
        let right = try await BeckonProcess.result(
            of: ["config", "check", "--role", "dispatcher"], environment: good)
        #expect(right.status == 0 && right.output.contains("is right"), "\(right)")
        var environment = good
        environment["BECKON_PUSH_DEADLINE"] = "7"
        environment["BECKON_RECORD_KEYS"] = "k1:secret"
        environment["BECKON_CONFIGURATION_KEYS"] = nil
        let wrong = try await BeckonProcess.result(
            of: ["config", "check", "--role", "dispatcher", "--json"], environment: environment)
        #expect(wrong.status == 2)
        let problems = try #require(try lines(wrong.output).first?["problems"]?.elements?.compactMap(\.stringValue))
        #expect(problems.count == 3, "\(problems)")
        for text in ["BECKON_PUSH_DEADLINE", "BECKON_RECORD_KEYS", "configurationKeys is missing"] {
            #expect(problems.contains { $0.contains(text) }, "\(text): \(problems)")
        }
        #expect(!wrong.output.contains("secret\""))
        let typo = try await BeckonProcess.result(
            of: ["config", "check", "--role", "dispatcher", "--push-deadlin", "700"], environment: good)
        #expect(typo.status == 2 && typo.output.contains("did you mean --push-deadline?"), "\(typo)")
        // Right one by one, and wrong together.
        let together = try await BeckonProcess.result(
            of: ["config", "check", "--role", "webhooks", "--store-path", "/s", "--webhooks-client-key-file", "/k"],
            environment: good.merging(["BECKON_STORE_KEYS": Self.key]) { $1 })
        #expect(together.status == 2 && together.output.contains("set both, or neither"), "\(together)")
    }

    @Test("config print names the source of each value, and shows no secret")
    func configPrint() async throws {
        try await withFile("log:\n  level: debug\nstore:\n  password: hunter2\n") { file in
            let result = try await BeckonProcess.result(
                of: ["config", "print", "--role", "producer", "--json", "--api-port", "99", "--config", file],
                environment: [
                    "BECKON_KAFKA_BOOTSTRAP_SERVERS": "k:1", "BECKON_RECORD_KEYS": Self.key,
                    "BECKON_STORE_KEYS": Self.key, "BECKON_CONFIGURATION_KEYS": Self.key, "BECKON_STORE_PATH": "/s",
                ])
            #expect(result.status == 0, "\(result)")
            let keys = Dictionary(
                uniqueKeysWithValues: try lines(result.output).map { ($0["key"]?.stringValue ?? "", $0) })
            #expect(Set(keys.keys) == Set(Settings.all.filter { $0.roles.contains(.producer) }.map(\.key)))
            func facts(_ key: String) -> [String?] {
                ["value", "origin", "source"].map { keys[key]?[$0]?.stringValue }
            }
            #expect(facts("api.port") == ["99", "flag", "--api-port"])
            #expect(
                facts("kafka.bootstrapServers") == [
                    "k:1", "environment", "environment variable BECKON_KAFKA_BOOTSTRAP_SERVERS",
                ])
            #expect(facts("log.level") == ["debug", "file", "\(file), key log.level"])
            #expect(facts("outbox.limit") == ["100000", "default", nil])
            #expect(facts("api.publicUrl") == [nil, "default", nil])
            #expect(facts("store.password")[0] == "set, not shown")
            #expect(facts("recordKeys")[0] == "set, not shown: keys k1")
            #expect(!result.output.contains("hunter2") && !result.output.contains(Self.key.dropFirst(3)))
            let short = try await BeckonProcess.result(
                of: ["config", "print", "--role", "producer", "--changed"],
                environment: ["BECKON_API_PORT": "many"])
            #expect(short.status == 2 && short.output.contains("WRONG"), "\(short)")
            #expect(!short.output.contains("outbox.limit"))
        }
    }

    // MARK: dead-letters

    @Test("dead letters are listed, shown and replayed, with the statuses that docs/cli.md names")
    func deadLetters() async throws {
        try await withLetters(3) { broker, environment, names in
            let listed = try await BeckonProcess.result(
                of: ["dead-letters", "list", "--json", "--topic", "requests"], environment: environment)
            #expect(listed.status == 0, "\(listed)")
            let letters = try lines(listed.output)
            #expect(letters.count == 3 && letters.allSatisfy { $0["replayable"] == .boolean(true) })
            let id = try #require(letters.first?["id"]?.stringValue)
            let text = try await BeckonProcess.output(of: ["dead-letters", "list"], environment: environment)
            #expect(text.contains("3 of 3 selected; 3 read.") && text.contains("requests") && text.contains("account"))

            let shown = try await BeckonProcess.output(of: ["dead-letters", "show", id], environment: environment)
            #expect(shown.contains("reason: account") && !shown.contains("payload"))
            let payload = try await BeckonProcess.output(
                of: ["dead-letters", "show", id, "--payload", "--json"], environment: environment)
            #expect(try lines(payload).first?["payload"]?["requestId"]?.stringValue == "r0")
            let none = try await BeckonProcess.result(
                of: ["dead-letters", "show", "0:999"], environment: environment)
            #expect(none.status == 1 && none.errors.contains("does not contain 0:999"), "\(none)")

            let dry = try await BeckonProcess.output(
                of: ["dead-letters", "replay", "--dry-run"], environment: environment)
            #expect(dry.contains("3 of 3 would be written. Nothing was written."))
            let one = try await BeckonProcess.result(
                of: ["dead-letters", "replay", "--id", id, "--json"], environment: environment)
            #expect(one.status == 0, "\(one)")
            #expect(try lines(one.output).last?["replayed"] == .integer(1))
            let all = try await BeckonProcess.result(of: ["dead-letters", "replay"], environment: environment)
            #expect(all.status == 0 && all.output.contains("3 of 3 records written, 0 failed."), "\(all)")
            try await TopicTail.following(
                [names[.requests]], kafka: broker.kafka, logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() }
            ) { tail in
                try await eventually("four records") { tail.count(of: names[.requests]) == 4 }
            }
        }
    }

    @Test("more than 20 records need a confirmation; SIGINT ends a replay, which says how to go on")
    func manyDeadLetters() async throws {
        try await withLetters(30) { broker, environment, names in
            let unconfirmed = try await BeckonProcess.result(of: ["dead-letters", "replay"], environment: environment)
            #expect(unconfirmed.status == 2 && unconfirmed.errors.contains("--yes"), "\(unconfirmed)")
            guard TestBroker.cluster == nil else { return }
            // Each acknowledgement takes so long that the signal comes between two records.
            try broker.inject(.delay(broker: 1, milliseconds: 300))
            let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let replay = try BeckonProcess(
                "replay", ["dead-letters", "replay", "--yes", "--json"], environment: environment, isRole: false,
                folder: folder)
            try await eventually("a record is written") { replay.output.contains("\"replayed\"") }
            Foundation.kill(replay.identifier, SIGINT)
            try await eventually("the replay ends") { !replay.isRunning }
            try broker.inject(.delay(broker: 1, milliseconds: 0))
            let last = try #require(try lines(replay.output).last)
            let written = try #require(last["replayed"]?.integerValue)
            #expect((1..<30).contains(written), "\(replay.output)")
            let next = try #require(last["continue"]?.stringValue)
            let command = next.split(separator: " ").dropFirst().map(String.init)
            #expect(command.starts(with: ["dead-letters", "replay", "--replay-id"]), "\(next)")
            let rest = try await BeckonProcess.result(of: command + ["--yes", "--json"], environment: environment)
            #expect(rest.status == 0, "\(rest)")
            #expect(try lines(rest.output).last?["replay_id"] == last["replay_id"])
            try await TopicTail.following(
                [names[.requests]], kafka: broker.kafka, logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() }
            ) { tail in
                try await eventually("all records") {
                    Set(tail.records(of: names[.requests]).map(\.key)).count == 30
                }
            }
        }
    }

    @Test("Kafka that does not answer is status 3, and settings that are wrong are status 2")
    func statuses() async throws {
        let environment = [
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "BECKON_RECORD_KEYS": Self.key,
        ]
        for arguments in [
            ["dead-letters", "list", "--timeout", "1"], ["topics", "check", "--timeout", "1"],
            ["topics", "create", "--timeout", "1"],
            ["challenge", "get", "YC1", "--url", "http://127.0.0.1:1", "--service", "VA1", "--identity", "i"],
        ] {
            var environment = environment
            if arguments[0] == "challenge" { environment = ["BECKON_ACCOUNT_SID": "AC1", "BECKON_AUTH_TOKEN": "t"] }
            let result = try await BeckonProcess.result(of: arguments, environment: environment)
            #expect(result.status == 3, "\(arguments): \(result)")
            #expect(result.errors.hasPrefix("Error: "), "\(result)")
        }
        for arguments in [["dead-letters", "list"], ["topics", "acl"], ["migrate", "status"]] {
            let result = try await BeckonProcess.result(of: arguments)
            #expect(result.status == 2, "\(arguments): \(result)")
        }
        let unknown = try await BeckonProcess.result(of: ["dead-letters", "lost"])
        #expect(unknown.status == 64)
    }

    /// A broker with dead letters of that many requests, and the environment of the commands.
    private func withLetters(
        _ count: Int, _ body: (TestBroker, [String: String], TopicNames) async throws -> Void
    ) async throws {
        let names = TopicNames(prefix: TestBroker.prefix())
        let broker = try await TestBroker(
            topics: Dictionary(uniqueKeysWithValues: Topic.allCases.map { (names[$0], 1) }))
        let logger = Logger(label: "t") { _ in SwiftLogNoOpLogHandler() }
        let producer = try KafkaProducer(configuration: broker.kafka, logger: logger)
        let signer = RecordSigner(
            names: names, authenticator: RecordAuthenticator(keys: try KeyRing(parsing: Self.key)))
        for number in 0..<count {
            var request = ChallengeRequest()
            request.requestID = "r\(number)"
            request.ttlSeconds = 3600
            let record = ConsumedRecord(
                topicPartition: TopicPartition(topic: names[.requests], partition: 0), offset: Int64(number),
                timestampMs: Timestamp.nowMs(), key: Array("key-\(number)".utf8), value: request.protobufBytes(),
                headers: [RecordHeader(ContentType.headerName, "application/protobuf")])
            _ = try await producer.send(signer.deadLetter(record, reason: "account", detail: "another account"))
        }
        await producer.close(deadline: .seconds(5))
        let environment = [
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrapServers, "BECKON_RECORD_KEYS": Self.key,
            "BECKON_TOPICS_PREFIX": names.prefix, "BECKON_KAFKA_EMBEDDED": "\(broker.kafka.isEmbedded)",
        ]
        let result: Result<Void, any Error>
        do { result = .success(try await body(broker, environment, names)) } catch { result = .failure(error) }
        await broker.close()
        try result.get()
    }

    // MARK: topics

    @Test("without an admin API the commands about topics say that they are skipped")
    func embeddedTopics() async throws {
        let environment = ["BECKON_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "BECKON_KAFKA_EMBEDDED": "true"]
        for command in ["create", "check"] {
            let text = try await BeckonProcess.output(of: ["topics", command], environment: environment)
            #expect(text.hasPrefix("Skipped: the embedded broker has no admin API"))
            let json = try await BeckonProcess.output(of: ["topics", command, "--json"], environment: environment)
            #expect(try lines(json).first?["result"]?.stringValue == "skipped")
        }
    }

    @Test("acl prints the commands of each user")
    func acl() async throws {
        let text = try await BeckonProcess.output(
            of: ["topics", "acl", "--user", "dispatcher", "--principal", "User:CN=NAME", "--topics-prefix", "x."],
            environment: ["BECKON_KAFKA_BOOTSTRAP_SERVERS": "k:9092,l:9092"])
        #expect(
            text.contains(
                "kafka-acls --bootstrap-server k:9092 --add --allow-principal User:CN=dispatcher --operation Read "
                    + "--topic x.challenges"), "\(text)")
        #expect(text.contains("--operation Read --group x.dispatcher"))
    }

    @Test("a reader that goes away ends the command with 141, and a full disk with 1 and one line")
    func closedOutput() async throws {
        // The settings come first: these connect to nothing.
        let arguments = ["topics", "acl", "--kafka-bootstrap-servers=k:9092"]
        let pipe = Pipe()
        try pipe.fileHandleForReading.close()
        let gone = try await BeckonProcess.status(of: arguments, output: pipe.fileHandleForWriting)
        #expect(gone.status == 141 && gone.errors.isEmpty, "\(gone)")
        let full = try #require(FileHandle(forWritingAtPath: "/dev/full"))
        let refused = try await BeckonProcess.status(of: arguments, output: full)
        #expect(refused.status == 1 && refused.errors.hasPrefix("Error: standard output"), "\(refused)")
        #expect(refused.errors.split(separator: "\n").count == 1)
    }

    // MARK: keys

    @Test(
        "a ring is rotated by three values that never lack a key in use, and is listed by its ids",
        arguments: [("record", "RECORD"), ("store", "STORE"), ("configuration", "CONFIGURATION")])
    func keys(ring: String, variable: String) async throws {
        let environment = ["BECKON_\(variable)_KEYS": Self.key]
        let text = try await BeckonProcess.output(of: ["keys", "rotate", "--ring", ring], environment: environment)
        let values = try #require(try lines(text).first)
        let rings = try ["announced", "in_use", "retired"].map { name in
            try KeyRing(parsing: values[name]?.stringValue ?? "")
        }
        #expect(rings.map { $0.keys.map(\.id) } == [["k1", "k2"], ["k2", "k1"], ["k2"]])
        #expect(KeyRing(keys: [rings[0].keys[0]]).text == Self.key)
        let listed = try await BeckonProcess.output(
            of: ["keys", "list", "--ring", ring], environment: ["BECKON_\(variable)_KEYS": rings[1].text])
        #expect(try lines(listed).map { $0["id"]?.stringValue } == ["k2", "k1"])
        #expect(!listed.contains(Self.key.dropFirst(3)))
    }

    // MARK: challenge

    @Test("a challenge is created by hand, watched until the phone approves it, and read")
    func challenge() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "ready").path
        let dev = try BeckonProcess("dev", ["dev", "--ready-file", file], isRole: false, folder: folder)
        try await eventually("dev is ready") { FileManager.default.fileExists(atPath: file) }
        let create = ["challenge", "create", "--message", "Is this you?"]
        let made = try await BeckonProcess.result(of: create + ["--credentials", file, "--watch", "--json"])
        #expect(made.status == 0, "\(made) \(dev.tail)")
        let changes = try lines(made.output)
        #expect(changes.first?["status"]?.stringValue == "pending")
        #expect(changes.last?["status"]?.stringValue == "approved")
        let sid = try #require(changes.first?["sid"]?.stringValue)
        let read = try await BeckonProcess.output(of: ["challenge", "get", sid, "--credentials", file])
        #expect(read.hasPrefix("\(sid)  approved"), "\(read)")
        let none = try await BeckonProcess.result(of: ["challenge", "watch", "YC00", "--credentials", file])
        #expect(none.status == 1 && none.errors.contains("the API answers 404"), "\(none)")
        let bare = try await BeckonProcess.result(of: create + ["--url", "http://127.0.0.1:1"])
        #expect(bare.status == 2 && bare.errors.contains("no credentials"), "\(bare)")
        #expect(await dev.stop() == 0)
    }

    // MARK: completion

    @Test("the completion scripts have every flag of every role", arguments: ["bash", "zsh", "fish"])
    func completion(shell: String) async throws {
        let script = try await BeckonProcess.output(of: ["completion", shell])
        for role in Role.allCases {
            let part: Substring
            if shell == "fish" {
                part =
                    script.split(separator: "\n").filter { $0.contains("\"beckon \(role.rawValue)\" ") }
                    .joined(separator: "\n")[...]
            } else {
                let start = try #require(script.firstRange(of: "\n_beckon_\(role.rawValue)() {"))
                let rest = script[start.upperBound...]
                part = rest[..<(rest.firstRange(of: "\n}")?.lowerBound ?? rest.endIndex)]
            }
            let words = Set(part.split { !($0.isLetter || $0.isNumber || $0 == "-") }.map(String.init))
            for setting in Settings.all where setting.roles.contains(role) {
                let flag = shell == "fish" ? String(setting.flag.dropFirst(2)) : setting.flag
                #expect(words.contains(flag) == !setting.isSecret, "\(shell): \(role.rawValue) \(setting.flag)")
            }
        }
    }

    @Test("bash completes commands, flags of roles, and options of commands")
    func bash() async throws {
        let script = try await BeckonProcess.output(of: ["completion", "bash"])
        try await withFile(script) { file in
            func completed(_ words: [String]) async throws -> Set<Substring> {
                let current = words.last ?? ""
                let line = words.joined(separator: " ")
                let run = try await ToolRun.of(
                    "/bin/bash",
                    [
                        "-c",
                        """
                        source "$0"; COMP_WORDS=("${@}"); COMP_CWORD=$((${#@} - 1)); COMP_LINE='\(line)'; \
                        COMP_POINT=${#COMP_LINE}; _beckon beckon '\(current)' x; printf '%s\\n' "${COMPREPLY[@]}"
                        """, file,
                    ] + words)
                return Set(run.output.split(separator: "\n"))
            }
            let commands = try await completed(["beckon", "dead-l"])
            let flags = try await completed(["beckon", "dispatcher", "--push-dead"])
            let others = try await completed(["beckon", "producer", "--push-dead"])
            let options = try await completed(["beckon", "dead-letters", "replay", "--dry"])
            #expect(commands.contains("dead-letters"))
            #expect(flags == ["--push-deadline"] && others.isEmpty && options == ["--dry-run"])
        }
    }
}
