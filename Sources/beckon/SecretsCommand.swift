import ArgumentParser
import Challenges
import ServiceSupport

struct SecretsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "secrets", abstract: "The keys that secrets in the store are sealed with.",
        subcommands: [Reseal.self])

    struct Reseal: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "reseal",
            abstract: "Seals every secret of the store again under the first key of BECKON_STORE_KEYS.",
            discussion:
                "To rotate: put the new key in front of the old one, restart the producer, run this, and take the old key away "
                + "when the last line names it under retired_keys. A run that was stopped goes on where it was. Prints a JSON line per step. "
                + CommandStore.discussion)

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            let result = try await CommandStore.with(settings) { store in
                try await store.reseal { step in
                    print(
                        JSONLine([
                            ("place", step.place), ("resealed", "\(step.resealed)"), ("failed", "\(step.failed)"),
                        ]))
                }
            }
            print(
                JSONLine([
                    ("key", result.keyID), ("resealed", "\(result.resealed)"), ("failed", "\(result.failed)"),
                    ("retired_keys", result.retired.joined(separator: ",")),
                ]))
            guard result.failed == 0 else {
                throw CommandFailure(
                    "\(result.failed) values cannot be opened by any key, and were left: they are damaged; what they belong to must be made anew"
                )
            }
        }
    }
}
