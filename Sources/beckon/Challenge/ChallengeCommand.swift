import ArgumentParser
import Foundation
import ServiceSupport
import Wire

/// `beckon challenge`: one challenge by hand, over the HTTP API.
struct ChallengeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "challenge",
        abstract: "Creates a challenge over the HTTP API, reads it, or waits for its answer.",
        discussion: """
            With `beckon dev --ready-file F` running: beckon challenge create --credentials F --message "Is this you?" --watch
            """,
        subcommands: [Create.self, Get.self, Watch.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Creates a challenge for a person.",
            discussion: "Exit status: 0 created (with --watch: approved); 1 refused; 2 wrong use; 3 no answer.")

        @OptionGroup var api: APIOptions
        @Option(help: "What the person reads, at most 256 characters.") var message: String
        @Option(help: "A detail that is shown, LABEL=VALUE; repeat the option for several.") var field: [String] = []
        @Option(help: "SID of the one device that is asked; by default all devices of the person.") var factor: String?
        @Option(help: "Life of the challenge in seconds, 1 to 3600; by default the service's.") var life: Int?
        @Option(help: "Any other parameter of the API, NAME=VALUE; repeat the option for several.")
        var parameter: [String] = []
        @Option(help: "Sent with every try of one creation, so that one challenge is created.")
        var idempotencyKey: String?
        @Flag(help: "Wait for the answer, as `beckon challenge watch` does.") var watch = false
        @Option(help: "With --watch: time limit in seconds, 1 to 7200.") var watchTimeout = 3600
        @Flag(help: "Print the API's JSON, one object per line.") var json = false

        func validate() throws {
            for text in field + parameter where Self.pair(text) == nil {
                throw ValidationError("\"\(text)\": expected a name, =, and a value")
            }
            guard life.map({ (1...3600).contains($0) }) ?? true else {
                throw ValidationError("--life: expected 1 to 3600 seconds")
            }
            guard (1...7200).contains(watchTimeout) else {
                throw ValidationError("--watch-timeout: expected 1 to 7200 seconds")
            }
        }

        static func pair(_ text: String) -> (name: String, value: String)? {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 && !parts[0].isEmpty ? (String(parts[0]), String(parts[1])) : nil
        }

        var form: [(name: String, value: String)] {
            var form = [(name: "Details.Message", value: message)]
            for (label, value) in field.compactMap(Self.pair) {
                form.append(
                    (
                        "Details.Fields",
                        JSONValue.object([("label", .string(label)), ("value", .string(value))]).text
                    ))
            }
            if let factor { form.append(("FactorSid", factor)) }
            if let life {
                form.append(("ExpirationDate", Timestamp.rfc3339Seconds(Timestamp.nowMs() + Int64(life) * 1000)))
            }
            return form + parameter.compactMap(Self.pair)
        }

        func run() async throws {
            try await api.with { api in
                let made = try await api.create(form, idempotencyKey: idempotencyKey)
                ChallengeCommand.print(made, json: json)
                guard watch, let sid = made.tree["sid"]?.stringValue else { return }
                try await ChallengeCommand.watch(api, sid, seconds: watchTimeout, json: json)
            }
        }
    }

    struct Get: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "get", abstract: "Reads a challenge.",
            discussion: "Exit status: 0; 1 refused, or no such challenge; 2 wrong use; 3 no answer.")

        @Argument(help: "The challenge's SID.") var challenge: String
        @OptionGroup var api: APIOptions
        @Flag(help: "Print the API's JSON.") var json = false

        func run() async throws {
            try await api.with { api in ChallengeCommand.print(try await api.challenge(challenge), json: json) }
        }
    }

    struct Watch: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "watch", abstract: "Waits until a challenge is answered or over, and prints each change.",
            discussion: """
                Exit status: 0 approved; 1 denied, expired, canceled, or the time limit passed; 2 wrong use; 3 no answer.
                """)

        @Argument(help: "The challenge's SID.") var challenge: String
        @OptionGroup var api: APIOptions
        @Option(help: "Time limit in seconds, 1 to 7200.") var watchTimeout = 3600
        @Flag(help: "Print the API's JSON, one object per change and line.") var json = false

        func validate() throws {
            guard (1...7200).contains(watchTimeout) else {
                throw ValidationError("--watch-timeout: expected 1 to 7200 seconds")
            }
        }

        func run() async throws {
            try await api.with { api in
                try await ChallengeCommand.watch(api, challenge, seconds: watchTimeout, json: json)
            }
        }
    }

    /// Waits at the server, never longer than 20 s in one request.
    private static func watch(_ api: ChallengeAPI, _ sid: String, seconds: Int, json: Bool) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        var last = try await api.challenge(sid)
        print(last, json: json)
        while last.status == "pending" {
            let left = Int(((end - .now) / .seconds(1)).rounded(.up))
            guard left > 0 else { throw CommandFailure("\(sid) is still pending after \(seconds) seconds") }
            let askedAt = ContinuousClock.now
            if let next = try await api.change(of: sid, since: last.tag ?? "", seconds: min(left, 20)) {
                last = next
                print(next, json: json)
            } else if ContinuousClock.now - askedAt < .milliseconds(500) {
                // The server has no room for another request that waits.
                try await Task.sleep(for: .milliseconds(500))
            }
        }
        guard last.status == "approved" else { throw ExitStatus.partly }
    }

    /// The number to match is for the person's screen, and this may be a log: only the JSON that the operator asks for
    /// has it.
    private static func print(_ reply: ChallengeAPI.Reply, json: Bool) {
        if json { return Terminal.line(reply.tree.text) }
        let delivery = reply.tree["beckon"]?["delivery"]?.stringValue
        let facts = [
            reply.tree["sid"]?.stringValue, reply.status, delivery.map { "delivery \($0)" },
            reply.tree["factor_sid"]?.stringValue.map { "device \($0)" },
            reply.tree["expiration_date"]?.stringValue.map { "until \($0)" },
        ]
        Terminal.line(EscapingLogHandler.escaped(facts.compactMap(\.self).joined(separator: "  ")))
    }
}
